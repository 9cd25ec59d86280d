"""Metrics: counters and histograms of latency by phase, as a Prometheus text page."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

# Seconds. From a tiny model (0.1 ms) to a detector on a slow board (5 s), three buckets a decade.
BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """A node's metrics, in a registry of their own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        model = ["model", "version"]
        self._phases = Histogram(
            "skerry_inference_seconds",
            "Time of one inference by phase; waiting is the time in the queue",
            [*model, "phase"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._requests = Counter(
            "skerry_inferences", "Inferences by outcome", [*model, "outcome"], registry=self._registry
        )
        self._swaps = Counter("skerry_swaps", "Times a model came into service", ["model"], registry=self._registry)
        self._refusals = Counter("skerry_refusals", "Bundles refused, by error", ["error"], registry=self._registry)
        self._alarms = Counter("skerry_alarms", "Alarms raised, by rule", ["rule"], registry=self._registry)
        self.backlog = Gauge(
            "skerry_journal_backlog", "Journal entries that the hub has not acknowledged", registry=self._registry
        )
        self.unrecorded = Counter(
            "skerry_results_unrecorded", "Results that the journal could not take", registry=self._registry
        )
        self._versions: dict[str, str] = {}

    def inference(self, model: str, version: int, millis: Mapping[str, float]) -> None:
        """Count one good inference and its phases."""
        self._requests.labels(model, str(version), "ok").inc()
        for phase, spent in millis.items():
            self._phases.labels(model, str(version), phase).observe(spent / 1000)

    def failure(self, model: str, version: int, outcome: str) -> None:
        """Count one inference that failed; `outcome` is the error's class, of which there are few."""
        self._requests.labels(model, str(version), outcome).inc()

    def swapped(self, model: str, version: int) -> None:
        """Count a swap, and drop the series of the version that went: they would only pile up."""
        self._swaps.labels(model).inc()
        self.dropped(model)
        self._versions[model] = str(version)

    def dropped(self, model: str) -> None:
        """Drop the series of a model's version that no longer serves."""
        old = self._versions.pop(model, None)
        if old is not None:
            for series in (self._phases, self._requests):
                series.remove_by_labels({"model": model, "version": old})

    def refused(self, error: str) -> None:
        """Count a bundle that was refused."""
        self._refusals.labels(error).inc()

    def alarm(self, rule: str) -> None:
        """Count an alarm."""
        self._alarms.labels(rule).inc()

    def page(self) -> bytes:
        """Return the text page."""
        return generate_latest(self._registry)
