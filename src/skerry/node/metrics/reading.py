"""What a series had counted at one moment, as values: every page and every dictionary is made of these alone.

Here live no clock, no library and no counting. Ours and the aliases' numbers are equal because they have one source.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Timed:
    """A histogram: counts by bucket, the last one without an upper bound; and the sum of nanoseconds."""

    cells: tuple[int, ...]
    nanos: int

    @property
    def count(self) -> int:
        """Return how many times were measured."""
        return sum(self.cells)

    @staticmethod
    def of_all(several: Iterable[Timed], width: int) -> Timed:
        """Return the sum of histograms with the same bounds, of which there may be none."""
        found = list(several)
        return Timed(tuple(sum(one.cells[i] for one in found) for i in range(width)), sum(one.nanos for one in found))

    def below(self, bounds: Sequence[int], wanted: Sequence[int]) -> list[int]:
        """Return the count at or below each wanted bound, which is one of `bounds`, those of the cells."""
        running, total = {}, 0
        for bound, count in zip(bounds, self.cells, strict=False):
            total += count
            running[bound] = total
        return [running[bound] for bound in wanted]


@dataclass(frozen=True)
class Shadowed:
    """A candidate's comparisons with the version that serves."""

    compared: int = 0
    agreed: int = 0
    errors: int = 0
    ratios: tuple[int, ...] = ()  # by bucket of series.RATIOS, and one above
    ratio_sum: float = 0.0

    @property
    def used(self) -> bool:
        """Return whether this version ever was a candidate that somebody watched."""
        return bool(self.compared or self.errors)


@dataclass(frozen=True)
class Reading:
    """The counts of one version of one model at one moment."""

    model: str
    version: str
    requests: int  # good answers
    examples: int  # in those
    phases: Mapping[str, Timed]  # infer by series.FINE, the others by series.COARSE
    total: Timed  # by series.FINE
    apis: Mapping[str, Timed]  # by series.FINE
    failures: Mapping[tuple[str, str], tuple[int, int]]  # (api, outcome) -> count, nanoseconds
    skips: int
    sizes: Mapping[int, int]  # examples in a request -> requests
    batches: Mapping[int, tuple[int, int, int, int]]  # examples in a run -> runs, input, infer, output nanoseconds
    recent: tuple[int, ...]  # nanoseconds of the latest answers, sorted
    rate: float  # answers per second
    last: float  # Unix seconds of the latest answer, 0 before the first
    pending: int
    inflight: int
    load_seconds: float | None
    bare_ms: float | None
    added_ms: float | None
    memory: int  # bytes of the worker, 0 when nobody knows
    shadow: Shadowed

    @property
    def runs(self) -> int:
        """Return how often the model ran."""
        return sum(cell[0] for cell in self.batches.values())

    @property
    def failed(self) -> int:
        """Return how many requests had no answer."""
        return sum(count for count, _ in self.failures.values())

    def nanos(self, *phases: str) -> int:
        """Return the nanoseconds of these phases together."""
        return sum(self.phases[phase].nanos for phase in phases)

    def quantile(self, share: float) -> float:
        """Return the quantile of the recent answers in seconds by the nearest rank; NaN before the first answer."""
        if not self.recent:
            return math.nan
        return self.recent[max(0, math.ceil(share * len(self.recent)) - 1)] / 1e9

    @property
    def p50(self) -> float | None:
        """Return the median of the recent answers in seconds, None before the first."""
        return self.quantile(0.5) if self.recent else None

    @property
    def p99(self) -> float | None:
        """Return the 99th percentile of the recent answers in seconds, None before the first."""
        return self.quantile(0.99) if self.recent else None

    def outcomes(self) -> dict[str, int]:
        """Return requests by outcome: ok, or the class of the error."""
        found = {"ok": self.requests}
        for (_, outcome), (count, _) in self.failures.items():
            found[outcome] = found.get(outcome, 0) + count
        return found


@dataclass(frozen=True)
class MachineLoad:
    """How busy the whole machine is."""

    cpu: float  # 0 to 1, over all processors, since the last look
    memory_total: int  # bytes
    memory_used: int  # bytes
