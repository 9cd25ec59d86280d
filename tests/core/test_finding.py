from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, SkerryError
from skerry.core.finding import Finding
from tests.core.values import almost, json_values, texts

reals = st.floats(allow_nan=False, allow_infinity=False)
findings = st.builds(Finding, texts, reals, st.integers(-1, 10**6), st.none() | st.tuples(reals, reals, reals, reals))
GOOD = {"label": "crack", "score": 0.5, "index": 1, "box": [1, 2, 3, 4]}


@given(findings)
def test_a_finding_comes_back(finding):
    assert Finding.read(json.loads(json.dumps(finding.json()))) == finding


def test_a_class_has_no_box():
    assert "box" not in Finding("good", 1.0).json()
    assert Finding.read({"label": "good", "score": 1}) == Finding("good", 1.0, -1, None)


@pytest.mark.parametrize("box", [[], [1, 2, 3], [1, 2, 3, 4, 5], "abcd", {"0": 1}, 5])
def test_a_box_is_four_numbers(box):
    with pytest.raises(Invalid, match="box: expected four numbers"):
        Finding.read({**GOOD, "box": box})


@pytest.mark.parametrize("edge", [True, float("nan"), float("inf"), 10**400, "1", None])
def test_the_edges_of_a_box_are_finite(edge):
    with pytest.raises(Invalid, match="box: expected a finite number"):
        Finding.read({**GOOD, "box": [0, 0, edge, 1]})


@given(json_values | almost(GOOD))
def test_arbitrary_json_raises_skerry_errors_alone(value):
    try:
        found = Finding.read(value)
    except SkerryError:
        return
    json.dumps(found.json(), allow_nan=False)
