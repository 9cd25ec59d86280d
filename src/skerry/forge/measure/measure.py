"""Asking a session about every example of a data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skerry.core.errors import Invalid
from skerry.core.finding import Finding
from skerry.core.tensor import Spec
from skerry.engine.arrays import Array, numpy_of, to_tensor
from skerry.engine.session import Session
from skerry.engine.steps.step import Named
from skerry.forge.data.check import check_labels
from skerry.forge.data.example import ARRAYS, BOXES, Data
from skerry.forge.data.look import Watch, quiet
from skerry.forge.measure.boxes import Detected, truths_of
from skerry.forge.measure.classes import NOTHING, Classified
from skerry.forge.score import Answer

Measured = Classified | Detected

MOST_LABELS = 10_000  # a confusion matrix of so many takes 800 MB
QUANTISED = 2  # bytes; wider whole numbers are counts or logits
LIKELY = 1e-2  # how far a sum of probabilities in INT8 may lie from 1


def measure(session: Session, data: Data, watch: Watch = quiet) -> Measured:
    """Run every example through the session; raise Invalid, before the first, if data and model do not fit.

    Open the session with `open_wide` to have the whole precision-recall curve of a detector, and not only what lies
    above its threshold. An example that the session refuses counts as answered with nothing.
    """
    if (session.takes or ARRAYS) != data.takes:
        raise Invalid(f"data {data.name}: the model takes {session.takes or ARRAYS}; the data are {data.takes}")
    labels = session.manifest.labels or plain_labels(data)
    check_labels(data, labels)
    return _boxes(session, data, labels, watch) if data.kind == BOXES else _classes(session, data, labels, watch)


def _classes(session: Session, data: Data, labels: tuple[str, ...], watch: Watch) -> Classified:
    count = len(data.examples)
    guesses, sure = np.full(count, NOTHING, dtype=np.int64), np.zeros(count)
    for place in range(count):
        guesses[place], sure[place] = _answer(session, data, place, len(labels))
        watch(place + 1, count, "measuring")
    truths = np.array([place_of(example.label, labels) for example in data.examples], dtype=np.int64)
    names = tuple(example.name for example in data.examples)
    return Classified(data.name, labels, names, truths, guesses, np.clip(sure, 0.0, 1.0))


def _answer(session: Session, data: Data, place: int, classes: int) -> tuple[int, float]:
    """Return the class that the session gives, and how sure it is."""
    if data.takes == ARRAYS:
        feeds = fitted(session.inputs, data.feeds(place))
        return _greatest(session.infer([to_tensor(name, array) for name, array in feeds.items()]), classes)
    try:
        sight = session.look(data.encoded(place))
    except Invalid:
        return NOTHING, 0.0
    if sight.findings:
        return _within(sight.findings[0].index, classes), sight.findings[0].score
    return _greatest(sight.arrays, classes)


def _greatest(arrays: Named, classes: int) -> tuple[int, float]:
    """Return the greatest of the output that has a number for each class; softmax first if they do not sum to 1.

    Small whole numbers are a quantised model's probabilities, counted from the least that the type holds.
    """
    fitting = [array for array in arrays.values() if array.size == array.shape[-1:][0] if array.ndim and array.size > 1]
    wide = [array for array in fitting if array.size == classes] or fitting
    if not wide:
        return NOTHING, 0.0
    scores = wide[0].astype(np.float64).reshape(-1)
    if wide[0].dtype.kind in "iu" and wide[0].dtype.itemsize <= QUANTISED:
        above = scores - np.iinfo(wide[0].dtype).min
        scores = above / max(above.sum(), 1.0)
    if not np.isfinite(scores).all():
        return NOTHING, 0.0
    if (scores < 0).any() or abs(scores.sum() - 1) > LIKELY:
        powers = np.exp(scores - scores.max())
        scores = powers / powers.sum()
    best = int(scores.argmax())
    return _within(best, classes), float(scores[best])


def _within(index: int, classes: int) -> int:
    return index if 0 <= index < classes else NOTHING


def _boxes(session: Session, data: Data, labels: tuple[str, ...], watch: Watch) -> Detected:
    count = len(data.examples)
    answers = []
    for place in range(count):
        answers.append(_found(session, data, place))
        watch(place + 1, count, "measuring")
    truths = tuple(
        truths_of([(labels[place_of(box.label, labels)], *box[1:]) for box in example.boxes])
        for example in data.examples
    )
    return Detected(data.name, labels, tuple(example.name for example in data.examples), tuple(answers), truths)


def _found(session: Session, data: Data, place: int) -> tuple[Answer, ...]:
    try:
        findings: tuple[Finding, ...] = session.look(data.encoded(place)).findings
    except Invalid:
        return ()
    return tuple(Answer(one.label, one.score, *one.box) for one in findings if one.box is not None)


def plain_labels(data: Data) -> tuple[str, ...]:
    """Return the labels of a model that has none itself: numbers are places, words stand in the alphabet's order."""
    found = data.labels
    if not found or not all(label.isascii() and label.isdigit() for label in found):
        return found
    most = max(map(int, found))
    if most >= MOST_LABELS:
        raise Invalid(f"data {data.name}: expected labels below {MOST_LABELS}; got {most}")
    return tuple(map(str, range(most + 1)))


def place_of(label: str, labels: Sequence[str]) -> int:
    """Return a label's place among the model's; a number is its place already."""
    return labels.index(label) if label in labels else int(label)


def fitted(specs: Sequence[Spec], feeds: Named) -> Named:
    """Return a row's arrays under the model's names and of its types; Invalid if they are not its inputs."""
    if len(specs) == len(feeds) == 1:
        feeds = {specs[0].name: next(iter(feeds.values()))}
    if {spec.name for spec in specs} != set(feeds):
        raise Invalid(f"data: expected arrays {', '.join(spec.name for spec in specs)}; got {', '.join(feeds)}")
    return {spec.name: _cast(spec, feeds[spec.name]) for spec in specs}


def _cast(spec: Spec, array: Array) -> Array:
    kind = numpy_of(spec.dtype)
    if array.dtype != kind:
        changed = array.astype(kind)
        if kind.kind != "f" and not np.array_equal(changed, array):
            raise Invalid(f"data: {spec.name}: expected {spec.dtype.value}; {array.dtype} does not fit")
        array = changed
    if array.shape[1:] == spec.shape and array.shape[0] == 1:  # a model without a first dimension for examples
        array = array[0]
    return array
