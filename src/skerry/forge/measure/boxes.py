"""What a detector said of every picture: average precision at two overlaps, with intervals over pictures.

Matching is `forge.score`'s. A picture is what is drawn again by the bootstrap, for its boxes stand or fall together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skerry.core.card import Accuracy
from skerry.core.errors import Invalid
from skerry.core.gate import LEVEL, Interval
from skerry.forge.measure.bootstrap import percentiles
from skerry.forge.score import Answer, Judged, Score, Truth, Verdicts, match
from skerry.forge.score import overlap as overlap_of

OVERLAPS = (0.33, 0.5)  # DeepPCB's rule, and the one that most others use
TIMES = 1000  # resamples of the pictures
CHUNK = 1 << 21  # numbers of one step of them, 16 MB each
SEED = 20_117

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Detected:
    """Answers to every picture, in the order of the data."""

    data: str
    labels: tuple[str, ...]
    names: tuple[str, ...]
    answers: tuple[tuple[Answer, ...], ...]
    truths: tuple[tuple[Truth, ...], ...]

    def judged(self, overlap: float) -> tuple[tuple[Judged, ...], ...]:
        """Return every answer with whether it hit, picture by picture."""
        return tuple(tuple(match(a, t, overlap)) for a, t in zip(self.answers, self.truths, strict=True))

    def verdicts(self, overlap: float) -> Verdicts:
        """Return the judged answers for scoring at any threshold: precision, recall, F for each label."""
        counts = {label: sum(t.label == label for ts in self.truths for t in ts) for label in self.labels}
        flat = tuple(one for picture in self.judged(overlap) for one in picture)
        return Verdicts(len(self.names), flat, counts)

    def at(self, threshold: float, overlap: float = OVERLAPS[0]) -> Score:
        """Return precision, recall and F at a threshold."""
        return self.verdicts(overlap).at(threshold)

    def mean_precision(self, overlap: float) -> float:
        """Return mAP: the mean over the labels that occur."""
        return float(_Table(self, overlap).means(np.ones((1, len(self.names))))[0])

    def accuracy(self, overlap: float = OVERLAPS[1], seed: int = SEED) -> Accuracy:
        """Return mAP with its bootstrap interval over pictures."""
        found = self.mean_precision(overlap)
        draws = _Table(self, overlap).means(_weights(len(self.names), seed))
        interval = percentiles(draws, LEVEL) if len(self.names) else Interval(0.0, 1.0)
        return Accuracy(f"mAP@{overlap:g}", min(1.0, found), interval, len(self.names), self.data)

    def gain(self, after: Detected, overlap: float = OVERLAPS[1], seed: int = SEED) -> tuple[float, Interval]:
        """Return by how much another model's mAP on the same pictures is higher, with its paired interval."""
        if self.names != after.names or self.truths != after.truths or not self.names:
            raise Invalid(f"measured: expected the same pictures; got {len(self.names)} and {len(after.names)} of them")
        weights = _weights(len(self.names), seed)
        draws = _Table(after, overlap).means(weights) - _Table(self, overlap).means(weights)
        return after.mean_precision(overlap) - self.mean_precision(overlap), percentiles(draws, LEVEL)

    def wrong(
        self, place: int, threshold: float, overlap: float = OVERLAPS[0]
    ) -> tuple[tuple[Truth, ...], tuple[Answer, ...]]:
        """Return what is wrong on one picture: truths that were missed, answers where there is nothing."""
        kept = sorted((a for a in self.answers[place] if a.score >= threshold), key=lambda a: -a.score)
        judged = match(kept, self.truths[place], overlap)
        free = list(self.truths[place])
        for answer, one in zip(kept, judged, strict=True):
            if one.hit:
                free.remove(max((t for t in free if t.label == answer.label), key=lambda t: overlap_of(answer, t)))
        return tuple(free), tuple(answer for answer, one in zip(kept, judged, strict=True) if not one.hit)

    def worst(self, threshold: float, most: int, overlap: float = OVERLAPS[0]) -> tuple[int, ...]:
        """Return the places of the pictures with most wrong, the worst first."""
        counts = [sum(map(len, self.wrong(place, threshold, overlap))) for place in range(len(self.names))]
        bad = [place for place, count in enumerate(counts) if count]
        return tuple(sorted(bad, key=lambda place: (-counts[place], place))[:most])


class _Table:
    """The judged answers as arrays, from which mAP is made for any weights of the pictures."""

    def __init__(self, detected: Detected, overlap: float) -> None:
        self._columns = []
        judged = detected.judged(overlap)
        for label in detected.labels:
            mine = [
                (one.score, place, one.hit)
                for place, all_of in enumerate(judged)
                for one in all_of
                if one.label == label
            ]
            mine.sort(key=lambda one: -one[0])
            truths = np.array([sum(t.label == label for t in ts) for ts in detected.truths], dtype=np.float64)
            places = np.array([place for _, place, _ in mine], dtype=np.int64)
            self._columns.append((places, np.array([hit for _, _, hit in mine], dtype=np.float64), truths))

    def means(self, weights: Floats) -> Floats:
        """Return mAP for each row of weights, one for each picture; labels that do not occur in it do not count."""
        sums, seen = np.zeros(len(weights)), np.zeros(len(weights))
        for places, hits, truths in self._columns:
            total = weights @ truths
            step = max(1, CHUNK // max(1, len(places)))
            for start in range(0, len(weights), step):
                rows = slice(start, start + step)
                sums[rows] += _precision(weights[rows][:, places], hits, total[rows])
            seen += total > 0
        found: Floats = sums / np.maximum(seen, 1)
        return found


def _precision(weights: Floats, hits: Floats, truths: Floats) -> Floats:
    """Return the area under each row's precision-recall curve, as `score.average_precision` does for one."""
    if not len(hits):
        return np.zeros(len(weights))
    caught, given = np.cumsum(weights * hits, axis=1), np.cumsum(weights, axis=1)
    precision = np.divide(caught, given, out=np.zeros_like(caught), where=given > 0)
    falling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    area: Floats = (np.diff(caught, axis=1, prepend=0.0) * falling).sum(axis=1)
    return np.divide(area, truths, out=np.zeros_like(area), where=truths > 0)


def _weights(pictures: int, seed: int) -> Floats:
    """Return how often each picture is drawn, a row for each resample."""
    if not pictures:
        return np.ones((1, 0))
    random = np.random.default_rng(seed)
    return random.multinomial(pictures, np.full(pictures, 1 / pictures), TIMES).astype(np.float64)


def truths_of(boxes: Sequence[tuple[str, float, float, float, float]]) -> tuple[Truth, ...]:
    """Return the data's boxes as the scorer takes them."""
    return tuple(Truth(*box) for box in boxes)
