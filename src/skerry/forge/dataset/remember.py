"""The never-forget suite: examples that every candidate must still know, whatever it has learnt since."""

from __future__ import annotations

from dataclasses import dataclass

from skerry.core.card import Accuracy
from skerry.core.gate import Verdict
from skerry.engine.bundle import Bundle
from skerry.forge.data import Data, look
from skerry.forge.data.look import Watch
from skerry.forge.measure import Classified, compare
from skerry.forge.recipe.meter import measured_on


@dataclass(frozen=True)
class Remembered:
    """What both models know of the suite, the verdict, and the examples that only the one before knew."""

    before: Accuracy
    after: Accuracy
    verdict: Verdict
    forgotten: tuple[str, ...]


def remember(before: Bundle, after: Bundle, suite: Data, most: float, watch: Watch) -> Remembered:
    """Return whether a candidate loses less than `most` (a share) of the suite, against the model before it."""
    data = look(suite, watch).data
    one, other = measured_on(before, data, watch), measured_on(after, data, watch)
    forgotten: tuple[str, ...] = ()
    if isinstance(one, Classified) and isinstance(other, Classified):
        pairs = zip(one.names, one.right.tolist(), other.right.tolist(), strict=True)
        forgotten = tuple(name for name, knew, knows in pairs if knew and not knows)
    return Remembered(one.accuracy(), other.accuracy(), compare(one, other, most), forgotten)
