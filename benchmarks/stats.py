"""Counts of microseconds to medians, percentiles and ratios. Pure: no clock, no process.

Lanes run in many short rounds, one after the other, so a ratio is made within each round (the same mood of the
machine for both) and the median of those ratios is what counts.
"""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Micros = Mapping[int, int]  # microseconds -> how often
MIN_P99 = 662  # samples under which no p99 is printed: MLPerf's early stopping at 99 % confidence starts there


@dataclass(frozen=True)
class Round:
    """What one lane did in one round."""

    seconds: float
    done: int
    micros: Micros

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.done / self.seconds

    def quantity(self, name: str) -> float:
        """Return "rate", "p50" or "p99" (both in microseconds)."""
        if name == "rate":
            return self.rate
        return percentile(self.micros, int(name.removeprefix("p")) / 100)


@dataclass(frozen=True)
class Spread:
    """The median of some numbers, the least and the greatest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


def counted(nanos: Iterable[int]) -> Counter[int]:
    """Return nanoseconds as counts of whole microseconds, rounded to the nearest."""
    return Counter((value + 500) // 1000 for value in nanos)


def pooled(rounds: Iterable[Round]) -> Counter[int]:
    """Return the samples of all rounds together."""
    found: Counter[int] = Counter()
    for one in rounds:
        found.update(one.micros)
    return found


def percentile(micros: Micros, share: float) -> float:
    """Return the least value that at least `share` of the samples do not exceed (nearest rank)."""
    total = sum(micros.values())
    if not total or not 0 < share <= 1:
        raise ValueError(f"percentile: expected samples and a share in (0, 1]; got {total} and {share}")
    left = share * total
    for value in sorted(micros):
        left -= micros[value]
        if left <= 1e-9 * total:  # a share of the total is a float: 0.99 * 100 must not ask for the 100th
            return float(value)
    return float(max(micros))


def paired(top: Sequence[float], under: Sequence[float]) -> Spread:
    """Return the ratios of each round's two numbers."""
    return Spread.of([one / other for one, other in zip(top, under, strict=True)])


def uncorrected(micros: Micros, expected: int) -> Counter[int]:
    """Return what wrk measured, without the samples that it makes up.

    wrk takes `expected`, the mean interval of one connection, and adds for every sample of at least twice that long
    the samples that would have been late behind it: value - expected, value - 2 * expected, ... A closed loop sends
    none of them. What was added comes from longer values only, so it is taken away from the longest down.
    """
    found = Counter(micros)
    if expected < 1:
        return found
    for value in sorted(micros, reverse=True):
        if value < 2 * expected:
            break
        count = found[value]
        if count:
            for late in range(value - expected, expected, -expected):
                found[late] -= count
    return +found


def against_neighbours(steady: Sequence[float], disturbed: Sequence[float]) -> Spread:
    """Return the ratios of each disturbed window to the mean of the steady ones before and after it.

    The windows alternate and begin and end steady: one more of `steady`.
    """
    if len(steady) != len(disturbed) + 1:
        raise ValueError(f"expected one steady window more; got {len(steady)} and {len(disturbed)}")
    means = [(before + after) / 2 for before, after in itertools.pairwise(steady)]
    return paired(disturbed, means)
