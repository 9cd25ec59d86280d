"""TensorFlow Serving's classify and regress: examples of named features to a batch, and tensors to results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from skerry.core.errors import Invalid
from skerry.core.tensor import DType, Spec, Tensor
from skerry.wire import numbers
from skerry.wire.tfs.body import check_signature, from_b64, is_b64, malformed, said, value
from skerry.wire.tfs.tensors import check_lossless, name
from skerry.wire.values import pack, unpack

_TYPES = {str: "String", dict: "Object", list: "Array", type(None): "Null"}
Feature = tuple[str, list[Any]]  # "int64", "float", "bytes", or "" for no values; and the values


def decode_examples(body: Mapping[str, Any], specs: Sequence[Spec]) -> tuple[Tensor, ...]:
    """Return the batch of a classify or regress body, for a model whose inputs are called as the features.

    Beyond TensorFlow, whole numbers may stand for a float feature. Features that are no input are ignored.
    """
    check_signature(body)
    context = _example(value(body["context"])) if "context" in body else {}
    if "examples" not in body:
        raise malformed(body, "When method is classify, key 'examples' is expected and was not found")
    examples = value(body["examples"])
    if not isinstance(examples, list):
        raise malformed(body, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise malformed(body, "'examples' value is an empty array")
    rows = [{**context, **_example(one)} for one in examples]
    return tuple(_batch(rows, spec) for spec in specs)


def encode_classify(scores: Tensor, labels: Sequence[str] = (), classes: Tensor | None = None) -> bytes:
    """Return {"results": [[["label", score], ...], ...]} from scores [batch, classes] or [batch].

    Labels are the model's own output `classes`, else those configured, else empty, as TensorFlow Serving has them.
    """
    if len(scores.shape) not in (1, 2) or not math.prod(scores.shape):
        raise Invalid(f"Cannot convert empty ClassificationResults to JSON: scores have the shape {list(scores.shape)}")
    rows, width = scores.shape[0], scores.shape[1] if len(scores.shape) == 2 else 1
    if classes is not None:
        if classes.shape != scores.shape or not isinstance(classes.data, tuple):
            raise Invalid(f"classes: expected text of the shape {list(scores.shape)}; got {list(classes.shape)}")
        named = [label.decode("utf-8", "replace") for label in classes.data]
    else:
        named = [labels[i] if i < len(labels) else "" for i in range(width)] * rows
    pairs = [[label, score] for label, score in zip(named, _reals(scores), strict=True)]
    return _results([pairs[row * width : (row + 1) * width] for row in range(rows)])


def encode_regress(values: Tensor) -> bytes:
    """Return {"results": [value, ...]} from values [batch] or [batch, 1]."""
    if not math.prod(values.shape):
        raise Invalid("Cannot convert empty RegressionResults to JSON")
    if len(values.shape) not in (1, 2) or values.shape[1:] not in ((), (1,)):
        raise Invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got: "
            + said(list(values.shape))
        )
    return _results(_reals(values))


def _results(found: list[Any]) -> bytes:
    body = {"results": found}
    return numbers.dumps(body) or numbers.slow_dumps(body)


def _reals(tensor: Tensor) -> list[float]:
    if tensor.dtype in (DType.BYTES, DType.BOOL):
        raise Invalid(f"Tensor name: {tensor.name}: expected numbers; got {name(tensor.dtype)}")
    return [float(one) for one in unpack(tensor)]


def _example(found: object) -> dict[str, Feature]:
    if not isinstance(found, dict):
        kind = "Number" if isinstance(found, int | float) else _TYPES[type(found)]
        raise Invalid(f"Example must be JSON object but got JSON {kind}")
    return {key: _feature(key, content if isinstance(content, list) else [content]) for key, content in found.items()}


def _feature(key: str, found: list[Any]) -> Feature:
    """Return a feature's kind, which its first value tells, and its values."""
    kind = ""
    values = []
    for one in found:
        if one is None or isinstance(one, list) or (isinstance(one, dict) and not is_b64(one)):
            raise Invalid(f"Feature: {key} has element with unexpected JSON type: {_TYPES[type(one)]}")
        if isinstance(one, int) and not -(1 << 63) <= one < 1 << 64:
            one = _real(one)  # noqa: PLW2901 - as a parser of 64-bit numbers reads it
        got = "float" if isinstance(one, float) else "int64" if isinstance(one, int) else "bytes"
        if kind not in ("", got):
            raise Invalid(f"Unexpected element type in feature: {key} expecting type: {kind}")
        if got == "int64" and one >= 1 << 63:
            raise Invalid(f"Feature: {key} has uint64 element. Only int64 is supported.")
        if got == "float":
            check_lossless(DType.FP32, one)
        kind = got
        values.append(from_b64(one) if isinstance(one, dict) else one)
    return kind, values


def _real(found: int) -> float:
    try:
        return float(found)
    except OverflowError:
        raise Invalid("JSON Parse error: Number too big to be stored in double.") from None


def _batch(rows: list[dict[str, Feature]], spec: Spec) -> Tensor:
    """Return one input of the whole batch; each example gives one row of it."""
    wanted = name(spec.dtype)
    if not spec.shape or spec.shape[1:].count(-1) > 1:
        raise Invalid(f"input '{spec.name}': its shape {list(spec.shape)} cannot be told from examples")
    values: list[Any] = []
    size = -1
    for row in rows:
        if spec.name not in row:
            raise Invalid(f"Feature: {spec.name} (data type: {wanted}) is required but could not be found.")
        kind, found = row[spec.name]
        if kind and not _suits(kind, spec.dtype):
            raise Invalid(f"Feature: {spec.name}. Data types don't match. Expected type: {wanted}; got: {kind}")
        size = len(found) if size < 0 else size
        if len(found) != size:
            raise Invalid(f"Feature: {spec.name}: expected {size} values in every example; got {len(found)}")
        values += [bool(one) for one in found] if spec.dtype is DType.BOOL else map(_plain, found)
    return Tensor(
        spec.name, spec.dtype, (len(rows), *_row(spec, size)), pack(spec.dtype, values, f"Feature: {spec.name}")
    )


def _row(spec: Spec, size: int) -> tuple[int, ...]:
    """Return the shape of one example's row; raise Invalid if so many values do not fill it."""
    known = math.prod(one for one in spec.shape[1:] if one != -1)
    shape = tuple(size // known if one == -1 and known else one for one in spec.shape[1:])
    if math.prod(shape) != size:
        raise Invalid(f"Feature: {spec.name}: expected values for the shape {list(spec.shape[1:])}; got {size}")
    return shape


def _suits(kind: str, wanted: DType) -> bool:
    if kind == "bytes" or wanted is DType.BYTES:
        return kind == "bytes" and wanted is DType.BYTES
    return kind == "int64" or not (wanted.integer or wanted is DType.BOOL)


def _plain(found: Any) -> Any:
    return int(found) if isinstance(found, bool) else found
