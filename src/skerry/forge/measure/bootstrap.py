"""The bootstrap: how far a number would move if other examples had been drawn, where no formula says it.

Seeded, so that the same measurement gives the same interval. It knows no more than it saw: where two models never
differed it has no width, so shares of right answers go through core.gate instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skerry.core.errors import Invalid
from skerry.core.gate import LEVEL, Interval

TIMES = 2000  # resamples; the ends of a 95 % interval then move by about a fiftieth of its width
CHUNK = 1 << 22  # numbers drawn at once, 32 MB

Floats = NDArray[np.float64]


def mean_interval(values: Sequence[float] | Floats, seed: int, level: float = LEVEL, times: int = TIMES) -> Interval:
    """Return the percentile interval of the mean."""
    found = _numbers(values)
    return percentiles(np.concatenate([draw.mean(axis=1) for draw in _draws(found, seed, times)]), level)


def median_interval(values: Sequence[float] | Floats, seed: int, level: float = LEVEL, times: int = TIMES) -> Interval:
    """Return the percentile interval of the median."""
    found = _numbers(values)
    return percentiles(np.concatenate([np.median(draw, axis=1) for draw in _draws(found, seed, times)]), level)


def difference_interval(
    before: Sequence[float] | Floats,
    after: Sequence[float] | Floats,
    seed: int,
    level: float = LEVEL,
    times: int = TIMES,
) -> Interval:
    """Return the paired percentile interval of mean(after) - mean(before); both of the same examples, in order."""
    one, other = _numbers(before), _numbers(after)
    if len(one) != len(other):
        raise Invalid(f"bootstrap: expected pairs; got {len(one)} and {len(other)} values")
    return mean_interval(other - one, seed, level, times)


def percentiles(draws: Floats, level: float) -> Interval:
    """Return the middle `level` of what the resamples gave."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level)


def _draws(values: Floats, seed: int, times: int) -> list[Floats]:
    random, size = np.random.default_rng(seed), max(1, CHUNK // len(values))
    return [
        values[random.integers(0, len(values), (min(size, times - start), len(values)))]
        for start in range(0, times, size)
    ]


def _numbers(values: Sequence[float] | Floats) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise Invalid(f"bootstrap: expected a list of finite numbers; got the shape {list(found.shape)}")
    return found
