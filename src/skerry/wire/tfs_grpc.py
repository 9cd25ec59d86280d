"""TensorFlow Serving's gRPC: Predict, metadata, status and reload, from bytes to values and back.

Answers carry tensors as tensor_content, which every client reads, and byte strings as string_val. Error texts are
TensorFlow Serving's where clients may know them. Sources: tensorflow/serving, apis/*.proto,
servables/tensorflow/{predict_util,get_model_metadata_impl}.cc.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from skerry.core.errors import Invalid
from skerry.core.tensor import Spec, Tensor
from skerry.wire.protos.pool import message, read
from skerry.wire.protos.scan import Data, lift, number, text
from skerry.wire.protos.scan import field as delimited
from skerry.wire.protos.tensorproto import MAX_REPEATED, NUMBERS, decode_tensor, shape_proto, tensor_parts

SIGNATURE = "serving_default"
PREDICT = "tensorflow/serving/predict"  # a signature's method
MAX_TENSORS = 1000  # inputs or outputs of one request, models of one reload
MAX_FIELDS = 8 * MAX_TENSORS  # of a request's own fields
REMEMBERED = 512  # model specifications that are remembered by their bytes
MAX_REMEMBERED = 512  # bytes of one of them

_FIRST, _SECOND = 1 << 3 | 2, 2 << 3 | 2
_PREDICT = message("tensorflow.serving.PredictRequest")
_SPEC = message("tensorflow.serving.ModelSpec")
_METADATA = message("tensorflow.serving.GetModelMetadataRequest")
_METADATA_ANSWER = message("tensorflow.serving.GetModelMetadataResponse")
_SIGNATURES = message("tensorflow.serving.SignatureDefMap")
_STATUS = message("tensorflow.serving.GetModelStatusRequest")
_STATUS_ANSWER = message("tensorflow.serving.GetModelStatusResponse")
_RELOAD = message("tensorflow.serving.ReloadConfigRequest")
_RELOAD_ANSWER = message("tensorflow.serving.ReloadConfigResponse")


class Chosen(NamedTuple):
    """Which model a request is for: `version` and `label` are None where it names none, and never both given."""

    model: str
    version: int | None
    label: str | None
    signature: str


class Predict(NamedTuple):
    """A Predict request; it asks for the outputs in `output_filter`, for all if that is empty."""

    chosen: Chosen
    inputs: tuple[Tensor, ...]
    output_filter: tuple[str, ...]


def decode_predict(data: Data) -> Predict:
    """Return what a Predict request asks for; its tensors are views into `data` where that is large."""
    rest, found = lift(data, (_SECOND,), MAX_FIELDS)
    chosen, outputs = _known_head(rest) if len(rest) <= MAX_REMEMBERED else _head(rest)
    entries = found.get(_SECOND, ())
    if len(entries) > MAX_TENSORS:
        raise Invalid(f"inputs: expected at most {MAX_TENSORS}; got {len(entries)}")
    tensors: dict[str, Tensor] = {}
    room = MAX_REPEATED
    for entry in entries:
        _, parts = lift(entry, (_FIRST, _SECOND))
        name = text(parts, _FIRST, "inputs: a name")
        values = parts.get(_SECOND, (b"",))
        tensors[name], room = decode_tensor(name, values[0] if len(values) == 1 else b"".join(values), room)
    return Predict(chosen, tuple(tensors.values()), outputs)


def encode_predict(model: str, version: int, outputs: Sequence[Tensor], signature: str = SIGNATURE) -> bytes:
    """Return a PredictResponse."""
    return b"".join(predict_parts(model, version, outputs, signature))


def predict_parts(model: str, version: int, outputs: Sequence[Tensor], signature: str = SIGNATURE) -> list[Data]:
    """Return a PredictResponse as the pieces of which it is made, tensors not copied."""
    parts: list[Data] = []
    for tensor in outputs:
        inner, size = tensor_parts(tensor)
        name = delimited(_FIRST, tensor.name.encode())
        before = bytes((_SECOND,)) + number(size)
        parts += [bytes((_FIRST,)), number(len(name) + len(before) + size), name, before, *inner]
    parts.append(delimited(_SECOND, _written_spec(model, version, signature)))
    return parts


def decode_chosen(data: Data) -> Chosen:
    """Return which model a request is for, of any of this file's but MultiInference; nothing else of it is read."""
    _, found = lift(data, (_FIRST, _SECOND), MAX_FIELDS)
    return read_chosen(read(_SPEC, b"".join(found.get(_FIRST, ()))))


def decode_metadata(data: Data) -> Chosen:
    """Return the model of a GetModelMetadata request, which must ask for "signature_def"."""
    given = read(_METADATA, data)
    if not given.metadata_field:
        raise Invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for name in given.metadata_field:
        if name != "signature_def":
            raise Invalid(f"Metadata field {name} is not supported")
    return read_chosen(given.model_spec)


class Signature(NamedTuple):
    """One way to call a model: its inputs, its outputs, and which method they are for."""

    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    method: str = PREDICT


def encode_metadata(model: str, version: int, signatures: Mapping[str, Signature]) -> bytes:
    """Return a GetModelMetadataResponse with signatures by name."""
    found = {
        name: {
            "inputs": {spec.name: _tensor_info(spec) for spec in one.inputs},
            "outputs": {spec.name: _tensor_info(spec) for spec in one.outputs},
            "method_name": one.method,
        }
        for name, one in signatures.items()
    }
    answer = _METADATA_ANSWER(model_spec={"name": model, "version": {"value": version}})
    answer.metadata["signature_def"].Pack(_SIGNATURES(signature_def=found))
    return _bytes(answer)


def decode_status(data: Data) -> Chosen:
    """Return the model of a GetModelStatus request."""
    return read_chosen(read(_STATUS, data).model_spec)


class Status(NamedTuple):
    """How a version does: a state such as "AVAILABLE", and what went wrong, by gRPC's code."""

    version: int
    state: str
    code: str = "OK"
    text: str = ""


def encode_status(versions: Sequence[Status]) -> bytes:
    """Return a GetModelStatusResponse."""
    found = [
        {"version": one.version, "state": one.state, "status": {"error_code": one.code, "error_message": one.text}}
        for one in versions
    ]
    return _bytes(_STATUS_ANSWER(model_version_status=found))


class Policy(NamedTuple):
    """Which versions are to be served: the "latest" so many, "all", or "specific" ones."""

    kind: str = "latest"
    newest: int = 1
    versions: tuple[int, ...] = ()


class Listed(NamedTuple):
    """A model as a reload names it."""

    name: str
    base_path: str
    platform: str
    policy: Policy
    labels: Mapping[str, int]


def decode_reload(data: Data) -> tuple[Listed, ...]:
    """Return all models that are to be served from now on, of a HandleReloadConfigRequest."""
    config = read(_RELOAD, data).config
    if config.WhichOneof("config") != "model_config_list":
        raise Invalid(f"config: expected model_config_list; got {config.WhichOneof('config') or 'none'}")
    given = config.model_config_list.config
    if len(given) > MAX_TENSORS:
        raise Invalid(f"model_config_list: expected at most {MAX_TENSORS} models; got {len(given)}")
    found = tuple([_listed(one) for one in given])
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise Invalid(f"Illegal to list model {name} multiple times in config list")
    return found


def encode_reload(code: str = "OK", text: str = "") -> bytes:
    """Return a ReloadConfigResponse: "OK", or gRPC's code and what went wrong."""
    return _bytes(_RELOAD_ANSWER(status={"error_code": code, "error_message": text}))


def _listed(one: Any) -> Listed:
    policy = one.model_version_policy
    kind = policy.WhichOneof("policy_choice") or "latest"
    newest = max(policy.latest.num_versions, 1)  # as TensorFlow Serving does
    versions = tuple(policy.specific.versions)
    if any(version < 0 for version in versions):
        raise Invalid(f"model '{one.name}': model_version_policy: expected versions of 0 or more; got {list(versions)}")
    return Listed(one.name, one.base_path, one.model_platform, Policy(kind, newest, versions), dict(one.version_labels))


def _head(rest: Data) -> tuple[Chosen, tuple[str, ...]]:
    given = read(_PREDICT, rest)
    if len(given.output_filter) > MAX_TENSORS:
        raise Invalid(f"output_filter: expected at most {MAX_TENSORS} names; got {len(given.output_filter)}")
    return read_chosen(given.model_spec), tuple(given.output_filter)


@lru_cache(REMEMBERED)
def _known_head(rest: bytes) -> tuple[Chosen, tuple[str, ...]]:
    return _head(rest)


def read_chosen(spec: Any) -> Chosen:
    """Return what a ModelSpec message says; raise Invalid if it names no model."""
    if not spec.name:
        raise Invalid("Missing ModelSpec")
    label = spec.version_label if spec.WhichOneof("version_choice") == "version_label" else None
    version = spec.version.value
    if version < 0:
        raise Invalid(f"model_spec: version: expected a whole number of 0 or more; got {version}")
    # 0 is the default version to clients that always send one (ovmsclient); no model here has a version 0
    return Chosen(spec.name, version or None, label, spec.signature_name or SIGNATURE)


def _tensor_info(spec: Spec) -> dict[str, Any]:
    return {"name": f"{spec.name}:0", "dtype": NUMBERS[spec.dtype], "tensor_shape": shape_proto(spec.shape)}


@lru_cache(REMEMBERED)
def _written_spec(model: str, version: int, signature: str) -> bytes:
    return _bytes(_SPEC(name=model, version={"value": version}, signature_name=signature))


def _bytes(given: Any) -> bytes:
    return bytes(given.SerializeToString())
