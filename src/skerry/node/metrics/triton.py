"""Triton's metric names over our readings, so that boards made for it go on working.

What has no meaning here has no series: no GPU, no pinned memory, no response cache. Only the request's quantiles are
kept; those of its phases would cost every request a ring of times each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric, UntypedMetricFamily

from skerry.node.metrics.family import MODEL, Maker
from skerry.node.metrics.reading import MachineLoad, Reading

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)

# Triton's reason for each class of error; whatever is not named here is OTHER.
REASONS: dict[str, str] = {
    "QueueFull": "REJECTED",
    "NotReady": "REJECTED",
    "DeadlinePassed": "REJECTED",
    "Cancelled": "CANCELED",
    "LoadFailed": "BACKEND",
    "RunFailed": "BACKEND",
    "GoldenFailed": "BACKEND",
}
ALL_REASONS = ("REJECTED", "CANCELED", "BACKEND", "OTHER")

COUNTERS: tuple[tuple[str, str, Callable[[Reading], float]], ...] = (
    ("nv_inference_request_success", "Number of successful inference requests, all batch sizes", lambda r: r.requests),
    ("nv_inference_count", "Number of inferences performed", lambda r: r.examples),
    ("nv_inference_exec_count", "Number of model executions performed", lambda r: r.runs),
    ("nv_inference_request_duration_us", "Cumulative request duration, microseconds", lambda r: r.total.nanos / 1000),
    ("nv_inference_queue_duration_us", "Cumulative queue duration, microseconds", lambda r: r.nanos("queue") / 1000),
    (
        "nv_inference_compute_input_duration_us",
        "Cumulative compute input duration (parse and preprocess), microseconds",
        lambda r: r.nanos("parse", "preprocess") / 1000,
    ),
    (
        "nv_inference_compute_infer_duration_us",
        "Cumulative compute inference duration, microseconds",
        lambda r: r.nanos("infer") / 1000,
    ),
    (
        "nv_inference_compute_output_duration_us",
        "Cumulative compute output duration (postprocess and encode), microseconds",
        lambda r: r.nanos("postprocess", "encode") / 1000,
    ),
)


def machine(load: MachineLoad) -> Iterator[Metric]:
    """Yield how busy the machine is."""
    yield GaugeMetricFamily("nv_cpu_utilization", "CPU utilization rate [0.0 - 1.0]", load.cpu)
    yield GaugeMetricFamily("nv_cpu_memory_total_bytes", "CPU total memory (RAM), in bytes", load.memory_total)
    yield GaugeMetricFamily("nv_cpu_memory_used_bytes", "CPU used memory (RAM), in bytes", load.memory_used)


def _counter(name: str, text: str, value: Callable[[Reading], float]) -> Maker:
    def make(readings: Sequence[Reading]) -> Metric:
        family = UntypedMetricFamily(name, text, labels=MODEL)
        for one in readings:
            family.add_metric((one.model, one.version), value(one))
        return family

    return Maker(make, 1)


def _pending(readings: Sequence[Reading]) -> Metric:
    family = GaugeMetricFamily("nv_inference_pending_request_count", "Requests awaiting execution", labels=MODEL)
    for one in readings:
        family.add_metric((one.model, one.version), one.pending)
    return family


def _failures(readings: Sequence[Reading]) -> Metric:
    family = UntypedMetricFamily(
        "nv_inference_request_failure", "Number of failed inference requests", labels=(*MODEL, "reason")
    )
    for one in readings:
        counts = dict.fromkeys(ALL_REASONS, 0)
        for (_, outcome), (count, _) in one.failures.items():
            counts[REASONS.get(outcome, "OTHER")] += count
        for reason, count in counts.items():
            family.add_metric((one.model, one.version, reason), count)
    return family


def _summary(readings: Sequence[Reading]) -> Metric:
    name = "nv_inference_request_summary_us"
    family = Metric(name, "Request duration, microseconds; quantiles of the latest 1,024 answers", "summary")
    for one in readings:
        labels = {"model": one.model, "version": one.version}
        family.add_sample(f"{name}_count", labels, one.requests)
        family.add_sample(f"{name}_sum", labels, one.total.nanos / 1000)
        for share in QUANTILES:
            family.add_sample(name, {**labels, "quantile": str(share)}, one.quantile(share) * 1e6)
    return family


# Triton's counters have no _total: they are untyped here, and family.written names their type.
TRITON = (
    *(_counter(*row) for row in COUNTERS),
    Maker(_failures, len(ALL_REASONS)),
    Maker(_pending, 1),
    Maker(_summary, len(QUANTILES) + 2),
)
