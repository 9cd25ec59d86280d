"""TensorFlow Serving's Classify, Regress and MultiInference: rows of tf.Example to a batch of inputs, answers to bytes.

Sources: tensorflow/serving, apis/{input,classification,regression,inference}.proto; tensorflow/tensorflow,
core/example/{example,feature}.proto.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from skerry.core.errors import Invalid, TooLarge, Unsupported
from skerry.core.tensor import DType, Spec, Tensor, elements
from skerry.wire.protos.pool import message, read
from skerry.wire.protos.scan import Data, lift
from skerry.wire.tfs_grpc import SIGNATURE, Chosen, read_chosen

CLASSIFY = "tensorflow/serving/classify"  # a signature's method, and a task's
REGRESS = "tensorflow/serving/regress"
MAX_EXAMPLES = 100_000  # of one request
MAX_VALUES = 1_000_000  # of one feature in all examples; they are read one by one
MAX_TASKS = 100  # of one MultiInference

_TASK_TAG, _INPUT_TAG = 1 << 3 | 2, 2 << 3 | 2  # the input has the same number in all three requests
_INPUT = message("tensorflow.serving.Input")
_TASK = message("tensorflow.serving.InferenceTask")
_CLASSIFY_ANSWER = message("tensorflow.serving.ClassificationResponse")
_REGRESS_ANSWER = message("tensorflow.serving.RegressionResponse")
_MULTI_ANSWER = message("tensorflow.serving.MultiInferenceResponse")

_FLOATS = (DType.FP16, DType.FP32, DType.FP64)
Row = Mapping[str, Any]  # features by name
Classes = Sequence[tuple[str, float]]  # labels and scores of one example


class Task(NamedTuple):
    """One model that a MultiInference asks, and for which method."""

    chosen: Chosen
    method: str


class Result(NamedTuple):
    """What one task found: the classes of each example, or the value of each."""

    model: str
    version: int
    signature: str
    classes: Sequence[Classes] | None
    values: Sequence[float] | None


def decode_examples(data: Data, specs: Sequence[Spec]) -> tuple[Tensor, ...]:
    """Return a batch with an entry for each example of a Classify, Regress or MultiInference request.

    A feature goes to the input of its name; others are ignored, as TensorFlow does. What the context holds counts for
    every example that has no such feature itself.
    """
    _, found = lift(data, (_INPUT_TAG,))
    rows = _rows(read(_INPUT, b"".join(found.get(_INPUT_TAG, ()))))
    return tuple([_batch(spec, rows) for spec in specs])


def decode_tasks(data: Data) -> tuple[Task, ...]:
    """Return what a MultiInference request asks for, all of one version of one model; its input is not read."""
    _, found = lift(data, (_TASK_TAG, _INPUT_TAG))
    parts = found.get(_TASK_TAG, ())
    if not 1 <= len(parts) <= MAX_TASKS:
        raise Invalid(f"tasks: expected 1 to {MAX_TASKS}; got {len(parts)}")
    given = [read(_TASK, part) for part in parts]
    tasks = tuple([Task(read_chosen(one.model_spec), one.method_name) for one in given])
    first = tasks[0].chosen
    for one in tasks:
        if one.method not in (CLASSIFY, REGRESS):
            raise Unsupported(f"Unsupported signature method_name: {one.method}")
        if one.chosen.model != first.model:
            raise Invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        if one.chosen[:3] != first[:3]:
            raise Invalid(f"All ModelSpecs in a MultiInferenceRequest must access the same version of {first.model}.")
        if tasks.count(one) > 1:
            raise Invalid(f"Duplicate evaluation of signature: {one.chosen.signature}")
    return tasks


def encode_classify(model: str, version: int, rows: Sequence[Classes], signature: str = SIGNATURE) -> bytes:
    """Return a ClassificationResponse."""
    return _bytes(_CLASSIFY_ANSWER(result=_classes(rows), model_spec=_spec(model, version, signature)))


def encode_regress(model: str, version: int, values: Sequence[float], signature: str = SIGNATURE) -> bytes:
    """Return a RegressionResponse."""
    return _bytes(_REGRESS_ANSWER(result=_regressions(values), model_spec=_spec(model, version, signature)))


def encode_results(results: Sequence[Result]) -> bytes:
    """Return a MultiInferenceResponse."""
    answer = _MULTI_ANSWER()
    for one in results:
        spec = _spec(one.model, one.version, one.signature)
        if one.classes is not None:
            answer.results.add(model_spec=spec, classification_result=_classes(one.classes))
        else:
            answer.results.add(model_spec=spec, regression_result=_regressions(one.values or ()))
    return _bytes(answer)


def _rows(given: Any) -> list[Row]:
    kind = given.WhichOneof("kind")
    if kind is None:
        raise Invalid("Input is empty.")
    examples = getattr(given, kind).examples
    if not 1 <= len(examples) <= MAX_EXAMPLES:
        raise Invalid(f"input: expected 1 to {MAX_EXAMPLES} examples; got {len(examples)}")
    context = given.example_list_with_context.context.features.feature
    shared = {name: context[name] for name in context}
    return [{**shared, **{name: one.features.feature[name] for name in one.features.feature}} for one in examples]


def _batch(spec: Spec, rows: Sequence[Row]) -> Tensor:
    """Return the rows' features of that name as one tensor."""
    where = f"feature '{spec.name}'"
    kind = "bytes_list" if spec.dtype is DType.BYTES else "float_list" if spec.dtype in _FLOATS else "int64_list"
    if spec.dtype is DType.BF16:
        raise Invalid(f"{where}: the model takes BF16; no example can carry it")
    found: list[Any] = []
    width = -1
    for at, row in enumerate(rows):
        if spec.name not in row:
            raise Invalid(f"{where}: is required; example {at} has none")
        if row[spec.name].WhichOneof("kind") != kind:
            raise Invalid(
                f"{where}: expected {kind}; got {row[spec.name].WhichOneof('kind') or 'none'} in example {at}"
            )
        values = getattr(row[spec.name], kind).value
        if width not in (-1, len(values)):
            raise Invalid(f"{where}: expected {width} values in each example; got {len(values)} in example {at}")
        width = len(values)
        if width * len(rows) > MAX_VALUES:
            raise TooLarge(f"{where}: expected at most {MAX_VALUES} values in all examples; got {width * len(rows)}")
        found.extend(values)
    shape = (len(rows), *_inner(spec, width, where))
    elements(shape, where)
    return Tensor(spec.name, spec.dtype, shape, _packed(spec.dtype, found, where))


def _inner(spec: Spec, width: int, where: str) -> tuple[int, ...]:
    """Return the shape of one example's values, of which there are `width`."""
    if not spec.shape:
        raise Invalid(f"{where}: the model takes one value, not a batch")
    shape = list(spec.shape[1:])
    known = math.prod(size for size in shape if size != -1)
    if shape.count(-1) == 1 and known and width % known == 0:
        shape[shape.index(-1)] = width // known
    if -1 in shape or math.prod(shape) != width:
        raise Invalid(f"{where}: expected values for shape {list(spec.shape[1:])} in each example; got {width}")
    return tuple(shape)


def _packed(kind: DType, values: Sequence[Any], where: str) -> bytes | tuple[bytes, ...]:
    if kind is DType.BYTES:
        return tuple(values)
    if kind in _FLOATS:
        return np.array(values, np.float32).astype(f"<f{kind.size}").tobytes()
    numbers = np.array(values, np.int64)
    low, high = (0, 1) if kind is DType.BOOL else kind.bounds
    if numbers.size and (int(numbers.min()) < low or int(numbers.max()) > high):
        raise Invalid(f"{where}: expected {kind.value} from {low} to {high}; got {numbers.min()} to {numbers.max()}")
    return numbers.astype(kind.numpy).tobytes()


def _classes(rows: Sequence[Classes]) -> dict[str, Any]:
    return {"classifications": [{"classes": [{"label": text, "score": score} for text, score in row]} for row in rows]}


def _regressions(values: Sequence[float]) -> dict[str, Any]:
    return {"regressions": [{"value": value} for value in values]}


def _spec(model: str, version: int, signature: str) -> dict[str, Any]:
    return {"name": model, "version": {"value": version}, "signature_name": signature}


def _bytes(given: Any) -> bytes:
    return bytes(given.SerializeToString())
