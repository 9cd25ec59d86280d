"""The protobuf wire format, as far as it pays to read and write it by hand: large fields are found, never copied.

A tag is a field's number times 8 plus its wire type: 0 a varint, 1 eight bytes, 2 a length and that many bytes,
5 four bytes. Groups (3 and 4) are older than the protocols here and refused.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from skerry.core.errors import Invalid, TooLarge
from skerry.core.names import shown
from skerry.core.tensor import DType

MAX_TAG = (1 << 32) - 1  # field numbers have 29 bits, wire types 3
MAX_LENGTH = (1 << 31) - 1  # bytes of a field; protobuf's own limit
MAX_FIELDS = 1 << 20  # of one message: a second's work here; a million byte strings, or numbers that are not packed
SMALL = 4096  # bytes; below this a copy costs less than a view
_VARINT, _BYTES = 0, 2
_SIZES = {_VARINT: 0, 1: 8, _BYTES: 0, 5: 4}  # bytes of a field of that wire type, where it says nothing itself

Data = bytes | memoryview
Found = dict[int, list[Data]]


def varint(data: Data, at: int) -> tuple[int, int]:
    """Return the number that begins at `at`, and where the next thing begins."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise Invalid(f"message: a number is cut off at byte {at}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise Invalid(f"message: expected a number of at most 10 bytes before byte {at}")


def lift(data: Data, wanted: Collection[int], limit: int = MAX_FIELDS) -> tuple[bytes, Found]:
    """Take the length-delimited fields with `wanted` tags out of a message: return the rest, and them by tag.

    The rest is a message too, for protobuf to read. What was taken are views into `data` where that is large.
    Raise Invalid if it is no message, TooLarge if it has `limit` fields or more.
    """
    view = bytes(data) if len(data) <= SMALL else memoryview(data)
    found: Found = {}
    rest: list[Data] = []
    at = kept = 0  # all before `kept` is in `rest` or in `found`
    end = len(view)
    for _ in range(limit):
        if at == end:
            break
        begin = at
        tag = view[at]
        at += 1
        if tag & 7 != _BYTES or not 8 <= tag <= 0x7F or at == end:
            tag, size, at = _field(view, begin)
        else:
            size = view[at]
            at += 1
            if size > 0x7F:
                size, at = varint(view, at - 1)
        stop = at + size
        if stop > end or size > MAX_LENGTH:
            raise Invalid(f"message: field {tag >> 3}: expected {size} bytes; {end - at} are left")
        if tag in wanted:
            if tag in found:
                found[tag].append(view[at:stop])
            else:
                found[tag] = [view[at:stop]]
            if begin > kept:
                rest.append(view[kept:begin])
            kept = stop
        at = stop
    else:
        raise TooLarge(f"message: expected fewer than {limit} fields")
    if kept < end:
        rest.append(view[kept:])
    return b"".join(rest), found


def _field(view: Data, begin: int) -> tuple[int, int, int]:
    """Return the tag of the field that begins there, the size of its content, and where that begins."""
    tag, at = varint(view, begin)
    kind = tag & 7
    if tag > MAX_TAG or tag < 8 or kind not in _SIZES:
        raise Invalid(f"message: expected a field at byte {begin}; got tag {tag}")
    if kind == _VARINT:
        _, stop = varint(view, at)
        return tag, stop - at, at
    if kind == _BYTES:
        size, at = varint(view, at)
        return tag, size, at
    return tag, _SIZES[kind], at


def joined(parts: Sequence[Data]) -> Data:
    """Return the parts as one; a single part is not copied."""
    return parts[0] if len(parts) == 1 else b"".join(parts)


def text(found: Found, tag: int, what: str) -> str:
    """Return a lifted string, "" if it is not there; raise Invalid if it is no UTF-8."""
    if tag not in found:
        return ""
    value = ""
    try:
        for part in found[tag]:  # the last one counts, but all must be text
            value = str(part, "utf-8")
    except UnicodeDecodeError:
        raise Invalid(f"{what}: expected UTF-8; got {shown(bytes(found[tag][-1]))}") from None
    return value


def varints(data: Data) -> NDArray[np.uint64]:
    """Return the numbers of a packed field, whose last byte ends one, modulo 2**64."""
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    if ends.size == raw.size:
        return raw.astype(np.uint64)
    widths = np.diff(ends, prepend=-1)
    if widths.max() > 10:
        raise Invalid(f"message: expected numbers of at most 10 bytes; got one of {widths.max()}")
    digits = raw & 0x7F
    values = digits[ends].astype(np.uint64)  # the last byte holds the highest digits: from there backwards
    for back in range(1, int(widths.max())):
        longer = np.flatnonzero(widths > back)
        values[longer] = (values[longer] << np.uint64(7)) | digits[ends[longer] - back]
    return values


def packed(kind: DType, parts: Sequence[Data], where: str) -> Data:
    """Return the elements of a packed field, in the width of their type; raise Invalid if one is out of its range."""
    if kind in (DType.FP32, DType.FP64):
        if any(len(part) % kind.size for part in parts):
            raise Invalid(f"{where}: expected numbers of {kind.size} bytes; one is cut off")
        return joined(parts)
    if any(len(part) and part[-1] > 0x7F for part in parts):
        raise Invalid(f"{where}: the last number of a packed field is cut off")
    numbers = varints(joined(parts))
    if kind is DType.BOOL:
        return bytes((numbers != 0).astype(np.uint8).data)
    if kind.size == 8:
        return bytes(numbers.data)
    wide = numbers.astype(np.uint32).view(np.int32 if kind.bounds[0] else np.uint32)  # as protobuf does: modulo 2**32
    low, high = kind.bounds
    if kind.size < 4 and wide.size and (wide.min() < low or wide.max() > high):
        raise Invalid(f"{where}: expected {kind.value} from {low} to {high}; got {wide.min()} to {wide.max()}")
    return bytes(wide.astype(f"<{wide.dtype.kind}{kind.size}").data)


def number(value: int) -> bytes:
    """Return a whole number of 0 or more as a varint."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def field(tag: int, data: bytes) -> bytes:
    """Return a length-delimited field: its tag (below 128), its length and its bytes."""
    size = len(data)
    return bytes((tag, size)) + data if size < 0x80 else bytes((tag,)) + number(size) + data
