"""What an example is, and a data set of them: names, labels and boxes; the bytes are read when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from skerry.core.errors import Invalid, TooLarge
from skerry.engine.arrays import Array

CLASSES, BOXES = "classes", "boxes"  # what is known of each example
IMAGE, AUDIO, ARRAYS = "image", "audio", "arrays"  # what an example is
PICTURES = (".jpg", ".jpeg", ".png", ".webp")  # what a node decodes
SOUNDS = (".wav",)
MAX_FILE = 64 << 20  # bytes of one example; a picture of 25 million pixels, which is all a node takes, is smaller
MOST_EXAMPLES = 1_000_000  # their names and digests take some 400 bytes each


class Box(NamedTuple):
    """One object in a picture, in its pixels."""

    label: str
    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Example:
    """One example. `digest`, `width` and `height` are known once it has been looked at; `split` may be given."""

    name: str  # its path below the root, or its row
    label: str = ""
    group: str = ""  # examples of one group belong together: a board, a speaker, a day
    split: str = ""
    boxes: tuple[Box, ...] = ()
    digest: str = ""  # SHA-256 of its content, hexadecimal
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Problem:
    """Something wrong with one example that does not stop the rest."""

    name: str
    what: str


@dataclass(frozen=True)
class Data:
    """A data set. For arrays, row `index` of each array of `arrays` is the example `index` of `rows`."""

    name: str
    kind: str
    takes: str
    examples: tuple[Example, ...]
    root: Path = field(default_factory=Path)
    arrays: Mapping[str, Array] = field(default_factory=dict)
    rows: tuple[int, ...] = ()  # of `arrays`, in the order of `examples`
    licence: str = ""
    problems: tuple[Problem, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that occurs, sorted: numbers by their value, the rest by the alphabet."""
        if self.kind == BOXES:
            found = {box.label for example in self.examples for box in example.boxes}
        else:
            found = {example.label for example in self.examples}
        return tuple(sorted(found, key=_by_value))

    @property
    def balance(self) -> dict[str, int]:
        """How many examples (or boxes) each label has."""
        if self.kind == BOXES:
            counts = Counter(box.label for example in self.examples for box in example.boxes)
        else:
            counts = Counter(example.label for example in self.examples)
        return {label: counts[label] for label in self.labels}

    def part(self, split: str) -> Data:
        """Return the examples of one split alone."""
        return self.only([example.split == split for example in self.examples])

    def only(self, kept: list[bool]) -> Data:
        """Return the examples whose flag is true."""
        examples = tuple(example for example, keep in zip(self.examples, kept, strict=True) if keep)
        rows = tuple(row for row, keep in zip(self.rows, kept, strict=True) if keep) if self.rows else ()
        return replace(self, examples=examples, rows=rows)

    def encoded(self, index: int) -> bytes:
        """Return an example's file; raise Invalid or TooLarge naming it."""
        return read_file(self.root, self.examples[index].name)

    def feeds(self, index: int) -> dict[str, Array]:
        """Return an example's arrays, each with a first dimension of 1."""
        row = self.rows[index]
        return {name: array[row : row + 1] for name, array in self.arrays.items()}

    def inputs(self) -> Iterator[bytes | dict[str, Array]]:
        """Give every example as a session takes it: a file's bytes for `look`, arrays for `feed`."""
        for index in range(len(self.examples)):
            yield self.feeds(index) if self.takes == ARRAYS else self.encoded(index)


def read_file(root: Path, name: str) -> bytes:
    """Return the bytes of a file of the data."""
    path = root / name
    try:
        size = path.stat().st_size
        if size > MAX_FILE:
            raise TooLarge(f"{path}: expected at most {MAX_FILE} bytes; got {size}")
        return path.read_bytes()
    except OSError as error:
        raise Invalid(f"{path}: cannot be read: {error.strerror}") from None


def inside(name: str, where: str) -> str:
    """Return a file's name from a table; Invalid unless it is a plain path below the data's folder."""
    parts = name.replace("\\", "/").split("/")
    if not name or name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
        raise Invalid(f"{where}: expected a path below the data's folder; got {name!r}")
    return "/".join(part for part in parts if part not in ("", "."))


def takes_of(name: str) -> str:
    """Return what a file is by its name: image, audio, or "" for neither."""
    suffix = Path(name).suffix.lower()
    return IMAGE if suffix in PICTURES else AUDIO if suffix in SOUNDS else ""


def one_kind(names: list[str], where: Path) -> str:
    """Return what all of the files are; Invalid for a mixture."""
    kinds = {kind: sum(takes_of(name) == kind for name in names) for kind in (IMAGE, AUDIO)}
    if all(kinds.values()):
        raise Invalid(f"{where}: expected pictures or sounds; got {kinds[IMAGE]} pictures and {kinds[AUDIO]} sounds")
    return AUDIO if kinds[AUDIO] else IMAGE


def is_number(array: Array) -> bool:
    """Whether an array holds numbers."""
    return bool(np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_)


def _by_value(label: str) -> tuple[int, float, str]:
    try:
        return 0, float(int(label)), label
    except ValueError:
        return 1, 0.0, label
