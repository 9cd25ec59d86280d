"""Gates: intervals that hold what they promise, and verdicts that say what was proven."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, SkerryError
from skerry.core.gate import (
    Interval,
    Outcome,
    Paired,
    Verdict,
    accuracy_gate,
    alarm_gate,
    limit_gate,
    loss_gate,
    loss_interval,
    mcnemar,
    poisson_bound,
    poisson_floor,
    value_gate,
    wilson,
    worse,
)
from skerry.core.gate.interval import MOST_EVENTS, poisson_cdf
from tests.core.values import almost, json_values, tried

counts = st.integers(0, 400)
paired = st.tuples(counts, counts, counts).map(lambda c: Paired(c[0], c[1], sum(c)))

WILSON = [  # hits, count, low, high: by hand from Wilson's formula with z = 1.959964
    (0, 10, 0.0, 0.277533),
    (10, 10, 0.722467, 1.0),
    (81, 263, 0.255289, 0.366209),  # Newcombe 1998, table I: 0.2553 to 0.3662
    (1, 29, 0.006114, 0.171755),  # the same: 0.0061 to 0.1718
    (0, 0, 0.0, 1.0),
]


@pytest.mark.parametrize(("hits", "count", "low", "high"), WILSON)
def test_wilson_gives_the_published_intervals(hits, count, low, high):
    found = wilson(hits, count)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-5)


TANGO = [  # lost, won, count, level, low, high
    (0, 1, 44, 0.90, -0.096, 0.037),  # Tango 1998: soft contact lenses
    (0, 0, 1000, 0.95, -0.003827, 0.003827),  # z^2 / (n + z^2)
]


@pytest.mark.parametrize(("lost", "won", "count", "level", "low", "high"), TANGO)
def test_the_paired_interval_is_that_of_the_literature(lost, won, count, level, low, high):
    found = loss_interval(Paired(lost, won, count), level)
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-4)


@given(paired)
def test_a_paired_interval_holds_what_was_seen_and_turns_round_with_its_sides(one):
    found, other = loss_interval(one), loss_interval(Paired(one.won, one.lost, one.count))
    assert -1 <= found.low <= one.loss <= found.high <= 1
    assert (found.low, found.high) == pytest.approx((-other.high, -other.low), abs=1e-9)
    wider = loss_interval(one, 0.99)
    assert wider.low <= found.low + 1e-12
    assert wider.high >= found.high - 1e-12


@given(paired, st.floats(0.001, 0.5))
def test_the_test_and_the_interval_never_disagree(one, margin):
    high = loss_interval(one).high
    if abs(high - margin) > 1e-9 and one.count:
        assert (worse(one, margin) < 0.025) == (high < margin)


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_the_binomial_that_it_says(lost, won):
    few, count = min(lost, won), lost + won
    exact = min(1.0, 2 * sum(math.comb(count, k) for k in range(few + 1)) / 2**count)
    assert mcnemar(Paired(lost, won, 1000)) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(("events", "bound"), [(0, 2.995732), (1, 4.743865), (3, 7.753657), (10, 16.962219)])
def test_the_poisson_bound_is_the_tables(events, bound):
    assert poisson_bound(events) == pytest.approx(bound, rel=1e-6)


@given(st.integers(0, 3000), st.sampled_from([0.9, 0.95, 0.999]))
def test_poisson_bounds_lie_on_both_sides_of_what_was_seen(events, level):
    low, high = poisson_floor(events, level), poisson_bound(events, level)
    assert low <= events <= high
    assert poisson_cdf(events, high) == pytest.approx(1 - level, rel=1e-6)
    if events:
        assert poisson_cdf(events - 1, low) == pytest.approx(level, rel=1e-6)


def draw(rng: random.Random, lost: float, won: float, count: int) -> Paired:
    seen = [rng.random() for _ in range(count)]
    return Paired(sum(u < lost for u in seen), sum(lost <= u < lost + won for u in seen), count)


def test_in_nineteen_of_twenty_measurements_wilsons_interval_holds_the_truth():
    rng = random.Random(1)
    held = 0
    for _ in range(3000):  # at any one share the coverage swings about 0.95, so shares and counts are many
        share, count = rng.uniform(0.5, 0.99), rng.randint(30, 300)
        held += share in wilson(sum(rng.random() < share for _ in range(count)), count)
    assert 0.94 <= held / 3000 <= 0.96


def test_in_nineteen_of_twenty_measurements_the_paired_interval_holds_the_truth():
    rng = random.Random(2)
    held = rosy = 0
    for _ in range(2000):
        lost, won, count = rng.uniform(0, 0.05), rng.uniform(0, 0.03), rng.randint(100, 500)
        found = loss_interval(draw(rng, lost, won, count))
        held += lost - won in found
        rosy += found.high < lost - won  # says that less is lost than is
    assert 0.935 <= held / 2000 <= 0.965
    assert rosy / 2000 <= 0.032


def test_a_loss_at_the_limit_itself_seldom_passes():
    rng = random.Random(3)
    passed = sum(loss_gate(draw(rng, 0.015, 0.005, 500), 0.01).passed for _ in range(800))
    assert passed / 800 <= 0.04  # 0.025 is promised; two standard deviations of 800 draws are 0.011


def test_as_many_more_samples_as_were_asked_for_mostly_decide():
    rng = random.Random(4)
    decided = asked = 0
    for _ in range(30):
        first = draw(rng, 0.008, 0.008, 200)
        verdict = loss_gate(first, 0.01)
        if verdict.outcome is Outcome.NOT_PROVEN and verdict.more and verdict.more < 8000:
            asked += 1
            more = draw(rng, 0.008, 0.008, verdict.more)
            longer = Paired(first.lost + more.lost, first.won + more.won, first.count + more.count)
            decided += loss_gate(longer, 0.01).passed
    assert asked >= 10
    assert decided / asked >= 0.6


VERDICTS = [
    (
        loss_gate(Paired(3, 2, 4000), 0.005),
        Outcome.PASS,
        "loss 0.03 pt, 95 % interval -0.11 to 0.18, n=4000 (3 lost, 2 won, McNemar p=1): < 0.5 pt is proven",
        0,
    ),
    (loss_gate(Paired(30, 5, 1000), 0.005), Outcome.FAIL, "< 0.5 pt is refuted", 0),
    (loss_gate(Paired(3, 2, 1000), 0.005), Outcome.NOT_PROVEN, "more samples would decide, most likely for it", ...),
    (loss_gate(Paired(8, 0, 1000), 0.005), Outcome.NOT_PROVEN, "samples would decide, most likely against it", ...),
    (loss_gate(Paired(5, 0, 1000), 0.005), Outcome.NOT_PROVEN, "it is too close", None),
    (loss_gate(Paired(0, 0, 0), 0.005), Outcome.NOT_PROVEN, "loss 0.00 pt, 95 % interval -100.00 to 100.00, n=0", ...),
    (accuracy_gate(990, 1000, 0.96), Outcome.PASS, "accuracy 99.00 %, 95 % interval 98.17 to 99.46, n=1000", 0),
    (accuracy_gate(900, 1000, 0.96), Outcome.FAIL, ">= 96 % is refuted", 0),
    (accuracy_gate(97, 100, 0.96), Outcome.NOT_PROVEN, "most likely for it", ...),
    (accuracy_gate(95, 100, 0.97), Outcome.NOT_PROVEN, "most likely against it", ...),
    (accuracy_gate(0, 0, 0.97), Outcome.NOT_PROVEN, "n=0", ...),
    (alarm_gate(0, 2, 0.1), Outcome.NOT_PROVEN, "0 false alarms in 2 h: at most 1.5 per hour (95 %)", 28),
    (alarm_gate(0, 31, 0.1), Outcome.PASS, "< 0.1 per hour is proven", 0),
    (alarm_gate(9, 2, 0.1), Outcome.FAIL, "< 0.1 per hour is refuted", 0),
    (alarm_gate(6, 30, 0.1), Outcome.NOT_PROVEN, "more hours would decide, most likely against it", ...),
    (
        value_gate("p50 ratio", 0.5, Interval(0.4, 0.6), 0.625, 20),
        Outcome.PASS,
        "0.5, 95 % interval 0.4 to 0.6, n=20",
        0,
    ),
    (value_gate("p50", 9.0, Interval(8.5, 9.5), 8.0, 20, " ms"), Outcome.FAIL, "<= 8 ms is refuted", 0),
    (value_gate("p50", 7.8, Interval(7.4, 8.2), 8.0, 100, " ms"), Outcome.NOT_PROVEN, "most likely for it", 718),
    (value_gate("p50", 8.2, Interval(7.8, 8.6), 8.0, 100, " ms"), Outcome.NOT_PROVEN, "most likely against it", 718),
    (value_gate("p50", 8.0, Interval(7.8, 8.6), 8.0, 100, " ms"), Outcome.NOT_PROVEN, "it is too close", None),
    (value_gate("p50", 7.8, Interval(7.4, 8.0), 8.0, 100, " ms"), Outcome.PASS, "is proven", 0),
    (limit_gate("size", 120_000, 150_000, " bytes"), Outcome.PASS, "120,000 bytes: <= 150,000 bytes holds", 0),
    (limit_gate("size", 160_000, 150_000, " bytes"), Outcome.FAIL, "does not hold", 0),
]


@pytest.mark.parametrize(("verdict", "outcome", "text", "more"), VERDICTS, ids=lambda v: str(v)[:30])
def test_a_verdict_carries_its_statistic(verdict, outcome, text, more):
    assert verdict.outcome is outcome
    assert text in verdict.text
    assert verdict.more == more if more is not ... else verdict.more > 0
    assert verdict.passed == (outcome is Outcome.PASS)
    assert Verdict.read(verdict.json()) == verdict


@given(paired, st.floats(0.001, 0.9))
def test_any_counts_give_a_verdict(one, most):
    verdict = loss_gate(one, most)
    assert (verdict.more == 0) == (verdict.outcome is not Outcome.NOT_PROVEN)


@given(json_values | almost(VERDICTS[0][0].json()))
def test_arbitrary_json_raises_skerry_errors_alone(value):
    verdict = tried(Verdict.read, value)
    assert isinstance(verdict, Verdict | SkerryError)


def test_fields_that_nobody_knows_stay():
    told = {**VERDICTS[0][0].json(), "x-by": "hand"}
    assert Verdict.read(told).json() == told


WRONG = [
    (lambda: wilson(5, 4), "hits: expected a number from 0 to 4; got 5"),
    (lambda: wilson(1, 4, 1.0), "level: expected a share between 0 and 1; got 1.0"),
    (lambda: poisson_bound(-1), f"events: expected a whole number from 0 to {MOST_EVENTS}; got -1"),
    (lambda: poisson_bound(1, 0), "level: expected a share between 0 and 1; got 0"),
    (lambda: Paired(3, 3, 5), "paired: expected lost [+] won up to 5; got 3 and 3"),
    (lambda: Paired.of([True], [True, False]), "paired: expected two lists of one length; one ends after 1"),
    (lambda: loss_gate(Paired(0, 0, 5), 0.0), "most: expected a number over 0; got 0.0"),
    (lambda: alarm_gate(0, 0, 0.1), "hours: expected a number over 0; got 0"),
]


@pytest.mark.parametrize(("wrong", "text"), WRONG, ids=[text[:20] for _, text in WRONG])
def test_what_is_wrong_is_named(wrong, text):
    with pytest.raises(Invalid, match=text):
        wrong()


def test_pairs_are_counted():
    assert Paired.of([True, True, False, False], [True, False, True, False]) == Paired(1, 1, 4)
    assert worse(Paired(5, 0, 100), 0.05) == pytest.approx(0.5)
    assert poisson_cdf(3, 0) == 1
    assert worse(Paired(0, 10, 10), 1.0) == 0
