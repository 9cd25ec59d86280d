"""The statistics extension has every field that its gRPC message has; /stats says the same to people."""

from __future__ import annotations

import json

import pytest
from google.protobuf.json_format import ParseDict
from tritonclient.grpc.service_pb2 import ModelStatisticsResponse

from skerry.host.clock import FakeClock
from skerry.node.metrics import Metrics
from skerry.node.metrics.oip import statistics
from skerry.node.metrics.people import overhead, people, text

NANOS = (20_000, 50_000, 400_000, 4_000_000, 30_000, 25_000)


@pytest.fixture
def metrics():
    found = Metrics(FakeClock(1_800_000_000.0))
    one = found.of("m", 3)
    for _ in range(3):
        one.done("oip-http", NANOS, 2, 5_000_000)
    one.done("oip-grpc", NANOS, 8, 6_000_000)
    one.failed("oip-grpc", "Invalid", 70)
    one.rejected("oip-grpc")
    one.memory = lambda: 64 << 20
    found.of("m", 4)
    found.of("n", 1)
    return found


def test_every_field_of_a_version(metrics):
    (one,) = statistics(metrics.readings("m", 3))["model_stats"]
    assert one == {
        "name": "m",
        "version": "3",
        "last_inference": 1_800_000_000_000,
        "inference_count": 14,
        "execution_count": 4,
        "inference_stats": {
            "success": {"count": 4, "ns": 21_000_000},
            "fail": {"count": 2, "ns": 70},
            "queue": {"count": 4, "ns": 200_000},
            "compute_input": {"count": 4, "ns": 4 * 420_000},
            "compute_infer": {"count": 4, "ns": 16_000_000},
            "compute_output": {"count": 4, "ns": 4 * 55_000},
            "cache_hit": {"count": 0, "ns": 0},
            "cache_miss": {"count": 0, "ns": 0},
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": {"count": runs, "ns": runs * 420_000},
                "compute_infer": {"count": runs, "ns": runs * 4_000_000},
                "compute_output": {"count": runs, "ns": runs * 55_000},
            }
            for size, runs in ((2, 3), (8, 1))
        ],
        "memory_usage": [{"type": "CPU", "id": 0, "byte_size": 64 << 20}],
    }


def test_no_field_of_triton_is_missing_or_of_another_name(metrics):
    found = statistics(metrics.readings())
    message = ParseDict(found, ModelStatisticsResponse())  # raises for a name or a type that is not the message's
    assert [(one.name, one.version) for one in message.model_stats] == [("m", "3"), ("m", "4"), ("n", "1")]

    def missing(value, descriptor):
        names = {field.name: field for field in descriptor.fields}
        yield from (f"{descriptor.name}.{name}" for name in set(names) - set(value))
        for name, inner in value.items():
            for one in inner if isinstance(inner, list) else [inner]:
                if isinstance(one, dict) and name != "response_stats":  # a map, and empty
                    yield from missing(one, names[name].message_type)

    assert list(missing(found, ModelStatisticsResponse.DESCRIPTOR)) == []


def test_what_is_asked_for_is_what_comes(metrics):
    assert [one.version for one in metrics.readings("m")] == ["3", "4"]
    assert [one.version for one in metrics.readings("m", 4)] == ["4"]
    assert metrics.readings("nobody") == metrics.readings("m", 9) == []
    assert statistics([]) == {"model_stats": []}


def test_people_get_a_page_of_json(metrics):
    metrics.swapped("m", 3)
    metrics.restarted("m")
    series = metrics.of("m", 3)
    series.bare_ms, series.added_ms, series.load_seconds, series.pending = 4.3, 0.09, 1.25, 2
    series.shadow.compared(True, 1.5)
    found = people(metrics.readings("m", 3), {"m": metrics.counts("m")})
    (one,) = json.loads(json.dumps(found, allow_nan=False))["models"]
    assert (one["requests"], one["examples"], one["runs"], one["pending"]) == (4, 14, 4, 2)
    assert (one["p50_ms"], one["p99_ms"], one["of_latest"]) == (5.0, 6.0, 4)
    assert one["mean_ms"]["infer"] == 4.0
    assert one["errors"] == {"Invalid": 1, "QueueFull": 1}
    assert (one["swaps"], one["restarts"], one["quarantines"]) == (1, 1, 0)
    assert one["overhead"] == {"bare_ms": 4.3, "added_ms": 0.09, "text": "adds 0.09 ms (2.1 %) to the bare runtime"}
    assert one["shadow"] == {"compared": 1, "agreed": 1, "errors": 0, "mean_latency_ratio": 1.5}
    assert one["last"] == "2027-01-15T08:00:00+00:00"


def test_people_get_aligned_text(metrics):
    series = metrics.of("m", 3)
    series.bare_ms, series.added_ms, series.load_seconds = 4.3, 0.09, 1.25
    page = text(people(metrics.readings(), {"m": metrics.counts("m")}))
    assert page.startswith(
        "m version 3\n"
        "  requests    4, 4.0 a second in the last minute\n"
        "  latency     p50 5.000 ms, p99 6.000 ms (latest 4)\n"
        "  errors      Invalid 1, QueueFull 1\n"
        "  queue       0 waiting, 0 at work, 0 skipped\n"
        "  memory      64.0 MiB\n"
        "  model       0 swaps, 0 restarts\n"
        "  load        1.25 s\n"
        "  overhead    adds 0.09 ms (2.1 %) to the bare runtime\n"
        "\n"
        "  phase          mean ms    share\n"
        "  parse            0.020    0.4 %\n"
    )
    assert "\n  total            5.250  100.0 %\n" in page
    silent = page[page.index("n version 1") :]
    assert "latency     p50 -, p99 - (latest 0)" in silent
    assert "  memory      not known\n" in silent
    assert "  total                -        -\n" in silent
    assert text(people([], {})) == "no model has been asked yet\n"


def test_a_quarantine_and_a_candidate_are_told(metrics):
    metrics.quarantined("n")
    series = metrics.of("n", 1)
    series.shadow.compared(False, 2.0)
    series.shadow.failed()
    page = text(people(metrics.readings("n"), {"n": metrics.counts("n")}))
    assert "  quarantine  1 versions are not tried again\n" in page
    assert "  shadow      0 of 1 agreed, 1 errors\n" in page


@pytest.mark.parametrize(
    ("bare", "added", "expected"),
    [
        (None, 1.0, None),
        (1.0, None, None),
        (0.0, 0.5, "adds 0.50 ms to the bare runtime"),
        (2.0, 0.5, "adds 0.50 ms (25.0 %) to the bare runtime"),
    ],
)
def test_what_serving_adds(bare, added, expected):
    found = overhead(bare, added)
    assert (found and found["text"]) == expected
