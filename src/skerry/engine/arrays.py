"""Between tensors as the wire has them (bytes) and arrays as a runner wants them (numpy)."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skerry.core.errors import Invalid
from skerry.core.tensor import DType, Tensor, elements

Array = NDArray[Any]

BF16 = np.dtype(np.uint16, metadata={"wire": "BF16"})  # numpy has no bfloat16: its bits travel as uint16, marked
_OF_NUMBER = {np.dtype(d.numpy).num: d for d in DType if d is not DType.BF16}  # a dtype's name takes 1 us to make
_OF_NUMBER |= {np.dtype(text).num: DType.BYTES for text in ("O", "S", "U")}
_NATIVE = {d: BF16 if d is DType.BF16 else np.dtype(d.numpy).newbyteorder("<") for d in DType}


def numpy_of(kind: DType) -> np.dtype[Any]:
    """Return the numpy type of arrays of a wire type."""
    return _NATIVE[kind]


def dtype_of(array: Array) -> DType:
    """Return the wire's type of an array; strings and objects are BYTES."""
    kind = array.dtype
    if kind.metadata and "wire" in kind.metadata:
        return DType(kind.metadata["wire"])
    found = _OF_NUMBER.get(kind.num)
    if found is None and kind.kind in "iu":  # C has two types of the same size; numpy numbers both
        found = _OF_NUMBER.get(np.dtype(kind.name).num)
    if found is None:
        raise Invalid(f"array: no wire type for numpy's {kind.name}")
    return found


def to_array(tensor: Tensor) -> Array:
    """Return the tensor as an array (a view of its bytes, not a copy); raise Invalid if bytes and shape disagree."""
    data, kind = tensor.data, tensor.dtype
    if kind is not DType.BYTES and not isinstance(data, tuple):
        try:
            array: Array = np.ndarray(tensor.shape, _NATIVE[kind], data)
        except (TypeError, ValueError):  # too few bytes, or no honest shape: said below
            pass
        else:
            if array.nbytes == len(data) and array.size:
                return array
    return _checked(tensor)


def _checked(tensor: Tensor) -> Array:
    """Return what `to_array` does, looking at everything: texts, empty tensors, and what is wrong."""
    data, kind = tensor.data, tensor.dtype
    count = elements(tensor.shape, f"input '{tensor.name}'")
    if kind is DType.BYTES:
        if not isinstance(data, tuple) or len(data) != count:
            raise Invalid(f"input '{tensor.name}': expected {count} byte strings; got {len(data)}")
        array = np.empty(count, dtype=object)
        array[:] = data
        return array.reshape(tensor.shape)
    if isinstance(data, tuple) or len(data) != count * kind.size:
        raise Invalid(
            f"input '{tensor.name}': expected {count * kind.size} bytes for shape "
            f"{list(tensor.shape)} of {kind.value}; got {len(data)}"
        )
    return np.frombuffer(data, dtype=_NATIVE[kind]).reshape(tensor.shape)


def to_tensor(name: str, array: Array) -> Tensor:
    """Return an array as a tensor; text becomes UTF-8."""
    kind = dtype_of(array)
    if kind is DType.BYTES:
        data = tuple(v if isinstance(v, bytes) else str(v).encode() for v in array.reshape(-1).tolist())
        return Tensor(name, kind, array.shape, data)
    if sys.byteorder == "big":
        array = array.astype(array.dtype.newbyteorder("<"))
    return Tensor(name, kind, array.shape, np.ascontiguousarray(array).tobytes())
