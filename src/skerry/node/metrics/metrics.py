"""A node's metrics: which series there are, what is counted beside them, and the text page of it all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from skerry.host.clock import Clock
from skerry.node.metrics.family import pieces, tally, written
from skerry.node.metrics.ours import OURS
from skerry.node.metrics.reading import MachineLoad, Reading
from skerry.node.metrics.series import OTHER, Series
from skerry.node.metrics.tfs import TFS
from skerry.node.metrics.triton import TRITON, machine

MAX_SERIES = 512  # versions of models that are counted apart; a page of them is 14 MB, and a mistake
MAX_LABELS = 256  # values of any other label
OTHERS = "(others)"  # no model can be called so
NAMES = {"skerry": OURS, "triton": TRITON, "tfs": TFS}  # the sets of names that a page may have


class Metrics:
    """A node's metrics.

    A series is touched by one thread, the event loop, and there too its readings and pages are made.
    Everything that only counts here may be called from any thread.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._series: dict[tuple[str, int], Series] = {}
        self._others = Series(OTHERS, "0", self._clock)
        self._lock = threading.Lock()
        self._serving: dict[str, int] = {}
        self._machine: Callable[[], MachineLoad] | None = None
        self._swaps: dict[str, int] = {}
        self._restarts: dict[str, int] = {}
        self._quarantines: dict[str, int] = {}
        self._rollbacks: dict[str, int] = {}
        self._refusals: dict[str, int] = {}
        self._alarms: dict[str, int] = {}
        self._registry = CollectorRegistry()
        self.backlog = Gauge(
            "skerry_journal_backlog", "Journal entries that the hub has not acknowledged", registry=self._registry
        )
        self.unrecorded = Counter(
            "skerry_results_unrecorded", "Results that the journal could not take", registry=self._registry
        )

    def of(self, model: str, version: int) -> Series:
        """Return the series of a version, a new one at first; past MAX_SERIES one that all the rest share."""
        found = self._series.get((model, version))
        if found is None:
            with self._lock:
                if len(self._series) >= MAX_SERIES:
                    return self._others
                found = self._series.setdefault((model, version), Series(model, str(version), self._clock))
        return found

    def dropped(self, model: str, version: int | None = None) -> None:
        """Forget the series of a version, or of all of a model's; who still holds one counts for nobody."""
        with self._lock:
            for key in [key for key in self._series if key[0] == model and version in (None, key[1])]:
                del self._series[key]
            if version in (None, self._serving.get(model)):
                self._serving.pop(model, None)

    def swapped(self, model: str, version: int) -> None:
        """Count a swap: from now on this version answers who asks for none. Others may go on; see `dropped`."""
        self._add(self._swaps, model)
        with self._lock:
            self._serving[model] = version

    def restarted(self, model: str) -> None:
        """Count a worker that died and was started again."""
        self._add(self._restarts, model)

    def quarantined(self, model: str) -> None:
        """Count a version that is not tried again, since its worker kept dying."""
        self._add(self._quarantines, model)

    def rolled_back(self, model: str) -> None:
        """Count a candidate whose trial ended because it failed or said otherwise."""
        self._add(self._rollbacks, model)

    def refused(self, error: str) -> None:
        """Count a bundle that was refused."""
        self._add(self._refusals, error)

    def alarm(self, rule: str) -> None:
        """Count an alarm."""
        self._add(self._alarms, rule)

    def watch(self, machine: Callable[[], MachineLoad]) -> None:
        """Have the page say how busy the machine is."""
        self._machine = machine

    def counts(self, model: str) -> dict[str, int]:
        """Return a model's swaps, restarts and quarantines."""
        tables = {"swaps": self._swaps, "restarts": self._restarts, "quarantines": self._quarantines}
        with self._lock:
            return {name: table.get(model, 0) for name, table in tables.items()}

    def readings(self, model: str | None = None, version: int | None = None) -> list[Reading]:
        """Return what the series have counted by now: all, a model's, or one version's."""
        with self._lock:
            found = [one for one in self._series.items() if model in (None, one[0][0]) and version in (None, one[0][1])]
            readings = [series.reading() for _, series in sorted(found, key=lambda one: one[0])]
            rest = self._others.reading() if model is None else None
        return [*readings, rest] if rest is not None and (rest.requests or rest.failed) else readings

    def page(self, *names: str) -> bytes:
        """Return the text page: every family, or those of these sets of NAMES."""
        return b"".join(self.pieces(*names))

    def pieces(self, *names: str) -> Iterator[bytes]:
        """Yield the page in pieces of about a millisecond, all of one moment: an event loop can answer in between."""
        wanted, readings = names or tuple(NAMES), self.readings()
        if "skerry" in wanted:
            yield generate_latest(self._registry)
            yield from map(written, self._tallies())
        for name, makers in NAMES.items():
            for maker in makers if name in wanted else ():
                yield from pieces(maker, readings)
        if "triton" in wanted and self._machine is not None:
            yield from map(written, machine(self._machine()))

    def _tallies(self) -> Iterator[Metric]:
        with self._lock:
            serving, swaps, restarts = dict(self._serving), dict(self._swaps), dict(self._restarts)
            quarantines, refusals, alarms = dict(self._quarantines), dict(self._refusals), dict(self._alarms)
            rollbacks = dict(self._rollbacks)
        family = GaugeMetricFamily("skerry_serving_version", "The version that answers by default", labels=("model",))
        for model, version in serving.items():
            family.add_metric((model,), version)
        yield family
        yield tally("skerry_swaps", "Times a model came into service", "model", swaps)
        yield tally("skerry_worker_restarts", "Workers that died and were started again", "model", restarts)
        yield tally("skerry_quarantines", "Versions that are not tried again", "model", quarantines)
        yield tally("skerry_refusals", "Bundles refused, by error", "error", refusals)
        yield tally("skerry_alarms", "Alarms raised, by rule", "rule", alarms)
        yield tally("skerry_rollbacks", "Candidates that failed or said otherwise on trial", "model", rollbacks)

    def _add(self, counts: dict[str, int], label: str) -> None:
        with self._lock:
            place = label if label in counts or len(counts) < MAX_LABELS else OTHER
            counts[place] = counts.get(place, 0) + 1
