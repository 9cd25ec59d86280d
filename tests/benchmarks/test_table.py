"""The benchmark's table: which ratios it makes, what it says of lanes that are missing."""

from __future__ import annotations

from benchmarks.stats import MIN_P99, Round
from benchmarks.table import TARGETS, Target, report, text

ABOUT = {
    "machine": "2 processors",
    "client": "wrk",
    "rounds": 2,
    "seconds": 1.0,
    "first": False,
    "others": {"median": 0.1, "low": 0.0, "high": 0.2},
    "missing": ["gRPC: not there"],
}


def lane(*micros: int, count: int = 1000) -> list[Round]:
    """Return rounds in which every sample took so long."""
    return [Round(1.0, count, {value: count}) for value in micros]


def test_the_best_of_several_lanes_counts_in_each_round():
    target = Target("t", "ours", "p50", ("one", "other"), "p50", 1.5, at_most=True)
    found = target.ratios({"ours": lane(30, 30), "one": lane(10, 30), "other": lane(30, 15)})
    assert (found.low, found.high) == (2, 3)
    rates = Target("t", "ours", "rate", ("one", "other"), "rate", 0.5, at_most=False)
    found = rates.ratios({"ours": lane(1, count=50), "one": lane(1, count=100), "other": lane(1, count=200)})
    assert found.median == 0.25


def test_a_target_without_its_lane_is_not_measured_and_not_met():
    target = Target("t", "ours", "p50", ("one",), "p50", 1.5, at_most=True)
    assert target.ratios({"ours": lane(1)}) is None
    assert target.ratios({"one": lane(1)}) is None
    found = report({"echo x1": lane(60, 60)}, [], ABOUT)
    assert not any(one["met"] for one in found["targets"])
    assert text(found).count("not measured") == len(TARGETS) + len(ABOUT["missing"])


def test_limits_are_kept_from_the_right_side():
    most = Target("t", "a", "p50", ("b",), "p50", 1.5, at_most=True)
    least = Target("t", "a", "rate", ("b",), "rate", 1.5, at_most=False)
    assert (most.met(1.5), most.met(1.6)) == (True, False)
    assert (least.met(1.5), least.met(1.4)) == (True, False)


def test_a_report_says_what_was_met_and_prints_no_p99_of_few_samples():
    rounds = {"echo x1": lane(60, 60), "tiny JSON x1": lane(100, 140), "tiny binary x1": lane(90, count=MIN_P99 - 1)}
    alone = [{"start": 0.5, "memory": 200.0, "idle": 0.1}, {"start": 0.6, "memory": 190.0, "idle": 0.1}]
    found = report(rounds | {"tiny binary x1": lane(90, 90, count=300)}, alone, ABOUT)
    said = {one["what"]: one["met"] for one in found["targets"]}
    assert said["MLP, JSON, p50 / echo"]
    assert said["start, s"]
    assert not said["memory, MB"]
    assert found["lanes"]["tiny binary x1"]["p99_us"] is None
    assert found["lanes"]["tiny JSON x1"]["p99_us"] == 140
    page = text(found)
    assert "MISSED" in page
    assert "other programs kept 0.10 cores busy" in page
