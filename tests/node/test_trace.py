"""Traces: what a traceparent means, and the body that a collector gets."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skerry.node.metrics import PHASES
from skerry.node.trace import ERROR, INTERNAL, OK, ORDER, SERVER, WAITING, Parent, Request, Traces, body, parent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"
PHASED = {"queue": 50, "parse": 20, "infer": 4000, "encode": 30}
REQUEST = Request("m", 3, "oip-http", 1_800_000_000.0, 5000, PHASED)


def random():
    numbers = itertools.count(1)
    return lambda size: next(numbers).to_bytes(size, "big")


def traces(every=0):
    return Traces(random(), every)


def spans(found):
    (resource,) = json.loads(body("boat", found.take(), random()))["resourceSpans"]
    assert {"key": "host.name", "value": {"stringValue": "boat"}} in resource["resource"]["attributes"]
    (scope,) = resource["scopeSpans"]
    return scope["spans"]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (GOOD, Parent(TRACE, SPAN, True)),
        (f" {GOOD}\t", Parent(TRACE, SPAN, True)),
        (f"00-{TRACE}-{SPAN}-00", Parent(TRACE, SPAN, False)),
        (f"00-{TRACE}-{SPAN}-ff", Parent(TRACE, SPAN, True)),
        (f"cc-{TRACE}-{SPAN}-01", Parent(TRACE, SPAN, True)),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", Parent(TRACE, SPAN, True)),
        (f"cc-{TRACE}-{SPAN}-01.what", None),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"00-{TRACE}-{SPAN}-01-", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (GOOD.upper(), None),
        (GOOD[:-1], None),
        (f"{GOOD}\n", None),
        ("", None),
    ],
)
def test_what_a_traceparent_says(header, expected):
    assert parent(header) == expected


@given(st.one_of(st.text(), st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.?", fullmatch=True)))
@example(f"00-{TRACE}-{SPAN}-٠١")
def test_no_header_is_too_strange(header):
    found = parent(header)
    if found is not None:
        assert re.fullmatch(r"[0-9a-f]{32} [0-9a-f]{16}", f"{found.trace} {found.span}")
        assert found.trace in header
        assert found.span in header


def test_the_phases_lie_end_to_end_in_their_request():
    found = traces()
    found.add(found.wants(GOOD), REQUEST)
    root, *inner = spans(found)
    assert (root["traceId"], root["parentSpanId"], root["name"]) == (TRACE, SPAN, "infer m")
    assert (root["kind"], root["status"]) == (SERVER, {"code": OK})
    began = 1_800_000_000_000_000_000 - 5000
    assert (root["startTimeUnixNano"], root["endTimeUnixNano"]) == (str(began), str(began + 5000))
    assert {"key": "skerry.version", "value": {"intValue": "3"}} in root["attributes"]
    assert [one["name"] for one in inner] == ["queue", "parse", "infer", "encode"]
    for one in inner:
        assert (one["traceId"], one["parentSpanId"], one["kind"]) == (TRACE, root["spanId"], INTERNAL)
        assert one["startTimeUnixNano"] == str(began)
        began += PHASED[one["name"]]
        assert one["endTimeUnixNano"] == str(began)
    assert len({one["spanId"] for one in (root, *inner)}) == 5
    assert found.take() == []


def test_a_failure_is_told():
    found = traces()
    found.add(found.wants(GOOD), Request("m", 3, "oip-http", 1.0, 5, {}, "Invalid"))
    (root,) = spans(found)
    assert root["status"] == {"code": ERROR, "message": "Invalid"}


def test_who_is_sampled():
    found = traces(every=3)
    assert found.wants(f"00-{TRACE}-{SPAN}-00") is None
    assert [found.wants(None) is not None for _ in range(6)] == [False, False, True, False, False, True]
    assert found.wants("nonsense") is found.wants("") is None
    own = found.wants(None)
    assert own == Parent(f"{3:032x}", "", True)
    found.add(own, REQUEST)
    assert "parentSpanId" not in spans(found)[0]
    assert traces().wants(None) is None


def test_a_collector_that_is_away_costs_a_bounded_amount():
    found = traces()
    for _ in range(WAITING + 3):
        found.add(found.wants(GOOD), REQUEST)
    assert found.dropped == 3
    assert len(found.take()) == WAITING
    found.add(found.wants(GOOD), REQUEST)
    assert len(found.take()) == 1


def test_every_phase_has_its_place():
    assert set(ORDER) == set(PHASES)
