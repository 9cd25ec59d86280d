"""Steps on class scores, after the model: softmax and the best k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from skerry.core.fields import Fields
from skerry.engine.steps.step import Named, Trace, named


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
        best = np.argsort(-scores, kind="stable")[: self.k]
        return {"scores": scores[best], "classes": best.astype(np.int64)}
