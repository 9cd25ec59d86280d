"""The streaming histogram and its ranges, against plain numpy over all the values at once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.errors import Invalid
from skerry.forge.optimise.calibrate import (
    BINS,
    METHODS,
    Histogram,
    Range,
    choose,
    collect,
    grid_error,
    least_error,
    percentile,
)
from skerry.forge.optimise.work import Work
from tests.forge.optimise.kit import mobile, samples

floats = st.floats(-1e4, 1e4, width=32)


def filled(*parts: np.ndarray) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.add(np.asarray(part, np.float32))
    return histogram


def on_grid(values: np.ndarray, span: Range) -> np.ndarray:
    levels = np.clip(np.rint(values / span.scale) + span.zero, 0, 255)
    return (levels - span.zero) * span.scale


@given(st.lists(st.lists(floats, min_size=1, max_size=40), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_counts_are_those_of_numpy(parts: list[list[float]]) -> None:
    histogram = filled(*map(np.asarray, parts))
    values = np.concatenate([np.asarray(p, np.float32) for p in parts])
    assert histogram.count == values.size
    assert histogram.zeros == int((values == 0).sum())
    assert (histogram.low, histogram.high) == (values.min(), values.max())
    rest = values[values != 0].astype(np.float64)
    if rest.size:
        edges = (histogram.start + np.arange(BINS + 1)) * histogram.width
        places = np.floor(rest / histogram.width).astype(int) - histogram.start
        assert places.min() >= 0
        assert places.max() < BINS
        assert np.array_equal(histogram.counts, np.bincount(places, minlength=BINS))
        assert edges[0] <= rest.min()
        assert math.log2(histogram.width) == int(math.log2(histogram.width))


@given(st.lists(st.lists(floats, min_size=1, max_size=30), min_size=2, max_size=5))
@settings(max_examples=100, deadline=None)
def test_the_order_of_the_samples_changes_no_bin_once_widths_agree(parts: list[list[float]]) -> None:
    one, other = filled(*map(np.asarray, parts)), filled(*map(np.asarray, parts[::-1]))
    finer, coarser = sorted((one, other), key=lambda h: h.width)
    while finer.width < coarser.width and finer.width:
        finer._join()
    used = {finer.start + int(i): int(finer.counts[i]) for i in np.flatnonzero(finer.counts)}
    assert used == {coarser.start + int(i): int(coarser.counts[i]) for i in np.flatnonzero(coarser.counts)}


def test_memory_does_not_grow() -> None:
    random, histogram = np.random.default_rng(0), Histogram()
    for size in range(200):
        histogram.add((random.standard_normal(500) * (1 + size)).astype(np.float32))
    assert histogram.counts.nbytes == BINS * 8
    assert histogram.count == 100_000


@pytest.mark.parametrize("percent", [99.0, 99.9])
def test_percentile_is_that_of_numpy(percent: float) -> None:
    values = np.random.default_rng(3).standard_normal(50_000).astype(np.float32)
    low, high = percentile(filled(*np.split(values, 10)), percent)
    tail = (100 - percent) / 2
    assert low == pytest.approx(np.percentile(values, tail), abs=0.02)
    assert high == pytest.approx(np.percentile(values, 100 - tail), abs=0.02)


def test_the_error_is_that_of_the_real_grid() -> None:
    values = np.random.default_rng(4).gamma(2.0, 1.0, 50_000).astype(np.float32) - 0.375
    histogram = filled(*np.split(values, 5))
    for span in (Range(values.min(), values.max()), Range(-0.375, 4.0), Range(-0.1, 8.0)):
        true = float(np.square(on_grid(values.astype(np.float64), span) - values).mean())
        assert grid_error(histogram, span.scale, span.zero) == pytest.approx(true, rel=0.03)


def test_the_search_finds_nearly_the_best_ends_there_are() -> None:
    values = np.random.default_rng(5).laplace(0, 1, 40_000).astype(np.float32)
    histogram = filled(values)
    found = Range(*least_error(histogram))
    error = np.square(on_grid(values, found) - values).mean()
    ends = np.linspace(2, 12, 30)
    best = min(np.square(on_grid(values, Range(-a, b)) - values).mean() for a in ends for b in ends)
    assert error <= best * 1.02


def test_an_outlier_is_cut_where_that_pays_and_kept_where_it_does_not() -> None:
    body = np.random.default_rng(6).standard_normal(200_000)
    cut = choose(filled(np.append(body, 30.0)))
    whole = choose(filled(np.append(body, 30.0)), "minmax")
    assert whole.high == 30.0
    assert cut.high < 25
    assert cut.error < 0.85 * whole.error
    flat = np.random.default_rng(6).uniform(0, 1, 10_000)
    assert choose(filled(flat)).high > 0.97


@given(st.lists(floats, min_size=1, max_size=200), st.sampled_from(METHODS))
@settings(max_examples=150, deadline=None)
def test_every_range_holds_zero_and_best_is_never_worse(values: list[float], method: str) -> None:
    histogram = filled(np.asarray(values))
    found = choose(histogram, method)
    assert min(found.low, 0) <= 0 <= max(found.high, 0)
    assert 0 <= found.zero <= 255
    assert found.scale > 0
    assert on_grid(np.zeros(1), found)[0] == 0
    assert choose(histogram, "best").error <= found.error + 1e-12


def test_what_cannot_be_counted_is_said() -> None:
    with pytest.raises(Invalid, match="NaN"):
        filled(np.array([1.0, np.nan]))
    with pytest.raises(Invalid, match="calibrator: expected one of best"):
        choose(filled(np.ones(3)), "luck")
    assert choose(filled(np.zeros(5))) == Range(0.0, 0.0)
    assert choose(Histogram()).scale == 1.0


def test_a_model_is_observed_and_needs_samples() -> None:
    model = mobile()
    found = collect(model, ["x", "t1"], Work(feeds=samples(model, 3)))
    assert found["x"].count == 3 * 3 * 16 * 16
    assert found["t1"].low >= -0.376  # a hard-swish
    with pytest.raises(Invalid, match="at least one sample"):
        collect(model, ["x"], Work())
