"""The access log's lines: one JSON object for each request that a node answered."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

MAX_PATH = 1024  # characters


class Line(msgspec.Struct, omit_defaults=True):
    """One request. `status` is HTTP's number or gRPC's name; 499 and CANCELLED are clients that hung up."""

    time: str  # RFC 3339, UTC
    client: str
    method: str
    path: str  # without its query
    status: int | str
    bytes_in: int
    bytes_out: int
    ms: float
    model: str = ""
    version: str = ""
    phases_us: dict[str, int] = {}


class Lost(msgspec.Struct):
    """Written in the place of requests that could not be kept."""

    time: str  # RFC 3339, UTC
    dropped: int


_ENCODER = msgspec.json.Encoder()


def encode_lines(lines: Sequence[Line | Lost]) -> bytes:
    """Return the lines as they are written, each with its line end."""
    return _ENCODER.encode_lines(lines)
