"""Labels of versions in the settings."""

from __future__ import annotations

import pytest
from hypothesis import given

from skerry.core.errors import Invalid
from skerry.node.repository import read_labels
from tests.core.values import json_values


def test_labels_in_the_settings():
    assert read_labels({"boards": {"stable": 3, "canary": 4}, "faces": {}}) == {
        "boards": {"stable": 3, "canary": 4},
        "faces": {},
    }


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([], r"labels: expected an object; got \[\]"),
        ({"boards": 3}, "labels.boards: expected an object; got 3"),
        ({"a b": {}}, "model name: expected"),
        ({"boards": {"a:b": 3}}, "label: expected 1 to 128 characters"),
        ({"boards": {"stable": "3"}}, "labels.boards.stable: expected a version, a whole number; got '3'"),
        ({"boards": {"stable": 0}}, "labels.boards.stable: version: expected a whole number from 1"),
        ({"boards": {"stable": True}}, "labels.boards.stable: version: expected a whole number from 1"),
        ({"boards": {str(n): 1 for n in range(101)}}, "labels.boards: expected at most 100; got 101"),
    ],
)
def test_settings_that_are_wrong(value, error):
    with pytest.raises(Invalid, match=f"^{error}"):
        read_labels(value)


@given(json_values)
def test_arbitrary_settings_raise_invalid_alone(value):
    try:
        read_labels(value)
    except Invalid as error:
        str(error).encode()
