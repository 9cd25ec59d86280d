"""What a classifier said of every example: how often it was right, how sure it was, and where it went wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skerry.core.card import Accuracy
from skerry.core.errors import Invalid
from skerry.core.gate import Paired, wilson

BINS = 10  # of a reliability plot
NOTHING = -1  # the model gave no class

Wholes = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bin:
    """Examples of which the model was about as sure: how sure in the mean, how many of them were right."""

    sure: float
    right: float
    count: int


@dataclass(frozen=True)
class Mistake:
    """One wrong answer; `index` is the example's place in the data."""

    index: int
    name: str
    truth: str
    guess: str
    sure: float


@dataclass(frozen=True)
class Classified:
    """Answers in the order of the data; numbers are places in `labels`, NOTHING where the model gave no class."""

    data: str
    labels: tuple[str, ...]
    names: tuple[str, ...]
    truths: Wholes
    guesses: Wholes
    sure: Floats  # 0 to 1

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each answer is right."""
        found: NDArray[np.bool_] = self.truths == self.guesses
        return found

    def accuracy(self) -> Accuracy:
        """The share of right answers, with Wilson's interval."""
        hits, count = int(self.right.sum()), len(self.truths)
        return Accuracy("top-1", hits / count if count else 0.0, wilson(hits, count), count, self.data)

    @property
    def confusion(self) -> Wholes:
        """How often each label (row) was taken for each (column); the last column is "nothing"."""
        size = len(self.labels)
        columns = np.where(self.guesses == NOTHING, size, self.guesses)
        found = np.zeros((size, size + 1), dtype=np.int64)
        np.add.at(found, (self.truths, columns), 1)
        return found

    @property
    def reliability(self) -> tuple[Bin, ...]:
        """Bins of equal width over how sure the model was; without the empty ones."""
        places = np.minimum((self.sure * BINS).astype(np.int64), BINS - 1)
        found = []
        for place in range(BINS):
            mine = places == place
            if mine.any():
                found.append(Bin(float(self.sure[mine].mean()), float(self.right[mine].mean()), int(mine.sum())))
        return tuple(found)

    @property
    def calibration_error(self) -> float:
        """How far sureness and truth lie apart in the mean over the examples (ECE)."""
        total = max(1, len(self.truths))
        return sum(abs(one.sure - one.right) * one.count for one in self.reliability) / total

    def mistakes(self, most: int) -> tuple[Mistake, ...]:
        """Return the worst wrong answers, the surest first."""
        wrong = np.flatnonzero(~self.right)
        order = wrong[np.argsort(-self.sure[wrong], kind="stable")[:most]]
        return tuple(
            Mistake(int(i), self.names[i], self.label(self.truths[i]), self.label(self.guesses[i]), float(self.sure[i]))
            for i in order
        )

    def label(self, place: int) -> str:
        """Return the label at a place, "nothing" for none."""
        return self.labels[place] if place >= 0 else "nothing"

    def paired(self, after: Classified) -> Paired:
        """Return how another model's answers to the same examples compare; self is the one before."""
        self._check(after)
        return Paired.of(self.right.tolist(), after.right.tolist())

    def agreement(self, other: Classified) -> Accuracy:
        """Return the share of examples that both answer alike, right or wrong."""
        self._check(other)
        same, count = int((self.guesses == other.guesses).sum()), len(self.guesses)
        return Accuracy("agreement", same / count if count else 0.0, wilson(same, count), count, self.data)

    def _check(self, other: Classified) -> None:
        if self.names != other.names or not np.array_equal(self.truths, other.truths):
            raise Invalid(f"measured: expected the same examples; got {len(self.names)} and {len(other.names)} of them")
