"""Ranges of activations from a stream of samples, in memory that does not grow with their number.

A histogram's bins lie at whole multiples of a width that is a power of two, so when a value falls outside, pairs of
bins join exactly and the result does not depend on the order of the samples. Zeros are counted apart: every grid holds
zero, and the spike that ReLU makes there must not pull the range.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from skerry.core.errors import Invalid
from skerry.forge.optimise.observe import Observed
from skerry.forge.optimise.work import Work

Array = NDArray[Any]

BINS = 4096  # of 8 bytes for each tensor; at least half are in use, so an 8-bit step is 8 bins wide or more
LEVELS = 255  # steps of an 8-bit grid
PERCENTILES = (99.9, 99.99, 99.999)
CUTS = 24  # ends tried on each side, from the whole range to TIGHTEST of it
TIGHTEST = 0.15  # of the range; a tighter grid has lost on every tensor seen
KL_LEVELS = 256
TINY = 1e-30  # a smaller width cannot be divided by in float64 without loss
METHODS = ("best", "minmax", "percentile", "kl", "mse")


@dataclass(frozen=True)
class Range:
    """What a tensor's grid spans, which method chose it, and the error that it makes on what was seen."""

    low: float
    high: float
    method: str = "minmax"
    error: float = 0.0  # mean of the squared difference between a value and its place on the grid

    @property
    def scale(self) -> float:
        """The width of a step, as the float32 that the model will hold."""
        span = max(self.high, 0.0) - min(self.low, 0.0)
        found = float(np.float32(span / LEVELS))
        return found if found >= np.finfo(np.float32).tiny else 1.0

    @property
    def zero(self) -> int:
        """The level that stands for 0."""
        return int(np.clip(np.rint(-min(self.low, 0.0) / self.scale), 0, LEVELS))


UNIT = Range(0.0, 1.0, "fixed")  # of what lies between 0 and 1 by its nature
BYTES = Range(0.0, 255.0, "fixed")  # of pixels


@dataclass
class Histogram:
    """How often which values came."""

    width: float = 0.0  # of a bin; 0 until a value other than 0 came
    start: int = 0  # the first bin begins at start * width
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    zeros: int = 0
    low: float = math.inf
    high: float = -math.inf

    @property
    def count(self) -> int:
        """How many values came."""
        return self.zeros + int(self.counts.sum())

    def add(self, values: Array) -> None:
        """Count an array's values; raise Invalid where one is not a number."""
        flat = values.reshape(-1)
        if flat.size == 0:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise Invalid("calibration: expected finite values; got NaN or infinity")
        self.low, self.high = min(self.low, low), max(self.high, high)
        rest = flat[flat != 0]
        self.zeros += flat.size - rest.size
        if rest.size == 0:
            return
        self._cover(min(low, 0.0), max(high, 0.0))
        places = np.floor(rest.astype(np.float64) / self.width).astype(np.int64) - self.start
        self.counts += np.bincount(places, minlength=BINS)

    def centres(self) -> Array:
        """Return the middle of each bin."""
        return (self.start + np.arange(BINS) + 0.5) * self.width

    def _cover(self, low: float, high: float) -> None:
        """Make the bins reach from low to high, joining as many as must be."""
        if self.width == 0.0:
            self.width = 2.0 ** math.ceil(math.log2(max((high - low) / (BINS - 2), TINY)))
            self.start = math.floor(low / self.width)
        while True:
            used = np.flatnonzero(self.counts)
            first, last = math.floor(low / self.width), math.floor(high / self.width)
            if used.size:
                first, last = min(first, self.start + int(used[0])), max(last, self.start + int(used[-1]))
            if last - first < BINS:
                break
            self._join()
        if first != self.start or last >= self.start + BINS:
            moved = np.zeros(BINS, np.int64)
            if used.size:
                moved[used + (self.start - first)] = self.counts[used]
            self.start, self.counts = first, moved

    def _join(self) -> None:
        """Double the width."""
        odd = self.start & 1
        padded = np.zeros(BINS + 2, np.int64)
        padded[odd : odd + BINS] = self.counts
        pairs = padded.reshape(-1, 2).sum(axis=1)
        self.start >>= 1
        self.width *= 2
        self.counts = np.zeros(BINS, np.int64)
        self.counts[: pairs.size] = pairs


def choose(histogram: Histogram, method: str = "best") -> Range:
    """Return the range that a method finds; `best` is the one of all methods with the least error on the real grid."""
    if method not in METHODS:
        raise Invalid(f"calibrator: expected one of {', '.join(METHODS)}; got {method}")
    if histogram.width == 0.0:  # nothing but zeros, or nothing
        return Range(0.0, 0.0)
    found = [_judged(histogram, *ends, name) for name, ends in _candidates(histogram, method)]
    return min(found, key=lambda r: r.error)


def _candidates(histogram: Histogram, method: str) -> Iterator[tuple[str, tuple[float, float]]]:
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    if method in ("best", "minmax"):
        yield "minmax", (low, high)
    if method in ("best", "percentile"):
        for percent in PERCENTILES:
            yield f"percentile {percent}", percentile(histogram, percent)
    if method in ("best", "kl"):
        yield "kl", least_divergence(histogram)
    if method in ("best", "mse"):
        yield "mse", least_error(histogram)


def _judged(histogram: Histogram, low: float, high: float, name: str) -> Range:
    plain = Range(low, high)
    return Range(low, high, name, grid_error(histogram, plain.scale, plain.zero))


def grid_error(histogram: Histogram, scale: float, zero: int) -> float:
    """Return the mean squared error of an asymmetric 8-bit grid on what was counted."""
    used = np.flatnonzero(histogram.counts)
    values, counts = histogram.centres()[used], histogram.counts[used]
    levels = np.clip(np.rint(values / scale) + zero, 0, LEVELS)
    gaps = (levels - zero) * scale - values
    return float(counts @ (gaps * gaps)) / max(1, histogram.count)


def percentile(histogram: Histogram, percent: float) -> tuple[float, float]:
    """Return the ends between which so many percent of all values lie, half of the others on each side."""
    counts = histogram.counts.copy()
    tail = histogram.count * (1 - percent / 100) / 2
    zero = -histogram.start
    if 0 <= zero < BINS:
        counts[zero] += histogram.zeros
    running = np.cumsum(counts)
    first = int(np.searchsorted(running, tail, side="right"))
    last = int(np.searchsorted(running, running[-1] - tail, side="left"))
    low, high = (histogram.start + first) * histogram.width, (histogram.start + last + 1) * histogram.width
    return max(min(low, 0.0), min(histogram.low, 0.0)), min(max(high, 0.0), max(histogram.high, 0.0))


def least_error(histogram: Histogram) -> tuple[float, float]:
    """Return the ends of the least squared error: every pair of cuts, then finer ones about the best."""
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    shares = np.linspace(1.0, TIGHTEST, CUTS)
    best = (1.0, 1.0)
    for fine in (shares, np.linspace(-0.035, 0.035, 9)):
        around = best
        lows = fine if fine is shares else np.clip(around[0] + fine, 0.01, 1.0)
        highs = fine if fine is shares else np.clip(around[1] + fine, 0.01, 1.0)
        pairs = [(a, b) for a in (lows if low < 0 else (1.0,)) for b in (highs if high > 0 else (1.0,))]
        errors = _errors(histogram, [(low * a, high * b) for a, b in pairs])
        best = pairs[int(np.argmin(errors))]
    return low * best[0], high * best[1]


def _errors(histogram: Histogram, ends: list[tuple[float, float]]) -> list[float]:
    ranges = [Range(low, high) for low, high in ends]
    used = np.flatnonzero(histogram.counts)
    values, counts = histogram.centres()[used].astype(np.float32), histogram.counts[used].astype(np.float32)
    found = []
    for each in ranges:
        levels = np.rint(values * np.float32(1 / each.scale))
        np.clip(levels, -each.zero, LEVELS - each.zero, out=levels)
        levels *= np.float32(each.scale)
        levels -= values
        found.append(float(counts @ (levels * levels)))
    return found


def least_divergence(histogram: Histogram) -> tuple[float, float]:
    """Return the ends whose grid keeps most of the distribution (Kullback-Leibler), both cut by the same share."""
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    best, found = math.inf, (low, high)
    for share in np.linspace(1.0, TIGHTEST, 2 * CUTS):
        gap = _divergence(histogram, low * share, high * share)
        if gap < best:
            best, found = gap, (low * share, high * share)
    return found


def _divergence(histogram: Histogram, low: float, high: float) -> float:
    """Return how much is lost from the distribution, its tails in the outermost bins, by merging it to 256 levels."""
    first = max(0, math.floor(low / histogram.width) - histogram.start)
    last = min(BINS, math.floor(high / histogram.width) - histogram.start + 1)
    inside = histogram.counts[first:last].astype(np.float64)
    if inside.size < KL_LEVELS or inside.sum() == 0:
        return math.inf
    clipped = inside.copy()
    clipped[0] += histogram.counts[:first].sum()
    clipped[-1] += histogram.counts[last:].sum()
    edges = np.linspace(0, inside.size, KL_LEVELS + 1).astype(np.int64)[:-1]
    sums = np.add.reduceat(inside, edges)
    filled = np.add.reduceat((inside > 0).astype(np.float64), edges)
    widths = np.diff(np.append(edges, inside.size))
    spread = np.repeat(sums / np.maximum(filled, 1), widths) * (inside > 0)
    p, q = clipped / clipped.sum(), spread / spread.sum()
    there = p > 0
    floor = 1e-9  # of a probability; where the grid has nothing the loss is large, not endless
    return float((p[there] * np.log(p[there] / np.maximum(q[there], floor))).sum())


def ranges_of(histograms: Mapping[str, Histogram], method: str = "best") -> dict[str, Range]:
    """Return the range of every tensor."""
    return {name: choose(histogram, method) for name, histogram in histograms.items()}


def collect(model: onnx.ModelProto, tensors: Collection[str], work: Work) -> dict[str, Histogram]:
    """Run the model over the samples and return a histogram of each of these tensors."""
    found = {name: Histogram() for name in tensors}
    with Observed(model, found) as session:
        for feeds in work.each("calibration"):
            answers = {**feeds, **session.run(feeds)}
            for name, histogram in found.items():
                try:
                    histogram.add(answers[name])
                except Invalid as error:
                    raise Invalid(f"tensor '{name}': {error}") from None
    return found
