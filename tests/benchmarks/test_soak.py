"""The soak's verdict: what goes up is called a leak, what only trembles is not; and its page shows both."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import report
from benchmarks.soaking.sample import Ask, Sample
from benchmarks.soaking.verdict import LEAST, judge, theil_sen, trends

GOOD = Ask(100, 1.0, 2.0, {})


def samples(
    count: int = 100, grow: Callable[[int], float] = lambda _: 0.0, ask: Ask = GOOD, seed: int = 1
) -> list[Sample]:
    """Return looks, 10 s apart, of a node whose memory trembles by 3 MiB and grows as told."""
    noise = random.Random(seed)
    return [
        Sample(
            at=10.0 * n,
            lanes={"json": ask},
            own={"node": 80 + noise.uniform(-1.5, 1.5) + grow(n), "sk-nursery": 16.0, "sk:m": 20 + noise.random()},
            pss={"node": 100 + noise.uniform(-9, 9)},  # it is not this that is judged
            rss={"node": 120.0},
            files={"node": 60 + noise.randrange(3)},
            threads={"node": 12},
            processor=0.2,
            heat=None if n % 2 else 50.0,
            disk=30.0,
        )
        for n in range(count)
    ]


def test_the_slope_is_that_of_a_line_whatever_a_few_points_do():
    times = [float(n) for n in range(50)]
    values = [3 * n + 1 for n in times]
    assert theil_sen(times, values) == pytest.approx((3, 3, 3))
    values[10], values[20], values[30] = 1e6, -1e6, 1e9
    slope, low, high = theil_sen(times, values)
    assert slope == pytest.approx(3, abs=0.1)
    assert low <= 3 <= high


@given(st.integers(0, 1000), st.integers(LEAST + 3, 200))
def test_what_trembles_passes(seed, count):
    assert judge(samples(count, seed=seed), [], True).reasons == ()


@given(st.integers(0, 1000), st.floats(0.15, 10))
def test_what_grows_is_a_leak(seed, step):
    found = judge(samples(100, lambda n: step * n, seed=seed), [], True)
    assert {one.name for one in found.leaks} == {"memory of all processes", "memory of the node's own process"}
    assert not found.passed


def test_a_cache_that_fills_at_first_is_no_leak():
    assert judge(samples(200, lambda n: min(n, 30)), [], True).passed


def test_failures_are_told_and_a_few_busy_ones_forgiven():
    assert judge(samples(ask=Ask(1000, 1.0, 2.0, {"busy": 3})), [], True).passed
    assert "300 of 1300 requests" in judge(samples(10, ask=Ask(100, 1, 2, {"busy": 30})), [], True).reasons[0]
    assert (
        judge(samples(ask=Ask(9, 1, 2, {"wrong answer": 1})), [], True).reasons[0]
        == "100 requests failed: wrong answer"
    )
    assert judge(samples(ask=Ask(0, None, None, {})), [], True).reasons == ("lane json: no answer at all",)
    assert judge(samples(), ["it did not serve"], False).reasons == ("the node ended by itself", "it did not serve")


@pytest.mark.parametrize("count", [0, 1, LEAST - 1])
def test_a_short_one_cannot_pass(count):
    assert trends(samples(count)) == []
    assert "too short to tell a leak" in judge(samples(count), [], True).reasons[-1]


@pytest.mark.parametrize("count", [0, 1, 2, 50, 5000])
def test_the_page_is_whole_and_alone(count):
    found = samples(count, lambda n: n / 100, Ask(10, 1.0, 3.0, {"<b>": 1}))
    text = report.page(found, judge(found, ["a & b"], True), {"machine": "<here>"})
    assert text.startswith("<!doctype html>")
    assert text.endswith("</html>")
    assert "FAIL" in text
    assert "a &amp; b" in text
    assert "<b>" not in text
    assert "&lt;here&gt;" in text
    assert "http://" not in text
    assert "https://" not in text
    assert (text.count("<svg") > 6) == (count > 1)
    assert len(text) < 250_000


@given(st.floats(1e-6, 1e12))
def test_axes_are_round_and_hold_all(value):
    assert value <= report.nice(value) <= 1.7 * value


def test_peaks_are_not_thinned_away():
    points = [(float(n), 0.0) for n in range(10_000)]
    points[4321] = (4321.0, 9.0)
    found = report.thinned(points)
    assert len(found) <= report.POINTS
    assert max(found, key=lambda one: one[1]) == (4321.0, 9.0)
