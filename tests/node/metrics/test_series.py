"""One version's counts: what is derived equals what was given, bounds hold, and a request costs few operations."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.host.clock import FakeClock
from skerry.node.metrics.series import (
    COARSE,
    FINE,
    MAX_APIS,
    MAX_FAILURES,
    MAX_SIZES,
    OTHER,
    PHASES,
    RECENT,
    TFS_BUCKETS,
    TFS_COARSE,
    Series,
)

NANOS = (20_000, 50_000, 400_000, 4_000_000, 30_000, 25_000)


def series(clock=None):
    return Series("m", "1", clock or FakeClock())


def at_or_below(found, bounds):
    return [sum(time <= bound for time in found) for bound in bounds]


# Nothing, anything, a bound itself, and the first number above one.
times = st.one_of(
    st.just(0), st.integers(0, 10**11), st.sampled_from(FINE), st.sampled_from(FINE).map(lambda bound: bound + 1)
)
requests = st.lists(
    st.tuples(st.lists(times, min_size=6, max_size=6), st.integers(0, 12), times, st.booleans()), max_size=40
)


@given(requests)
def test_every_bucket_and_sum_is_that_of_the_times(given):
    counted = series()
    for nanos, batch, total, alone in given:
        counted.done("a", nanos, batch, total, alone)
    seen = counted.reading()
    assert seen.requests == len(given)
    for index, phase in enumerate(PHASES):
        spent, timed = [one[0][index] for one in given], seen.phases[phase]
        bounds = FINE if phase == "infer" else COARSE
        assert timed.below(bounds, COARSE) == at_or_below(spent, COARSE), phase
        assert (timed.count, timed.nanos) == (len(given), sum(spent))
    totals = [one[2] for one in given]
    assert seen.total.below(FINE, FINE) == at_or_below(totals, FINE)
    assert (seen.total.count, seen.total.nanos) == (len(given), sum(totals))


@given(requests)
def test_every_size_is_counted_whatever_the_order(given):
    counted, wanted, sizes = series(), {}, {}
    for nanos, batch, total, alone in given:
        counted.done("a", nanos, batch, total, alone)
        sizes[batch] = sizes.get(batch, 0) + 1
        if alone:
            before = wanted.get(batch, (0, 0, 0, 0))
            spent = (1, nanos[0] + nanos[2], nanos[3], nanos[4] + nanos[5])
            wanted[batch] = tuple(a + b for a, b in zip(before, spent, strict=True))
        if total % 3 == 0:
            counted.reading()  # a look in between changes nothing
    seen = counted.reading()
    assert (seen.batches, seen.sizes) == (wanted, sizes)
    assert seen.examples == sum(one[1] for one in given)


def test_a_run_in_company_is_counted_once():
    counted = series()
    for _ in range(4):
        counted.done("a", NANOS, 2, 5_000_000, alone=False)
    counted.ran(8, 10, 20, 30)
    counted.done("a", NANOS, 8, 5_000_000)
    seen = counted.reading()
    assert (seen.requests, seen.examples, seen.runs, seen.sizes) == (5, 16, 2, {2: 4, 8: 1})
    assert seen.batches == {8: (2, 10 + 420_000, 20 + 4_000_000, 30 + 55_000)}


def test_the_two_sets_of_bounds_are_in_one():
    assert set(FINE) == {*COARSE, *TFS_COARSE}
    assert len(TFS_BUCKETS) == 33
    assert TFS_BUCKETS[:3] == pytest.approx((10, 18, 32.4))
    assert TFS_COARSE[2] == 32_400


def test_quantiles_are_those_of_the_latest_answers():
    counted = series()
    assert (counted.reading().p50, counted.reading().p99, counted.reading().recent) == (None, None, ())
    assert math.isnan(counted.reading().quantile(0.5))
    for total in range(1, 101):
        counted.done("a", NANOS, 1, total * 1_000_000)
    assert (counted.reading().p50, counted.reading().p99) == (0.05, 0.099)
    assert (counted.reading().quantile(0), counted.reading().quantile(1)) == (0.001, 0.1)
    for _ in range(RECENT):
        counted.done("a", NANOS, 1, 7_000_000)
    assert counted.reading().recent == (7_000_000,) * RECENT


def test_the_rate_is_that_of_the_last_minute():
    clock = FakeClock()
    counted = series(clock)
    assert counted.reading().rate == 0
    for _ in range(10):
        counted.done("a", NANOS, 1, 1)
    assert counted.reading().rate == 10  # in its first second of life
    for _ in range(300):
        clock.time += 1
        for _ in range(5):
            counted.done("a", NANOS, 1, 1)
    assert counted.reading().rate == pytest.approx(5)
    clock.time += 30
    assert counted.reading().rate == pytest.approx(2.5, rel=0.05)
    clock.time += 31
    assert counted.reading().rate == 0
    counted.done("a", NANOS, 1, 1)
    assert counted.reading().rate == pytest.approx(1 / 60)


def test_the_last_answer_is_told_in_the_time_of_the_wall():
    clock = FakeClock(1_800_000_000.0)
    counted = series(clock)
    assert counted.reading().last == 0
    counted.done("a", NANOS, 1, 1)
    clock.time += 5
    assert counted.reading().last == 1_800_000_000.0


def test_failures_rejections_and_skips():
    counted = series()
    counted.failed("a", "Invalid", 500)
    counted.failed("a", "Invalid", 700)
    counted.failed("b", "Invalid")
    counted.rejected("a")
    counted.skipped()
    seen = counted.reading()
    assert seen.failures == {("a", "Invalid"): (2, 1200), ("b", "Invalid"): (1, 0), ("a", "QueueFull"): (1, 0)}
    assert seen.outcomes() == {"ok": 0, "Invalid": 3, "QueueFull": 1}
    assert (seen.failed, seen.skips, seen.requests) == (4, 1, 0)


def test_no_label_that_a_caller_chooses_grows_without_end():
    counted = series()
    for index in range(1000):
        counted.done(f"api {index}", NANOS, index, 1)
        counted.failed("a", f"Error{index}")
        counted.ran(index, 1, 1, 1)
    seen = counted.reading()
    assert len(seen.apis) == MAX_APIS + 1
    assert len(seen.failures) == MAX_FAILURES + 1
    assert len(seen.batches) < MAX_SIZES + 12
    assert seen.apis[OTHER].count == 1000 - MAX_APIS
    assert seen.failures[OTHER, OTHER] == (1000 - MAX_FAILURES, 0)
    assert (seen.examples, seen.runs, seen.total.count) == (sum(range(1000)), 2000, 1000)


def test_a_reading_stays_as_it_was():
    counted = series()
    counted.done("a", NANOS, 1, 1)
    before = counted.reading()
    counted.done("a", NANOS, 1, 1)
    counted.failed("a", "Invalid")
    assert (before.requests, before.total.count, before.failures) == (1, 1, {})
    assert before.phases["parse"].count == before.apis["a"].count == 1


def test_a_candidate_is_compared():
    counted = series()
    assert not counted.reading().shadow.used
    counted.shadow.compared(True, 1.0)
    counted.shadow.compared(False, 20.0)
    counted.shadow.failed()
    seen = counted.reading().shadow
    assert (seen.compared, seen.agreed, seen.errors, seen.ratio_sum) == (2, 1, 1, 21.0)
    assert (seen.ratios[3], seen.ratios[-1], sum(seen.ratios)) == (1, 1, 2)


def operations(call):
    """Return how many operations of the interpreter a call takes: the same on a busy machine and on an idle one."""
    count, before = 0, sys.gettrace()

    def trace(frame, event, arg):
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def test_an_answer_costs_few_operations_and_keeps_nothing():
    counted = series()
    for _ in range(3):
        counted.done("a", NANOS, 1, 1)
    # An image's six phases: 222 operations and 1.0 us on CPython 3.11; a loop over the phases had 263.
    assert operations(lambda: counted.done("a", NANOS, 1, 5_000_000)) < 250
    assert operations(lambda: counted.failed("a", "Invalid")) < 80
    grown = [len(counted._apis), len(counted._cells), len(counted._marks), len(counted._recent)]
    for _ in range(5000):
        counted.done("a", NANOS, 1, 1)
    assert grown == [len(counted._apis), len(counted._cells), len(counted._marks), len(counted._recent)]
