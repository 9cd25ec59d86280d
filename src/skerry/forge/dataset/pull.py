"""A new version of a data set: the one before, and the labelled samples that it has not; it names its parent.

The table only grows, and an example's split depends on itself alone, so a test stays a test from round to round.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skerry.core.errors import Conflict, Invalid
from skerry.core.fields import Fields, canonical, parse
from skerry.core.names import Digest, digest
from skerry.engine.arrays import Array
from skerry.forge.data import ARRAYS, Data, data_digest, look
from skerry.forge.data.look import Watch
from skerry.forge.dataset.source import Sample, Source, row_of
from skerry.forge.tabular.rows import data_of, read_rows
from skerry.host.files import Disk, read

SCHEMA = 1
ROWS, ABOUT = "rows.csv", "data.json"
MAX_ABOUT = 16 << 20  # bytes; 10,000 samples that are not taken take one
OUTCOMES = ("new", "hard", "doubled", "unlabelled", "suite")
MOST_TOLD = 10_000  # samples that were not taken are listed

Key = tuple[float, ...]


@dataclass(frozen=True)
class Version:
    """A version of a data set, and what came of the samples: how many are new, doubled, unlabelled, kept out."""

    path: Path
    digest: Digest
    parent: Digest | None
    round: int
    counts: dict[str, int]
    refused: tuple[str, ...]  # broken ones, and those that contradict what is there

    def json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        told = {"schema": SCHEMA, "digest": self.digest, "parent": self.parent, "round": self.round}
        return {**told, "counts": self.counts, "refused": list(self.refused)}


def pull(source: Source, before: Path | None, out: Path, watch: Watch, suite: Path | None = None) -> Version:
    """Write a new version below `out`; raise Conflict if it is there, Invalid for data that are no table of numbers.

    `before` is a version's folder, or a table to begin with. No row of `suite` is taken.
    """
    if out.exists():
        raise Conflict(f"{out}: there is something already; remove it or choose another folder")
    old = None if before is None else _table(before)
    known = {} if old is None else _known(old)
    kept_out = set() if suite is None else set(_known(_table(suite)))
    found = _Taken(known, kept_out, 0 if old is None else _array(old).shape[1])
    for place, sample in enumerate(source.samples(), 1):
        found.take(sample)
        watch(place, place, "pulling")
    lines = [*([] if old is None else _lines(old)), *found.lines]
    if not lines:
        raise Invalid("dataset: no labelled sample, and no version before: nothing to write")
    parent, count = (None, 0) if old is None else _parent(before, old)
    fresh, disk = out.with_name(f".{out.name}.new"), Disk()
    disk.remove(fresh)
    disk.write(fresh / ROWS, _written(lines, found.width))
    whole = _digest(read_rows(fresh / ROWS))
    version = Version(out, whole, parent, count + 1, dict(found.counts), tuple(found.refused[:MOST_TOLD]))
    disk.write(fresh / ABOUT, canonical(version.json()) + b"\n")
    disk.move(fresh, out)
    return version


class _Taken:
    """The samples that are taken, and why the others are not."""

    def __init__(self, known: dict[Key, str], kept_out: set[Key], width: int) -> None:
        self._known, self._kept_out, self.width = dict(known), kept_out, width
        self.counts: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self.lines: list[list[str]] = []
        self.refused: list[str] = []

    def take(self, sample: Sample) -> None:
        """Take a sample, or count why not."""
        if not sample.label:
            self.counts["unlabelled"] += 1
            return
        try:
            row = row_of(sample)
        except Invalid as error:
            self.refused.append(str(error))
            return
        key = tuple(row.tolist())
        if not (sample.label + sample.group).isprintable():
            self.refused.append(f"sample {sample.name}: expected a label and a group of printable characters")
        elif self.width and len(key) != self.width:
            self.refused.append(f"sample {sample.name}: expected {self.width} numbers; got {len(key)}")
        elif key in self._kept_out:
            self.counts["suite"] += 1
        elif key in self._known:
            if self._known[key] == sample.label:
                self.counts["doubled"] += 1
            else:
                told = f"labelled '{sample.label}'; the same row is '{self._known[key]}' already"
                self.refused.append(f"sample {sample.name}: {told}")
        else:
            self.width = len(key)
            self._known[key] = sample.label
            self.counts["new"] += 1
            self.counts["hard"] += sample.hard
            self.lines.append([sample.label, sample.group, "", *map(repr, key)])


def _table(path: Path) -> Data:
    found = data_of(path / ROWS if path.is_dir() else path)
    if found.takes != ARRAYS or len(found.arrays) != 1 or _array(found).ndim != 2:
        raise Invalid(f"data {path}: expected a table of numbers, or a version's folder")
    return found


def _array(data: Data) -> Array:
    (array,) = data.arrays.values()
    return array


def _known(data: Data) -> dict[Key, str]:
    rows = _array(data).astype(np.float32).tolist()
    return {tuple(row): example.label for row, example in zip(rows, data.examples, strict=True)}


def _lines(data: Data) -> Iterable[list[str]]:
    """Give the rows as they are written: label, group, split, numbers (float32 that reads back the same)."""
    for row, example in zip(_array(data).astype(np.float32).tolist(), data.examples, strict=True):
        yield [example.label, example.group, example.split, *map(repr, row)]


def _written(lines: list[list[str]], width: int) -> bytes:
    """Return the table; the columns group and split only where a row has them."""
    kept = [0, *(place for place in (1, 2) if any(line[place] for line in lines)), *range(3, 3 + width)]
    head = ["label", "group", "split", *(f"x{place}" for place in range(width))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([line[place] for place in kept] for line in (head, *lines))
    return out.getvalue().encode()


def _digest(data: Data) -> Digest:
    return data_digest(look(data).data)


def _parent(before: Path | None, old: Data) -> tuple[Digest, int]:
    """Return the digest and the round of the version before; of a table that is none, its digest and 0."""
    about = None if before is None or not before.is_dir() else read(before / ABOUT, MAX_ABOUT)
    if about is None:
        return _digest(old), 0
    fields = Fields(parse(about, ABOUT, MAX_ABOUT), ABOUT)
    said, count = fields.read("digest", digest), fields.whole("round", low=1)
    if said != _digest(old):
        raise Invalid(f"data {before}: {ROWS} is not what {ABOUT} says: expected {said}; got {_digest(old)}")
    return said, count
