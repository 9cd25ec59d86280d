"""The time: one seam of two methods, and its fake. Nothing else in Skerry asks for the time."""

from __future__ import annotations

import time


class Clock:
    """The machine's clocks."""

    def now(self) -> float:
        """Return Unix seconds; may jump when the clock is set."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that only ever grow, for durations."""
        return time.perf_counter()


class FakeClock(Clock):
    """A clock that a test moves."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.time = now

    def now(self) -> float:
        """Return the time that the test set."""
        return self.time

    def monotonic(self) -> float:
        """Return the same time; it only grows if the test only adds."""
        return self.time
