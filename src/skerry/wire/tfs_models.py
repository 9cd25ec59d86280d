"""What TensorFlow Serving's REST API says of models: its paths, a model's status and its metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import unquote

from skerry.core.errors import Invalid
from skerry.core.names import MAX_VERSION
from skerry.core.tensor import Spec

SIGNATURE = "serving_default"
Verb = Literal["predict", "classify", "regress", "status", "metadata", "list"]

_WHICH = r"(?:(?:/versions/(?P<version>[0-9]+))|(?:/labels/(?P<label>[^/:]+)))?"
_POST = re.compile(r"/v1/models/(?P<model>[^/:]+)" + _WHICH + ":(?P<verb>classify|regress|predict)", re.IGNORECASE)
_GET = re.compile(r"/v1/models(?:/(?P<model>[^/:]+))?" + _WHICH + "(?:/(?P<verb>metadata))?", re.IGNORECASE)
_LIST = re.compile(r"/v1/models", re.IGNORECASE)  # a list is our own; TensorFlow Serving wants a name there too
_MAX_DIGITS = 19  # of a version that fits an int64; Python refuses to read thousands of digits


@dataclass(frozen=True)
class Target:
    """Which version of which model is asked for what; with neither version nor label, the one that serves.

    A list is of no model.
    """

    model: str
    version: int | None
    label: str | None
    verb: Verb


@dataclass(frozen=True)
class Signature:
    """One way to call a model. `method` is the last part of its name in TensorFlow: predict, classify, regress."""

    inputs: Sequence[Spec]
    outputs: Sequence[Spec]
    method: str = "predict"


def route(method: str, path: str) -> Target:
    """Return what a request's path asks for; raise Invalid with TensorFlow Serving's texts.

    `path` is as it came, its percent signs not decoded, without a query.
    """
    pattern = {"POST": _POST, "GET": _GET}.get(method)
    match = pattern.fullmatch(path) if pattern else None
    if method == "GET" and _LIST.fullmatch(path):
        return Target("", None, None, "list")
    if match is None and not (method == "GET" and _LIST.fullmatch(path.removesuffix("/"))):
        raise Invalid(f"Malformed request: {method} {path}")
    if match is None or match["model"] is None:
        raise Invalid("Missing model name in request.")
    digits, label = match["version"], match["label"]
    version = None if digits is None else _version(digits)
    return Target(
        unquote(match["model"]),
        version or None,  # 0 is any, as over gRPC: clients of OpenVINO Model Server always send one
        None if label is None else unquote(label),
        cast("Verb", (match["verb"] or "status").lower()),
    )


def status(versions: Sequence[tuple[int, str, str, str]]) -> dict[str, Any]:
    """Return a model's status from (version, state, error code, error message) each.

    States are START, LOADING, AVAILABLE, UNLOADING and END; END with an error is a failed load.
    """
    return {
        "model_version_status": [
            {"version": str(v), "state": state, "status": {"error_code": code, "error_message": text}}
            for v, state, code, text in versions
        ]
    }


def metadata(model: str, version: int, signatures: Mapping[str, Signature]) -> dict[str, Any]:
    """Return a model's metadata; `signatures` by name, most have SIGNATURE alone."""
    found = {
        name: {
            "inputs": {spec.name: _info(spec) for spec in one.inputs},
            "outputs": {spec.name: _info(spec) for spec in one.outputs},
            "method_name": f"tensorflow/serving/{one.method}",
            "defaults": {},
        }
        for name, one in signatures.items()
    }
    spec = {"name": model, "signature_name": "", "version": str(version)}
    return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": found}}}


def plain_signature(inputs: Sequence[Spec], outputs: Sequence[Spec]) -> dict[str, Signature]:
    """Return the signatures of a model that has none of its own."""
    return {SIGNATURE: Signature(inputs, outputs)}


def _info(spec: Spec) -> dict[str, Any]:
    dims = [{"size": str(size), "name": ""} for size in spec.shape]
    shape = {"dim": dims, "unknown_rank": False}
    return {"dtype": spec.dtype.tensorflow, "tensor_shape": shape, "name": f"{spec.name}:0"}


def _version(digits: str) -> int:
    if len(digits.lstrip("0")) > _MAX_DIGITS or int(digits) > MAX_VERSION:
        raise Invalid(f"Failed to convert version: {digits} to numeric.")
    return int(digits)
