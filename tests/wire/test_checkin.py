from __future__ import annotations

import json

import pytest
from hypothesis import given

from skerry.core.errors import Invalid, SkerryError
from skerry.core.plan import Wanted
from skerry.wire.checkin import CheckIn, Enrol, ModelReport, Orders
from tests.core.values import DIGEST, almost, json_values
from tests.wire.messages import BUNDLE, CHECK_IN, ENROL, ORDERS, REPORT

KINDS = {Enrol: ENROL, ModelReport: REPORT, CheckIn: CHECK_IN, Orders: ORDERS}


@pytest.mark.parametrize(("kind", "good"), KINDS.items())
def test_a_message_comes_back(kind, good):
    assert kind.read(good).json() == good
    assert kind.read({**good, "unheard-of": 1}) == kind.read(good)


def test_what_may_be_left_out_has_a_default():
    assert Enrol.read({"name": "a", "join_token": "", "secret": ""}).group == "default"
    assert CheckIn.read({"node": "a"}) == CheckIn.read(
        {"node": "a", "models": [], "backlog": 0, "url": "", "facts": {}}
    )
    assert Orders.read({"interval": 5}).desired == ()
    report = ModelReport.read({**BUNDLE, "state": "serving"})
    assert (report.rollout, report.reason) == (0, "")


def test_secrets_do_not_show():
    shown = repr(Enrol.read({**ENROL, "join_token": "geheim", "secret": "streng"}))
    assert "geheim" not in shown
    assert "streng" not in shown


def test_orders_name_what_is_wanted():
    assert Orders.read(ORDERS).desired == (Wanted("boards", 3, DIGEST, 2),)


@pytest.mark.parametrize(
    ("kind", "change", "text"),
    [
        (Enrol, {"name": "../x"}, "^name: node name: expected"),
        (Enrol, {"group": "a b"}, "^group: group name: expected"),
        (Enrol, {"secret": "s" * 257}, "^secret: expected a string of at most 256"),
        (ModelReport, {"state": "happy"}, "^state: expected one of serving, refused"),
        (CheckIn, {"models": [{**REPORT, "digest": "x"}]}, r"^models\[0\]: digest: expected"),
        (CheckIn, {"facts": []}, "^facts: expected an object"),
        (CheckIn, {"backlog": -1}, "^backlog: expected a whole number"),
        (Orders, {"interval": 0}, "^interval: expected a number from 0.05"),
        (Orders, {"interval": 1e9}, "^interval: expected a number"),
        (Orders, {"desired": [BUNDLE]}, r"^desired\[0\]: rollout: expected this field"),
        (Orders, {"desired": [{}] * 10_001}, "^desired: expected a list of at most 10000"),
    ],
)
def test_what_is_wrong_is_named(kind, change, text):
    with pytest.raises(Invalid, match=text):
        kind.read({**KINDS[kind], **change})


@pytest.mark.parametrize("kind", KINDS)
def test_arbitrary_json_raises_skerry_errors_alone(kind):
    @given(json_values | almost(KINDS[kind]))
    def holds(value):
        try:
            found = kind.read(value)
        except SkerryError:
            return
        json.dumps(found.json())

    holds()
