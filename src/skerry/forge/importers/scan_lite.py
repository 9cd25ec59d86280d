"""Which custom operators a TFLite file names, read from the FlatBuffer with every offset checked.

Offsets are those of schema.fbs: Model.operator_codes is field 1, OperatorCode.custom_code field 1.
"""

from __future__ import annotations

import struct
from pathlib import Path

from skerry.core.errors import LoadFailed

MAX_CODES = 4096  # kinds of operators in one model; TFLite has about 210
MAX_NAME = 1024  # bytes


def custom_operators(path: Path) -> list[str]:
    """Return the names of custom operators; raise LoadFailed if the table is broken."""
    data = path.read_bytes()
    try:
        return sorted(set(_names(data)))
    except (struct.error, IndexError, ValueError) as error:
        raise LoadFailed(f"{path}: truncated, or no TFLite model: {error}") from None


def _names(data: bytes) -> list[str]:
    model = _u32(data, 0)
    place = _field(data, model, 1)
    if place is None or _field(data, model, 2) is None:
        raise ValueError("it has no operators or no graph")
    vector = place + _u32(data, place)
    count = _u32(data, vector)
    if count > MAX_CODES:
        raise ValueError(f"{count} kinds of operators")
    found = []
    for number in range(count):
        entry = vector + 4 + 4 * number
        text = _field(data, entry + _u32(data, entry), 1)
        if text is not None:
            start = text + _u32(data, text)
            size = _u32(data, start)
            if size > MAX_NAME or start + 4 + size > len(data):
                raise ValueError(f"an operator's name of {size} bytes")
            if size:
                found.append(data[start + 4 : start + 4 + size].decode("utf-8", "replace"))
    return found


def _field(data: bytes, table: int, number: int) -> int | None:
    """Return where a field of a table lies, None if it has its default."""
    (back,) = struct.unpack_from("<i", data, table)
    vtable = table - back
    if vtable < 0:
        raise ValueError("a table outside the file")
    (size,) = struct.unpack_from("<H", data, vtable)
    if 4 + 2 * number >= size:
        return None
    (offset,) = struct.unpack_from("<H", data, vtable + 4 + 2 * number)
    return table + offset if offset else None


def _u32(data: bytes, place: int) -> int:
    (value,) = struct.unpack_from("<I", data, place)
    return int(value)
