"""The text page: it parses, the aliases show our numbers, and what retires is gone from all of it."""

from __future__ import annotations

import itertools
import re
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import validation
from prometheus_client.parser import text_string_to_metric_families

from skerry.core import errors
from skerry.host.clock import FakeClock
from skerry.node.metrics import PHASES, Metrics
from skerry.node.metrics.metrics import MAX_LABELS, MAX_SERIES
from skerry.node.metrics.reading import MachineLoad
from skerry.node.metrics.tfs import PREFIX, STATUSES, entrance
from skerry.node.metrics.triton import REASONS

NANOS = (20_000, 50_000, 400_000, 4_000_000, 30_000, 25_000)
COUNTERS = (
    "request_success", "count", "exec_count", "request_failure", "request_duration_us", "queue_duration_us",
    "compute_input_duration_us", "compute_infer_duration_us", "compute_output_duration_us",
)  # fmt: skip


def samples(text):
    """Return every sample by name and labels; two with one name and labels are a page that no scraper takes."""
    found, short = {}, set(re.findall(r"^# TYPE (\S+)(?<!_total) counter$", text.decode(), re.MULTILINE))
    for family in text_string_to_metric_families(text.decode()):
        for one in family.samples:
            name = family.name if family.name in short else one.name  # the parser gives every counter a _total
            key = name, tuple(sorted(one.labels.items()))
            assert key not in found, key
            found[key] = one.value
    return found


def total(found, name, **labels):
    """Return the sum of the samples of a name that have these labels."""
    return sum(value for (n, have), value in found.items() if n == name and labels.items() <= dict(have).items())


def asked():
    """Return metrics of a node that has been asked a few things."""
    metrics = Metrics(FakeClock())
    one, two, other = metrics.of("m", 1), metrics.of("m", 2), metrics.of("n", 1)
    one.done("tfs-http", NANOS, 4, 5_000_000)
    two.done("oip-grpc", NANOS, 1, 6_000_000)
    two.failed("oip-grpc", "Invalid", 1000)
    two.rejected("oip-grpc")
    other.done("tfs-grpc", NANOS, 1, 7_000_000)
    other.skipped()
    other.pending, other.inflight = 3, 1
    return metrics


def test_the_page_is_counted_by_phase_and_outcome():
    metrics = asked()
    metrics.swapped("m", 2)
    metrics.refused("WrongDigest")
    metrics.alarm("a rule")
    metrics.restarted("m")
    metrics.quarantined("m")
    metrics.unrecorded.inc(3)
    metrics.backlog.set_function(lambda: 7)
    found = samples(metrics.page())
    for phase, nanos in zip(PHASES, NANOS, strict=True):
        labels = {"model": "m", "version": "1", "phase": phase}
        assert total(found, "skerry_inference_seconds_count", **labels) == 1
        assert total(found, "skerry_inference_seconds_sum", **labels) == pytest.approx(nanos / 1e9)
        for le in ("0.0001", "0.005", "+Inf"):
            expected = nanos <= float(le) * 1e9
            assert total(found, "skerry_inference_seconds_bucket", le=le, **labels) == expected
    assert total(found, "skerry_inference_seconds_sum", model="m", phase="total") == pytest.approx(0.011)
    assert total(found, "skerry_request_seconds_count", model="m", api="tfs-http") == 1
    assert total(found, "skerry_inferences_total", model="m", outcome="ok") == 2
    assert total(found, "skerry_inferences_total", model="m", version="2", outcome="Invalid") == 1
    assert total(found, "skerry_inferences_total", outcome="QueueFull") == 1
    assert total(found, "skerry_batch_size_sum", model="m", version="1") == 4
    assert total(found, "skerry_skipped_total", model="n") == 1
    assert (total(found, "skerry_pending"), total(found, "skerry_inflight")) == (3, 1)
    assert total(found, "skerry_latency_p99_seconds", model="n") == 0.007
    assert total(found, "skerry_serving_version", model="m") == 2
    names = ("swaps", "worker_restarts", "quarantines", "refusals", "alarms", "results_unrecorded")
    assert [total(found, f"skerry_{name}_total") for name in names] == [1, 1, 1, 1, 1, 3]
    assert found["skerry_alarms_total", (("rule", "a rule"),)] == 1
    assert found["skerry_journal_backlog", ()] == 7


def test_what_nobody_knows_has_no_sample():
    metrics = Metrics(FakeClock())
    series = metrics.of("m", 1)
    unknown = (
        "skerry_latency_p99_seconds", "skerry_load_seconds", "skerry_bare_seconds", "skerry_added_seconds",
        "skerry_worker_memory_bytes", "skerry_shadow_compared_total", "skerry_shadow_latency_ratio_count",
        "nv_cpu_utilization",
    )  # fmt: skip
    found = {name for name, _ in samples(metrics.page())}
    assert not found & set(unknown)
    assert "skerry_inferences_total" in found  # from 0 on, or the first failure is no rate
    series.load_seconds, series.bare_ms, series.added_ms, series.memory = 1.5, 4.0, 0.5, lambda: 1 << 20
    series.shadow.compared(True, 1.3)
    series.done("a", NANOS, 1, 1_000_000)
    metrics.watch(lambda: MachineLoad(0.25, 8 << 30, 2 << 30))
    found = samples(metrics.page())
    assert [total(found, name) for name in unknown] == [0.001, 1.5, 0.004, 0.0005, 1 << 20, 1, 1, 0.25]
    assert total(found, "skerry_shadow_latency_ratio_bucket", le="1.25") == 0
    assert total(found, "skerry_shadow_latency_ratio_bucket", le="1.5") == 1
    assert (total(found, "nv_cpu_memory_total_bytes"), total(found, "nv_cpu_memory_used_bytes")) == (8 << 30, 2 << 30)


def test_the_aliases_have_the_types_and_names_of_the_originals():
    text = asked().page().decode()
    for name in COUNTERS:
        assert f"# TYPE nv_inference_{name} counter\n" in text
    assert '\nnv_inference_request_success{model="m",version="1"} 1.0\n' in text
    assert '\nnv_inference_request_failure{model="m",reason="REJECTED",version="2"} 1.0\n' in text
    assert "# TYPE nv_inference_pending_request_count gauge\n" in text
    assert "# TYPE nv_inference_request_summary_us summary\n" in text
    assert '\nnv_inference_request_summary_us{model="n",quantile="0.999",version="1"} 7000.0\n' in text
    assert f"# TYPE {PREFIX}request_count counter\n" in text
    assert f'\n{PREFIX}request_count{{model_name="m",status="INVALID_ARGUMENT"}} 1.0\n' in text
    assert f"# TYPE {PREFIX}request_example_count_total counter\n" in text
    labels = 'API="Predict",entrypoint="REST"'
    assert f'\n{PREFIX}request_latency_bucket{{{labels},le="3570.47",model_name="m"}} 0.0\n' in text
    assert f'\n{PREFIX}request_latency_bucket{{{labels},le="6426.84",model_name="m"}} 1.0\n' in text
    assert "untyped" not in text
    buckets = [line for line in text.splitlines() if line.startswith(f"{PREFIX}request_latency_bucket{{{labels},")]
    assert len(buckets) == 34


def test_a_page_holds_the_sets_of_names_that_are_asked_for():
    metrics = asked()
    kinds = {"skerry": "skerry_", "triton": "nv_", "tfs": ":tensorflow:"}
    for name, prefix in kinds.items():
        assert {n[: len(prefix)] for n, _ in samples(metrics.page(name))} == {prefix}
    assert samples(metrics.page(*kinds)) == samples(metrics.page())
    assert b"".join(metrics.pieces()) == metrics.page()


def test_every_name_is_one_that_every_prometheus_takes():
    for name, labels in samples(asked().page()):
        assert validation.METRIC_NAME_RE.match(name)
        assert all(validation.METRIC_LABEL_NAME_RE.match(label) for label, _ in labels)


def test_any_text_in_a_label_is_one_label():
    metrics = Metrics(FakeClock())
    rule = 'a "rule"\n# TYPE x untyped\\'
    metrics.alarm(rule)
    metrics.of("m", 1).failed("a\nb", rule)
    found = samples(metrics.page())
    assert found["skerry_alarms_total", (("rule", rule),)] == 1
    assert total(found, "skerry_inferences_total", outcome=rule) == 1


events = st.lists(
    st.tuples(
        st.sampled_from([("m", 1), ("m", 2), ("other-model", 7)]),
        st.one_of(
            st.tuples(
                st.just("done"),
                st.sampled_from(["oip-http", "tfs-http", "tfs-grpc", "tfs-grpc-classify", "predict"]),
                st.lists(st.integers(0, 10**10), min_size=6, max_size=6),
                st.integers(0, 9),
                st.integers(0, 10**11),
                st.booleans(),
            ),
            st.tuples(
                st.just("failed"), st.just("tfs-http"), st.sampled_from([*STATUSES, "KeyError"]), st.integers(0, 10**9)
            ),
            st.tuples(st.just("rejected"), st.just("oip-http")),
            st.tuples(st.just("ran"), st.integers(1, 9), *[st.integers(0, 10**9)] * 3),
            st.tuples(st.just("skipped")),
        ),
    ),
    max_size=30,
)  # fmt: skip


@settings(max_examples=40)  # each makes and parses a page, 10 ms
@given(events)
def test_the_aliases_show_our_numbers(happened):
    metrics = Metrics(FakeClock())
    for (model, version), (what, *values) in happened:
        getattr(metrics.of(model, version), what)(*values)
    found = samples(metrics.page())
    for model, version in {key for key, _ in happened}:
        _as_triton(found, model=model, version=str(version))
    for model in {key[0] for key, _ in happened}:
        _as_tfs(found, model)


def _as_triton(found, **labels):
    good = total(found, "skerry_inferences_total", outcome="ok", **labels)
    every = total(found, "skerry_inferences_total", **labels)
    assert total(found, "nv_inference_request_success", **labels) == good
    assert total(found, "nv_inference_request_failure", **labels) == every - good
    assert total(found, "nv_inference_request_summary_us_count", **labels) == good
    assert total(found, "nv_inference_exec_count", **labels) == total(found, "skerry_batch_size_count", **labels)
    seconds = {
        phase: total(found, "skerry_inference_seconds_sum", phase=phase, **labels) for phase in (*PHASES, "total")
    }
    for name, phases in {
        "request": ("total",),
        "queue": ("queue",),
        "compute_input": ("parse", "preprocess"),
        "compute_infer": ("infer",),
        "compute_output": ("postprocess", "encode"),
    }.items():
        expected = sum(seconds[phase] for phase in phases) * 1e6
        assert total(found, f"nv_inference_{name}_duration_us", **labels) == pytest.approx(expected)


def _as_tfs(found, model):
    good = total(found, "skerry_inferences_total", outcome="ok", model=model)
    every = total(found, "skerry_inferences_total", model=model)
    assert total(found, f"{PREFIX}request_count", model_name=model) == every
    assert total(found, f"{PREFIX}request_count", model_name=model, status="OK") == good
    assert total(found, f"{PREFIX}request_latency_count", model_name=model) == good
    assert total(found, f"{PREFIX}runtime_latency_count", model_name=model) == good
    for name, phase in (("request", "total"), ("runtime", "infer")):
        expected = total(found, "skerry_inference_seconds_sum", model=model, phase=phase) * 1e6
        assert total(found, f"{PREFIX}{name}_latency_sum", model_name=model) == pytest.approx(expected)
    assert total(found, f"{PREFIX}request_example_counts_count", model=model) == good
    examples = total(found, f"{PREFIX}request_example_count_total", model=model)
    assert total(found, f"{PREFIX}request_example_counts_sum", model=model) == examples
    assert total(found, "nv_inference_count", model=model) == examples


@settings(max_examples=40)  # each makes and parses a page, 10 ms
@given(events)
def test_every_histogram_only_grows_and_ends_at_its_count(happened):
    metrics = Metrics(FakeClock())
    for (model, version), (what, *values) in happened:
        getattr(metrics.of(model, version), what)(*values)
    found = samples(metrics.page())
    rows = {}
    for (name, labels), value in found.items():
        if name.endswith("_bucket"):
            rest = tuple(pair for pair in labels if pair[0] != "le")
            rows.setdefault((name, rest), []).append((float(dict(labels)["le"]), value))
    for (name, rest), row in rows.items():
        values = [value for _, value in sorted(row)]
        assert values == sorted(values)
        assert values[-1] == found[name.removesuffix("_bucket") + "_count", rest]


def test_a_thousand_versions_leave_the_series_of_one():
    metrics = Metrics(FakeClock())
    for version in range(1, 1001):
        metrics.of("m", version).done("tfs-http", NANOS, 1, 1000)
        metrics.swapped("m", version)
        if version > 1:
            metrics.dropped("m", version - 1)
    found = samples(metrics.page())
    assert {dict(labels)["version"] for _, labels in found if "version" in dict(labels)} == {"1000"}
    assert total(found, f"{PREFIX}request_count", model_name="m") == 1
    assert total(found, "skerry_swaps_total", model="m") == 1000
    metrics.dropped("m")
    metrics.dropped("m")
    assert {name for name, labels in samples(metrics.page()) if "m" in dict(labels).values()} == {"skerry_swaps_total"}


def test_who_still_holds_a_retired_series_counts_for_nobody():
    metrics = asked()
    held = metrics.of("m", 1)
    metrics.swapped("m", 1)
    metrics.swapped("m", 2)
    assert metrics.of("m", 1) is held  # a swap retires nothing: other versions may go on
    metrics.dropped("m", 1)
    held.done("tfs-http", NANOS, 1, 1)
    found = samples(metrics.page())
    assert total(found, "skerry_inferences_total", model="m", version="1") == 0
    assert total(found, "skerry_inferences_total", model="m", version="2") == 3
    assert total(found, "skerry_serving_version", model="m") == 2
    assert total(found, f"{PREFIX}request_latency_count", model_name="m") == 1
    assert metrics.of("m", 1) is not held


def test_a_node_that_counts_too_much_counts_the_rest_together():
    metrics = Metrics(FakeClock())
    for index in range(MAX_SERIES + 5):
        metrics.of(f"m{index}", 1).done("a", NANOS, 1, 1)
        metrics.alarm(f"rule {index}")
    assert len(metrics.readings()) == MAX_SERIES + 1
    rest = metrics.readings()[-1]
    assert (rest.model, rest.version, rest.requests) == ("(others)", "0", 5)
    assert metrics.readings("m3")[0].requests == 1
    found = samples(metrics.page("triton"))
    assert total(found, "nv_inference_request_success") == MAX_SERIES + 5
    alarms = samples(b"".join(itertools.islice(metrics.pieces("skerry"), 7)))
    assert total(alarms, "skerry_alarms_total", rule="other") == MAX_SERIES + 5 - MAX_LABELS


def test_a_page_of_many_models_has_one_heading_for_each_family():
    metrics = Metrics(FakeClock())
    for index in range(30):
        metrics.of(f"m{index}", 1).done("tfs-http", NANOS, 1, 1)
    text = metrics.page().decode()
    headings = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(headings) == len(set(headings))
    assert total(samples(text.encode()), "skerry_inference_seconds_count", phase="infer") == 30
    assert max(piece.count(b"\n") for piece in metrics.pieces()) < 300


def test_every_error_has_its_reason_and_its_status():
    """Each error that a request can end with; those of trust and of peers are not a request's."""
    mine = {errors.RequestError, errors.BusyError, errors.ModelError}
    names = {kind.__name__ for base in mine for kind in base.__subclasses__() if kind.__module__ == errors.__name__}
    assert names <= set(STATUSES)
    assert {REASONS.get(name, "OTHER") for name in names} == {"REJECTED", "BACKEND", "OTHER"}
    assert (REASONS["Cancelled"], STATUSES["Cancelled"]) == ("CANCELED", "CANCELLED")


@pytest.mark.parametrize(
    ("api", "expected"),
    [
        ("tfs-http", ("Predict", "REST")),
        ("tfs-grpc", ("Predict", "GRPC")),
        ("tfs-grpc-regress", ("Regress", "GRPC")),
        ("oip-grpc", ("oip-grpc", "GRPC")),
        ("predict", ("predict", "REST")),
    ],
)
def test_the_entrance_of_a_protocol(api, expected):
    assert entrance(api) == expected


def test_counts_come_from_many_threads():
    metrics = Metrics(FakeClock())

    def work():
        for _ in range(2000):
            metrics.alarm("a")
            metrics.restarted("m")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.counts("m") == {"swaps": 0, "restarts": 8000, "quarantines": 0}
    assert total(samples(metrics.page("skerry")), "skerry_alarms_total") == 8000
