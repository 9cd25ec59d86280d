"""Numbers in JSON text to a tensor's bytes and back, with no Python object for each: the fast way of both protocols.

The fast way may only say yes. What it does not know for certain (NaN, a number that the type cannot hold, ragged
or empty lists, text that is no JSON) it leaves with None to the slow way (values.py), which names what is wrong.
"""

from __future__ import annotations

import json
import math
import struct
import sys
from typing import Any, Literal

import msgspec
import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from skerry.core.errors import Invalid
from skerry.core.fields import parse
from skerry.core.tensor import MAX_RANK, DType, Tensor
from skerry.wire.values import CODES

Data = bytes | memoryview

MAX_SLOW = 16 << 20  # bytes of JSON that may become Python objects: some 10 times that in memory, 0.1 s for each MiB
MAX_LISTS = 1 << 20  # lists and objects among them: each takes 56 bytes or more, and 3 bytes of text make one
_CHUNK = 1 << 18  # bytes of text parsed at once: simdjson takes about 14 times that, which stays in a cache
_LOOK_BACK = 1024  # bytes before a cut where its closing brackets are looked for
_SHORT = 64  # numbers up to which Python's own packing beats numpy's fixed cost (about 1 us a call)

_CARRIER: dict[DType, Literal["d", "i", "u"]] = {
    DType.INT8: "i", DType.INT16: "i", DType.INT32: "i", DType.INT64: "i",
    DType.UINT8: "u", DType.UINT16: "u", DType.UINT32: "u", DType.UINT64: "u",
    DType.FP16: "d", DType.FP32: "d", DType.FP64: "d",
}  # fmt: skip
_WIDE: dict[str, tuple[Any, Literal["d", "q", "Q"]]] = {
    "d": (np.float64, "d"), "i": (np.int64, "q"), "u": (np.uint64, "Q"),
}  # fmt: skip
_REACH = {  # the least and greatest wide number that is certain to fit, before what rounds to infinity
    **{kind: kind.bounds for kind in DType if kind.integer},
    DType.FP16: (-65504.0, 65504.0),
    DType.FP32: (-3.4028234663852886e38, 3.4028234663852886e38),
    DType.FP64: (-math.inf, math.inf),
}
EXACT = {DType.FP32: 2.0**24 - 1, DType.FP64: 2.0**53 - 1}  # whole numbers up to here are never rounded
_TYPES = {kind: np.dtype(kind.numpy).newbyteorder("<") for kind in _CARRIER}
_NATIVE = {kind: np.dtype(kind.numpy) for kind in _CARRIER}
LITTLE = sys.byteorder == "little"
_DIGITS = b"0123456789+-.eE \t\r\n"  # what text of numbers holds beside brackets and commas
_CLOSING = b"] \t\r\n"
_FREE: list[simdjson.Parser] = []  # parsers that wait; a list's pop and append are atomic, so threads may share it


def read(text: bytes, kind: DType, reach: float = math.inf) -> tuple[tuple[int, ...], Data] | None:
    """Return shape and bytes of a JSON list of numbers, however nested, or None where the slow way must look.

    Floats beyond `reach` are left to the slow way.
    """
    if kind not in _CARRIER:
        return None
    flat = text.count(b"[") == 1
    shape = (0,) if flat else shape_of(text.translate(None, _DIGITS))
    if shape is None:
        return None
    data = _whole(text, kind, reach) if len(text) <= _CHUNK else _pieces(text, len(shape), kind, reach)
    if data is None:
        return None
    count = len(data) // kind.size
    return ((count,), data) if flat else (shape, data) if count == math.prod(shape) else None


def shape_of(brackets: bytes) -> tuple[int, ...] | None:
    """Return the shape whose lists leave these brackets and commas, "[[,],[,]]" for (2, 2); None if none does."""
    rank = len(brackets) - len(brackets.lstrip(b"["))
    inner = brackets.find(b"]") - rank + 1
    if not 0 < rank <= MAX_RANK or inner < 1:
        return None
    sizes, whole = [inner], b"[" + b"," * (inner - 1) + b"]"
    for level in range(2, rank + 1):
        end = brackets.find(b"]" * level) + level  # where the first list of this level ends
        size, rest = divmod(end - (rank - level) - 1, len(whole) + 1)
        if end < level or rest or size < 1:
            return None
        sizes.append(size)
        whole = b"[" + (whole + b",") * (size - 1) + whole + b"]"
    return tuple(sizes[::-1]) if whole == brackets else None


def python(text: bytes, what: str) -> Any:
    """Return JSON text as Python objects, NaN and Infinity let through; raise Invalid, also where it holds too much."""
    if text.count(b"[") + text.count(b"{") > MAX_LISTS:
        raise Invalid(f"{what}: expected at most {MAX_LISTS} lists and objects")
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        if "out of range" in str(error):  # Python reads 1e999 as infinity
            raise Invalid(f"{what}: JSON Parse error: Number too big to be stored in double") from None
        return parse(text, what, MAX_SLOW)  # it knows NaN, and says what is wrong


def array(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor's numbers as an array of its shape, in this machine's byte order; BOOL as true and false."""
    plain = tensor.data if not isinstance(tensor.data, tuple) else b""
    if tensor.dtype is DType.BOOL:
        truth: NDArray[Any] = np.frombuffer(plain, np.uint8) != 0
        return truth.reshape(tensor.shape)
    found: NDArray[Any] = np.frombuffer(plain, _TYPES[tensor.dtype])
    if not LITTLE:
        found = found.astype(_NATIVE[tensor.dtype])
    return found.reshape(tensor.shape)


def dumps(value: object) -> bytes | None:
    """Return JSON of values and contiguous arrays; None where a NaN or infinity may be among them.

    orjson writes those as null. A null for another reason (in a name) only costs the caller the slow way.
    """
    try:
        text = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:  # half of a surrogate pair
        return None
    return None if b"null" in text else text


def slow_dumps(value: object) -> bytes:
    """Return JSON of plain values with NaN, Infinity and -Infinity written bare, as both protocols' clients read it."""
    return json.dumps(value, separators=(",", ":")).encode()


def _whole(text: bytes, kind: DType, reach: float) -> Data | None:
    """Return the numbers of a JSON list; None if it is not JSON, holds none, or one that the type cannot hold."""
    try:
        parser = _FREE.pop()
    except IndexError:
        parser = simdjson.Parser()
    try:
        found = parser.parse(text)
        if not isinstance(found, simdjson.Array):
            return None
        buffer = memoryview(found.as_buffer(of_type=_CARRIER[kind]))
    except (ValueError, TypeError, RuntimeError):  # not JSON, NaN, another type, out of a 64-bit range
        return None
    del found  # a parser whose document is in use cannot parse
    if len(text) <= 2 * _CHUNK:
        _FREE.append(parser)
    return _narrow(buffer, kind, reach) if buffer.nbytes else None


def _pieces(text: bytes, rank: int, kind: DType, reach: float) -> Data | None:
    """Return the numbers of long text, cut at commas: each piece gets the brackets that the cuts took from it.

    Where all pieces are sound with as many brackets closed at a cut as are opened after it, so is the whole.
    """
    found = bytearray()
    at = depth = 0
    while at <= len(text):
        end = text.find(b",", at + _CHUNK)
        end = len(text) if end < 0 else end
        before = text[max(at, end - _LOOK_BACK) : end]
        closed = before[len(before.rstrip(_CLOSING)) :].count(b"]")
        opened, depth = depth, rank - closed
        piece = _whole(b"[" * opened + text[at:end] + b"]" * depth, kind, reach)
        if piece is None:
            return None
        found += piece
        at = end + 1
    return memoryview(found) if depth == 0 else None


def _narrow(buffer: memoryview, kind: DType, reach: float) -> Data | None:
    """Return 64-bit numbers as the type's bytes, little-endian; None unless all are within its reach."""
    carrier = _CARRIER[kind]
    wide, code = _WIDE[carrier]
    low, high = _REACH[kind]
    if carrier == "d":
        low, high = max(low, -reach), min(high, reach)
    if buffer.nbytes <= 8 * _SHORT:
        values = buffer.cast(code).tolist()
        if min(values) < low or max(values) > high:
            return None
        return struct.pack(f"<{len(values)}{CODES[kind]}", *values)
    numbers = np.frombuffer(buffer, wide)
    if kind.size < 8 or reach < math.inf:
        if numbers.min() < low or numbers.max() > high:
            return None
        numbers = numbers.astype(_TYPES[kind])
    return numbers.view(np.uint8).data
