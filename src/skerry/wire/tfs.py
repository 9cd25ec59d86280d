"""TensorFlow Serving's REST JSON: predict in row and column form, and a model's status.

Error texts are TensorFlow Serving's where clients may know them. Source: tensorflow/serving,
util/json_tensor.cc, model_servers/http_rest_api_handler.cc, g3doc/api_rest.md.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skerry.core.errors import Invalid, TooLarge
from skerry.core.names import shown
from skerry.core.tensor import DType, Spec, Tensor
from skerry.wire.values import flat, nested, pack, unpack

SIGNATURE = "serving_default"
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class PredictRequest:
    """A predict request: input tensors, and whether it came in row form ("instances")."""

    inputs: tuple[Tensor, ...]
    row: bool


def parse_body(data: bytes, limit: int) -> dict[str, Any]:
    """Return the body's object; what follows it is ignored, as TensorFlow Serving does."""
    if len(data) > limit:
        raise TooLarge(f"request: expected at most {limit} bytes; got {len(data)}")
    if not data.strip():
        raise Invalid("JSON Parse error: The document is empty")
    try:
        value, _ = _DECODER.raw_decode(data.decode("utf-8").lstrip())
    except UnicodeDecodeError as error:
        raise Invalid(f"JSON Parse error: Invalid encoding in string at offset: {error.start}") from None
    except json.JSONDecodeError as error:
        raise Invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except (RecursionError, ValueError) as error:
        raise Invalid(f"JSON Parse error: {error}") from None
    if not isinstance(value, dict):
        raise Invalid(f"Request JSON: {shown(value)} Is not object")
    return value


def images(body: Mapping[str, Any]) -> list[bytes] | None:
    """Return the encoded images of a body whose every instance is {"b64": ...}, or None if it is not so."""
    instances = body.get("instances")
    if "inputs" in body or not isinstance(instances, list) or not instances:
        return None
    if all(isinstance(v, dict) and len(v) == 1 and not _is_b64(v) for v in instances):
        instances = [next(iter(v.values())) for v in instances]  # {"image": {"b64": ...}}
    if not all(map(_is_b64, instances)):
        return None
    return [_from_b64(v) for v in instances]


def decode_predict(body: Mapping[str, Any], specs: Sequence[Spec]) -> PredictRequest:
    """Return the tensors of a predict body for a model with these inputs; raise Invalid."""
    signature = body.get("signature_name", SIGNATURE)
    if not isinstance(signature, str):
        raise Invalid("'signature_name' key must be a string value.")
    if signature and signature != SIGNATURE:
        raise Invalid(f'Serving signature name: "{signature}" not found in signature def')
    if "instances" in body and "inputs" in body:
        raise Invalid("Not formatted correctly: expected 'instances' or 'inputs', not both")
    if "instances" in body:
        return PredictRequest(_rows(body["instances"], specs), row=True)
    if "inputs" in body:
        return PredictRequest(_columns(body["inputs"], specs), row=False)
    raise Invalid("Missing 'inputs' or 'instances' key")


def encode_predict(outputs: Sequence[Tensor], row: bool) -> bytes:
    """Return the answer's JSON: "predictions" in row form, "outputs" in column form."""
    shaped: dict[str, Any] = {}
    for tensor in outputs:
        shaped |= row_value(tensor)
    if not row:
        return json.dumps({"outputs": _only_value(shaped)}).encode()
    sizes = {}
    for tensor in outputs:
        if not tensor.shape:
            raise Invalid(f"Tensor name: {tensor.name} has no shape information")
        sizes[tensor.name] = tensor.shape[0]
    first = next(iter(sizes.values()), 0)
    for name, size in sizes.items():
        if size != first:
            raise Invalid(f"Tensor name: {name} has inconsistent batch size: {size} expecting: {first}")
    rows = [_only_value({name: values[i] for name, values in shaped.items()}) for i in range(first)]
    return json.dumps({"predictions": rows}).encode()


def row_value(tensor: Tensor) -> dict[str, Any]:
    """Return a tensor as one member of a row's object."""
    return {tensor.name: nested([_plain(v, tensor.name) for v in unpack(tensor)], tensor.shape)}


def encode_rows(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return an answer of one object an instance."""
    return json.dumps({"predictions": list(rows)}).encode()


def status(versions: Sequence[tuple[int, str, str, str]]) -> dict[str, Any]:
    """Return a model's status from (version, state, error code, error message) each."""
    return {
        "model_version_status": [
            {"version": str(v), "state": state, "status": {"error_code": code, "error_message": text}}
            for v, state, code, text in versions
        ]
    }


def _rows(instances: object, specs: Sequence[Spec]) -> tuple[Tensor, ...]:
    if not isinstance(instances, list) or not instances:
        raise Invalid("Expecting 'instances' value to be an array/list with at least one value; got none")
    wanted = {spec.name for spec in specs}
    if all(isinstance(v, dict) and not _is_b64(v) for v in instances):
        for instance in instances:
            if set(instance) != wanted:
                raise Invalid(
                    f"Failed to process element: keys must be equal to: {', '.join(sorted(wanted))}; "
                    f"got {shown(sorted(instance))}"
                )
        return tuple(_tensor([v[spec.name] for v in instances], spec) for spec in specs)
    if len(specs) != 1:
        raise Invalid(
            f"instances is a plain list, but expecting list of objects as multiple input tensors are required: "
            f"{', '.join(sorted(wanted))}"
        )
    return (_tensor(instances, specs[0]),)


def _columns(inputs: object, specs: Sequence[Spec]) -> tuple[Tensor, ...]:
    if isinstance(inputs, dict) and not _is_b64(inputs):
        for spec in specs:
            if spec.name not in inputs:
                raise Invalid(f"Missing named input: {spec.name} in 'inputs' object.")
        return tuple(_tensor(inputs[spec.name], spec) for spec in specs)
    if len(specs) != 1:
        raise Invalid("inputs is a plain value/list, but expecting an object as multiple input tensors are required")
    return (_tensor(inputs, specs[0]),)


def _tensor(value: object, spec: Spec) -> Tensor:
    shape = _shape(value)
    values = flat(value, f"input '{spec.name}'") if isinstance(value, list) else [value]
    if 0 in shape:
        values = []
    if spec.dtype is DType.BYTES:
        values = [_from_b64(v) if _is_b64(v) else v for v in values]
    return Tensor(spec.name, spec.dtype, shape, pack(spec.dtype, values, f"input '{spec.name}'"))


def _shape(value: object, level: int = 1) -> tuple[int, ...]:
    """Return the shape of nested lists, told by the first element of each level; raise Invalid if they are ragged."""
    shape: tuple[int, ...] = ()
    layer: list[Any] = [value]
    while layer and isinstance(layer[0], list):
        size = len(layer[0])
        for one in layer:
            if not isinstance(one, list) or len(one) != size:
                got = len(one) if isinstance(one, list) else 0
                raise Invalid(f"Encountered list at unexpected size: {got} at level: {level} expected size: {size}")
        shape, level = (*shape, size), level + 1
        layer = [item for one in layer for item in one]
    return shape


def _is_b64(value: object) -> bool:
    return isinstance(value, dict) and set(value) == {"b64"}


def _from_b64(value: Any) -> bytes:
    text = value["b64"]
    if not isinstance(text, str):
        raise Invalid(f"'b64': expected a string; got {shown(text)}")
    try:
        plain = "".join(text.split()).rstrip("=")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("Unable to base64 decode") from None


def _plain(value: Any, name: str) -> Any:
    if not isinstance(value, bytes):
        return value
    if name.endswith("_bytes"):
        return {"b64": base64.b64encode(value).decode()}
    return value.decode("utf-8", "replace")


def _only_value(values: dict[str, Any]) -> Any:
    return next(iter(values.values())) if len(values) == 1 else values
