"""What would spoil a long run, raised before it begins: each error names what is wrong with the data and where."""

from __future__ import annotations

from collections.abc import Sequence

from skerry.core.errors import Invalid
from skerry.forge.data.example import BOXES, Data, Problem
from skerry.forge.data.look import Looked

MOST_BROKEN = 0.05  # of the examples; more is not a bad file but a wrong folder or a broken copy
FEWEST = 2  # examples of a class in training; one cannot be told from noise
NAMED = 3  # problems that an error lists


def check(looked: Looked, data: Data | None = None) -> None:
    """Raise Invalid unless a model can be trained on the data; `data` is the same after it was split."""
    total = len(looked.data.examples) + len(looked.broken)
    if not total:
        raise Invalid(f"data {looked.data.name}: it is empty")
    if len(looked.broken) > MOST_BROKEN * total:
        raise Invalid(f"data {looked.data.name}: {len(looked.broken)} of {total} examples cannot be read: "
                      f"{_some(looked.broken)}")  # fmt: skip
    _check_classes(looked.data)
    if data is not None:
        _check_splits(data)


def check_labels(data: Data, labels: Sequence[str]) -> None:
    """Raise Invalid unless every label of the data is one of the model's; numbers are places among them."""
    known = {*labels, *map(str, range(len(labels)))}
    strange = [label for label in data.labels if label not in known]
    if strange:
        raise Invalid(f"data {data.name}: labels {_quoted(strange)} are not the model's: {_quoted(labels)}")


def _check_classes(data: Data) -> None:
    counts = data.balance
    if data.kind == BOXES:
        if not counts:
            raise Invalid(f"data {data.name}: {len(data.examples)} pictures and no box in any of them")
        return
    if len(counts) < 2:
        ((label, count),) = counts.items()
        raise Invalid(f"data {data.name}: one class only ('{label}', {count} examples); a classifier needs two or more")


def _check_splits(data: Data) -> None:
    for part, least in (("train", FEWEST), ("test", 1)):
        counts = data.part(part).balance
        short = [label for label in data.labels if counts.get(label, 0) < least]
        if short:
            raise Invalid(f"data {data.name}: expected at least {least} of each label in {part}; "
                          f"too few of {_quoted(short)}: add examples, or split by another seed")  # fmt: skip


def _some(problems: Sequence[Problem]) -> str:
    told = "; ".join(f"{problem.name}: {problem.what}" for problem in problems[:NAMED])
    return told if len(problems) <= NAMED else f"{told}; …"


def _quoted(labels: Sequence[str]) -> str:
    told = ", ".join(f"'{label}'" for label in labels[:10])
    return told if len(labels) <= 10 else f"{told}, …"
