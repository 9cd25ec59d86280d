"""When two versions agree, what a trial may cost, and whose turn it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.agreement import Limits, Tally, Terms, breach, overlap, same_findings, turn
from skerry.core.errors import Invalid
from skerry.core.finding import Finding

BOX = (0.0, 0.0, 10.0, 10.0)
shares = st.floats(0, 1)
numbers = st.floats(-1e6, 1e6)
boxes = st.tuples(numbers, numbers, numbers, numbers)
findings = st.lists(
    st.builds(Finding, st.sampled_from("ab"), st.floats(0, 1), st.just(-1), st.one_of(st.none(), boxes)), max_size=6
)


def one(label="a", score=0.9, box=BOX):
    return Finding(label, score, 0, box)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (BOX, 1.0),
        ((0.0, 0.0, 10.0, 5.0), 0.5),
        ((5.0, 0.0, 15.0, 10.0), 1 / 3),
        ((10.0, 0.0, 20.0, 10.0), 0.0),
        ((0.0, 11.0, 10.0, 20.0), 0.0),
        (None, 0.0),
    ],
)
def test_how_much_boxes_overlap(other, expected):
    assert overlap(BOX, other) == pytest.approx(expected)
    assert overlap(other, BOX) == pytest.approx(expected)


def test_a_box_without_an_area_overlaps_itself():
    assert overlap((1.0, 1.0, 1.0, 1.0), (1.0, 1.0, 1.0, 1.0)) == 1.0


@pytest.mark.parametrize(
    ("served", "found", "expected"),
    [
        ([], [], True),
        ([one()], [one()], True),
        ([one()], [], False),
        ([], [one()], False),
        ([one()], [one(score=0.2)], True),
        ([one()], [one("b")], False),
        ([one()], [one(box=(0.0, 0.0, 10.0, 6.0))], True),
        ([one()], [one(box=(0.0, 0.0, 10.0, 4.0))], False),
        ([one(), one()], [one(), one()], True),
        ([one(), one()], [one(), one(box=(50.0, 50.0, 60.0, 60.0))], False),
        ([one(), one("b")], [one("b"), one()], True),
        ([one(box=None), one("b", 0.1, None)], [one(box=None), one("c", 0.1, None)], True),
        ([one(box=None)], [one("b", box=None)], False),
        ([one(box=None)], [], False),
        ([one("b", 0.1, None), one(box=None)], [one(box=None), one("b", 0.1, None)], True),
    ],
)
def test_findings_that_say_the_same(served, found, expected):
    assert same_findings(served, found) is expected


@given(findings)
def test_what_was_found_agrees_with_itself(found):
    mixed = any(f.box for f in found) and not all(f.box for f in found)
    assert same_findings(found, found) is not mixed  # no answer has both classes and objects


@pytest.mark.parametrize(
    ("tally", "expected"),
    [
        (Tally(), ""),
        (Tally(asked=1, failed=1), ""),
        (Tally(asked=2, failed=2), "2 of 2 requests could not be answered; at most 1.000% may be, of 100 or more"),
        (Tally(asked=1000, failed=10), ""),
        (Tally(asked=1000, failed=11), "11 of 1000 requests could not be answered"),
        (Tally(compared=10, agreed=5), ""),
        (Tally(compared=10, agreed=4), "6 of 10 requests were answered otherwise; at most 5.000% may be"),
    ],
)
def test_what_ends_a_trial(tally, expected):
    found = breach(Limits(), tally)
    assert found.startswith(expected)
    assert bool(found) is bool(expected)


@given(shares, st.integers(1, 500))
def test_turns_are_the_share_to_within_one(share, count):
    taken = sum(turn(number, share) for number in range(1, count + 1))
    assert abs(taken - count * share) < 1 + 1e-6


def test_turns_are_evenly_spread():
    assert [n for n in range(1, 31) if turn(n, 0.1)] == [10, 20, 30]
    assert not any(turn(n, 0.0) for n in range(1, 100))
    assert all(turn(n, 1.0) for n in range(1, 100))


def test_terms():
    assert Terms.read({"version": 4}) == Terms(4)
    assert Terms.read({"version": "4", "mode": "canary"}) == Terms(4, "canary", 0.1)
    asked = {"version": 4, "share": 0, "rule": "top1", "tolerance": 1, "errors": 1, "disagreement": 0, "least": 5}
    assert Terms.read(asked) == Terms(4, "shadow", 0.0, "top1", 1.0, Limits(1.0, 0.0, 5))
    assert Limits().json() == {"errors": 0.01, "disagreement": 0.05, "least": 100}
    with pytest.raises(Invalid, match="trial: no field is called speed"):
        Terms.read({"version": 4, "speed": 1})
    with pytest.raises(Invalid, match="rule: expected one of auto, top1, values"):
        Terms.read({"version": 4, "rule": "all"})
