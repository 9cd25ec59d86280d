"""Labels of versions: what may be pointed at, and that a move is whole or nothing."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given

from skerry.core.errors import Invalid
from skerry.node.repository import Labels, read_labels
from tests.core.values import json_values

TABLE = [
    # labels before, the move, versions that serve, labels after or the error
    ({}, ("stable", 3), [3], {"stable": 3}),
    ({"stable": 3}, ("stable", 4), [3, 4], {"stable": 4}),
    ({"stable": 3}, ("canary", 4), [3, 4], {"stable": 3, "canary": 4}),
    ({"stable": 3}, ("canary", 4), [4], {"stable": 3, "canary": 4}),  # the other one stays, whatever serves
    ({"stable": 3}, ("stable", 3), [], {"stable": 3}),
    ({}, ("stable", 4), [3], r"label 'stable' of model m: expected a version that serves \(3\); got 4"),
    ({"stable": 3}, ("stable", 4), [], r"expected a version that serves \(none\); got 4"),
    ({}, ("a/b", 3), [3], "label: expected 1 to 128 characters"),
    ({}, ("", 3), [3], "label: expected 1 to 128 characters"),
    ({}, ("x" * 129, 3), [3], "label: expected 1 to 128 characters"),
]


@pytest.mark.parametrize(("before", "move", "loaded", "after"), TABLE)
def test_a_move(before, move, loaded, after):
    labels = Labels()
    labels.set("m", before, before.values())
    if isinstance(after, str):
        with pytest.raises(Invalid, match=after):
            labels.move("m", *move, loaded)
        assert labels.of("m") == before
    else:
        labels.move("m", *move, loaded)
        assert labels.of("m") == after
        assert labels.version("m", move[0]) == move[1]


def test_all_of_a_model_at_once_or_none():
    labels = Labels()
    labels.set("m", {"stable": 1, "canary": 2}, [1, 2])
    with pytest.raises(Invalid, match="canary"):
        labels.set("m", {"stable": 2, "canary": 3}, [1, 2])
    assert labels.of("m") == {"stable": 1, "canary": 2}
    labels.set("m", {"stable": 2}, [2])
    assert labels.held() == {"m": {2}}
    labels.drop("m", "stable")
    labels.drop("m", "stable")
    assert labels.held() == {}
    with pytest.raises(Invalid, match="expected at most 100; got 101"):
        labels.set("m", {str(n): 1 for n in range(101)}, [1])


def test_a_label_that_is_not_there():
    with pytest.raises(Invalid, match=r"^Unrecognized servable version label: canary$"):
        Labels().version("m", "canary")


def test_readers_see_the_old_pair_or_the_new_one():
    labels, odd = Labels(), []
    labels.set("m", {"a": 1, "b": 1}, [1])

    def watch():
        while not done.is_set():
            pair = labels.of("m")
            if pair["a"] != pair["b"]:
                odd.append(pair)

    done = threading.Event()
    reader = threading.Thread(target=watch)
    reader.start()
    for version in range(2, 2000):
        labels.set("m", {"a": version, "b": version}, [version])
    done.set()
    reader.join()
    assert odd == []


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
