"""What a soak found: PASS or FAIL, and why. Pure: no clock, no disk.

A leak is a line that goes up: the slope of Theil and Sen (the median of the slopes of all pairs) with its confidence
interval (Sen 1968) over what follows the warm-up. It is called a leak if even the lower end of the interval, over the
time that was looked at, is more than what such a line moves by itself.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.soaking.lanes import BUSY
from benchmarks.soaking.sample import Sample

WARM_SHARE, WARM_SECONDS = 0.2, 600.0  # of the run, and at most: caches fill, allocators find their size
LEAST = 8  # samples that a slope needs
MOST = 1000  # samples that it is taken from; more are thinned out evenly, for pairs grow with the square
SURE = 2.576  # standard deviations: 99 % that the slope is in the interval
MAX_BUSY = 0.01  # share of requests that may be told to come again
FLOORS = {"memory": (4.0, 0.03), "files": (6.0, 0.0), "threads": (6.0, 0.0), "disk": (8.0, 0.05)}  # unit, share


@dataclass(frozen=True)
class Trend:
    """How a line goes over the time that was looked at."""

    name: str
    unit: str
    slope: float  # a hour
    low: float  # the interval of the slope
    high: float
    hours: float
    level: float  # median
    allowed: float  # growth that is none

    @property
    def leaks(self) -> bool:
        """Whether it grows for sure, and by more than is allowed."""
        return self.low * self.hours > self.allowed


@dataclass(frozen=True)
class Verdict:
    """The whole of it."""

    reasons: tuple[str, ...]  # why it failed; none: it passed
    trends: tuple[Trend, ...]
    done: int
    failures: Mapping[str, int]

    @property
    def passed(self) -> bool:
        """Whether the node may go to the edge."""
        return not self.reasons

    @property
    def leaks(self) -> list[Trend]:
        """The lines that grow."""
        return [trend for trend in self.trends if trend.leaks]


def theil_sen(times: Sequence[float], values: Sequence[float]) -> tuple[float, float, float]:
    """Return the slope and its interval, by the median of the slopes of all pairs."""
    x, y = np.asarray(times), np.asarray(values)
    first, second = np.triu_indices(len(x), 1)
    slopes = np.sort((y[second] - y[first]) / (x[second] - x[first]))
    n = len(x)
    spread = SURE * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = max(0, int((len(slopes) - spread) / 2))
    high = min(len(slopes) - 1, math.ceil((len(slopes) + spread) / 2))
    return float(np.median(slopes)), float(slopes[low]), float(slopes[high])


def trends(samples: Sequence[Sample]) -> list[Trend]:
    """Return how memory, files, threads and disk go; none while there are too few samples."""
    if not samples:
        return []
    warm = min(samples[-1].at * WARM_SHARE, WARM_SECONDS)
    kept = [one for one in samples if one.at >= warm]
    kept = kept[:: -(-len(kept) // MOST)] if kept else kept
    if len(kept) < LEAST:
        return []
    lines: list[tuple[str, str, str, Callable[[Sample], float]]] = [
        ("memory of all processes", "memory", "MiB", lambda one: sum(one.own.values())),
        ("memory of the node's own process", "memory", "MiB", lambda one: one.own.get("node", 0.0)),
        ("memory of the nursery", "memory", "MiB", lambda one: one.own.get("sk-nursery", 0.0)),
        ("open files of all processes", "files", "files", lambda one: sum(one.files.values())),
        ("open files of the node's own process", "files", "files", lambda one: one.files.get("node", 0)),
        ("threads of all processes", "threads", "threads", lambda one: sum(one.threads.values())),
        ("disk", "disk", "MiB", lambda one: one.disk),
    ]
    return [_trend(kept, *line) for line in lines]


def _trend(kept: Sequence[Sample], name: str, kind: str, unit: str, value: Callable[[Sample], float]) -> Trend:
    hours, values = [one.at / 3600 for one in kept], [value(one) for one in kept]
    level = statistics.median(values)
    least, share = FLOORS[kind]
    return Trend(name, unit, *theil_sen(hours, values), hours[-1] - hours[0], level, max(least, share * level))


def judge(samples: Sequence[Sample], faults: Sequence[str], alive: bool) -> Verdict:
    """Return the verdict on what was seen; `faults` is what went wrong beside the lanes."""
    failures: Counter[str] = Counter()
    done = 0
    for sample in samples:
        for ask in sample.lanes.values():
            failures.update(ask.failures)
            done += ask.done
    found = trends(samples)
    reasons = [] if alive else ["the node ended by itself"]
    for kind, count in failures.items():
        if kind != BUSY:
            reasons.append(f"{count} requests failed: {kind}")
    if failures[BUSY] > MAX_BUSY * (done + failures[BUSY]):
        reasons.append(f"{failures[BUSY]} of {done + failures[BUSY]} requests were told to come again")
    reasons += faults
    reasons += [
        f"{one.name} grows by {one.slope:.3g} {one.unit} an hour ({one.low:.3g} to {one.high:.3g})"
        for one in found
        if one.leaks
    ]
    silent = [name for name in samples[-1].lanes if not any(s.lanes[name].done for s in samples)] if samples else []
    reasons += [f"lane {name}: no answer at all" for name in silent]
    if not found:
        reasons.append(f"too short to tell a leak: {len(samples)} looks")
    return Verdict(tuple(reasons), tuple(found), done, dict(failures))
