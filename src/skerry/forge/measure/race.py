"""Who is faster, measured in turns: short slices of each, round after round, so that what else the machine does meets
all of them. What counts is the ratio within a round; the median over rounds forgets those that something disturbed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from skerry.core.card import Latency, Ratio
from skerry.core.errors import Invalid
from skerry.engine.arrays import to_tensor
from skerry.engine.session import Session
from skerry.forge.data.look import Watch, quiet
from skerry.forge.measure.bootstrap import median_interval
from skerry.forge.measure.differ import Input
from skerry.forge.measure.measure import fitted
from skerry.host.clock import Clock

SLICE_NANOS = 20_000_000  # of one model in one round: short beside what disturbs a machine, long beside a switch
LEAST_RUNS = 3  # in a slice, however long they take
LEAST_ROUNDS = 5  # however little time there is
WARM_RUNS = 3  # before the first round: the first run of a session allocates
SEED = 20_117


@dataclass(frozen=True)
class Lane:
    """One model in the race, the inputs it is given in turn, and how many threads its session was opened with."""

    session: Session
    inputs: Sequence[Input]
    threads: int = 1


@dataclass(frozen=True)
class Raced:
    """What came of it: each lane's latency, and each one's time as a ratio to the first lane's (the first is 1)."""

    latencies: tuple[Latency, ...]
    ratios: tuple[Ratio, ...]


@dataclass
class _Timed:
    lane: Lane
    nanos: list[int] = field(default_factory=list)
    medians: list[float] = field(default_factory=list)  # of each round
    turn: int = 0

    def slice(self, clock: Clock) -> None:
        """Run for a slice."""
        mine: list[int] = []
        end = clock.nanos() + SLICE_NANOS
        while len(mine) < LEAST_RUNS or clock.nanos() < end:
            mine.append(self.run(clock))
        self.nanos += mine
        self.medians.append(statistics.median(mine))

    def run(self, clock: Clock) -> int:
        """Return the nanoseconds of one run, on the next input."""
        given = self.lane.inputs[self.turn % len(self.lane.inputs)]
        self.turn += 1
        began = clock.nanos()
        if isinstance(given, bytes):
            self.lane.session.look(given)
        else:
            self.lane.session.feed(given)
        return max(1, clock.nanos() - began)


def race(lanes: Sequence[Lane], seconds: float, clock: Clock, watch: Watch = quiet, seed: int = SEED) -> Raced:
    """Run the lanes in turns for about so many seconds; raise Invalid for inputs that a session does not take."""
    timed = [_Timed(_prepared(lane)) for lane in lanes]
    if not timed:
        raise Invalid("race: expected a lane; got none")
    for one in timed:
        for _ in range(WARM_RUNS):
            one.run(clock)
    began, rounds = clock.monotonic(), 0
    while rounds < LEAST_ROUNDS or clock.monotonic() - began < seconds:
        first = rounds % len(timed)
        order = [*timed[first:], *timed[:first]]  # nobody always runs in another's wake
        for one in order if rounds // len(timed) % 2 else reversed(order):
            one.slice(clock)
        rounds += 1
        watch(min(int(clock.monotonic() - began), int(seconds)), int(seconds), "racing")
    return Raced(tuple(map(_latency, timed)), tuple(_ratio(one, timed[0], seed) for one in timed))


def _prepared(lane: Lane) -> Lane:
    """Return the lane with arrays as its session feeds on them, after one checked run of each."""
    if not lane.inputs:
        raise Invalid("race: expected inputs for each lane; got none")
    ready: list[Input] = []
    for given in lane.inputs:
        if isinstance(given, bytes):
            ready.append(given)
            continue
        feeds = fitted(lane.session.inputs, given)
        lane.session.infer([to_tensor(name, array) for name, array in feeds.items()])
        ready.append({name: np.ascontiguousarray(array) for name, array in feeds.items()})
    return Lane(lane.session, ready, lane.threads)


def _latency(timed: _Timed) -> Latency:
    found = sorted(timed.nanos)
    p99 = found[min(len(found) - 1, int(len(found) * 0.99))]
    return Latency(statistics.median(found) / 1000, p99 / 1000, len(found), timed.lane.threads)


def _ratio(timed: _Timed, first: _Timed, seed: int) -> Ratio:
    ratios = [mine / other for mine, other in zip(timed.medians, first.medians, strict=True)]
    return Ratio(statistics.median(ratios), median_interval(ratios, seed), len(ratios))
