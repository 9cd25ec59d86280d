"""From an error to an answer: the node's one table for HTTP. Every body is {"error": "..."}."""

from __future__ import annotations

import logging
import math

from skerry.core.errors import (
    BusyError,
    Conflict,
    DeadlinePassed,
    Invalid,
    ModelError,
    NotAllowed,
    NotFound,
    RequestError,
    SkerryError,
    TooLarge,
    Unsupported,
)

log = logging.getLogger(__name__)

STATUS: dict[type[SkerryError], int] = {
    Invalid: 400,
    NotAllowed: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    Unsupported: 501,
    RequestError: 400,
    DeadlinePassed: 504,
    BusyError: 503,
    ModelError: 500,
    SkerryError: 500,
}


class WrongMethod(RequestError):
    """The path exists, and takes another method."""

    def __init__(self, text: str, allowed: str = "") -> None:
        super().__init__(text)
        self.allowed = allowed


def status_of(error: SkerryError) -> int:
    """Return the status of the nearest class in the table."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def failure(error: BaseException, method: str, path: bytes) -> tuple[int, str, bytes]:
    """Return the status, the text and more header lines that tell a client of an error."""
    if isinstance(error, WrongMethod):
        return 405, str(error), f"allow: {error.allowed}\r\n".encode()
    if not isinstance(error, SkerryError):
        log.error("fault at %s %s", method, path.decode("latin-1"), exc_info=error)
        return 500, "internal error; the node's log has the details", b""
    status = status_of(error)
    if status == 500:
        log.error("%s: %s", type(error).__name__, error)
    extra = f"retry-after: {math.ceil(error.after)}\r\n".encode() if isinstance(error, BusyError) else b""
    return status, str(error), extra
