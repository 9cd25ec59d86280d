"""TensorFlow Serving's predict: requests in row and column form to tensors, and tensors to answers."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw

from skerry.core.errors import Invalid
from skerry.core.tensor import DType, Spec, Tensor
from skerry.wire import numbers
from skerry.wire.tfs.body import (
    check_signature,
    check_size,
    from_b64,
    is_b64,
    malformed,
    only_list,
    parse_body,
    said,
    value,
)
from skerry.wire.tfs.tensors import batch, fast, name, whole
from skerry.wire.values import nested, unpack

_OBJECTS = msgspec.json.Decoder(list[dict[str, Raw]])
_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_NUMBERS = re.compile(rb"\[[ \t\r\n]*[-\d\[]")  # how a list of numbers, or of lists, begins
_DIRECT = 1 << 14  # bytes of a body above which reading its one list directly saves more than it may cost


@dataclass(frozen=True)
class PredictRequest:
    """A predict request: input tensors, and whether it came in row form ("instances")."""

    inputs: tuple[Tensor, ...]
    row: bool


def decode(data: bytes | memoryview, limit: int, specs: Sequence[Spec]) -> PredictRequest:
    """Return the tensors of a predict body of at most `limit` bytes for a model with these inputs."""
    check_size(data, limit)
    if len(specs) == 1 and len(data) >= _DIRECT:
        found = only_list(bytes(data))
        tensor = None if found is None else fast(found[1], specs[0])
        if found is not None and tensor is not None:
            return PredictRequest((tensor,), row=found[0] == "instances")
    return decode_predict(parse_body(data, limit), specs)


def decode_predict(body: Mapping[str, Any], specs: Sequence[Spec]) -> PredictRequest:
    """Return the tensors of a predict body for a model with these inputs; raise Invalid or Unsupported."""
    check_signature(body)
    if "instances" in body and "inputs" in body:
        raise malformed(body, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
    if "instances" in body:
        return PredictRequest(_rows(body, specs), row=True)
    if "inputs" in body:
        return PredictRequest(_columns(body["inputs"], specs), row=False)
    raise Invalid("Missing 'inputs' or 'instances' key")


def images(body: Mapping[str, Any]) -> list[bytes] | None:
    """Return the encoded images of a body whose every instance is {"b64": ...}, or None if it is not so."""
    if "inputs" in body or "instances" not in body:
        return None
    instances = body["instances"]
    if isinstance(instances, Raw) and _NUMBERS.match(bytes(instances)):
        return None
    instances = value(instances)
    if not isinstance(instances, list) or not instances:
        return None
    if all(isinstance(v, dict) and len(v) == 1 and not is_b64(v) for v in instances):
        instances = [next(iter(v.values())) for v in instances]  # {"image": {"b64": ...}}
    if not all(map(is_b64, instances)):
        return None
    return [from_b64(v) for v in instances]


def encode_predict(outputs: Sequence[Tensor], row: bool) -> bytes:
    """Return the answer's JSON: "predictions" in row form, "outputs" in column form."""
    if not outputs:
        raise Invalid("Cannot convert empty tensor map to JSON")
    if row:
        _check_batch(outputs)
    text = numbers.dumps(_answer({tensor.name: _array(tensor) for tensor in outputs}, row))
    if text is None:
        shaped: dict[str, Any] = {}
        for tensor in outputs:
            shaped |= row_value(tensor)
        text = numbers.slow_dumps(_answer(shaped, row))
    return text


def row_value(tensor: Tensor) -> dict[str, Any]:
    """Return a tensor as one member of a row's object."""
    return {tensor.name: nested([_plain(v, tensor.name) for v in unpack(tensor)], tensor.shape)}


def encode_rows(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return an answer of one object an instance."""
    found = {"predictions": list(rows)}
    return numbers.dumps(found) or numbers.slow_dumps(found)


def _answer(shaped: Mapping[str, Any], row: bool) -> dict[str, Any]:
    """Return the answer's object; one output stands bare, several stand in objects."""
    if len(shaped) == 1:
        return {"predictions" if row else "outputs": next(iter(shaped.values()))}
    if not row:
        return {"outputs": shaped}
    size = len(next(iter(shaped.values())))
    return {"predictions": [{key: values[i] for key, values in shaped.items()} for i in range(size)]}


def _check_batch(outputs: Sequence[Tensor]) -> None:
    for tensor in outputs:
        if not tensor.shape:
            raise Invalid(f"Tensor name: {tensor.name} has no shape information")
        size, first = tensor.shape[0], outputs[0].shape[0]
        if size != first:
            raise Invalid(f"Tensor name: {tensor.name} has inconsistent batch size: {size} expecting: {first}")


def _array(tensor: Tensor) -> Any:
    """Return a tensor as orjson takes it."""
    if tensor.dtype is DType.BF16:
        raise Invalid(f"Failed to write JSON value for tensor type: {name(tensor.dtype)}")
    if tensor.dtype is DType.BYTES:
        return row_value(tensor)[tensor.name]
    found = numbers.array(tensor)
    return found if tensor.shape else found.item()


def _rows(body: Mapping[str, Any], specs: Sequence[Spec]) -> tuple[Tensor, ...]:
    member = body["instances"]
    if isinstance(member, Raw):
        found = _fast_rows(bytes(member), specs)
        if found is not None:
            return found
    instances = value(member)
    if not isinstance(instances, list):
        raise malformed(body, "Excepting 'instances' to be an list/array")
    if not instances:
        raise malformed(body, "No values in 'instances' array")
    objects = _is_object(instances[0])
    if not objects and len(specs) != 1:
        raise Invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            f"tensorinfo_map: {_names(specs)}"
        )
    for index, instance in enumerate(instances):
        if _is_object(instance) != objects:
            what = "object but got list" if objects else "value/list but got object"
            raise Invalid(f"Expecting {what} at item {index} of input list")
        if objects:
            _check_keys(instance, index, specs)
    if not objects:
        return (batch(instances, specs[0], named=False),)
    return tuple(batch([one[spec.name] for one in instances], spec, named=True) for spec in specs)


def _fast_rows(text: bytes, specs: Sequence[Spec]) -> tuple[Tensor, ...] | None:
    """Return the tensors of rows in JSON text; None where the slow way must look."""
    if _NUMBERS.match(text):
        tensor = fast(text, specs[0]) if len(specs) == 1 else None
        return None if tensor is None else (tensor,)
    try:
        rows = _OBJECTS.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    wanted = {spec.name for spec in specs}
    if not rows or any(row.keys() != wanted for row in rows) or wanted == {"b64"}:
        return None
    found = []
    for spec in specs:
        column = b"[" + b",".join([bytes(row[spec.name]) for row in rows]) + b"]"
        tensor = fast(column, spec) if spec.dtype is not DType.BYTES else None
        found.append(tensor or batch(numbers.python(column, "request"), spec, named=True))
    return tuple(found)


def _check_keys(instance: Mapping[str, Any], index: int, specs: Sequence[Spec]) -> None:
    wanted = {spec.name for spec in specs}
    for key in instance:
        if key not in wanted:
            raise Invalid(
                f"Failed to process element: {index} key: {key} of 'instances' list. Error: INVALID_ARGUMENT: "
                f"JSON object: does not have named input: {key}; keys must be equal to: {_names(specs)}"
            )
    if len(instance) != len(wanted):
        raise Invalid(
            f"Failed to process element: {index} of 'instances' list. JSON object: {said(instance)} "
            f"keys must be equal to: {_names(specs)}"
        )


def _columns(member: object, specs: Sequence[Spec]) -> tuple[Tensor, ...]:
    if isinstance(member, Raw):
        text = bytes(member)
        if text[:1] == b"{":
            members = _members(text)
            if members is not None and members.keys() != {"b64"}:
                return tuple([_column(members, spec) for spec in specs])
        elif len(specs) == 1:
            return (_column({specs[0].name: member}, specs[0]),)
    inputs = value(member)
    if isinstance(inputs, dict) and not is_b64(inputs):
        return tuple([_column(inputs, spec) for spec in specs])
    if len(specs) != 1:
        raise Invalid(
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            f"tensorinfo_map: {_names(specs)}"
        )
    return (whole(inputs, specs[0]),)


def _members(text: bytes) -> dict[str, Raw] | None:
    """Return the members of an object; None where a name is no text, of which the slow way says so."""
    try:
        return _MEMBERS.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _column(members: Mapping[str, Any], spec: Spec) -> Tensor:
    if spec.name not in members:
        raise Invalid(f"Missing named input: {spec.name} in 'inputs' object.")
    member = members[spec.name]
    if isinstance(member, Raw):
        text = bytes(member)
        tensor = fast(text, spec) if _NUMBERS.match(text) else None
        if tensor is not None:
            return tensor
    return whole(value(member), spec)


def _is_object(found: object) -> bool:
    return isinstance(found, dict) and not is_b64(found)


def _names(specs: Sequence[Spec]) -> str:
    return ",".join(sorted(spec.name for spec in specs))


def _plain(found: Any, output: str) -> Any:
    if not isinstance(found, bytes):
        return found
    if output.endswith("_bytes"):
        return {"b64": base64.b64encode(found).decode()}
    return found.decode("utf-8", "replace")
