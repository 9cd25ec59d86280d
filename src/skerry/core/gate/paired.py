"""What two models did on the same examples: how much the second one loses, and how sure that is.

Only the examples that one alone got right tell them apart, so a paired test needs far fewer examples than two separate
accuracies would. The interval is Tango's score interval (Statistics in Medicine 17, 1998): unlike a bootstrap it has
a width where the two never differed, and its coverage holds for few differences, which is what gates meet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

from skerry.core.errors import Invalid
from skerry.core.gate.interval import HALVINGS, LEVEL, Interval, z_of


@dataclass(frozen=True)
class Paired:
    """Counts of examples: `lost`, right before and wrong after; `won`, wrong before and right after; of `count`."""

    lost: float
    won: float
    count: float

    def __post_init__(self) -> None:
        if min(self.lost, self.won) < 0 or self.lost + self.won > self.count or not math.isfinite(self.count):
            raise Invalid(f"paired: expected lost + won up to {self.count}; got {self.lost} and {self.won}")

    @staticmethod
    def of(before: Iterable[bool], after: Iterable[bool]) -> Paired:
        """Return the counts of two lists of "was it right", in the same order; Invalid if one is longer."""
        lost = won = count = 0
        try:
            for one, other in zip(before, after, strict=True):
                count += 1
                lost += bool(one and not other)
                won += bool(other and not one)
        except ValueError:
            raise Invalid(f"paired: expected two lists of one length; one ends after {count}") from None
        return Paired(lost, won, count)

    @property
    def loss(self) -> float:
        """The share by which the second one is worse; negative if it is better."""
        return (self.lost - self.won) / self.count if self.count else 0.0

    def scaled(self, count: float) -> Paired:
        """Return what `count` examples would give at the same rates.

        Half an example is added to each of the four ways to come out first: none seen is not none there.
        """
        share = count / (self.count + 2)
        return Paired((self.lost + 0.5) * share, (self.won + 0.5) * share, count)


def mcnemar(paired: Paired) -> float:
    """Return McNemar's exact two-sided p: the chance of so uneven a split if neither model were better."""
    few, many = sorted((round(paired.lost), round(paired.won)))
    count = few + many
    top = math.lgamma(count + 1) - count * math.log(2)
    terms = (math.exp(top - math.lgamma(k + 1) - math.lgamma(count - k + 1)) for k in range(few, -1, -1))
    return min(1.0, 2 * math.fsum(terms))


def worse(paired: Paired, margin: float) -> float:
    """Return the one-sided p of "the loss is `margin` or more": below 0.025, a smaller loss is proven."""
    return NormalDist().cdf(_score(paired, margin))


def loss_interval(paired: Paired, level: float = LEVEL) -> Interval:
    """Return Tango's interval of the loss; -1 to 1 if nothing was counted."""
    return loss_interval_z(paired, z_of(level), level)


def loss_interval_z(paired: Paired, z: float, level: float = LEVEL) -> Interval:
    """Return Tango's interval that reaches `z` standard deviations."""
    if not paired.count:
        return Interval(-1.0, 1.0, level)
    return Interval(_bound(paired, z, -1.0), _bound(paired, -z, 1.0), level)


def _bound(paired: Paired, score: float, end: float) -> float:
    """Return the loss whose score is `score`, between the loss seen and `end`; scores fall as losses rise."""
    near, far = paired.loss, end
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        if abs(_score(paired, middle)) < abs(score):
            near = middle
        else:
            far = middle
    return far


def _score(paired: Paired, loss: float) -> float:
    """Return how many standard deviations the counts lie above a true loss, with the rates that fit it best."""
    lost, won, count = paired.lost, paired.won, paired.count
    above = lost - won - count * loss
    if above == 0:
        return 0.0
    b = -lost - won + (2 * count - lost + won) * loss
    c = -won * loss * (1 - loss)
    rate = (math.sqrt(max(0.0, b * b - 8 * count * c)) - b) / (4 * count)  # of "won", if the loss were true
    variance = count * (2 * rate + loss * (1 - loss))
    return above / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, above)
