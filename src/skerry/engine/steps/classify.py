"""Steps on class scores, after the model: from a quantised model's numbers to real ones, softmax, the best k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from skerry.core.fields import Fields
from skerry.engine.arrays import Array
from skerry.engine.steps.step import Named, Trace, named


@dataclass(frozen=True)
class Dequantise:
    """The whole numbers of a quantised model to real ones: (value - zero) * scale, in float32."""

    output: str
    scale: float
    zero: int
    name: ClassVar[str] = "dequantise"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: output (the name of the array), scale (over 0), zero (default 0)."""
        scale = options.real("scale", low=1e-30)
        return cls(options.text("output"), scale, options.whole("zero", default=0, low=-(1 << 31), high=1 << 31))

    def __call__(self, values: Named, trace: Trace) -> Named:
        """Return the arrays with that one replaced."""
        whole = named(values, self.output, self.name).astype(np.float32)
        return {**values, self.output: (whole - np.float32(self.zero)) * np.float32(self.scale)}


@dataclass(frozen=True)
class Softmax:
    """Logits to probabilities over the last axis that is not of size 1."""

    output: str
    name: ClassVar[str] = "softmax"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: output (the name of the array)."""
        return cls(options.text("output"))

    def __call__(self, values: Named, trace: Trace) -> Named:
        """Return the arrays with that one replaced."""
        logits = named(values, self.output, self.name).astype(np.float32).reshape(-1)
        powers = np.exp(logits - logits.max())  # the greatest becomes 1, so nothing overflows
        return {**values, self.output: powers / powers.sum()}


@dataclass(frozen=True)
class TopK:
    """The k best classes of one array of scores, best first: arrays `scores` and `classes`."""

    output: str
    k: int
    name: ClassVar[str] = "top_k"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: output (the name of the array), k (default 5)."""
        return cls(options.text("output"), options.whole("k", default=5, low=1, high=1000))

    def __call__(self, values: Named, trace: Trace) -> Named:
        """Return `scores` float32 [k] and `classes` int64 [k] in place of the array."""
        scores = named(values, self.output, self.name).astype(np.float32).reshape(-1)
        best = best_of(scores, self.k)
        return {"scores": scores[best], "classes": best.astype(np.int64)}


def best_of(scores: Array, k: int) -> Array:
    """Return the indices of the k greatest, best first, of equals the first first; what is no number comes last."""
    if k < len(scores):
        least = np.partition(scores, len(scores) - k)[len(scores) - k]  # a sort of all 1,000 takes 5 times as long
        among = np.flatnonzero(scores >= least)
        if len(among) >= k:  # fewer, if there are some that are no numbers: they pass for the greatest here
            return among[np.argsort(-scores[among], kind="stable")[:k]]
    return np.argsort(-scores, kind="stable")[:k]
