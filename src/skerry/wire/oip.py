"""The Open Inference Protocol (V2), JSON form: requests to typed values, values to answers.

Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skerry.core.errors import Invalid
from skerry.core.fields import Fields, parse
from skerry.core.names import shown
from skerry.core.tensor import Spec, Tensor, dtype, elements
from skerry.wire.values import flat, pack, unpack

MAX_TENSORS = 1000  # inputs or outputs of one request


@dataclass(frozen=True)
class InferRequest:
    """An inference request: input tensors, and the outputs asked for (all, if none is named)."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ()
    id: str = ""


def decode_request(data: bytes, limit: int) -> InferRequest:
    """Return the request in a JSON body of at most `limit` bytes; raise Invalid or TooLarge."""
    fields = Fields(parse(data, "request", limit), "")
    return InferRequest(
        inputs=fields.many("inputs", _tensor, limit=MAX_TENSORS),
        outputs=fields.many("outputs", lambda v: Fields(v, "").text("name"), default=(), limit=MAX_TENSORS),
        id=fields.text("id", default="", limit=1024),
    )


def encode_response(model: str, version: int, request_id: str, outputs: Sequence[Tensor]) -> bytes:
    """Return the answer's JSON; numbers that are not finite are written as NaN and Infinity."""
    body: dict[str, Any] = {"model_name": model, "model_version": str(version)}
    if request_id:
        body["id"] = request_id
    body["outputs"] = [tensor_json(tensor) for tensor in outputs]
    return json.dumps(body).encode()


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
    return Fields({"tensors": value}, "").many("tensors", _tensor, limit=MAX_TENSORS)


def spec_json(spec: Spec) -> dict[str, Any]:
    """Return a spec as the protocol's metadata has it."""
    return {"name": spec.name, "datatype": spec.dtype.value, "shape": list(spec.shape)}


def _tensor(value: object) -> Tensor:
    fields = Fields(value, "")
    name = fields.text("name")
    kind = fields.read("datatype", dtype)
    shape = fields.many("shape", _dimension, limit=64)
    data = fields.raw("data")
    if not isinstance(data, list):
        raise Invalid(f"input '{name}': data: expected a list; got {shown(data)}")
    where = f"input '{name}'"
    count, values = elements(shape, where), flat(data, f"{where}: data")
    if len(values) != count:
        raise Invalid(f"{where}: expected {count} values for shape {list(shape)}; got {len(values)}")
    return Tensor(name, kind, shape, pack(kind, values, f"{where}: data"))


def _dimension(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Invalid(f"expected a whole number of 0 or more; got {shown(value)}")
    return value
