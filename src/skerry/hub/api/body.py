"""Bodies and queries: bytes from outside become values here, under limits of bytes and seconds.

A limit is counted while the bytes come, whatever Content-Length says. A refusal is answered at once; uvicorn then
drops what the caller still sends, so the caller reads the answer and the connection stays good.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from skerry.core import names
from skerry.core.errors import DeadlinePassed, Invalid, TooLarge
from skerry.core.fields import canonical, parse
from skerry.core.names import shown
from skerry.host.blobs import Incoming
from skerry.host.files import CHUNK
from skerry.hub.store.results import Which
from skerry.hub.store.store import MAX_PAGE, Page
from skerry.wire.checkin import MAX_BODY

T = TypeVar("T")

RATE = 2048  # bytes a second that a body must keep up; one byte now and then would hold a place for ever
SILENCE = 60.0  # s without a byte of a body; a satellite link stalls for less, and a dead one should not hold a place


async def message(request: Request, of: Callable[[object], T], limit: int = MAX_BODY) -> T:
    """Return the message in a JSON body of at most `limit` bytes."""
    value = parse(await whole(request, limit), "body", limit)
    canonical(value)  # no database or reply can hold NaN or half of a surrogate pair: Invalid
    return of(value)


async def whole(request: Request, limit: int, silence: float = SILENCE) -> bytes:
    """Return a body of at most `limit` bytes; raise DeadlinePassed if nothing comes for `silence` seconds."""
    found = bytearray()
    async for data in _stream(request, limit, silence):
        found += data
    return bytes(found)


async def pour(request: Request, incoming: Incoming, limit: int) -> None:
    """Write a body into a blob, in a thread, a chunk at a time."""
    waiting = bytearray()
    async for data in _stream(request, limit, SILENCE):
        waiting += data
        if len(waiting) >= CHUNK:
            await run_in_threadpool(incoming.write, bytes(waiting))
            waiting.clear()
    await run_in_threadpool(incoming.write, bytes(waiting))


async def _stream(request: Request, limit: int, silence: float) -> AsyncIterator[bytes]:
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise TooLarge(f"body: expected at most {limit} bytes; {declared[:20]} are announced")
    size, loop = 0, asyncio.get_running_loop()
    begun = loop.time()
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout_at(min(loop.time(), begun + size / RATE) + silence):
                data = await anext(stream, None)
        except TimeoutError:
            raise DeadlinePassed(f"body: nothing, or too little, came for {silence:.0f} s") from None
        if data is None:
            return
        size += len(data)
        if size > limit:
            raise TooLarge(f"body: expected at most {limit} bytes")
        yield data


def page(request: Request) -> Page:
    """Return the page that `?limit=&before=&after=` asks for."""
    limit = _whole(request, "limit", MAX_PAGE)
    return Page(100 if limit is None else limit, _whole(request, "before"), _whole(request, "after"))


def which(request: Request) -> Which:
    """Return what `?node=&model=&defective=` asks for."""
    query, words = request.query_params, {"true": True, "false": False}
    defective = query.get("defective")
    if defective is not None and defective not in words:
        raise Invalid(f"defective: expected true or false; got {shown(defective)}")
    return Which(
        node=names.node_name(query["node"]) if "node" in query else None,
        model=names.model_name(query["model"]) if "model" in query else None,
        defective=words[defective] if defective is not None else None,
    )


def number(request: Request, part: str) -> int:
    """Return a part of the path that is an id."""
    text = request.path_params[part]
    return _read(part, text, 2**63 - 1)


def _whole(request: Request, name: str, high: int = 2**63 - 1) -> int | None:
    text = request.query_params.get(name)
    return None if text is None else _read(name, text, high)


def _read(name: str, text: str, high: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= high):
        raise Invalid(f"{name}: expected a whole number from 0 to {high}; got {shown(text)}")
    return int(text)
