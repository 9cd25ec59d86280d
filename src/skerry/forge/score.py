"""How good a detector is on labelled boards: matching, precision, recall, F and average precision.

The rule is that of DeepPCB's own evaluation: an answer counts when its box overlaps a truth of the same label
with IoU above 0.33, each truth once, the surest answer first. It scores any callable from an image to answers,
so the same code judges a checkpoint and a served bundle. Never here: a network, a threshold of its own choice.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from skerry.forge.marks import LABELS

OVERLAP = 0.33  # IoU of the source's rule; our boxes carry 10 px of margin, so tighter would measure the margin


class Truth(NamedTuple):
    label: str
    x1: float
    y1: float
    x2: float
    y2: float


class Answer(NamedTuple):
    label: str
    score: float
    x1: float
    y1: float
    x2: float
    y2: float


class Judged(NamedTuple):
    """One answer after matching."""

    label: str
    score: float
    hit: bool


class Pair(NamedTuple):
    """One labelled board of a data set."""

    name: str
    image: NDArray[np.uint8]
    truths: tuple[Truth, ...]


Detect = Callable[[NDArray[np.uint8]], Sequence[Answer]]


@dataclass(frozen=True)
class LabelScore:
    """The counts of one label at one threshold, and its average precision over all thresholds."""

    label: str
    truths: int
    answers: int
    hits: int
    ap: float

    @property
    def precision(self) -> float:
        return self.hits / self.answers if self.answers else 0.0

    @property
    def recall(self) -> float:
        return self.hits / self.truths if self.truths else 0.0

    @property
    def f(self) -> float:
        return 2 * self.hits / (self.answers + self.truths) if self.answers + self.truths else 0.0


@dataclass(frozen=True)
class Score:
    """The scores of all labels on one set of boards."""

    boards: int
    threshold: float
    labels: tuple[LabelScore, ...]

    @property
    def total(self) -> LabelScore:
        """All answers in one pot; its `ap` is the mean over the labels that occur (mAP)."""
        seen = [s.ap for s in self.labels if s.truths]
        return LabelScore(
            "all",
            sum(s.truths for s in self.labels),
            sum(s.answers for s in self.labels),
            sum(s.hits for s in self.labels),
            sum(seen) / len(seen) if seen else 0.0,
        )

    def as_json(self) -> dict[str, object]:
        everything = (*self.labels, self.total)
        rows = [asdict(s) | {"precision": s.precision, "recall": s.recall, "f": s.f} for s in everything]
        return {
            "boards": self.boards,
            "threshold": self.threshold,
            "overlap": OVERLAP,
            "labels": [{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows],
        }

    def as_table(self) -> str:
        lines = [f"{'label':<10}{'truths':>8}{'answers':>9}{'hits':>7}{'precision':>11}{'recall':>8}{'F':>8}{'AP':>8}"]
        lines += [
            f"{s.label:<10}{s.truths:>8}{s.answers:>9}{s.hits:>7}"
            f"{s.precision:>11.4f}{s.recall:>8.4f}{s.f:>8.4f}{s.ap:>8.4f}"
            for s in (*self.labels, self.total)
        ]
        return "\n".join([*lines, f"{self.boards} boards, threshold {self.threshold:.2f}, IoU > {OVERLAP}"])


def overlap(a: Answer, b: Truth) -> float:
    """Give the intersection over union of two boxes; 0 where either is empty."""
    wide, high = min(a.x2, b.x2) - max(a.x1, b.x1), min(a.y2, b.y2) - max(a.y1, b.y1)
    if wide <= 0 or high <= 0:
        return 0.0
    both = wide * high
    return both / ((a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - both)


def match(answers: Iterable[Answer], truths: Sequence[Truth], least: float = OVERLAP) -> list[Judged]:
    """Judge the answers on one board, surest first; each takes the free truth that it overlaps most."""
    free = list(truths)
    judged = []
    for answer in sorted(answers, key=lambda a: -a.score):
        fitting = [(overlap(answer, t), n) for n, t in enumerate(free) if t.label == answer.label]
        best, n = max(fitting, default=(0.0, -1))
        hit = best > least
        if hit:
            free.pop(n)
        judged.append(Judged(answer.label, answer.score, hit))
    return judged


def average_precision(judged: Sequence[Judged], truths: int) -> float:
    """Give the area under the precision-recall curve, precision made falling from the right (VOC, all points)."""
    if not truths or not judged:
        return 0.0
    hits = np.array([j.hit for j in sorted(judged, key=lambda j: -j.score)], float)
    recall = np.cumsum(hits) / truths
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(np.concatenate(([0.0], recall))) * falling).sum())


def judge(detect: Detect, pairs: Iterable[Pair], watch: Callable[[int], None] = lambda _: None) -> Verdicts:
    """Run a detector over labelled boards; `watch` hears the number of boards done."""
    judged: list[Judged] = []
    truths: dict[str, int] = dict.fromkeys(LABELS, 0)
    boards = 0
    for boards, pair in enumerate(pairs, 1):
        judged += match(detect(pair.image), pair.truths)
        for truth in pair.truths:
            truths[truth.label] += 1
        watch(boards)
    return Verdicts(boards, tuple(judged), truths)


@dataclass(frozen=True)
class Verdicts:
    """All judged answers of a set, from which any threshold can be scored without running the model again."""

    boards: int
    judged: tuple[Judged, ...]
    truths: dict[str, int]

    def at(self, threshold: float) -> Score:
        """Score at one threshold. Dropping weak answers never changes the match of a surer one."""
        rows = []
        for label, count in self.truths.items():
            mine = [j for j in self.judged if j.label == label]
            kept = [j for j in mine if j.score >= threshold]
            rows.append(LabelScore(label, count, len(kept), sum(j.hit for j in kept), average_precision(mine, count)))
        return Score(self.boards, threshold, tuple(rows))

    def best(self) -> Score:
        """Score at the threshold with the highest total F. For choosing on dev boards, never on the test set."""
        return max((self.at(t / 100) for t in range(5, 95)), key=lambda s: s.total.f)


def read_deeppcb(folder: Path, split: str) -> Iterator[Pair]:
    """Read labelled boards of a split from a copy of DeepPCB: `images.csv`, `boxes.csv`, `images/`."""
    truths: dict[str, list[Truth]] = {}
    with (folder / "boxes.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            box = Truth(row["class"], *(float(row[side]) for side in ("x1", "y1", "x2", "y2")))
            truths.setdefault(row["id"], []).append(box)
    with (folder / "images.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            if row["split"] == split:
                with Image.open(folder / row["test_image"]) as picture:
                    image = np.asarray(picture.convert("L"))
                yield Pair(row["id"], image, tuple(truths.get(row["id"], ())))


def thin(pairs: Iterable[Pair], count: int, total: int) -> Iterator[Pair]:
    """Give about `count` pairs spread evenly over `total`: neighbours in the file are cuts of the same board."""
    step = max(1, total // count)
    yield from (pair for n, pair in enumerate(pairs) if n % step == step // 2)
