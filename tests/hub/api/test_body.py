"""Bodies that come slowly, in pieces, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from skerry.core.errors import DeadlinePassed, TooLarge
from skerry.hub.api.body import whole


def _read(messages: list[dict[str, Any]], limit: int = 100) -> bytes:
    """Read a body whose pieces come one after the other, and then nothing for ever."""

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.sleep(3600)
        return messages.pop(0)

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)  # type: ignore[arg-type]
    return asyncio.run(whole(request, limit, silence=0.05))


def _piece(data: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


def test_pieces_are_put_together() -> None:
    assert _read([_piece(b"a"), _piece(b""), _piece(b"bc"), _piece(b"", more=False)]) == b"abc"


def test_a_caller_that_falls_silent_is_let_go() -> None:
    with pytest.raises(DeadlinePassed):
        _read([_piece(b"a")])


def test_a_caller_that_goes_away() -> None:
    with pytest.raises(ClientDisconnect):
        _read([_piece(b"a"), {"type": "http.disconnect"}])


def test_a_body_that_never_ends_is_cut() -> None:
    with pytest.raises(TooLarge):
        _read([_piece(b"x" * 60) for _ in range(1000)])
