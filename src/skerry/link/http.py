"""HTTP as clients use it: one seam of two methods, with limits and timeouts as required arguments.

`Fetcher` is the real one (urllib3); `FakeFetcher` beside it answers from a function, so everything above
can be tested against a simulated world. Both raise PeerError for what the network or the peer did.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import urllib3

from skerry.core.errors import (
    BrokenReply,
    BusyError,
    Conflict,
    DeadlinePassed,
    Invalid,
    NotAllowed,
    NotFound,
    NotReady,
    QueueFull,
    SkerryError,
    TooLarge,
    Unreachable,
)
from skerry.core.fields import Fields, parse
from skerry.host.clock import Clock

CONNECT_SECONDS = 5.0  # a handshake over a satellite link takes about 2 s
PIECE = 16 << 10  # bytes sent at a time; within CONNECT_SECONDS each, so a link of 4 kB/s will do
CHUNK = 256 << 10  # bytes read at a time while downloading
MAX_ERROR = 64 << 10  # bytes of an error's body that are read


@dataclass(frozen=True)
class Reply:
    """A whole HTTP answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        """Return the body's JSON; raise BrokenReply if it is none."""
        try:
            return parse(self.body, "reply", len(self.body))
        except Invalid as error:
            raise BrokenReply(str(error)) from None


class Fetcher:
    """HTTP over the network. Safe to use from several threads; connections are kept alive."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._pool = urllib3.PoolManager(maxsize=8, retries=False)

    def request(
        self,
        method: str,
        url: str,
        *,
        limit: int,
        seconds: float,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Return the answer, whatever its status, with at most `limit` bytes; raise Unreachable or BrokenReply.

        `seconds` bounds each silence, and the reading of the answer as a whole.
        """
        deadline = self._clock.monotonic() + seconds
        timeout = urllib3.Timeout(connect=min(CONNECT_SECONDS, seconds), read=seconds)
        try:
            with self._pool.request(
                method,
                url,
                body=_pieces(body) if body else None,
                headers={**(headers or {}), **({"Content-Length": str(len(body))} if body else {})},
                timeout=timeout,
                preload_content=False,
            ) as answer:
                data = bytearray()
                while len(data) <= limit and (chunk := answer.read1(CHUNK)):
                    data += chunk
                    if self._clock.monotonic() > deadline:
                        raise TimeoutError(f"the answer took longer than {seconds:g} s")
                found = Reply(answer.status, bytes(data), _lower(answer.headers))
                if len(data) <= limit:
                    answer.drain_conn()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise Unreachable(f"{method} {url}: {_why(error)}") from error
        if len(data) > limit:
            raise BrokenReply(f"{method} {url}: the answer is over {limit} bytes")
        return found

    def download(
        self, url: str, *, start: int, limit: int, seconds: float, headers: Mapping[str, str] | None = None
    ) -> Iterator[bytes]:
        """Yield the bytes of `url` from offset `start`; over `limit` bytes in all is a BrokenReply.

        `seconds` bounds each read, not the whole: a slow link may take its time as long as bytes come.
        """
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=seconds)
        wanted = {**(headers or {}), **({"Range": f"bytes={start}-"} if start else {})}
        try:
            with self._pool.request("GET", url, headers=wanted, timeout=timeout, preload_content=False) as answer:
                if answer.status != (206 if start else 200):
                    check(Reply(answer.status, answer.read(MAX_ERROR), _lower(answer.headers)), url)
                    raise BrokenReply(f"GET {url}: expected the bytes from {start}; got status {answer.status}")
                total = start
                for chunk in answer.stream(CHUNK):
                    total += len(chunk)
                    if total > limit:
                        raise BrokenReply(f"GET {url}: more than the {limit} bytes that were promised")
                    yield chunk
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(f"GET {url}: {_why(error)}") from error


class FakeFetcher(Fetcher):
    """A fetcher that asks `answer(method, url, body, headers)`; what that raises, it raises."""

    def __init__(self, answer: Callable[[str, str, bytes, Mapping[str, str]], Reply]) -> None:
        super().__init__()
        self._answer = answer

    def request(
        self,
        method: str,
        url: str,
        *,
        limit: int,
        seconds: float,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Return what the function returns."""
        found = self._answer(method, url, body, headers or {})
        if len(found.body) > limit:
            raise BrokenReply(f"{method} {url}: the answer is over {limit} bytes")
        return found

    def download(
        self, url: str, *, start: int, limit: int, seconds: float, headers: Mapping[str, str] | None = None
    ) -> Iterator[bytes]:
        """Yield the function's answer from `start`, in two chunks; of a 200 the beginning is cut off for it."""
        wanted = {**(headers or {}), **({"Range": f"bytes={start}-"} if start else {})}
        reply = check(self._answer("GET", url, b"", wanted), url)
        data = reply.body if reply.status == 206 else reply.body[start:]
        if start + len(data) > limit:
            raise BrokenReply(f"GET {url}: more than the {limit} bytes that were promised")
        middle = len(data) // 2
        yield data[:middle]
        yield data[middle:]


_ERRORS: dict[int, type[SkerryError]] = {
    400: Invalid,
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    415: Invalid,
    422: Invalid,
    429: QueueFull,
    502: Unreachable,
    503: NotReady,
    504: DeadlinePassed,
}


def check(reply: Reply, url: str) -> Reply:
    """Return a reply of status 2xx; raise the error that the peer meant by any other."""
    if 200 <= reply.status < 300:
        return reply
    kind = _ERRORS.get(reply.status, BrokenReply)
    text = f"{url} answered {reply.status}: {_error_text(reply)}"
    if issubclass(kind, BusyError):
        after = reply.headers.get("retry-after", "")
        raise kind(text, float(after) if after.isascii() and after.isdigit() else 1.0)
    raise kind(text)


def post_json(fetcher: Fetcher, url: str, value: object, *, token: str, limit: int, seconds: float) -> Any:
    """POST a JSON value with a bearer token and return the JSON of the answer; raise as `check` does."""
    headers = {"Content-Type": "application/json", **bearer(token)}
    body = json.dumps(value).encode()
    return check(fetcher.request("POST", url, body=body, headers=headers, limit=limit, seconds=seconds), url).json()


def bearer(token: str) -> dict[str, str]:
    """Return the header that carries a token; none for no token."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def _pieces(body: bytes) -> Iterator[bytes]:
    """Yield a body in pieces: the socket's timeout bounds the sending of each, not of the whole."""
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _error_text(reply: Reply) -> str:
    try:
        return Fields(reply.json(), "").text("error")
    except (BrokenReply, Invalid):
        return reply.body[:200].decode("utf-8", "replace")


def _why(error: Exception) -> str:
    """Return a network error in a few words, without the library's own object names."""
    text = str(getattr(error, "reason", None) or error)
    return text.rsplit(">: ", 1)[-1].rsplit("): ", 1)[-1]
