"""The Open Inference Protocol (V2): requests to typed values, values to answers, as JSON and as binary tensors.

Sources: kserve/open-inference-protocol, specification/protocol/inference_rest.md; triton-inference-server/server,
docs/protocol/extension_binary_data.md and extension_classification.md.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from skerry.core.errors import Invalid, TooLarge
from skerry.core.fields import Fields, parse
from skerry.core.names import shown
from skerry.core.tensor import DType, Spec, Tensor, dtype, elements
from skerry.wire.values import flat, pack, unpack

MAX_TENSORS = 1000  # inputs or outputs of one request
MAX_CLASSES = 10_000  # best classes that an output may be asked as


HEADER_LENGTH = "Inference-Header-Content-Length"  # bytes of JSON in front of binary tensors
_SIZE = struct.Struct("<I")  # in front of each element of a binary BYTES tensor


@dataclass(frozen=True)
class Asked:
    """One output that a request names: how it is to be sent, and whether as its best `classes`."""

    name: str
    binary: bool
    classes: int = 0  # 0: the tensor itself


@dataclass(frozen=True)
class InferRequest:
    """An inference request: input tensors, and the outputs asked for (all, if none is named)."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Asked, ...] = ()
    id: str = ""
    binary: bool = False  # how outputs go that are not named


def decode_request(data: bytes, limit: int, header: int | None = None) -> InferRequest:
    """Return the request in a body of at most `limit` bytes; raise Invalid or TooLarge.

    `header` is the length of the JSON where binary tensors follow it (extension "binary_tensor_data");
    None where the whole body is JSON.
    """
    if len(data) > limit:
        raise TooLarge(f"request: expected at most {limit} bytes; got {len(data)}")
    if header is not None and not 0 <= header <= len(data):
        raise Invalid(f"inference header size should be in range (0, {len(data)}), got: {header}")
    text = data if header is None else data[:header]
    tail = _Tail(memoryview(b"" if header is None else data)[header:])
    fields = Fields(parse(text, "request", limit), "")
    binary = Fields(fields.raw("parameters", {}), "parameters").flag("binary_data_output", default=False)
    request = InferRequest(
        inputs=fields.many("inputs", lambda value: _tensor(value, tail), limit=MAX_TENSORS),
        outputs=fields.many("outputs", lambda value: _asked(value, binary), default=(), limit=MAX_TENSORS),
        id=fields.text("id", default="", limit=1024),
        binary=binary,
    )
    if tail.left:
        raise Invalid(f"request: {tail.left} bytes follow the last binary tensor")
    return request


def decode_raw(data: bytes, spec: Spec) -> InferRequest:
    """Return the request of a body that is one input's bytes alone (header length 0), a batch of one.

    The input may have one free dimension beside the batch, which the bytes decide; BYTES has one element.
    """
    if spec.dtype is DType.BYTES:
        return InferRequest((Tensor(spec.name, spec.dtype, (1,) * len(spec.shape), (data,)),), binary=True)
    shape = list(spec.shape)
    if shape and shape[0] == -1:
        shape[0] = 1
    if shape.count(-1) > 1:
        raise Invalid(f"input '{spec.name}': its shape {list(spec.shape)} cannot be told from raw bytes alone")
    known = math.prod(size for size in shape if size != -1) * spec.dtype.size
    if -1 in shape:
        if not known or len(data) % known:
            raise Invalid(f"input '{spec.name}': expected a multiple of {known} bytes; got {len(data)}")
        shape[shape.index(-1)] = len(data) // known
    elif len(data) != known:
        raise Invalid(f"input '{spec.name}': expected {known} bytes for shape {shape}; got {len(data)}")
    return InferRequest((Tensor(spec.name, spec.dtype, tuple(shape), data),), binary=True)


def encode_response(
    model: str, version: int, request_id: str, outputs: Sequence[Tensor], binary: Collection[str] = ()
) -> tuple[bytes, int | None]:
    """Return the answer's body, and the length of its JSON if outputs named in `binary` follow it as bytes.

    Numbers that are not finite are written as NaN and Infinity.
    """
    body: dict[str, Any] = {"model_name": model, "model_version": str(version)}
    if request_id:
        body["id"] = request_id
    entries, chunks = [], []
    for tensor in outputs:
        if tensor.name in binary:
            chunks.append(_raw(tensor))
            size = {"binary_data_size": len(chunks[-1])}
            entries.append({**spec_json(Spec(tensor.name, tensor.dtype, tensor.shape)), "parameters": size})
        else:
            entries.append(tensor_json(tensor))
    text = json.dumps({**body, "outputs": entries}).encode()
    return (text, None) if not binary else (b"".join([text, *chunks]), len(text))


def classify(tensor: Tensor, k: int, labels: Sequence[str]) -> Tensor:
    """Return the best `k` of each row as BYTES "value:index[:label]" [batch, k] (extension "classification")."""
    values, rows = unpack(tensor), tensor.shape[0] if len(tensor.shape) > 1 else 1
    width = len(values) // rows if rows else 0
    found = []
    for row in range(rows):
        scores = values[row * width : (row + 1) * width]
        best = sorted(range(width), key=lambda i: (-scores[i], i))[:k]
        found += [f"{scores[i]:f}:{i}" + (f":{labels[i]}" if i < len(labels) else "") for i in best]
    k = min(k, width)
    shape = (rows, k) if len(tensor.shape) > 1 else (k,)
    return Tensor(tensor.name, DType.BYTES, shape, tuple(text.encode() for text in found))


def tensor_json(tensor: Tensor) -> dict[str, Any]:
    """Return a tensor as the protocol's JSON values; byte strings that are not UTF-8 are an Invalid."""
    values = unpack(tensor)
    try:
        data = [v.decode("utf-8") if isinstance(v, bytes) else v for v in values]
    except UnicodeDecodeError:
        raise Invalid(f"output '{tensor.name}': holds bytes that JSON cannot carry") from None
    return {"name": tensor.name, "datatype": tensor.dtype.value, "shape": list(tensor.shape), "data": data}


def read_tensors(value: object) -> tuple[Tensor, ...]:
    """Return tensors from a JSON list of the protocol's form."""
    none = _Tail(memoryview(b""))
    return Fields({"tensors": value}, "").many("tensors", lambda one: _tensor(one, none), limit=MAX_TENSORS)


def spec_json(spec: Spec) -> dict[str, Any]:
    """Return a spec as the protocol's metadata has it."""
    return {"name": spec.name, "datatype": spec.dtype.value, "shape": list(spec.shape)}


class _Tail:
    """The bytes behind the JSON, taken from the front in the inputs' order."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    @property
    def left(self) -> int:
        return len(self._data)

    def take(self, size: int, where: str) -> memoryview:
        if size > len(self._data):
            raise Invalid(f"{where}: expected {size} bytes of binary data; {len(self._data)} are left")
        taken, self._data = self._data[:size], self._data[size:]
        return taken


def _tensor(value: object, tail: _Tail) -> Tensor:
    fields = Fields(value, "")
    name = fields.text("name")
    where = f"input '{name}'"
    kind = fields.read("datatype", dtype)
    shape = fields.many("shape", _dimension, limit=64)
    count = elements(shape, where)
    size = Fields(fields.raw("parameters", {}), f"{where}: parameters").whole("binary_data_size", default=None)
    data = fields.raw("data") if size is None else fields.raw("data", None)
    if size is not None and data is not None:
        raise Invalid(f"{where}: expected either 'data' or 'binary_data_size'")
    if size is not None:
        return Tensor(name, kind, shape, _unpacked(kind, count, tail.take(size, where), where))
    if not isinstance(data, list):
        raise Invalid(f"{where}: data: expected a list; got {shown(data)}")
    values = flat(data, f"{where}: data")
    if len(values) != count:
        raise Invalid(f"{where}: expected {count} values for shape {list(shape)}; got {len(values)}")
    return Tensor(name, kind, shape, pack(kind, values, f"{where}: data"))


def _unpacked(kind: DType, count: int, data: memoryview, where: str) -> memoryview | tuple[bytes, ...]:
    """Return binary data as a tensor has it; raise Invalid unless it holds exactly `count` elements."""
    if kind is not DType.BYTES:
        if len(data) != count * kind.size:
            raise Invalid(f"{where}: expected {count * kind.size} bytes for {count} {kind.value}; got {len(data)}")
        return data
    found: list[bytes] = []
    at = 0
    while at < len(data):
        if at + _SIZE.size > len(data):
            raise Invalid(f"{where}: the length of element {len(found)} is cut off")
        (size,) = _SIZE.unpack_from(data, at)
        at += _SIZE.size
        if at + size > len(data):
            raise Invalid(f"{where}: element {len(found)}: expected {size} bytes; {len(data) - at} are left")
        found.append(bytes(data[at : at + size]))
        at += size
    if len(found) != count:
        raise Invalid(f"{where}: expected {count} byte strings; got {len(found)}")
    return tuple(found)


def _raw(tensor: Tensor) -> bytes:
    if isinstance(tensor.data, tuple):
        return b"".join(_SIZE.pack(len(value)) + value for value in tensor.data)
    return bytes(tensor.data)


def _asked(value: object, binary: bool) -> Asked:
    fields = Fields(value, "")
    name = fields.text("name")
    options = Fields(fields.raw("parameters", {}), f"output '{name}': parameters")
    return Asked(
        name,
        options.flag("binary_data", default=binary),
        options.whole("classification", default=0, high=MAX_CLASSES),
    )


def _dimension(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Invalid(f"expected a whole number of 0 or more; got {shown(value)}")
    return value
