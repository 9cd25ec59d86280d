"""The calls that are not inference: a whole request in, a whole response out. They may take their time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from skerry.core.errors import TooLarge
from skerry.node.serve.http.exchange import JSON, Exchange

MAX_BODY = 4 << 20  # bytes; what is not inference is small


@dataclass(frozen=True)
class Request:
    """One request."""

    method: str
    path: str
    query: Mapping[str, str]
    parts: Mapping[str, str]  # of the path
    body: bytes
    exchange: Exchange


@dataclass(frozen=True)
class Response:
    """One response."""

    body: bytes
    status: int = 200
    kind: bytes = JSON
    extra: bytes = field(default=b"", repr=False)  # whole header lines


Call = Callable[[Request], Response | Awaitable[Response]]


def as_json(value: Any, status: int = 200, extra: bytes = b"") -> Response:
    """Return a value as a response."""
    return Response(json.dumps(value).encode(), status, JSON, extra)


def query_of(exchange: Exchange) -> dict[str, str]:
    """Return the query, the last of each name."""
    if not exchange.query:
        return {}
    return {key: values[-1] for key, values in parse_qs(exchange.query.decode("latin-1"), True).items()}


class Cold:
    """Collects a body, then calls."""

    def __init__(self, call: Call, path: str, parts: Mapping[str, str]) -> None:
        self._call = call
        self._path = path
        self._parts = parts
        self._body = bytearray()
        self._task: asyncio.Future[Response] | None = None

    def reserve(self, size: int) -> memoryview | None:
        """Take a body of known length whole."""
        if size > MAX_BODY:
            raise TooLarge(f"body: expected at most {MAX_BODY} bytes; got {size}")
        self._body = bytearray(size)
        return memoryview(self._body)

    def add(self, piece: memoryview) -> None:
        """Take a piece."""
        self._body += piece
        if len(self._body) > MAX_BODY:
            raise TooLarge(f"body: expected at most {MAX_BODY} bytes")

    def complete(self, exchange: Exchange) -> None:
        """Call, and answer what comes of it."""
        request = Request(exchange.method, self._path, query_of(exchange), self._parts, bytes(self._body), exchange)
        found = self._call(request)
        if isinstance(found, Response):
            self._answer(exchange, found)
            return
        self._task = asyncio.ensure_future(found)
        self._task.add_done_callback(lambda done: self._done(exchange, done))

    def gone(self) -> None:
        """What was asked for is done all the same; nobody hears of it."""

    def left(self) -> None:
        """The client may still read."""

    def _done(self, exchange: Exchange, done: asyncio.Future[Response]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            self._answer(exchange, done.result())
        else:
            exchange.fail(error)

    @staticmethod
    def _answer(exchange: Exchange, response: Response) -> None:
        exchange.answer(response.status, response.body, response.kind, response.extra)
