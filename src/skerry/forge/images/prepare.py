"""Before any long work: the pictures are read, looked at and parted, and what is wrong with them is told.

Never here: pixels at the net's size, the network.
"""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skerry.core.card import DataUse
from skerry.core.errors import Invalid
from skerry.forge.data import CLASSES, Data, Leak, Looked, Shares, check, leaks, look, read_data, split, use_of
from skerry.forge.data.example import IMAGE
from skerry.forge.data.look import Watch
from skerry.forge.data.split import way

FEWEST = 10  # pictures of a class; of fewer, one or two are left to learn from when the test has its share
FEWEST_PART = 4  # pictures of validation and of the test
NAMED = 5  # pairs that an error lists
SIDES = (64, 96, 128, 160, 192, 224)  # pixels


@dataclass(frozen=True)
class Pictures:
    """The pictures as they are used, and what is doubtful about them."""

    looked: Looked
    data: Data  # all of them, each in its split
    found: tuple[Leak, ...]
    split: str  # how they were parted, for the card

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the net's outputs."""
        return self.data.labels

    def uses(self) -> tuple[DataUse, ...]:
        """Return what the card says of each part."""
        return tuple(use_of(self.data.part(part), use, self.split) for part, use in
                     (("train", "train"), ("val", "validation"), ("test", "test")))  # fmt: skip

    def numbers(self, part: str) -> np.ndarray:
        """Return the place of each example's label, of one part."""
        places = {label: place for place, label in enumerate(self.labels)}
        return np.array([places[example.label] for example in self.data.part(part).examples], np.int64)

    @property
    def grey(self) -> bool:
        """Whether no picture has colours."""
        thumbs = self.looked.thumbs
        return thumbs is not None and bool((thumbs == thumbs[..., :1]).all())

    @property
    def side(self) -> int:
        """The side that the pictures' own size asks for: their shorter side, or the most that is worth its time."""
        short = statistics.median_low(min(size) for size in self.looked.sizes)
        return max((side for side in SIDES if side <= short), default=SIDES[0])

    @property
    def near(self) -> int:
        """How many pairs of near-equal pictures lie in two parts, which makes the test too easy."""
        return sum(leak.kind == "near" for leak in self.found)


def pictures_of(path: Path, shares: Shares, group: str, watch: Watch) -> Pictures:
    """Return the pictures, looked at and parted; raise Invalid for what would spoil the training, naming it."""
    data = read_data(path)
    if data.takes != IMAGE:
        raise Invalid(f"data {data.name}: expected pictures; got {data.takes}")
    if data.kind != CLASSES:
        raise Invalid(f"data {data.name}: it has boxes; this recipe learns one class for a whole picture, so give a "
                      f"folder for each class")  # fmt: skip
    if group:
        data = grouped(data, group)
    looked = look(data, watch)
    check(looked)
    _check_counts(looked.data)
    parted = split(looked.data, shares)
    found = leaks(looked, parted)
    _check_labels(parted, found)
    check(looked, parted)
    for part in ("val", "test"):
        count = len(parted.part(part).examples)
        if count < FEWEST_PART:
            raise Invalid(f"data {data.name}: expected {FEWEST_PART} pictures or more in {part}; got {count}: "
                          f"add pictures, or split by another seed")  # fmt: skip
    return Pictures(looked, parted, found, shares.told(way(looked.data)))


def grouped(data: Data, pattern: str) -> Data:
    """Return the data with a group for each picture: what a pattern's first group finds in its path."""
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise Invalid(f"group: expected a regular expression; {pattern!r}: {error}") from None
    if wanted.groups != 1:
        raise Invalid(f"group: expected a pattern with one group, as 'board(\\d+)_'; got {pattern!r}")
    examples = []
    for example in data.examples:
        found = wanted.search(example.name)
        if found is None or not found[1]:
            raise Invalid(f"group: {pattern!r} finds nothing in {example.name}")
        examples.append(replace(example, group=found[1]))
    return replace(data, examples=tuple(examples))


def _check_counts(data: Data) -> None:
    few = [f"'{label}' has {count}" for label, count in data.balance.items() if count < FEWEST]
    if few:
        raise Invalid(f"data {data.name}: expected {FEWEST} pictures or more of each class; {', '.join(few[:NAMED])}")


def _check_labels(data: Data, found: tuple[Leak, ...]) -> None:
    """Refuse one picture in two classes: whichever is right, the other teaches what is wrong."""
    double = [leak for leak in found if leak.kind == "label"]
    if double:
        told = "; ".join(f"{leak.one.name} and {leak.other.name}" for leak in double[:NAMED])
        more = "" if len(double) <= NAMED else f"; and {len(double) - NAMED} more"
        raise Invalid(f"data {data.name}: the same picture lies in two classes: {told}{more}")
