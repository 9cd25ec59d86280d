"""What ONNX Runtime does not tell of an ONNX file: which inputs declare no rank, and which operators are in it.

Reads protobuf, seeks past weights. The field numbers are those of onnx.proto: ModelProto.graph 7, GraphProto.node 1
and .input 11, NodeProto.op_type 4 and .domain 7, ValueInfoProto.name 1 and .type 2, TypeProto.tensor_type 1,
TypeProto.Tensor.shape 2.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

GRAPH, INPUT, NAME, TYPE, TENSOR, SHAPE = 7, 11, 1, 2, 1, 2
NODE, OPERATOR, DOMAIN = 1, 4, 7
MAX_NODES = 200  # of a graph whose operators are told; larger ones are not tiny
# Operators that only do arithmetic on dense floats: no value that a client sends can lead them out of their memory.
ARITHMETIC = {
    "Abs", "Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Constant", "Conv", "Div", "Dropout", "Elu",
    "Erf", "Exp", "Flatten", "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish",
    "Identity", "LeakyRelu", "Log", "LogSoftmax", "MatMul", "Max", "MaxPool", "Min", "Mul", "Neg", "PRelu", "Pow",
    "Reciprocal", "ReduceMean", "ReduceSum", "Relu", "Selu", "Sigmoid", "Softmax", "Softplus", "Sqrt", "Squeeze",
    "Sub", "Sum", "Tanh", "Transpose", "Unsqueeze",
}  # fmt: skip
MAX_VALUE = 1 << 20  # bytes of one input's declaration; real ones have under 1,000
_FIXED = {1: 8, 5: 4}  # wire type -> bytes


def unranked(path: Path) -> set[str]:
    """Return the names of the tensor inputs that declare no shape at all; none of a file that is no protobuf."""
    found = set()
    try:
        with path.open("rb") as file:
            for start, end in _fields(file, GRAPH, 0, path.stat().st_size):
                for low, high in _fields(file, INPUT, start, end):
                    file.seek(low)
                    declared = file.read(min(high - low, MAX_VALUE))
                    name = _within(declared, NAME)
                    tensor = _within(_within(declared, TYPE) or b"", TENSOR)
                    if name is not None and tensor is not None and _within(tensor, SHAPE) is None:
                        found.add(name.decode("utf-8", "replace"))
    except (EOFError, ValueError):
        return set()
    return found


def arithmetic(path: Path) -> bool:
    """Whether a file is a small graph of ARITHMETIC operators of ONNX itself and nothing else."""
    count = 0
    try:
        with path.open("rb") as file:
            for start, end in _fields(file, GRAPH, 0, path.stat().st_size):
                for low, high in _fields(file, NODE, start, end):
                    file.seek(low)
                    node = file.read(min(high - low, MAX_VALUE))
                    operator, domain = _within(node, OPERATOR) or b"", _within(node, DOMAIN) or b""
                    count += 1
                    if operator.decode("ascii", "replace") not in ARITHMETIC or domain not in (b"", b"ai.onnx"):
                        return False
    except (EOFError, ValueError):
        return False
    return 0 < count <= MAX_NODES


def _within(data: bytes, number: int) -> bytes | None:
    """Return the last field of that number, as protobuf does for a field that stands twice."""
    found = None
    for start, end in _fields(io.BytesIO(data), number, 0, len(data)):
        found = data[start:end]
    return found


def _fields(file: BinaryIO, number: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield where each field of that number with bytes in it lies, from `start` to `end`."""
    place = start
    while place < end:
        file.seek(place)
        tag = _varint(file)
        kind = tag & 7
        if kind == 0:
            _varint(file)
            place = file.tell()
        elif kind == 2:
            size = _varint(file)
            low = file.tell()
            place = low + size
            if place > end:
                raise ValueError(f"a field ends after its message, at {place}")
            if tag >> 3 == number:
                yield low, place
        elif kind in _FIXED:
            place = file.tell() + _FIXED[kind]
        else:
            raise ValueError(f"no protobuf wire type: {kind}")


def _varint(file: BinaryIO) -> int:
    value = shift = 0
    while shift < 70:  # ten bytes of seven bits
        (byte,) = file.read(1) or _ended()
        value |= (byte & 127) << shift
        if byte < 128:
            return value
        shift += 7
    raise ValueError("a varint of more than ten bytes")


def _ended() -> bytes:
    raise EOFError("the file ends within a field")
