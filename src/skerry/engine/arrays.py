"""Between tensors as the wire has them (bytes) and arrays as a runner wants them (numpy)."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skerry.core.errors import Invalid
from skerry.core.tensor import DType, Tensor, elements

Array = NDArray[Any]

_OF_NUMPY = {d.numpy: d for d in DType}


def dtype_of(array: Array) -> DType:
    """Return the wire's type of an array; strings and objects are BYTES."""
    if array.dtype.kind in "OSU":
        return DType.BYTES
    try:
        return _OF_NUMPY[array.dtype.name]
    except KeyError:
        raise Invalid(f"array: no wire type for numpy's {array.dtype.name}") from None


def to_array(tensor: Tensor) -> Array:
    """Return the tensor as an array (a view of its bytes, not a copy); raise Invalid if bytes and shape disagree."""
    count = elements(tensor.shape, f"input '{tensor.name}'")
    if tensor.dtype is DType.BYTES:
        if not isinstance(tensor.data, tuple) or len(tensor.data) != count:
            raise Invalid(f"input '{tensor.name}': expected {count} byte strings; got {len(tensor.data)}")
        array = np.empty(count, dtype=object)
        array[:] = tensor.data
        return array.reshape(tensor.shape)
    if isinstance(tensor.data, tuple) or len(tensor.data) != count * tensor.dtype.size:
        raise Invalid(
            f"input '{tensor.name}': expected {count * tensor.dtype.size} bytes for shape "
            f"{list(tensor.shape)} of {tensor.dtype.value}; got {len(tensor.data)}"
        )
    array = np.frombuffer(tensor.data, dtype=np.dtype(tensor.dtype.numpy).newbyteorder("<"))
    return array.reshape(tensor.shape)


def to_tensor(name: str, array: Array) -> Tensor:
    """Return an array as a tensor; text becomes UTF-8."""
    kind = dtype_of(array)
    if kind is DType.BYTES:
        data = tuple(v if isinstance(v, bytes) else str(v).encode() for v in array.reshape(-1).tolist())
        return Tensor(name, kind, array.shape, data)
    if sys.byteorder == "big":
        array = array.astype(array.dtype.newbyteorder("<"))
    return Tensor(name, kind, array.shape, np.ascontiguousarray(array).tobytes())
