"""From an error to an HTTP answer: the node's one table. Every body is {"error": "..."}."""

from __future__ import annotations

import json
import logging
import math

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from skerry.core.errors import (
    BusyError,
    Conflict,
    DeadlinePassed,
    Invalid,
    ModelError,
    NotAllowed,
    NotFound,
    SkerryError,
    TooLarge,
)

log = logging.getLogger(__name__)

STATUS: dict[type[SkerryError], int] = {
    Invalid: 400,
    NotAllowed: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    DeadlinePassed: 504,
    BusyError: 503,
    ModelError: 500,
    SkerryError: 500,
}
CLIENT_GONE = 499  # nginx's and TensorFlow Serving's number for a client that hung up; nobody reads the answer


def status_of(error: SkerryError) -> int:
    """Return the status of the nearest class in the table."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def answer(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    """Return an error's response."""
    return Response(json.dumps({"error": text}), status, headers, media_type="application/json")


async def skerry_error(_: Request, error: Exception) -> Response:
    """Answer one of Skerry's errors."""
    assert isinstance(error, SkerryError)
    status = status_of(error)
    if status == 500:
        log.error("%s: %s", type(error).__name__, error)
    headers = {"Retry-After": str(math.ceil(error.after))} if isinstance(error, BusyError) else None
    return answer(status, str(error), headers)


async def http_error(request: Request, error: Exception) -> Response:
    """Answer what the router found wrong; below /v1 with TensorFlow Serving's status and text."""
    assert isinstance(error, HTTPException)
    if request.url.path.startswith("/v1/"):
        return answer(400, f"Malformed request: {request.method} {request.url.path}")
    if error.status_code == 404:
        return answer(404, f"Not Found: {request.method} {request.url.path}")
    allowed = dict(error.headers or {})
    text = f"Method Not Allowed: {request.method} {request.url.path}" if error.status_code == 405 else error.detail
    return answer(error.status_code, text, allowed)


async def gone(_: Request, __: Exception) -> Response:
    """The client hung up while its body was being read."""
    return answer(CLIENT_GONE, "the client has gone")


async def fault(request: Request, error: Exception) -> Response:
    """Answer a fault of our own: the log has it whole, the client only that it happened."""
    log.error("fault at %s %s", request.method, request.url.path, exc_info=error)
    return answer(500, "internal error; the node's log has the details")


HANDLERS = {SkerryError: skerry_error, HTTPException: http_error, ClientDisconnect: gone, Exception: fault}
