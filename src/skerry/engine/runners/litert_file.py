"""What LiteRT does not tell of a file: the operators of all its subgraphs. Reads the FlatBuffer's operator table.

Offsets are those of schema.fbs: Model.operator_codes is field 1, OperatorCode.deprecated_builtin_code field 0 and
.builtin_code field 3. Only for files that LiteRT has verified and loaded.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from skerry.core.errors import LoadFailed

Bytes = bytes | mmap.mmap

VARIABLES = frozenset((16, 24, 27, 35, 44, 46, 52))  # LSTM, RNN, SVDF and the SEQUENCE_ kinds: a reset clears them
RESOURCES = frozenset((142, 143, 144))  # VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE: a reset does not
PLACEHOLDER = 127  # in the old one-byte field: the code is in the new one


def operators(path: Path) -> set[int]:
    """Return the numbers of the built-in operators that the file names; raise LoadFailed if its table is broken."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return set(_codes(data))
        except (struct.error, IndexError) as error:
            raise LoadFailed(f"{path.name}: its table of operators is broken: {error}") from None


def _codes(data: Bytes) -> Iterator[int]:
    place = _field(data, _u32(data, 0), 1)
    if place is None:
        return
    vector = place + _u32(data, place)
    for number in range(_u32(data, vector)):
        entry = vector + 4 + 4 * number
        yield _code(data, entry + _u32(data, entry))


def _code(data: Bytes, table: int) -> int:
    old, new = _field(data, table, 0), _field(data, table, 3)
    small = data[old] if old is not None else 0
    large = _u32(data, new) if new is not None else 0
    return max(small if small < PLACEHOLDER else 0, large)


def _field(data: Bytes, table: int, number: int) -> int | None:
    """Return where a field of a table lies, None if it has its default."""
    (back,) = struct.unpack_from("<i", data, table)
    vtable = table - back
    (size,) = struct.unpack_from("<H", data, vtable)
    if 4 + 2 * number >= size:
        return None
    (offset,) = struct.unpack_from("<H", data, vtable + 4 + 2 * number)
    return table + offset if offset else None


def _u32(data: Bytes, place: int) -> int:
    (value,) = struct.unpack_from("<I", data, place)
    return int(value)
