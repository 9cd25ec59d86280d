"""Tensors as they cross a process: a type, a shape and little-endian bytes. No arithmetic lives here.

The element types are those of the Open Inference Protocol; one table gives each its size and its
names elsewhere (numpy, TensorFlow).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from skerry.core.errors import Invalid
from skerry.core.names import shown

MAX_RANK = 16  # dimensions; ONNX and TensorFlow models in use have at most 8
MAX_ELEMENTS = 1 << 30  # elements in one tensor; above this a shape is an attack, not a request


_TABLE: dict[str, tuple[int, str, str]] = {
    "BOOL": (1, "bool", "DT_BOOL"),
    "UINT8": (1, "uint8", "DT_UINT8"),
    "UINT16": (2, "uint16", "DT_UINT16"),
    "UINT32": (4, "uint32", "DT_UINT32"),
    "UINT64": (8, "uint64", "DT_UINT64"),
    "INT8": (1, "int8", "DT_INT8"),
    "INT16": (2, "int16", "DT_INT16"),
    "INT32": (4, "int32", "DT_INT32"),
    "INT64": (8, "int64", "DT_INT64"),
    "FP16": (2, "float16", "DT_HALF"),
    "BF16": (2, "uint16", "DT_BFLOAT16"),  # numpy has no bfloat16: its bits travel in uint16
    "FP32": (4, "float32", "DT_FLOAT"),
    "FP64": (8, "float64", "DT_DOUBLE"),
    "BYTES": (0, "object", "DT_STRING"),
}


class DType(Enum):
    """An element type; the value is its name in the Open Inference Protocol."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    BF16 = "BF16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    __hash__ = object.__hash__  # members are single; Enum's own is Python, and codecs look types up for every tensor

    @property
    def size(self) -> int:
        """Bytes of one element; 0 for BYTES, whose elements have no fixed size."""
        return _TABLE[self._value_][0]

    @property
    def numpy(self) -> str:
        """The name of the numpy type; 'object' for BYTES, and for BF16 the 'uint16' that carries its bits."""
        return _TABLE[self._value_][1]

    @property
    def tensorflow(self) -> str:
        """The name of TensorFlow's DataType."""
        return _TABLE[self._value_][2]

    @property
    def integer(self) -> bool:
        """Whether the elements are whole numbers."""
        return self.value.removeprefix("U").startswith("INT")

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and greatest whole number of an integer type."""
        bits = 8 * self.size
        return (0, 2**bits - 1) if self.value.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def dtype(name: object) -> DType:
    """Return the type of that name; raise Invalid if there is none."""
    try:
        return DType(name)
    except ValueError:
        known = " ".join(d.value for d in DType)
        raise Invalid(f"expected one of {known}; got {shown(name)}") from None


@dataclass(frozen=True)
class Spec:
    """What a model takes or gives under one name. A dimension of -1 is free."""

    name: str
    dtype: DType
    shape: tuple[int, ...]

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of that shape may stand here."""
        return len(shape) == len(self.shape) and all(
            want in (-1, got) for want, got in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True, init=False)
class Tensor:
    """A named array: `data` is row-major and little-endian, or a tuple of byte strings for BYTES."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    data: bytes | memoryview | tuple[bytes, ...]

    def __init__(
        self, name: str, dtype: DType, shape: tuple[int, ...], data: bytes | memoryview | tuple[bytes, ...]
    ) -> None:
        own = self.__dict__  # a third of the time that the dataclass's own way takes; each request makes a few
        own["name"], own["dtype"], own["shape"], own["data"] = name, dtype, shape, data


def elements(shape: tuple[int, ...], field: str = "shape") -> int:
    """Return the number of elements of a shape that came from outside; raise if it is no honest shape."""
    if 0 < len(shape) <= MAX_RANK and min(shape) > 0 and (count := math.prod(shape)) <= MAX_ELEMENTS:
        return count
    if len(shape) > MAX_RANK:
        raise Invalid(f"{field}: expected at most {MAX_RANK} dimensions; got {len(shape)}")
    if any(size < 0 for size in shape):
        raise Invalid(f"{field}: expected dimensions of 0 or more; got {shown(list(shape))}")
    count = math.prod(shape)
    if count > MAX_ELEMENTS or any(size > MAX_ELEMENTS for size in shape):  # 0 times anything is 0
        raise Invalid(f"{field}: expected at most {MAX_ELEMENTS} elements; got {shown(list(shape))}")
    return count


def check(tensor: Tensor, spec: Spec) -> None:
    """Raise Invalid, naming the input, unless the tensor is what the spec asks for."""
    if tensor.dtype is not spec.dtype:
        raise Invalid(f"input '{spec.name}': expected datatype {spec.dtype.value}; got {tensor.dtype.value}")
    if not spec.fits(tensor.shape):
        raise Invalid(f"input '{spec.name}': expected shape {list(spec.shape)}; got {list(tensor.shape)}")
