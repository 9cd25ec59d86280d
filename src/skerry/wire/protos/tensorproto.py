"""TensorFlow's TensorProto: to tensors and back. Content and packed values never become Python objects.

Source: tensorflow/tensorflow, core/framework/tensor.proto and tensor.cc (Tensor::FromProto).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from skerry.core.errors import Invalid, TooLarge
from skerry.core.tensor import DType, Tensor, elements
from skerry.wire.protos.pool import POOL, message, read
from skerry.wire.protos.scan import Data, Found, lift, number, packed, varint

MAX_REPEATED = 64 << 20  # bytes of one request that may be made by repeating the last value of a list
REMEMBERED = 512  # types and shapes that are remembered by their bytes
MAX_REMEMBERED = 512  # bytes of one of them

_TENSOR = message("tensorflow.TensorProto")
_TYPES = POOL.FindEnumTypeByName("tensorflow.DataType")
_CONTENT = 4 << 3 | 2
_STRINGS = 8 << 3 | 2
_FIELDS = {  # which list holds which types
    "float_val": (5, (DType.FP32,)),
    "double_val": (6, (DType.FP64,)),
    "int_val": (7, (DType.INT32, DType.INT16, DType.INT8, DType.UINT16, DType.UINT8)),
    "string_val": (8, (DType.BYTES,)),
    "int64_val": (10, (DType.INT64,)),
    "bool_val": (11, (DType.BOOL,)),
    "half_val": (13, (DType.FP16, DType.BF16)),
    "uint32_val": (16, (DType.UINT32,)),
    "uint64_val": (17, (DType.UINT64,)),
}
_FIELD_OF = {kind: (name, at << 3 | 2) for name, (at, kinds) in _FIELDS.items() for kind in kinds}
_LIFTED = frozenset({_CONTENT} | {at << 3 | 2 for at, _ in _FIELDS.values()})
_KINDS = {_TYPES.values_by_name[kind.tensorflow].number: kind for kind in _FIELD_OF}
NUMBERS = {kind: at for at, kind in _KINDS.items()}  # of types, as TensorFlow counts them


class _Head(NamedTuple):
    """A type and a shape; `wide` where the message holds values that are not packed."""

    kind: DType
    shape: tuple[int, ...]
    total: int
    wide: bool


def decode_tensor(name: str, data: Data, room: int = MAX_REPEATED) -> tuple[Tensor, int]:
    """Return the tensor in a TensorProto, its bytes a view into `data` where that is large, and what `room` is left.

    `room` is how many bytes may be made by repeating the last value of a list.
    """
    where = f"input '{name}'"
    rest, found = lift(data, _LIFTED)
    head = _known_head(rest, where) if len(rest) <= MAX_REMEMBERED else _head(rest, where)
    if head.wide:  # protobuf packs them
        _, found = lift(read(_TENSOR, data).SerializeToString(), _LIFTED)
    content = found[_CONTENT][-1] if _CONTENT in found else b""
    # content goes before any list, and the last value of a list stands for all that are missing, as in TensorFlow
    if len(content):
        return Tensor(name, head.kind, head.shape, _content(head, content, where)), room
    values, missing = _listed(head, found, where)
    if missing:
        made = missing * (len(values[-1]) + 8 if isinstance(values, tuple) else head.kind.size)  # 8: of a reference
        if made > room:
            raise TooLarge(f"{where}: expected at most {room} bytes made by repeating its last value; got {made}")
        room -= made
        if isinstance(values, tuple):
            values += values[-1:] * missing
        else:
            values = bytes(values) + bytes(values[-head.kind.size :]) * missing
    return Tensor(name, head.kind, head.shape, values), room


def tensor_parts(tensor: Tensor) -> tuple[list[Data], int]:
    """Return a TensorProto as the pieces of which it is made, and their size together."""
    head = _written(tensor.dtype, tensor.shape)
    parts: list[Data] = [head]
    size = len(head)
    if isinstance(tensor.data, tuple):
        for value in tensor.data:
            before = bytes((_STRINGS,)) + number(len(value))
            parts += [before, value]
            size += len(before) + len(value)
        return parts, size
    count = tensor.data.nbytes if isinstance(tensor.data, memoryview) else len(tensor.data)
    if count:
        before = bytes((_CONTENT,)) + number(count)
        parts += [before, tensor.data]
        size += len(before) + count
    return parts, size


def shape_proto(shape: Sequence[int]) -> dict[str, Any]:
    """Return a TensorShapeProto's fields; -1 is a free dimension, in both."""
    return {"dim": [{"size": size} for size in shape]}


def _head(rest: bytes, where: str) -> _Head:
    given = read(_TENSOR, rest)
    kind = _KINDS.get(given.dtype)
    if kind is None:
        known = _TYPES.values_by_number.get(given.dtype)
        names = " ".join(_TYPES.values_by_number[at].name for at in sorted(_KINDS))
        raise Invalid(f"{where}: dtype: expected one of {names}; got {known.name if known else given.dtype}")
    if given.tensor_shape.unknown_rank:
        raise Invalid(f"{where}: tensor_shape: expected its dimensions; got unknown_rank")
    shape = tuple([dim.size for dim in given.tensor_shape.dim])
    wide = any(field.name in _FIELDS for field, _ in given.ListFields())
    return _Head(kind, shape, elements(shape, where), wide)


@lru_cache(REMEMBERED)
def _known_head(rest: bytes, where: str) -> _Head:
    return _head(rest, where)


def _content(head: _Head, content: Data, where: str) -> Data | tuple[bytes, ...]:
    if head.kind is DType.BYTES:
        return _strings(head.total, content, where)
    size = head.total * head.kind.size
    if len(content) != size:
        raise Invalid(
            f"{where}: tensor_content: expected {size} bytes for shape {list(head.shape)}; got {len(content)}"
        )
    return content


def _strings(total: int, content: Data, where: str) -> tuple[bytes, ...]:
    """Return byte strings from content: all lengths as varints, then all bytes."""
    if total > len(content):
        raise Invalid(f"{where}: tensor_content: expected {total} byte strings; got {len(content)} bytes")
    sizes, at = [], 0
    for _ in range(total):
        size, at = varint(content, at)
        sizes.append(size)
    if at + sum(sizes) != len(content):
        raise Invalid(f"{where}: tensor_content: expected {at + sum(sizes)} bytes; got {len(content)}")
    values = []
    for size in sizes:
        values.append(bytes(content[at : at + size]))
        at += size
    return tuple(values)


def _listed(head: _Head, found: Found, where: str) -> tuple[Data | tuple[bytes, ...], int]:
    """Return the values of a typed list, and how many are missing at its end."""
    name, tag = _FIELD_OF[head.kind]
    others = [other for other, (at, _) in _FIELDS.items() if other != name and _holds(found, at << 3 | 2)]
    if others:
        raise Invalid(f"{where}: expected {head.kind.tensorflow} in {name}; got {', '.join(others)}")
    given = found.get(tag, [])
    values: Data | tuple[bytes, ...]
    if head.kind is DType.BYTES:
        values = tuple([bytes(part) for part in given])
        got = len(values)
    else:
        kind = DType.UINT16 if head.kind in (DType.FP16, DType.BF16) else head.kind  # half_val holds their bits
        values = packed(kind, given, f"{where}: {name}") if given else b""
        got = len(values) // kind.size
    if got > head.total or (not got and head.total):
        expected = f"1 to {head.total}" if head.total > 1 else str(head.total)
        raise Invalid(f"{where}: {name}: expected {expected} values for shape {list(head.shape)}; got {got}")
    return values, head.total - got


def _holds(found: Found, tag: int) -> bool:
    parts = found.get(tag)
    return parts is not None and (tag == _STRINGS or any(map(len, parts)))


@lru_cache(REMEMBERED)
def _written(kind: DType, shape: tuple[int, ...]) -> bytes:
    written: bytes = _TENSOR(dtype=NUMBERS[kind], tensor_shape=shape_proto(shape)).SerializeToString()
    return written
