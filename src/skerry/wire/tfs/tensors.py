"""JSON values to tensors by TensorFlow Serving's rules and with its error texts (util/json_tensor.cc)."""

from __future__ import annotations

import math
from typing import Any

from skerry.core.errors import Invalid, RequestError, Unsupported
from skerry.core.tensor import MAX_RANK, DType, Spec, Tensor
from skerry.wire import numbers
from skerry.wire.tfs.body import from_b64, malformed, said
from skerry.wire.values import pack

MAX_FP32 = 3.4028234663852886e38
ABSENT = (DType.FP16, DType.BF16, DType.UINT16)  # types that TensorFlow Serving's JSON does not take
_NAMES = {float: "Number", int: "Number", str: "String", list: "Array", dict: "Object", type(None): "Null"}
Shape = tuple[int, ...]


def fast(text: bytes, spec: Spec) -> Tensor | None:
    """Return the tensor in the text of a list of numbers; None where the slow way must look."""
    if spec.dtype in ABSENT:
        return None
    found = numbers.read(text, spec.dtype, numbers.EXACT.get(spec.dtype, math.inf))
    return None if found is None else Tensor(spec.name, spec.dtype, *found)


def whole(value: Any, spec: Spec) -> Tensor:
    """Return the tensor in a JSON value, however nested; raise Invalid or Unsupported."""
    shape, leaves = _leaves(value)
    return Tensor(spec.name, spec.dtype, shape, _packed(spec.dtype, leaves))


def batch(items: list[Any], spec: Spec, named: bool) -> Tensor:
    """Return the tensor whose rows are the items, which must have one shape; raise Invalid or Unsupported."""
    rows: list[Any] = []
    first: Shape = ()
    for index, item in enumerate(items):
        try:
            shape, leaves = _leaves(item)
            if index == 0:
                first = shape
            elif math.prod(shape) != math.prod(first):
                raise Invalid(f"Expecting tensor size: {math.prod(first)} but got: {math.prod(shape)}")
            elif shape != first:
                raise Invalid(f"Expecting shape {_shown(first)} but got: {_shown(shape)}")
            check(spec.dtype, leaves)
        except RequestError as error:
            key = f" key: {spec.name}" if named else ""
            code = "UNIMPLEMENTED" if isinstance(error, Unsupported) else "INVALID_ARGUMENT"
            text = f"Failed to process element: {index}{key} of 'instances' list. Error: {code}: {error}"
            raise type(error)(text) from None
        rows += leaves
    return Tensor(spec.name, spec.dtype, (len(items), *first), _packed(spec.dtype, rows))


def check(kind: DType, leaves: list[Any]) -> None:
    """Raise Invalid or Unsupported for the first value that the type does not take."""
    if kind in ABSENT and leaves:
        raise Unsupported(f"Conversion of JSON Value: {said(leaves[0])} to type: {name(kind)}")
    if kind is DType.BYTES:
        for leaf in leaves:
            if not isinstance(leaf, str | dict):
                raise _misfit(leaf, kind)
        return
    for leaf in leaves:
        if isinstance(leaf, dict) or not _takes(kind, leaf):
            raise _misfit(leaf, kind)
        if kind in numbers.EXACT:
            check_lossless(kind, leaf)


def check_lossless(kind: DType, leaf: float) -> None:
    """Raise Invalid for a whole number that the float type would round, and for one beyond its range."""
    if isinstance(leaf, int) and -(1 << 63) <= leaf < 1 << 64:  # beyond, a parser makes it a float
        good = abs(leaf) <= numbers.EXACT[kind]
    else:
        good = kind is DType.FP64 or not MAX_FP32 < abs(leaf) < math.inf
    if not good:
        raise Invalid(f"Cannot convert JSON value: {said(leaf)} to {name(kind)} without loss of precision.")


def name(kind: DType) -> str:
    """Return the type's name in TensorFlow's texts."""
    return kind.tensorflow.removeprefix("DT_").lower()


def _takes(kind: DType, leaf: object) -> bool:
    if isinstance(leaf, bool) or kind is DType.BOOL:
        return isinstance(leaf, bool) and kind is DType.BOOL
    if not kind.integer:
        return isinstance(leaf, int | float)
    low, high = kind.bounds
    return isinstance(leaf, int) and low <= leaf <= high


def _leaves(value: Any) -> tuple[Shape, list[Any]]:
    """Return the shape that the first element of each level tells, and the values; raise Invalid if they differ."""
    shape: Shape = ()
    first = value
    while isinstance(first, list):
        shape = (*shape, len(first))
        first = first[0] if first else None
    if len(shape) > MAX_RANK:
        raise Invalid(f"Encountered list at unexpected level: {MAX_RANK} expected < {MAX_RANK}")
    found: list[Any] = []
    _collect(value, 0, shape, found)
    return shape, found


def _collect(value: Any, level: int, shape: Shape, found: list[Any]) -> None:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise malformed(value, f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {rank}")
        found.append(value)
        return
    if level >= rank:
        raise Invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise Invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    if level == rank - 1 and list not in set(map(type, value)):
        found += value
        return
    for one in value:
        _collect(one, level + 1, shape, found)


def _packed(kind: DType, leaves: list[Any]) -> bytes | tuple[bytes, ...]:
    check(kind, leaves)
    if kind is DType.BYTES:
        leaves = [from_b64(leaf) if isinstance(leaf, dict) else leaf for leaf in leaves]
    return pack(kind, leaves, "JSON Value") if leaves or kind not in ABSENT else b""


def _misfit(leaf: object, kind: DType) -> Invalid:
    what = str(leaf) if isinstance(leaf, bool) else _NAMES[type(leaf)]
    return malformed(leaf, f"Type: {what} is not of expected type: {name(kind)}")


def _shown(shape: Shape) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
