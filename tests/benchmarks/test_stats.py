"""The benchmark's arithmetic: percentiles, ratios within rounds, and what wrk made up taken out again."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stats import Round, Spread, against_neighbours, counted, paired, percentile, pooled, uncorrected

SAMPLES = st.dictionaries(st.integers(1, 400), st.integers(1, 9), min_size=1, max_size=40)


def corrected(micros: Counter[int], expected: int) -> Counter[int]:
    """Do what wrk does with its samples, written down from what its documentation says it is for."""
    found = Counter(micros)
    for value, count in micros.items():
        if value >= 2 * expected:
            for late in itertools.takewhile(lambda v: v > expected, itertools.count(value - expected, -expected)):
                found[late] += count
    return found


@given(SAMPLES, st.integers(1, 200))
def test_what_wrk_made_up_is_taken_out_exactly(samples, expected):
    assert uncorrected(corrected(Counter(samples), expected), expected) == Counter(samples)


@given(SAMPLES, st.sampled_from([0.01, 0.5, 0.9, 0.99, 0.999, 1.0]))
def test_a_percentile_is_numpys_by_nearest_rank(samples, share):
    flat = list(Counter(samples).elements())
    assert percentile(samples, share) == np.percentile(flat, share * 100, method="inverted_cdf")


def test_a_percentile_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="expected samples"):
        percentile({}, 0.5)


def test_the_99th_of_a_hundred_is_not_the_100th():
    assert percentile(dict.fromkeys(range(1, 101), 1), 0.99) == 99


def test_nanoseconds_are_rounded_to_microseconds():
    assert counted([1_499, 1_500, 2_400]) == {1: 1, 2: 2}


def test_rounds_are_pooled_by_sample_and_paired_by_round():
    rounds = [Round(1.0, 2, {10: 2}), Round(2.0, 3, {10: 1, 30: 2})]
    assert pooled(rounds) == {10: 3, 30: 2}
    assert [one.rate for one in rounds] == [2.0, 1.5]
    assert [one.quantity("p50") for one in rounds] == [10, 30]
    # A slow second round slows both sides alike; the ratios do not notice, the pooled medians would.
    assert paired([20, 200, 40], [10, 100, 10]) == Spread(2, 2, 4)


def test_pairs_must_be_whole():
    with pytest.raises(ValueError, match="shorter"):
        paired([1, 2], [1])


def test_a_disturbed_window_is_compared_with_its_own_neighbours():
    # The machine slows down all the while; each disturbed window is 1.5 times what is around it.
    assert against_neighbours([10, 20, 40], [22.5, 45]) == Spread(1.5, 1.5, 1.5)
    with pytest.raises(ValueError, match="one steady window more"):
        against_neighbours([10, 20], [15, 15])
