"""A request answered once more beside another version's answer, and whether the two agree. Runs in the worker.

Both answers are read from their bytes, as a client reads them, so that what differs there differs here.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skerry.core.agreement import same_findings
from skerry.core.errors import Invalid, SkerryError
from skerry.core.finding import Finding
from skerry.core.tensor import DType, Tensor, elements
from skerry.engine.arrays import Array, to_array
from skerry.node.worker.coding import split
from skerry.node.worker.made import Made
from skerry.node.worker.order import ENCODER, HEADS, MIRRORS, Kind, Mirror, Op, Verdict
from skerry.wire.oip.tensors import unpacked
from skerry.wire.protos.pool import message, read
from skerry.wire.protos.tensorproto import decode_tensor
from skerry.wire.values import unpack

MAX_TEXT = 200  # characters of a reason

_REGION = re.compile(rb"shared_memory_region")
Answer = Callable[[int, memoryview, memoryview], Made]


@dataclass(frozen=True)
class Said:
    """What an answer says: arrays by name, or findings by row."""

    arrays: Mapping[str, Array] = field(default_factory=dict)
    rows: tuple[tuple[Finding, ...], ...] | None = None


def shadow(answer: Answer, labels: int, arena: memoryview, head: memoryview, served: memoryview) -> Made:
    """Answer the request that a `Mirror` names once more; return the verdict beside the answer that was `served`.

    `labels` is how many classes the model has names for.
    """
    asked = MIRRORS.decode(head)
    if _elsewhere(asked, arena):
        return Made(ENCODER.encode(Verdict(skipped=True)))
    try:
        made = answer(
            asked.op,
            arena[asked.head_at : asked.head_at + asked.head_size],
            arena[asked.body_at : asked.body_at + asked.body_size],
        )
    except SkerryError as error:
        return Made(ENCODER.encode(Verdict(failed=f"{type(error).__name__}: {error}"[:MAX_TEXT])))
    found = judge(asked, labels, served, made)
    return Made(ENCODER.encode(found))


def _elsewhere(asked: Mirror, arena: memoryview) -> bool:
    """Whether an answer may go into memory that the client shares: it must not be written twice."""
    if asked.op not in (Op.INFER, Op.GRPC_INFER):
        return False
    packed = HEADS.decode(arena[asked.head_at : asked.head_at + asked.head_size]).encoding
    return bool(packed) or _REGION.search(arena, asked.body_at, asked.body_at + asked.body_size) is not None


def judge(asked: Mirror, labels: int, served: memoryview, made: Made) -> Verdict:
    """Return whether the answer that was `served` and the one just made agree."""
    nanos = sum(made.phases)
    try:
        want = said(asked.op, asked.kind, asked.json_length, served)
        got = said(asked.op, made.kind, made.json_length, memoryview(made.body))
    except (Invalid, ValueError, KeyError, TypeError, zlib.error) as error:
        return Verdict(why=f"an answer could not be read: {error}"[:MAX_TEXT], nanos=nanos)
    if want.rows is not None and got.rows is not None:
        return _judge_rows(want.rows, got.rows, nanos)
    return _judge_arrays(asked, labels, want.arrays, got.arrays, nanos)


def _judge_rows(want: Sequence[Sequence[Finding]], got: Sequence[Sequence[Finding]], nanos: int) -> Verdict:
    agreed = len(want) == len(got) and all(map(same_findings, want, got))
    best = [abs(a[0].score - b[0].score) for a, b in zip(want, got, strict=False) if a and b]
    why = "" if agreed else f"findings: {_shown(want)}; the candidate's: {_shown(got)}"
    return Verdict(agreed, why[:MAX_TEXT], "", max(best, default=None), None, nanos)


def _judge_arrays(
    asked: Mirror, labels: int, want: Mapping[str, Array], got: Mapping[str, Array], nanos: int
) -> Verdict:
    if want.keys() != got.keys():
        why = f"outputs: {', '.join(sorted(want))}; the candidate's: {', '.join(sorted(got))}"
        return Verdict(why=why[:MAX_TEXT], nanos=nanos)
    each = [_judge_one(asked, labels, name, one, got[name]) for name, one in want.items()]
    why = next((one.why for one in each if one.why), "")
    tops = [one.top for one in each if one.top is not None]
    if asked.rule == "top1" and not tops and not why:
        why = "no output has rows of floats to take the greatest of; ask for the rule 'values'"
    worst = max((one.gap for one in each if one.gap is not None), default=None)
    return Verdict(not why, why[:MAX_TEXT], "", worst, all(tops) if tops else None, nanos)


@dataclass(frozen=True)
class _One:
    """What was seen of one output."""

    why: str = ""
    gap: float | None = None
    top: bool | None = None


def _judge_one(asked: Mirror, labels: int, name: str, one: Array, other: Array) -> _One:
    numbers = one.dtype.kind in "fiub"
    if one.shape != other.shape or numbers != (other.dtype.kind in "fiub"):
        return _One(f"output '{name}': {_kind(one)}; the candidate's: {_kind(other)}")
    if not numbers:
        return _One("" if np.array_equal(one, other) else f"output '{name}': other texts")
    a, b = one.astype(np.float64), other.astype(np.float64)
    gap, top = _gap(a, b), _top(one, other, asked.rule == "top1" or one.shape[-1:] == (labels,))
    if asked.rule != "values" and top is not None:
        return _One("" if top else f"output '{name}': another class is the greatest", gap, top)
    close = asked.rule == "top1" or np.isclose(b, a, asked.tolerance, asked.tolerance, True).all()
    return _One("" if close else f"output '{name}': off by up to {gap:.6g}", gap, top)


def _gap(a: Array, b: Array) -> float:
    """Return the greatest difference, where neither is equal nor both are no numbers; never NaN, which JSON lacks."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(a - b)[~((a == b) | (np.isnan(a) & np.isnan(b)))]
    found = float(np.nan_to_num(apart, nan=np.inf, posinf=np.inf).max()) if apart.size else 0.0
    return min(found, 1e308)


def _top(one: Array, other: Array, wanted: bool) -> bool | None:
    """Return whether the greatest of each row stands in the same place; None for what has no rows of floats."""
    if not wanted or one.dtype.kind != "f" or other.dtype.kind != "f" or one.shape[-1:] < (2,) or not one.size:
        return None
    return bool((one.argmax(-1) == other.argmax(-1)).all())


def said(op: int, kind: int, json_length: int, data: memoryview) -> Said:
    """Return what the answer to an operation says; raise Invalid, ValueError, KeyError or TypeError for none."""
    plain, coding = split(kind)
    if coding:
        data = memoryview(zlib.decompress(data, 47))  # 32 + 15: gzip's or zlib's form, as it comes
    if op == Op.GRPC_INFER:
        return _findings_in(_infer_message(data))
    if op == Op.GRPC_PREDICT:
        outputs = read(_PREDICT, data).outputs
        tensors = [decode_tensor(name, one.SerializeToString())[0] for name, one in outputs.items()]
        return _findings_in({one.name: _array_of(one) for one in tensors})
    if op == Op.GRPC_CLASSIFY:
        results = read(_CLASSIFY, data).result.classifications
        return Said(rows=tuple(tuple(Finding(c.label, c.score) for c in one.classes) for one in results))
    if op == Op.GRPC_MULTI:
        return Said(_multi(read(_MULTI, data).results))
    if op == Op.GRPC_REGRESS:
        values = [one.value for one in read(_REGRESS, data).result.regressions]
        return Said({"results": np.array(values, np.float64)})
    size = json_length if plain is Kind.BINARY else len(data)
    value = json.loads(bytes(data[:size]))
    if op == Op.INFER:
        return _findings_in(_infer_json(value, data[size:]))
    if op == Op.PREDICT:
        return Said(rows=(tuple(map(Finding.read, value["findings"])),))
    if op == Op.TFS_CLASSIFY:
        return Said(rows=tuple(tuple(Finding(str(n), float(s)) for n, s in row) for row in value["results"]))
    return _tfs(value)


_INFER = message("inference.ModelInferResponse")
_PREDICT = message("tensorflow.serving.PredictResponse")
_CLASSIFY = message("tensorflow.serving.ClassificationResponse")
_REGRESS = message("tensorflow.serving.RegressionResponse")
_MULTI = message("tensorflow.serving.MultiInferenceResponse")


def _multi(results: Any) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for at, one in enumerate(results):
        rows = [row.classes for row in one.classification_result.classifications]
        values = [row.value for row in one.regression_result.regressions]
        found[f"{at}: labels"] = np.array([[each.label for each in row] for row in rows], object)
        found[f"{at}: scores"] = np.array([[each.score for each in row] for row in rows], np.float64)
        found[f"{at}: values"] = np.array(values, np.float64)
    return found


def _infer_json(value: Any, tail: memoryview) -> dict[str, Array]:
    found = {}
    for entry in value["outputs"]:
        kind, shape, at = DType(entry["datatype"]), tuple(entry["shape"]), f"output '{entry['name']}'"
        if "data" in entry:
            found[entry["name"]] = _array(entry["data"], None if kind is DType.BYTES else np.dtype(kind.numpy))
            found[entry["name"]] = found[entry["name"]].reshape(shape)
            continue
        size = entry["parameters"]["binary_data_size"]
        data, tail = tail[:size], tail[size:]
        tensor = Tensor(entry["name"], kind, shape, unpacked(kind, elements(shape, at), data, at))
        found[tensor.name] = _array_of(tensor)
    return found


def _infer_message(data: memoryview) -> dict[str, Array]:
    answer = read(_INFER, data)
    if len(answer.raw_output_contents) != len(answer.outputs):
        raise Invalid("raw_output_contents: expected one for each output")
    found = {}
    for one, raw in zip(answer.outputs, answer.raw_output_contents, strict=True):
        kind, shape, at = DType(one.datatype), tuple(one.shape), f"output '{one.name}'"
        content = unpacked(kind, elements(shape, at), memoryview(raw), at)
        found[one.name] = _array_of(Tensor(one.name, kind, shape, content))
    return found


def _array_of(tensor: Tensor) -> Array:
    """Return a tensor as an array that can be reckoned with: of BF16 the values, not the bits."""
    if tensor.dtype is DType.BF16:
        return np.array(unpack(tensor), np.float32).reshape(tensor.shape)
    return to_array(tensor)


def _findings_in(arrays: dict[str, Array]) -> Said:
    """Return findings where the arrays are those of the last step of a detector or a classifier."""
    if not {"classes", "scores"} <= arrays.keys() or arrays["classes"].ndim != 1:
        return Said(arrays)
    boxes = arrays["boxes"].tolist() if "boxes" in arrays else [None] * len(arrays["classes"])
    rows = zip(arrays["classes"].tolist(), arrays["scores"].tolist(), boxes, strict=True)
    return Said(
        arrays, (tuple(Finding(str(i), float(s), int(i), None if b is None else tuple(b)) for i, s, b in rows),)
    )


def _tfs(value: Any) -> Said:
    """Return what a body of TensorFlow Serving's REST says: predictions by row, outputs by column, or results."""
    if "predictions" in value:
        rows = value["predictions"]
        if rows and all(isinstance(row, dict) for row in rows):
            each = [_findings_in({name: _array(one) for name, one in row.items()}) for row in rows]
            found = tuple(one.rows[0] for one in each if one.rows is not None)
            if len(found) == len(rows):
                return Said(rows=found)
            return Said({name: _array([row[name] for row in rows]) for name in rows[0]})
        return Said({"predictions": _array(rows)})
    outputs = value["outputs"] if "outputs" in value else value["results"]
    if isinstance(outputs, dict) and outputs.keys() != {"b64"}:
        return Said({name: _array(one) for name, one in outputs.items()})
    return Said({"outputs": _array(outputs)})


def _array(value: Any, kind: np.dtype[Any] | None = None) -> Array:
    """Return JSON values as an array; what is no regular array of one kind is one text."""
    try:
        found = np.array(value, kind)
    except (ValueError, TypeError):
        found = np.array(json.dumps(value))
    return np.array(json.dumps(value)) if found.dtype.kind == "O" else found


def _kind(array: Array) -> str:
    return f"{array.dtype.name} {list(array.shape)}"


def _shown(rows: Sequence[Sequence[Finding]]) -> str:
    return "; ".join(", ".join(f"{one.label} {one.score:.2f}" for one in row[:3]) or "none" for row in rows[:2])
