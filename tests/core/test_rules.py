from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, SkerryError
from skerry.core.finding import Finding
from skerry.core.names import ModelName
from skerry.core.rules import MAX_WINDOW, Memory, Rule, feed
from tests.core.values import almost, json_values

GOOD = {
    "name": "too many cracks",
    "model": "boards",
    "count": 2,
    "window": 3,
    "labels": ["crack"],
    "min_score": 0.5,
    "webhook": "http://plc.local/stop",
}
HIT, MISS = (Finding("crack", 0.9),), (Finding("good", 0.9),)


def test_a_rule_is_read_whole():
    rule = Rule.read(GOOD)
    assert rule == Rule("too many cracks", ModelName("boards"), 2, 3, ("crack",), 0.5, "http://plc.local/stop")
    assert Rule.read({"name": "any", "model": "boards"}) == Rule("any", ModelName("boards"), 1, 1)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"count": 4}, "rule.count: expected at most the window, 3; got 4"),
        ({"count": 0}, "rule.count"),
        ({"window": MAX_WINDOW + 1}, "rule.window"),
        ({"min_score": 1.1}, "rule.min_score"),
        ({"model": "../x"}, "rule.model"),
        ({"labels": [1]}, r"rule.labels\[0\]"),
        ({"webhook": "file:///etc/passwd"}, "rule.webhook: expected an http:// or https:// URL"),
        ({"windov": 3}, r"rule 'too many cracks': unknown fields \['windov'\]"),
    ],
)
def test_a_rule_that_is_wrong_names_its_field(change, text):
    with pytest.raises(Invalid, match=text):
        Rule.read({**GOOD, **change})


@given(json_values | almost(GOOD))
def test_arbitrary_json_raises_skerry_errors_alone(value):
    try:
        rule = Rule.read(value)
    except SkerryError:
        return
    assert 1 <= rule.count <= rule.window <= MAX_WINDOW


@pytest.mark.parametrize(
    ("labels", "min_score", "findings", "counts"),
    [
        ((), 0.0, (), False),
        ((), 0.0, MISS, True),
        (("crack",), 0.0, MISS, False),
        (("crack",), 0.9, HIT, True),
        (("crack",), 0.91, HIT, False),
        (("crack", "dent"), 0.5, MISS + HIT, True),
        (("crack",), 0.5, (Finding("crack", 0.1), Finding("good", 1.0)), False),
        ((), 0.0, (Finding("crack", float("nan")),), False),
    ],
)
def test_which_results_count(labels, min_score, findings, counts):
    assert Rule("r", ModelName("m"), 1, 1, labels, min_score).matches(iter(findings)) is counts


@given(
    st.integers(1, 6).flatmap(lambda w: st.tuples(st.integers(1, w), st.just(w))), st.lists(st.booleans(), max_size=40)
)
def test_feed_is_the_plain_meaning_of_k_of_the_last_n(count_window, series):
    count, window = count_window
    rule = Rule("r", ModelName("m"), count, window, ("crack",))
    memory, fired = Memory(), []
    for hit in series:
        memory, now = feed(rule, memory, HIT if hit else MISS)
        fired.append(now)
    reached = [sum(series[max(0, i + 1 - window) : i + 1]) >= count for i in range(len(series))]
    assert fired == [now and (i == 0 or not reached[i - 1]) for i, now in enumerate(reached)]
    assert len(memory.recent) == min(window, len(series))


def test_a_line_that_stays_bad_raises_one_alarm_and_is_armed_again_when_it_is_good():
    rule = Rule("r", ModelName("m"), 1, 1, ("crack",))
    memory, fired = Memory(), []
    for findings in (HIT, HIT, HIT, MISS, HIT):
        memory, now = feed(rule, memory, findings)
        fired.append(now)
    assert fired == [True, False, False, False, True]


def test_a_memory_of_a_longer_window_is_cut():
    memory, fired = feed(Rule("r", ModelName("m"), 1, 2, ("crack",)), Memory((True,) * 9), MISS)
    assert (memory.recent, fired) == ((True, False), True)
