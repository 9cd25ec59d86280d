"""TensorFlow Serving's metric names over our readings, so that boards made for it go on working.

It knows no versions: a model's versions are added up. When one retires its share goes, which a scraper
reads as a restart of the counter.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric, UntypedMetricFamily

from skerry.node.metrics.family import Maker, sized
from skerry.node.metrics.reading import Reading, Timed
from skerry.node.metrics.series import FINE, TFS_BUCKETS, TFS_COARSE

PREFIX = ":tensorflow:serving:"
EXAMPLES = tuple(1 << n for n in range(15))  # examples in a request: 1 to 16,384
RUNTIME = "skerry"  # where TensorFlow Serving has TF1 or TFRT

# The API and the entrypoint of each protocol; a name that is not here is its own API.
APIS: dict[str, tuple[str, str]] = {
    "tfs-http": ("Predict", "REST"),
    "tfs-http-classify": ("Classify", "REST"),
    "tfs-http-regress": ("Regress", "REST"),
    "tfs-grpc": ("Predict", "GRPC"),
    "tfs-grpc-classify": ("Classify", "GRPC"),
    "tfs-grpc-regress": ("Regress", "GRPC"),
    "tfs-grpc-multi": ("MultiInference", "GRPC"),
}

# The status code of each class of error, as the node's table of HTTP statuses has it.
STATUSES: dict[str, str] = {
    "Invalid": "INVALID_ARGUMENT",
    "NotFound": "NOT_FOUND",
    "TooLarge": "RESOURCE_EXHAUSTED",
    "NotAllowed": "PERMISSION_DENIED",
    "Conflict": "ABORTED",
    "Unsupported": "UNIMPLEMENTED",
    "QueueFull": "UNAVAILABLE",
    "NotReady": "UNAVAILABLE",
    "DeadlinePassed": "DEADLINE_EXCEEDED",
    "Cancelled": "CANCELLED",
    "Unreachable": "UNAVAILABLE",
    "LoadFailed": "INTERNAL",
    "RunFailed": "INTERNAL",
    "GoldenFailed": "INTERNAL",
}


def entrance(api: str) -> tuple[str, str]:
    """Return the API and the entrypoint of a protocol's name."""
    return APIS.get(api) or (api, "GRPC" if "grpc" in api else "REST")


def _by_model(readings: Sequence[Reading]) -> dict[str, list[Reading]]:
    models: dict[str, list[Reading]] = defaultdict(list)
    for one in readings:
        models[one.model].append(one)
    return models


def _counts(readings: Sequence[Reading]) -> Metric:
    family = UntypedMetricFamily(
        f"{PREFIX}request_count", "The total number of requests.", labels=("model_name", "status")
    )
    for model, several in _by_model(readings).items():
        counts = Counter({"OK": 0})
        for one in several:
            for outcome, count in one.outcomes().items():
                counts["OK" if outcome == "ok" else STATUSES.get(outcome, "UNKNOWN")] += count
        for status, count in counts.items():
            family.add_metric((model, status), count)
    return family


def _request_latency(readings: Sequence[Reading]) -> Metric:
    family = HistogramMetricFamily(
        f"{PREFIX}request_latency",
        "Distribution of wall time (in microseconds) for a request.",
        labels=("model_name", "API", "entrypoint"),
    )
    for model, several in _by_model(readings).items():
        groups: dict[tuple[str, str], list[Timed]] = defaultdict(list)
        for one in several:
            for api, timed in one.apis.items():
                groups[entrance(api)].append(timed)
        for labels, times in groups.items():
            _microseconds(family, (model, *labels), times)
    return family


def _runtime_latency(readings: Sequence[Reading]) -> Metric:
    family = HistogramMetricFamily(
        f"{PREFIX}runtime_latency",
        "Distribution of wall time (in microseconds) for the runtime.",
        labels=("model_name", "API", "runtime"),
    )
    for model, several in _by_model(readings).items():
        _microseconds(family, (model, "Predict", RUNTIME), [one.phases["infer"] for one in several])
    return family


def _example_counts(readings: Sequence[Reading]) -> Metric:
    family = HistogramMetricFamily(
        f"{PREFIX}request_example_counts", "The number of examples per request.", labels=("model",)
    )
    for model, several in _by_model(readings).items():
        sizes: Counter[int] = Counter()
        for one in several:
            sizes.update(one.sizes)
        family.add_metric((model,), sized(sizes, EXAMPLES)[0], sum(one.examples for one in several))
    return family


def _example_total(readings: Sequence[Reading]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}request_example_count", "The total number of examples.", labels=("model",))
    for model, several in _by_model(readings).items():
        family.add_metric((model,), sum(one.examples for one in several))
    return family


def _microseconds(family: HistogramMetricFamily, labels: Sequence[str], several: Sequence[Timed]) -> None:
    timed = Timed.of_all(several, len(FINE) + 1)
    # Six digits, as TensorFlow Serving prints its limits: a board's query for le="188.957" must find it.
    limits = [f"{bound:g}" for bound in TFS_BUCKETS]
    buckets: list[tuple[str, float]] = [*zip(limits, timed.below(FINE, TFS_COARSE), strict=True), ("+Inf", timed.count)]
    family.add_metric(labels, buckets, timed.nanos / 1000)


# Its counters have no _total, save one: they are untyped here, and family.written names their type.
TFS = (
    Maker(_counts, 2),
    Maker(_request_latency, 2 * (len(TFS_BUCKETS) + 3)),
    Maker(_runtime_latency, len(TFS_BUCKETS) + 3),
    Maker(_example_counts, len(EXAMPLES) + 3),
    Maker(_example_total, 1),
)
