"""The time: one seam of two methods, and its fake. Nothing else in Skerry asks for the time."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """The machine's clocks.

    `now()` is Unix seconds, which may jump when the clock is set; `monotonic()` seconds that only ever grow, for
    durations; `nanos()` nanoseconds that only ever grow, the same in every process of this machine. They are the
    library's own functions: a method around one took twice as long, and a request asks eight times.
    """

    now: Callable[[], float]
    monotonic: Callable[[], float]
    nanos: Callable[[], int]

    def __init__(self) -> None:
        self.now = time.time
        self.monotonic = time.perf_counter
        self.nanos = time.monotonic_ns


class FakeClock(Clock):
    """A clock that a test moves; the time only grows if the test only adds."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.time = now
        self.now = self.monotonic = lambda: self.time
        self.nanos = lambda: int(self.time * 1e9)
