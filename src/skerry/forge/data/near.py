"""Examples that are the same, or nearly: found over the whole set, and between its splits, where they are leaks.

Two pictures are near when a hash of 256 bits (is a cell brighter than its neighbour to the left?) differs in few bits
and their small copies in few levels: copies saved again, made smaller or a little brighter are; other pictures are
not, unless a camera that does not move sees things that hardly differ. So near pairs are shown to people, and only
equal ones are certain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from skerry.forge.data.example import Data, Example
from skerry.forge.data.look import Looked, Thumb

BITS = 256
NEAR_BITS = 20  # of 256; saved again at quality 50: up to 11, at half the size: 9; 50 other pictures: from 18
NEAR_LEVELS = 3.0  # of 256, root of the mean square without the mean; the same copies: up to 1, others: from 7.6
NEAR_BRIGHTNESS = 24.0  # of 256: else a black and a white frame, which have no edges at all, would be one
BLOCK = 512  # pictures compared with all others at once: 512 x 50,000 float32 take 100 MB
MOST_PICTURES = 50_000  # compared for near-equal ones: 50,000 squared take about a minute
MOST_LEAKS = 10_000  # are listed
ORDER = ("train", "val", "test")


@dataclass(frozen=True)
class Leak:
    """Two examples that are one: `kind` is same, near, or label for equal ones that bear different labels."""

    kind: str
    one: Example
    other: Example
    bits: int = 0  # of 256 that differ

    def __str__(self) -> str:
        """Tell it in a line."""
        where = f" ({self.one.split or 'all'}, {self.other.split or 'all'})"
        how = {"same": "equals", "near": f"is near ({self.bits} bits of {BITS})", "label": "is labelled otherwise than"}
        told = "" if self.kind != "label" else f": '{self.one.label}' and '{self.other.label}'"
        return f"{self.one.name} {how[self.kind]} {self.other.name}{where}{told}"


def leaks(looked: Looked, data: Data | None = None) -> tuple[Leak, ...]:
    """Return pairs that lie in different splits, or are equal under different labels; of an unsplit set, all pairs.

    `data` is the looked-at data after it was split, in the same order. At most MOST_LEAKS near pairs are listed.
    """
    examples = looked.data.examples if data is None else data.examples
    splits = {name: place for place, name in enumerate(sorted({example.split for example in examples}))}
    found = [pair for pair in _equal(examples) if pair.kind == "label" or _apart(pair, len(splits))]
    places = np.array([splits[example.split] for example in examples])
    return (*found, *islice(_near(examples, looked.thumbs, places), MOST_LEAKS))


def without(data: Data, found: tuple[Leak, ...]) -> Data:
    """Return the data without the training side of each leak, so that tests stay what they were."""
    drop = {min((leak.one, leak.other), key=lambda e: _place(e.split)).name for leak in found if leak.kind != "label"}
    return data.only([example.name not in drop for example in data.examples])


def _place(split: str) -> int:
    return ORDER.index(split) if split in ORDER else -1


def _apart(pair: Leak, splits: int) -> bool:
    return splits < 2 or pair.one.split != pair.other.split


def _equal(examples: tuple[Example, ...]) -> Iterator[Leak]:
    first: dict[str, Example] = {}
    for example in examples:
        before = first.setdefault(example.digest, example)
        if before is not example and example.digest:
            otherwise = (before.label, before.boxes) != (example.label, example.boxes)
            yield Leak("label" if otherwise else "same", before, example)


def _near(examples: tuple[Example, ...], thumbs: Thumb | None, splits: NDArray[np.int64]) -> Iterator[Leak]:
    """Give the near pairs of different splits; `splits` is the number of each example's, all 0 if there are none."""
    if thumbs is None or len(thumbs) != len(examples):
        return
    signs, levels = _hashes(thumbs[:MOST_PICTURES]), _levels(thumbs[:MOST_PICTURES])
    squares, means = (levels**2).sum(axis=1), thumbs[:MOST_PICTURES].mean(axis=(1, 2, 3))
    for start in range(0, len(signs), BLOCK):
        rows = slice(start, start + BLOCK)
        bits = (BITS - signs[rows] @ signs.T) / 2  # equal bits add 1, others take 1 away
        ones, others = np.nonzero(bits <= NEAR_BITS)
        keep = others > ones + start
        if splits.any():
            keep &= splits[others] != splits[ones + start]
        ones, others = ones[keep], others[keep]
        dots = np.einsum("ij,ij->i", levels[ones + start], levels[others])
        away = np.sqrt(np.maximum(squares[ones + start] + squares[others] - 2 * dots, 0) / levels.shape[1])
        near = (away <= NEAR_LEVELS) & (np.abs(means[ones + start] - means[others]) <= NEAR_BRIGHTNESS)
        for one, other in zip(ones[near], others[near], strict=True):
            if examples[one + start].digest != examples[other].digest:
                yield Leak("near", examples[one + start], examples[other], int(bits[one, other]))


def _hashes(thumbs: Thumb) -> NDArray[np.float32]:
    """Return -1 or 1 for each bit, so that one product of matrices counts all bits that differ."""
    grey = thumbs.astype(np.int16).sum(axis=3)
    brighter = grey[:, :, 1:] > grey[:, :, :-1]
    signs: NDArray[np.float32] = np.where(brighter.reshape(len(thumbs), -1), np.float32(1), np.float32(-1))
    return signs


def _levels(thumbs: Thumb) -> NDArray[np.float32]:
    """Return all colours of every picture, without its mean brightness."""
    flat = thumbs.reshape(len(thumbs), -1).astype(np.float32)
    centred: NDArray[np.float32] = flat - flat.mean(axis=1, keepdims=True)
    return centred
