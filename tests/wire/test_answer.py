from __future__ import annotations

import json

import pytest
from hypothesis import given

from skerry.core.errors import Invalid, SkerryError
from skerry.core.finding import Finding
from skerry.wire.answer import Answer
from tests.core.values import almost, json_values
from tests.wire.messages import ANSWER, BUNDLE


def test_an_answer_comes_back():
    answer = Answer.read(ANSWER)
    assert answer.json() == ANSWER
    assert answer.findings[0] == Finding("crack", 0.5, 1, (1.0, 2.0, 3.0, 4.0))
    assert list(answer.json()) == list(ANSWER)  # what a person reads first comes first


def test_an_answer_of_an_older_node_is_read():
    answer = Answer.read({**BUNDLE, "findings": [], "width": 1, "height": 1})
    assert (answer.node, answer.result, answer.millis) == ("", "", {})


def test_fields_of_a_newer_node_do_no_harm():
    assert Answer.read({**ANSWER, "heat": 51}) == Answer.read(ANSWER)


def test_milliseconds_are_rounded_to_what_a_clock_can_say():
    assert Answer.read({**ANSWER, "millis": {"total": 1.23456}}).json()["millis"] == {"total": 1.235}


@pytest.mark.parametrize("missing", ["model", "version", "digest", "findings", "width", "height"])
def test_what_is_missing_is_named(missing):
    with pytest.raises(Invalid, match=rf"answer\.{missing}: expected this field"):
        Answer.read({key: value for key, value in ANSWER.items() if key != missing})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"millis": {"total": "4"}}, r"answer\.millis: total: expected a finite number"),
        ({"millis": [4]}, r"answer\.millis: expected an object"),
        ({"findings": [{"label": "x"}]}, r"answer\.findings\[0\]: score: expected this field"),
        ({"width": -1}, r"answer\.width: expected a whole number"),
    ],
)
def test_what_is_wrong_is_named(change, text):
    with pytest.raises(Invalid, match=text):
        Answer.read({**ANSWER, **change})


@given(json_values | almost(ANSWER))
def test_arbitrary_json_raises_skerry_errors_alone(value):
    try:
        answer = Answer.read(value)
    except SkerryError:
        return
    assert Answer.read(json.loads(json.dumps(answer.json(), allow_nan=False))).findings == answer.findings
