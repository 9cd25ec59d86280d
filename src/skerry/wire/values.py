"""JSON numbers to a tensor's bytes and back: the part that both JSON protocols share.

Types are strict, as in TensorFlow Serving: a whole-number type takes whole numbers in its range only, BOOL
takes true and false only, a float type takes any number.
"""

from __future__ import annotations

import itertools
import struct
from array import array
from typing import Any

from skerry.core.errors import Invalid
from skerry.core.names import shown
from skerry.core.tensor import MAX_RANK, DType, Tensor

CODES = {  # struct's and array's letters
    DType.INT8: "b", DType.UINT8: "B", DType.INT16: "h", DType.UINT16: "H", DType.INT32: "i", DType.UINT32: "I",
    DType.INT64: "q", DType.UINT64: "Q", DType.FP16: "e", DType.FP32: "f", DType.FP64: "d",
}  # fmt: skip
RANGES: dict[DType, tuple[object, object]] = {  # what an error says of a type's range
    **{kind: kind.bounds for kind in DType if kind.integer},
    DType.FP16: ("-65504", "65504"), DType.FP32: ("-3.402823e+38", "3.402823e+38"), DType.FP64: ("-1e308", "1e308"),
}  # fmt: skip


def flat(data: list[Any], field: str) -> list[Any]:
    """Return nested lists as one list, row-major; a list that is flat already is returned as it is."""
    for _ in range(MAX_RANK + 1):
        kinds = set(map(type, data))
        if list not in kinds:
            return data
        if kinds != {list}:
            raise Invalid(f"{field}: expected numbers or lists at one level, not both")
        data = list(itertools.chain.from_iterable(data))
    raise Invalid(f"{field}: expected at most {MAX_RANK} nested lists")


def pack(kind: DType, values: list[Any], field: str) -> bytes | tuple[bytes, ...]:
    """Return flat values as a tensor's data; raise Invalid naming the first that does not fit."""
    kinds = set(map(type, values))
    if kind is DType.BYTES:
        _only(kinds <= {str, bytes}, values, (str, bytes), kind, field)
        return tuple(_encode(v, field) if isinstance(v, str) else v for v in values)
    if kind is DType.BF16:
        raise Invalid(f"{field}: sending BF16 data via JSON is not supported; please use the binary data format")
    if kind is DType.BOOL:
        _only(kinds <= {bool}, values, (bool,), kind, field)
        return bytes(values)
    if kind.integer:
        _only(kinds <= {int}, values, (int,), kind, field)
    else:
        _only(kinds <= {int, float}, values, (int, float), kind, field)
    try:
        return struct.pack(f"<{len(values)}{CODES[kind]}", *values)
    except (OverflowError, struct.error):  # struct.error: a whole number beyond the type
        low, high = RANGES[kind]
        raise Invalid(f"{field}: expected {kind.value} values from {low} to {high}") from None


def unpack(tensor: Tensor) -> list[Any]:
    """Return a tensor's values as one flat list; BYTES stay bytes. FP32 values get their shortest decimals."""
    if isinstance(tensor.data, tuple):
        return list(tensor.data)
    if tensor.dtype is DType.BOOL:
        return [value != 0 for value in tensor.data]
    count = len(tensor.data) // tensor.dtype.size
    if tensor.dtype is DType.BF16:  # the upper half of an FP32
        bits = struct.unpack(f"<{count}H", tensor.data)
        return list(struct.unpack(f"<{count}f", struct.pack(f"<{count}I", *(value << 16 for value in bits))))
    values = struct.unpack(f"<{count}{CODES[tensor.dtype]}", tensor.data)
    if tensor.dtype is DType.FP16:
        return [float(f"{value:.5g}") for value in values]  # 5 digits tell any two halves apart
    return _shortest(values) if tensor.dtype is DType.FP32 else list(values)


def nested(values: list[Any], shape: tuple[int, ...]) -> Any:
    """Return flat values as lists nested to the shape; a single value for the shape ()."""
    if not shape:
        return values[0]
    for size in reversed(shape[1:]):
        values = [values[i : i + size] for i in range(0, len(values), size)] if size else []
    return values if all(shape[1:]) else _empty(shape)


def _empty(shape: tuple[int, ...]) -> list[Any]:
    return [_empty(shape[1:]) for _ in range(shape[0])] if len(shape) > 1 else [None] * shape[0]


def _shortest(values: tuple[float, ...]) -> list[float]:
    """Return float32 values as the doubles of their 6-digit decimals, or 9-digit ones where 6 do not suffice."""
    six = [float(f"{value:.6g}") for value in values]
    return [s if b == v else float(f"{v:.9g}") for s, b, v in zip(six, array("f", six), values, strict=True)]


def _only(good: bool, values: list[Any], kinds: tuple[type, ...], kind: DType, field: str) -> None:
    if not good:
        wrong = next(v for v in values if type(v) not in kinds)
        raise Invalid(f"{field}: JSON Value: {shown(wrong)} is not of expected type: {kind.numpy}")


def _encode(text: str, field: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise Invalid(f"{field}: expected text that UTF-8 can write; got {shown(text)}") from None
