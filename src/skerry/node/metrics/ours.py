"""Skerry's own metric families, made of readings when somebody scrapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from skerry.node.metrics.family import MODEL, Maker, le, sized
from skerry.node.metrics.reading import Reading, Shadowed, Timed
from skerry.node.metrics.series import BUCKETS, COARSE, FINE, RATIOS

SIZES = tuple(1 << n for n in range(11))  # examples in a run: 1 to 1,024


def _seconds(family: HistogramMetricFamily, labels: Sequence[str], timed: Timed) -> None:
    bounds = COARSE if len(timed.cells) == len(COARSE) + 1 else FINE
    family.add_metric(labels, le(BUCKETS, timed.below(bounds, COARSE), timed.count), timed.nanos / 1e9)


def _phases(readings: Sequence[Reading]) -> Metric:
    family = HistogramMetricFamily(
        "skerry_inference_seconds",
        "Time of one answer by phase; total is from the first byte to the last, and so more than the sum",
        labels=(*MODEL, "phase"),
    )
    for one in readings:
        for phase, timed in {**one.phases, "total": one.total}.items():
            _seconds(family, (one.model, one.version, phase), timed)
    return family


def _requests(readings: Sequence[Reading]) -> Metric:
    family = HistogramMetricFamily(
        "skerry_request_seconds", "Time of one answer in all, by the protocol it was asked in", labels=(*MODEL, "api")
    )
    for one in readings:
        for api, timed in one.apis.items():
            _seconds(family, (one.model, one.version, api), timed)
    return family


def _outcomes(readings: Sequence[Reading]) -> Metric:
    family = CounterMetricFamily(
        "skerry_inferences", "Requests by outcome: ok, or the class of the error", labels=(*MODEL, "outcome")
    )
    for one in readings:
        for outcome, count in one.outcomes().items():
            family.add_metric((one.model, one.version, outcome), count)
    return family


def _batches(readings: Sequence[Reading]) -> Metric:
    family = HistogramMetricFamily("skerry_batch_size", "Examples in one run of the model", labels=MODEL)
    for one in readings:
        buckets, total = sized({size: cell[0] for size, cell in one.batches.items()}, SIZES)
        family.add_metric((one.model, one.version), buckets, total)
    return family


def _skips(readings: Sequence[Reading]) -> Metric:
    family = CounterMetricFamily("skerry_skipped", "Frames that a newer one overtook, never run", labels=MODEL)
    for one in readings:
        family.add_metric((one.model, one.version), one.skips)
    return family


def _gauge(name: str, text: str, value: Callable[[Reading], float | None]) -> Maker:
    """Return a gauge by model and version, which a version for which nobody knows the value does not have."""

    def make(readings: Sequence[Reading]) -> Metric:
        family = GaugeMetricFamily(name, text, labels=MODEL)
        for one in readings:
            found = value(one)
            if found is not None:
                family.add_metric((one.model, one.version), found)
        return family

    return Maker(make, 1)


def _compared(name: str, text: str, value: Callable[[Shadowed], int]) -> Maker:
    """Return a counter of candidates, which a version that never was one does not have."""

    def make(readings: Sequence[Reading]) -> Metric:
        family = CounterMetricFamily(name, text, labels=MODEL)
        for one in readings:
            if one.shadow.used:
                family.add_metric((one.model, one.version), value(one.shadow))
        return family

    return Maker(make, 1)


def _ratios(readings: Sequence[Reading]) -> Metric:
    family = HistogramMetricFamily(
        "skerry_shadow_latency_ratio", "The candidate's time over that of the version that serves", labels=MODEL
    )
    for one in readings:
        shadow = one.shadow
        if shadow.used:
            below = [sum(shadow.ratios[: index + 1]) for index in range(len(RATIOS))]
            family.add_metric((one.model, one.version), le(RATIOS, below, shadow.compared), shadow.ratio_sum)
    return family


def _thousandth(value: float | None) -> float | None:
    return None if value is None else value / 1000


OURS = (
    Maker(_phases, 7 * (len(BUCKETS) + 3)),
    Maker(_requests, 2 * (len(BUCKETS) + 3)),
    Maker(_outcomes, 2),
    Maker(_batches, len(SIZES) + 3),
    Maker(_skips, 1),
    _gauge("skerry_pending", "Requests that wait for the model", lambda r: r.pending),
    _gauge("skerry_inflight", "Requests that the model works on", lambda r: r.inflight),
    _gauge("skerry_latency_p50_seconds", "Half of the latest 1,024 answers took at most this", lambda r: r.p50),
    _gauge("skerry_latency_p99_seconds", "99 % of the latest 1,024 answers took at most this", lambda r: r.p99),
    _gauge("skerry_load_seconds", "Time to load, verify and warm the model", lambda r: r.load_seconds),
    _gauge("skerry_bare_seconds", "One run of the runtime alone, measured at load", lambda r: _thousandth(r.bare_ms)),
    _gauge("skerry_added_seconds", "What serving adds to that, measured at load", lambda r: _thousandth(r.added_ms)),
    _gauge("skerry_worker_memory_bytes", "Resident memory of the model's worker", lambda r: r.memory or None),
    _compared("skerry_shadow_compared", "Answers of a candidate that were compared", lambda s: s.compared),
    _compared("skerry_shadow_agreed", "Answers of a candidate that agreed", lambda s: s.agreed),
    _compared("skerry_shadow_errors", "Requests that the candidate alone could not answer", lambda s: s.errors),
    Maker(_ratios, len(RATIOS) + 3),
)
