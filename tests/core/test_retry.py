from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.retry import Backoff, jittered

chances = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("failures", "chance", "want"),
    [(1, 0.0, 0.25), (1, 0.5, 0.375), (2, 0.0, 0.5), (4, 0.0, 2.0), (9, 0.0, 30.0), (10**9, 0.5, 45.0)],
)
def test_delays(failures, chance, want):
    assert Backoff().delay(failures, chance) == want


@given(st.integers(1, 10**6), chances, st.floats(0.01, 10), st.floats(10, 1000))
def test_a_delay_is_between_half_the_ceiling_and_the_ceiling(failures, chance, first, most):
    delay = Backoff(first, most).delay(failures, chance)
    ceiling = min(most, first * 2.0 ** min(failures - 1, 30))
    assert ceiling / 2 <= delay <= ceiling <= most


@given(st.integers(1, 100), chances)
def test_one_more_failure_never_shortens_the_wait(failures, chance):
    assert Backoff().delay(failures + 1, chance) >= Backoff().delay(failures, chance)


@given(st.integers(1, 100), chances, st.floats(0, 1000))
def test_the_peers_wish_is_the_least(failures, chance, asked):
    assert Backoff().delay(failures, chance, asked) == max(asked, Backoff().delay(failures, chance))


@given(st.floats(0, 1e6), chances, st.floats(0, 1))
def test_an_interval_stays_within_its_share(interval, chance, share):
    assert interval * (1 - share) - 1e-6 <= jittered(interval, chance, share) <= interval * (1 + share) + 1e-6


def test_the_middle_of_chance_is_the_interval_itself():
    assert jittered(30.0, 0.5) == 30.0
    assert jittered(30.0, 0.0) == 24.0
