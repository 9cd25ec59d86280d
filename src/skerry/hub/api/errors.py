"""From an error to a status: the one table of the hub. Every refusal has the body {"error": "..."}.

An error that nobody meant becomes a 500 that tells the caller nothing; Starlette raises it again after the
answer, and the server logs it with its traceback.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from skerry.core.errors import (
    BusyError,
    Conflict,
    DeadlinePassed,
    Invalid,
    NotAllowed,
    NotFound,
    PeerError,
    SkerryError,
    TooLarge,
    TrustError,
)
from skerry.hub.people import NotKnown

STATUS: dict[type[SkerryError], int] = {
    Invalid: 400,
    NotKnown: 401,
    NotAllowed: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    TrustError: 422,
    DeadlinePassed: 408,  # the hub has one deadline: the caller's own, for sending a body
    BusyError: 503,
    PeerError: 502,
    SkerryError: 500,
}
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def status(error: SkerryError) -> int:
    """Return the status of an error: that of the nearest class in the table."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def refusal(code: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the answer that every refusal has."""
    return JSONResponse({"error": text}, code, headers)


async def _known(_request: Request, error: SkerryError) -> JSONResponse:
    code, headers = status(error), {}
    if code == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, BusyError):
        headers["Retry-After"] = str(math.ceil(error.after))
    return refusal(code, _printable(str(error)), headers)


async def _by_framework(_request: Request, error: HTTPException) -> JSONResponse:
    return refusal(error.status_code, error.detail, error.headers)


async def _disk(_request: Request, error: OSError) -> JSONResponse:
    if error.errno in FULL:
        return refusal(507, "the hub's disk is full")
    raise error


async def _gone(_request: Request, _error: ClientDisconnect) -> JSONResponse:
    return refusal(400, "the body ended early")  # to nobody: it only keeps the log clean


async def _unmeant(_request: Request, _error: Exception) -> JSONResponse:
    return refusal(500, "the hub failed; its log says why")


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # an error may quote half of a surrogate pair


HANDLERS: dict[Any, Callable[..., Awaitable[Response]]] = {
    SkerryError: _known,
    HTTPException: _by_framework,
    OSError: _disk,
    ClientDisconnect: _gone,
    Exception: _unmeant,
}
