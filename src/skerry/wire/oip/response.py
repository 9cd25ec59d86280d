"""Answers of the Open Inference Protocol: typed values to bytes."""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from skerry.core.errors import Invalid
from skerry.core.tensor import DType, Spec, Tensor
from skerry.wire import numbers
from skerry.wire.oip.request import Place
from skerry.wire.values import unpack

_SIZE = struct.Struct("<I")  # in front of each element of a binary BYTES tensor
_NONE: Mapping[str, Any] = MappingProxyType({})


def encode_response(
    model: str,
    version: int,
    request_id: str,
    outputs: Sequence[Tensor],
    binary: Collection[str] = (),
    placed: Mapping[str, Place] = _NONE,
) -> tuple[bytes, int | None]:
    """Return the answer's body, and the length of its JSON if outputs named in `binary` follow it as bytes.

    Outputs named in `placed` have been written to shared memory by the caller (see `raw_bytes`). Numbers that are
    not finite are written as NaN and Infinity.
    """
    entries: list[dict[str, Any]] = []
    chunks: list[bytes | memoryview] = []
    for tensor in outputs:
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.dtype.value, "shape": tensor.shape}
        if tensor.name in binary and tensor.name not in placed:
            chunk = raw_bytes(tensor)
            entry["parameters"] = {"binary_data_size": len(chunk)}
            chunks.append(chunk)
        elif tensor.name not in placed:  # where it is placed the client knows, and perf_analyzer trips over more
            entry["data"] = _json_data(tensor)
        entries.append(entry)
    body: dict[str, Any] = {"model_name": model, "model_version": str(version)}
    if request_id:
        body["id"] = request_id
    body["outputs"] = entries
    text = numbers.dumps(body)
    if text is None:
        for entry, tensor in zip(entries, outputs, strict=True):
            if "data" in entry:
                entry["data"] = tensor_json(tensor)["data"]
        text = numbers.slow_dumps(body)
    return (text, None) if not binary else (b"".join([text, *chunks]), len(text))


def raw_bytes(tensor: Tensor) -> bytes | memoryview:
    """Return a tensor as it goes in binary and into shared memory: BYTES with a length before each element."""
    if isinstance(tensor.data, tuple):
        return b"".join([_SIZE.pack(len(value)) + value for value in tensor.data])
    return tensor.data


def classify(tensor: Tensor, k: int, labels: Sequence[str]) -> Tensor:
    """Return the best `k` of each row as BYTES "value:index[:label]" [batch, k] (extension "classification").

    Equal values come by index, NaN comes last.
    """
    rows = tensor.shape[0] if len(tensor.shape) > 1 else 1
    values = np.asarray(unpack(tensor) if tensor.dtype is DType.BF16 else numbers.array(tensor))
    values = values.reshape(rows, -1) if values.size else values.reshape(rows, 0)
    width = values.shape[1]
    if values.dtype.kind == "f":
        order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    else:  # the negative of a whole number may not fit: sort backwards, ties too
        order = width - 1 - np.argsort(values[:, ::-1], axis=1, kind="stable")[:, ::-1][:, :k]
    best = np.take_along_axis(values, order, axis=1).reshape(-1).tolist()
    found = [
        f"{value:f}:{i}" + (f":{labels[i]}" if i < len(labels) else "")
        for value, i in zip(best, order.reshape(-1).tolist(), strict=True)
    ]
    k = min(k, width)
    shape = (rows, k) if len(tensor.shape) > 1 else (k,)
    return Tensor(tensor.name, DType.BYTES, shape, tuple([text.encode() for text in found]))


def tensor_json(tensor: Tensor) -> dict[str, Any]:
    """Return a tensor as the protocol's JSON values; what JSON cannot carry is an Invalid."""
    data = _json_data(tensor)
    data = data if isinstance(tensor.data, tuple) else unpack(tensor)
    return {"name": tensor.name, "datatype": tensor.dtype.value, "shape": list(tensor.shape), "data": data}


def spec_json(spec: Spec) -> dict[str, Any]:
    """Return a spec as the protocol's metadata has it."""
    return {"name": spec.name, "datatype": spec.dtype.value, "shape": list(spec.shape)}


def _json_data(tensor: Tensor) -> Any:
    """Return a tensor's values as orjson takes them: an array, or a list of text."""
    if tensor.dtype is DType.BF16:
        raise Invalid(
            "sending BF16 output data via JSON is not supported. "
            f"Please use the binary data format for output '{tensor.name}'"
        )
    if not isinstance(tensor.data, tuple):
        return numbers.array(tensor).reshape(-1)
    try:
        return [value.decode("utf-8") for value in tensor.data]
    except UnicodeDecodeError:
        raise Invalid(f"output '{tensor.name}': holds bytes that JSON cannot carry") from None
