"""One HTTP request and its answer, and where the request's body goes. What carries them is the connection's to say."""

from __future__ import annotations

import json
import re
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol

from skerry.node.serve.access import About, AccessLog
from skerry.node.serve.errors import failure

LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
LINES[499] = b"HTTP/1.1 499 Client Closed Request\r\n"
JSON = b"application/json"
_ORIGIN = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)


class Dated(Protocol):
    """What a request asks the site."""

    @property
    def date(self) -> bytes:
        """The Date header's line."""
        ...

    @property
    def access(self) -> AccessLog | None:
        """The access log, if one is kept."""
        ...


class Line(Protocol):
    """The connection that a request came by."""

    client: str
    since: float  # monotonic seconds

    @property
    def site(self) -> Dated:
        """Whose connection it is."""
        ...

    def flush(self) -> None:
        """Send the answers that are ready."""
        ...


class Exchange:
    """One request and its answer."""

    __slots__ = (
        "about", "answered", "began", "connection", "headers", "keep", "method", "path", "query", "reply", "sink",
        "size",
    )  # fmt: skip

    def __init__(self, connection: Line, method: str, target: bytes, headers: dict[bytes, bytes], keep: bool) -> None:
        self.connection = connection
        self.method = method
        path, _, query = (target if target.startswith(b"/") else _origin(target)).partition(b"?")
        self.path, self.query = path, query
        self.headers = headers
        self.keep = keep
        self.reply: bytes | None = None
        self.sink: Sink = Dropped()
        self.answered = False
        self.began = connection.since  # monotonic seconds
        self.size = 0  # bytes of the body, once it is whole
        self.about: About | None = None  # what the access log says of an inference

    def header(self, name: bytes) -> str:
        """Return a header, "" if it did not come; `name` is in lower case."""
        return self.headers.get(name, b"").decode("latin-1")

    def answer(self, status: int, body: bytes, kind: bytes = JSON, extra: bytes = b"") -> None:
        """Answer, once. `extra` is whole header lines, each with its line end."""
        if self.answered:
            return
        self.answered = True
        close = b"" if self.keep else b"connection: close\r\n"
        head = b"%b%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b\r\n" % (
            LINES[status], self.connection.site.date, kind, len(body), extra, close,
        )  # fmt: skip
        self.reply = head if self.method == "HEAD" else head + body
        access = self.connection.site.access
        if access is not None:
            self.tell(access, status, len(body))
        self.connection.flush()

    def tell(self, access: AccessLog, status: int, sent: int) -> None:
        """Have the access log keep it."""
        asked = (self.connection.client, self.method, self.path)
        access.note(asked, status, (self.size, sent), self.began, self.about)

    def fail(self, error: BaseException) -> None:
        """Answer an error, as the table has it."""
        status, text, extra = failure(error, self.method, self.path)
        self.answer(status, json.dumps({"error": text}).encode(), extra=extra)


class Sink(Protocol):
    """Where a body goes, and what happens when it is whole."""

    def reserve(self, size: int) -> memoryview | None:
        """Return where a body of that many bytes is to be put; None: it is given piece by piece."""
        ...

    def add(self, piece: memoryview) -> None:
        """Take a piece; raise TooLarge over the limit."""
        ...

    def complete(self, exchange: Exchange) -> None:
        """The request is whole."""
        ...

    def gone(self) -> None:
        """The client is gone, before or after the request was whole: nobody waits for the answer."""
        ...

    def left(self) -> None:
        """The client sends no more after this whole request. Most likely it is gone; it may still read."""
        ...


class Dropped:
    """A body that nobody wants: its request is answered with an error once it has been read."""

    def __init__(self, error: BaseException | None = None) -> None:
        self._error = error

    def reserve(self, size: int) -> memoryview | None:  # noqa: ARG002
        """It goes nowhere."""
        return None

    def add(self, piece: memoryview) -> None:
        """Drop it."""

    def complete(self, exchange: Exchange) -> None:
        """Say why."""
        if self._error is not None:
            exchange.fail(self._error)

    def gone(self) -> None:
        """Nothing is held."""

    def left(self) -> None:
        """Nothing is held."""


NOWHERE = Dropped()


def _origin(target: bytes) -> bytes:
    """Return the path and query of a target in absolute form, as proxies are asked (RFC 9112, section 3.2.2)."""
    found = _ORIGIN.match(target)
    rest = target[found.end() :] if found else target
    return b"/" + rest if found and not rest.startswith(b"/") else rest


def date_line(now: float) -> bytes:
    """Return the Date header's line."""
    return f"date: {formatdate(now, usegmt=True)}\r\n".encode()
