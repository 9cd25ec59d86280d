"""Goldens: recorded inputs with the answers that the model must give, on this very machine.

An image's answer is its findings, or the last arrays where the steps end in tensors; a golden of tensors is
JSON in the Open Inference Protocol's form. Numbers
may differ by the golden's tolerance (other processors add in another order), boxes by BOX_TOLERANCE, and a
finding whose score lies within the tolerance of the cut may be there or not.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skerry.core.errors import GoldenFailed, Invalid
from skerry.core.fields import Fields, parse
from skerry.core.finding import Finding
from skerry.core.manifest import GoldenEntry
from skerry.core.tensor import Tensor
from skerry.engine.arrays import to_array, to_tensor
from skerry.engine.session import Session
from skerry.engine.steps.step import Named
from skerry.wire.oip import read_tensors, tensor_json

MAX_GOLDEN = 64 << 20  # bytes of one golden's input or answer
MAX_TEXT = 2000  # characters of an error
BOX_TOLERANCE = 2.0  # pixels of the original image; half a cell of a stride-4 detector


def record(session: Session, data: bytes | Sequence[Tensor]) -> bytes:
    """Return the answer that the model gives now, as the bytes of a golden's answer file."""
    if isinstance(data, bytes):
        sight = session.look(data)
        if "classes" in sight.arrays:
            return (json.dumps({"findings": [f.json() for f in sight.findings]}, indent=1) + "\n").encode()
        outputs = sight.arrays
    else:
        outputs = session.infer(data)
    return (json.dumps({"outputs": [tensor_json(to_tensor(n, a)) for n, a in outputs.items()]}) + "\n").encode()


def tensors_file(tensors: Sequence[Tensor]) -> bytes:
    """Return input tensors as the bytes of a golden's input file."""
    return (json.dumps({"inputs": [tensor_json(tensor) for tensor in tensors]}) + "\n").encode()


def read_inputs(data: bytes, name: str) -> tuple[Tensor, ...]:
    """Return the tensors of a golden's input file; raise Invalid if it is not one."""
    return read_tensors(Fields(parse(data, name, MAX_GOLDEN), name).raw("inputs"))


def read_findings(answer: Path) -> tuple[Finding, ...]:
    """Return the findings in a golden's answer file; none if it holds tensors."""
    fields = Fields(parse(answer.read_bytes(), answer.name, MAX_GOLDEN), answer.name)
    return fields.many("findings", Finding.read, default=())


def check_goldens(session: Session, folder: Path, limit: int | None = None) -> int:
    """Run the goldens of the session's bundle, at most `limit`; return how many it has.

    Raises GoldenFailed at the first that is off.
    """
    for golden in session.manifest.goldens[:limit]:
        try:
            _check(session, folder, golden)
        except Invalid as error:
            raise GoldenFailed(f"golden {golden.input}: {error}") from error
    return len(session.manifest.goldens)


def _check(session: Session, folder: Path, golden: GoldenEntry) -> None:
    data = (folder / golden.input).read_bytes()
    answer = Fields(parse((folder / golden.answer).read_bytes(), golden.answer, MAX_GOLDEN), golden.answer)
    if golden.input.endswith(".json"):
        outputs = session.infer(read_inputs(data, golden.input))
        return _compare_tensors(outputs, read_tensors(answer.raw("outputs")), golden)
    if not session.takes_images:
        raise GoldenFailed(f"golden {golden.input}: an image, but the model has no steps that take one")
    sight = session.look(data)
    if "classes" not in sight.arrays:
        return _compare_tensors(sight.arrays, read_tensors(answer.raw("outputs")), golden)
    expected, classes = answer.many("findings", Finding.read), len(session.manifest.labels)
    return compare(expected, sight.findings, session.threshold, classes, golden)


def compare(
    expected: Sequence[Finding],
    found: Sequence[Finding],
    threshold: float,
    classes: int,
    golden: GoldenEntry,
) -> None:
    """Raise GoldenFailed unless the findings agree. `classes` is how many the model knows, 0 if that is not known."""
    boxed = any(finding.box is not None for finding in (*expected, *found))
    wrong = (
        _boxes_apart(expected, found, threshold, golden) if boxed else _classes_apart(expected, found, classes, golden)
    )
    if wrong is not None:
        text = f"golden {golden.input}: {wrong}; expected {_shown(expected)}; found {_shown(found)}"
        raise GoldenFailed(text[:MAX_TEXT])


def _boxes_apart(
    expected: Sequence[Finding], found: Sequence[Finding], threshold: float, golden: GoldenEntry
) -> str | None:
    """Return what is wrong, if a box of one side that is clear of the threshold has none on the other."""
    left, lost = list(found), []
    for want in expected:
        match = next((f for f in left if _agree(want, f, golden.tolerance)), None)
        if match is None:
            lost.append(want)
        else:
            left.remove(match)
    for finding in (*lost, *left):
        if finding.score > threshold + golden.tolerance:
            return f"{'lost' if finding in lost else 'not expected'}: {finding.label} {finding.score}"
    return None


def _classes_apart(
    expected: Sequence[Finding], found: Sequence[Finding], classes: int, golden: GoldenEntry
) -> str | None:
    """Return what is wrong, if scores differ place by place, or labels do where no near tie explains it.

    Two classes whose scores are nearly the same may change places; so may the last of the best few and the
    one after it, which is not seen.
    """
    if len(expected) != len(found):
        return f"expected {len(expected)} classes, found {len(found)}"
    for place, (want, got) in enumerate(zip(expected, found, strict=True)):
        if abs(want.score - got.score) > golden.tolerance:
            return f"place {place + 1}: expected score {want.score}, found {got.score}"
        tie = any(f.label == want.label and abs(f.score - want.score) <= 2 * golden.tolerance for f in found)
        last = 0 < place == len(expected) - 1 and len(expected) != classes
        if want.label != got.label and not tie and not last:
            return f"place {place + 1}: expected {want.label}, found {got.label}"
    return None


def _agree(want: Finding, got: Finding, tolerance: float) -> bool:
    if want.label != got.label or abs(want.score - got.score) > tolerance:
        return False
    if want.box is None or got.box is None:
        return want.box is got.box
    return all(abs(a - b) <= BOX_TOLERANCE for a, b in zip(want.box, got.box, strict=True))


def _shown(findings: Sequence[Finding]) -> str:
    return json.dumps([finding.json() for finding in findings])


def _compare_tensors(outputs: Named, expected: Sequence[Tensor], golden: GoldenEntry) -> None:
    for tensor in expected:
        if tensor.name not in outputs:
            raise GoldenFailed(f"golden {golden.input}: no output '{tensor.name}'")
        want, got = to_array(tensor), outputs[tensor.name]
        if want.shape != got.shape:
            raise GoldenFailed(f"golden {golden.input}: output '{tensor.name}': expected shape {list(want.shape)}; "
                               f"got {list(got.shape)}")  # fmt: skip
        if want.dtype.kind in "fiu":
            wide, narrow = want.astype(np.float64), got.astype(np.float64)
            close = np.isclose(narrow, wide, rtol=golden.tolerance, atol=golden.tolerance, equal_nan=True)
            if not close.all():
                worst = float(np.abs(narrow[~close] - wide[~close]).max())
                raise GoldenFailed(f"golden {golden.input}: output '{tensor.name}' is off by up to {worst:.6g}; "
                                   f"tolerance {golden.tolerance:g}")  # fmt: skip
        elif to_tensor(tensor.name, got).data != tensor.data:
            raise GoldenFailed(f"golden {golden.input}: output '{tensor.name}' differs")
