"""How sure a measured share or rate is: Wilson's interval, and the exact bounds of a rate of rare events.

Counts may be fractions, for what a longer measurement would give at the same rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

from skerry.core.errors import Invalid

LEVEL = 0.95  # of every interval that is not told otherwise
HALVINGS = 100  # of a bisection: more than a double has bits
MOST_EVENTS = 1_000_000  # of a Poisson bound; beyond that a run is no rare event


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`; in `level` of all measurements such an interval holds the truth."""

    low: float
    high: float
    level: float = LEVEL

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def z_of(level: float) -> float:
    """Return how many standard deviations a two-sided interval of that level reaches: 1.96 for 0.95."""
    _check_level(level)
    return NormalDist().inv_cdf((1 + level) / 2)


def wilson(hits: float, count: float, level: float = LEVEL) -> Interval:
    """Return the interval of a share, `hits` of `count` (Wilson's score interval); 0 to 1 if nothing was counted."""
    if not 0 <= hits <= count or not math.isfinite(count):
        raise Invalid(f"hits: expected a number from 0 to {count}; got {hits}")
    return wilson_z(hits, count, z_of(level), level)


def wilson_z(hits: float, count: float, z: float, level: float = LEVEL) -> Interval:
    """Return Wilson's interval that reaches `z` standard deviations."""
    if count == 0:
        return Interval(0.0, 1.0, level)
    share, square = hits / count, z * z
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = z / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    low = 0.0 if hits == 0 else max(0.0, middle - half)
    high = 1.0 if hits == count else min(1.0, middle + half)
    return Interval(low, high, level)


def poisson_bound(events: int, level: float = LEVEL) -> float:
    """Return the mean that is not exceeded, with `level` certainty, if so many events came.

    0 events at 0.95 give 3.0, the rule of three: none in 30 hours proves less than 0.1 an hour.
    """
    _check_events(events)
    _check_level(level)
    return _zero(lambda mean: poisson_cdf(events, mean) - (1 - level))


def poisson_floor(events: int, level: float = LEVEL) -> float:
    """Return the mean that is reached at least, with `level` certainty, if so many events came."""
    _check_events(events)
    if events == 0:
        return 0.0
    _check_level(level)
    return _zero(lambda mean: poisson_cdf(events - 1, mean) - level)


def poisson_cdf(events: int, mean: float) -> float:
    """Return the chance of at most `events` where `mean` are expected."""
    if mean <= 0:
        return 1.0
    greatest = min(events, int(mean))  # the largest term; smaller ones are products from there, so nothing overflows
    term = start = math.exp(greatest * math.log(mean) - mean - math.lgamma(greatest + 1))
    total = start
    for k in range(greatest, 0, -1):
        term *= k / mean
        total += term
        if term < total * 1e-17:
            break
    term = start
    for k in range(greatest + 1, events + 1):
        term *= mean / k
        total += term
        if term < total * 1e-17:
            break
    return min(1.0, total)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise Invalid(f"level: expected a share between 0 and 1; got {level}")


def _check_events(events: int) -> None:
    if not 0 <= events <= MOST_EVENTS:
        raise Invalid(f"events: expected a whole number from 0 to {MOST_EVENTS}; got {events}")


def _zero(falling: Callable[[float], float]) -> float:
    """Return where a falling function of positive numbers meets 0."""
    low, high = 0.0, 1.0
    while falling(high) > 0:
        high *= 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if falling(middle) > 0:
            low = middle
        else:
            high = middle
    return high
