"""When to try again: exponential delays with equal jitter, and a server's interval with its own jitter.

The random number is an argument, so a delay is a value that a test can name.
Equal jitter (half of the delay is sure, half is chance): Brooker, "Exponential Backoff And Jitter",
AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Delays that double from `first` to at most `most` seconds."""

    first: float = 0.5  # s; a process that restarts is back in about this time
    most: float = 60.0  # s; a link that comes back is noticed within a minute

    def delay(self, failures: int, chance: float, asked: float = 0.0) -> float:
        """Return the seconds to wait after `failures` (1 or more) failures in a row.

        `chance` is uniform in [0, 1); `asked` is the peer's own wish (Retry-After), which is the least.
        """
        ceiling = min(self.most, self.first * 2.0 ** min(failures - 1, 30))
        return max(asked, ceiling * (0.5 + 0.5 * chance))


def jittered(interval: float, chance: float, share: float = 0.2) -> float:
    """Return `interval` seconds give or take `share` of it, so that a fleet does not march in step."""
    return interval * (1.0 + share * (2.0 * chance - 1.0))
