from __future__ import annotations

import json

import pytest
from hypothesis import given

from skerry.core.errors import Invalid, SkerryError
from skerry.wire.registry import MAX_PUBLISH, Publish, RollOut
from tests.core.values import almost, json_values
from tests.wire.messages import PUBLISH, TO_GROUP, TO_NODE

GOOD = [(Publish, PUBLISH), (RollOut, TO_NODE), (RollOut, TO_GROUP)]


@pytest.mark.parametrize(("kind", "good"), GOOD)
def test_a_message_comes_back(kind, good):
    assert kind.read(good).json() == good


@pytest.mark.parametrize("target", [{}, {"node": "a", "group": "b"}, {"node": None}, {"node": None, "group": None}])
def test_a_rollout_has_exactly_one_target(target):
    with pytest.raises(Invalid, match="expected either 'node' or 'group'"):
        RollOut.read({"model": "boards", "version": 3, **target})


def test_a_null_target_is_none():
    assert RollOut.read({**TO_NODE, "group": None}) == RollOut.read(TO_NODE)


def test_a_manifest_has_a_limit():
    with pytest.raises(Invalid, match="manifest: expected a string of at most"):
        Publish.read({**PUBLISH, "manifest": "x" * (MAX_PUBLISH + 1)})


@pytest.mark.parametrize(("kind", "good"), GOOD)
def test_arbitrary_json_raises_skerry_errors_alone(kind, good):
    @given(json_values | almost(good))
    def holds(value):
        try:
            found = kind.read(value)
        except SkerryError:
            return
        assert kind.read(json.loads(json.dumps(found.json()))) == found

    holds()
