from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skerry.core.errors import Invalid
from skerry.engine.steps.classify import Dequantise, Softmax, TopK, best_of
from skerry.engine.steps.step import Trace

logits = hnp.arrays(np.float32, st.integers(1, 20), elements=st.floats(-1e6, 1e6, width=32))


@given(logits)
def test_softmax_is_a_distribution_in_the_same_order(values):
    found = Softmax("y")({"y": values[None], "z": values}, Trace())
    assert found["z"] is values
    assert found["y"].sum() == pytest.approx(1, abs=1e-4)
    assert (np.diff(found["y"][np.argsort(values)]) >= 0).all()
    wide = values.astype(np.float64)
    np.testing.assert_allclose(found["y"], np.exp(wide - wide.max()) / np.exp(wide - wide.max()).sum(), atol=1e-5)


@given(logits, st.integers(1, 25))
def test_top_k_is_the_best_k_in_order(values, k):
    found = TopK("y", k)({"y": values.reshape(1, -1, 1, 1)}, Trace())
    assert found["scores"].tolist() == sorted(values.tolist(), reverse=True)[:k]
    assert [values[c] for c in found["classes"]] == found["scores"].tolist()
    assert len(set(found["classes"].tolist())) == len(found["classes"])
    ties = list(zip(-found["scores"], found["classes"], strict=True))
    assert ties == sorted(ties)  # of equals the first class comes first, on every machine


def test_a_missing_array_is_named():
    with pytest.raises(Invalid, match="step 'top_k': no array 'y'; there are z"):
        TopK("y", 1)({"z": np.zeros(1)}, Trace())


@given(st.integers(0, 2000), st.integers(1, 20), st.integers(0, 3), st.sampled_from([3, 1000]))
def test_the_best_are_those_of_a_full_sort(count, k, nans, levels):
    dice = np.random.default_rng(count)
    scores = dice.integers(0, levels, count).astype(np.float32)
    scores[dice.integers(0, max(count, 1), nans if count else 0)] = np.nan
    np.testing.assert_array_equal(best_of(scores, k), np.argsort(-scores, kind="stable")[:k])


def test_dequantise_is_what_it_says():
    values = {"y": np.int8([[-128, 0, 127]]), "z": np.zeros(1)}
    found = Dequantise("y", 0.5, -128)(values, Trace())
    assert found["z"] is values["z"]
    assert (found["y"].dtype, found["y"].tolist()) == (np.float32, [[0, 64, 127.5]])
