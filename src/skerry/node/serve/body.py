"""Reading request bodies under a limit, and the image in one, however the client sent it."""

from __future__ import annotations

import asyncio

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Message

from skerry.core.errors import Invalid, TooLarge

MAX_BODY = 64 << 20  # bytes, as Triton's default; a 2,000 x 2,000 x 3 float tensor is 48 MB
SILENCE_SECONDS = 30.0  # after which a client that stopped in the middle of its body is given up
MULTIPART = "multipart/form-data"
IMAGES = ("image/jpeg", "image/png")


def content_type(request: Request) -> str:
    """Return the type of the body without its parameters, in lower case."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def read_body(request: Request) -> bytes:
    """Return the body; raise TooLarge as soon as it is known to pass the limit."""
    return await _limited(request).body()


async def read_image(request: Request) -> tuple[bytes, str]:
    """Return the encoded image of a request and the name it came with: the body itself, or a form's first file."""
    if content_type(request) != MULTIPART:
        return await read_body(request), request.query_params.get("source", "")
    async with _limited(request).form(max_files=1, max_fields=16) as form:
        for part in form.values():
            if isinstance(part, UploadFile):
                return await part.read(), request.query_params.get("source", "") or part.filename or ""
    raise Invalid(f"{MULTIPART}: expected one file; got none")


def _limited(request: Request) -> Request:
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > MAX_BODY:
        raise TooLarge(f"body: expected at most {MAX_BODY} bytes; got {declared}")
    size = 0

    async def receive() -> Message:
        nonlocal size
        try:
            message = await asyncio.wait_for(request.receive(), SILENCE_SECONDS)
        except TimeoutError:
            raise Invalid(f"body: nothing came for {SILENCE_SECONDS:.0f} s; it is incomplete") from None
        size += len(message.get("body", b""))
        if size > MAX_BODY:
            raise TooLarge(f"body: expected at most {MAX_BODY} bytes")
        return message

    return Request(request.scope, receive)
