"""Parting data for training and test: by the hash of the content, or of a group; never by shuffling.

An example's split depends on itself alone, so it stays where it is when others are added, and equal files never part.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from skerry.core.errors import Invalid
from skerry.forge.data.example import Data, Example


@dataclass(frozen=True)
class Shares:
    """What part of the data is kept for validation and for the test."""

    val: float = 0.15
    test: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.val, self.test) < 0 or self.val + self.test >= 1:
            raise Invalid(f"shares: expected val + test below 1; got {self.val} and {self.test}")

    def told(self, by: str) -> str:
        """Return how the data was split, for the card."""
        return f"by {by}, val {self.val:g}, test {self.test:g}, seed {self.seed}"


def split(data: Data, shares: Shares, by: str = "") -> Data:
    """Return the data with every example's split set; what the data itself says goes first.

    `by` is content or group; "" takes groups where every example has one. Raises Invalid for groups that are missing,
    or an example that has not been looked at.
    """
    if all(example.split for example in data.examples):
        return data
    chosen = by or way(data)
    if chosen not in ("content", "group"):
        raise Invalid(f"split: expected content or group; got {chosen!r}")
    return replace(data, examples=tuple(_placed(example, shares, chosen) for example in data.examples))


def way(data: Data) -> str:
    """Return how data is split unless it is told otherwise: given, group or content."""
    if data.examples and all(example.split for example in data.examples):
        return "given"
    return "group" if data.examples and all(example.group for example in data.examples) else "content"


def _placed(example: Example, shares: Shares, by: str) -> Example:
    if example.split:
        return example
    key = example.group if by == "group" else example.digest
    if not key:
        what = "a group" if by == "group" else "to have been looked at"
        raise Invalid(f"split: example {example.name}: expected {what}")
    place = int.from_bytes(hashlib.sha256(f"{shares.seed}:{key}".encode()).digest()[:8], "big") / 2**64
    chosen = "test" if place < shares.test else "val" if place < shares.test + shares.val else "train"
    return replace(example, split=chosen)
