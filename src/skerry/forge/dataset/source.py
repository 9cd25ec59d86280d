"""Where labelled samples come from: what a hub offers, as a protocol, and a folder that offers it."""

from __future__ import annotations

import io
import math
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from skerry.core.errors import Invalid, NotFound, TooLarge
from skerry.core.fields import Fields, parse
from skerry.engine.arrays import Array
from skerry.forge.data.example import MOST_EXAMPLES, inside, read_file

INDEX = "samples.jsonl"
MAX_LINE = 1 << 16  # bytes of one sample's line
MAX_INDEX = 512 << 20  # bytes; a million lines of 500
MAX_NUMBERS = 10_000  # of one row


@dataclass(frozen=True)
class Sample:
    """One sample from the field. `label` is "" until somebody gave it one; `hard` says that a model was not sure."""

    name: str
    label: str
    content: bytes
    group: str = ""
    hard: bool = False


class Source(Protocol):
    """What a hub offers to a forge."""

    def samples(self) -> Iterator[Sample]:
        """Give every sample that it has, in the same order each time; raise Invalid or NotFound."""


@dataclass(frozen=True)
class FolderSource:
    """A folder with samples.jsonl and the files that it names."""

    root: Path

    def samples(self) -> Iterator[Sample]:
        """Give the samples in the order of the lines; Invalid names the line that is wrong."""
        index = self.root / INDEX
        if not index.is_file():
            raise NotFound(f"samples: no {INDEX} in {self.root}")
        if index.stat().st_size > MAX_INDEX:
            raise TooLarge(f"samples: {index}: expected at most {MAX_INDEX} bytes")
        with index.open("rb") as file:
            for place, line in enumerate(file, 1):
                if place > MOST_EXAMPLES:
                    raise TooLarge(f"samples: {index}: expected at most {MOST_EXAMPLES} lines")
                if line.strip():
                    yield self._sample(line, f"{INDEX}, line {place}")

    def _sample(self, line: bytes, where: str) -> Sample:
        fields = Fields(parse(line, where, MAX_LINE), where)
        content = read_file(self.root, inside(fields.text("file"), f"{where}: file"))
        name, label = fields.text("name"), fields.text("label", default="")
        return Sample(
            name, label.strip(), content, fields.text("group", default=""), fields.flag("hard", default=False)
        )


def source_at(where: str) -> Source:
    """Return the source at an address: a folder, or file: and a folder. Others come with the hub's part of this."""
    path = where.removeprefix("file://").removeprefix("file:")
    if "://" in path:
        raise Invalid(f"hub: expected a folder of samples; got {where!r}: hubs do not give out samples yet")
    if not Path(path).is_dir():
        raise NotFound(f"hub: no folder {path}")
    return FolderSource(Path(path))


def row_of(sample: Sample) -> NDArray[np.float32]:
    """Return a sample's numbers; raise Invalid for what is no array of one row of finite numbers."""
    try:
        found = _array(sample.content)
    except (ValueError, EOFError, SyntaxError, TypeError, KeyError, tokenize.TokenError) as error:
        raise Invalid(f"sample {sample.name}: expected an array (.npy) of one row of numbers: {error}") from None
    with np.errstate(over="ignore"):
        row: NDArray[np.float32] = found.astype(np.float32)
    if not np.isfinite(row).all():
        raise Invalid(f"sample {sample.name}: expected finite numbers")
    return row


def _array(content: bytes) -> Array:
    """Return the array flat; what its header asks for is compared with what is there before memory is taken."""
    file = io.BytesIO(content)
    major, _ = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, _, kind = header(file)
    left, count = len(content) - file.tell(), math.prod(shape)
    if kind.kind not in "fiub" or not 1 <= count <= MAX_NUMBERS or count != max(shape, default=1):
        raise ValueError(f"it is {kind} {list(shape)}")
    if count * kind.itemsize != left:
        raise ValueError(f"it has {left} bytes for {list(shape)} of {kind}")
    return np.frombuffer(content, kind, count, file.tell())
