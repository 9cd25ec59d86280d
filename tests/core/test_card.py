"""Cards: what was written comes back, with every field that nobody knows, and what is wrong is named."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.card import (
    MAX_CARD,
    Accuracy,
    Card,
    DataUse,
    Difference,
    Effect,
    Latency,
    NotRun,
    Parity,
    Pass,
    Ratio,
    Target,
    read_card,
)
from skerry.core.errors import Invalid, SkerryError, TooLarge
from skerry.core.gate import Interval, Paired, limit_gate, loss_gate
from skerry.core.names import Digest
from tests.core.values import DIGEST, almost, json_values, tried, unknown

FLOAT = Effect(
    size=4_000_000,
    accuracy=Accuracy("top-1", 0.985, Interval(0.975, 0.991), 1000, "parts test"),
    latency=Latency(1200.0, 1500.5, 4000, threads=2),
)
INT8 = Effect(
    size=1_000_000,
    accuracy=Accuracy("top-1", 0.984, Interval(0.974, 0.990), 1000, "parts test"),
    latency=Latency(600.0, 800.25, 4000, threads=2),
    ratio=Ratio(0.5, Interval(0.48, 0.53), 40),
    difference=Difference(0.25, 0.01, 200),
    coverage=0.97,
)
CARD = Card(
    measured=INT8,
    scores=(Accuracy("F", 0.99, Interval(0.98, 0.995), 300, "boards left out"),),
    data=(DataUse("parts", "test", 1000, Digest(DIGEST), "by content hash, 0.2", "CC BY 4.0"),),
    recipe="images",
    options={"width": 0.5},
    seeds={"split": 1},
    tools={"torch": "2.13.0"},
    parity=(Parity("torch 2.13.0", 1e-6, 1e-8, 10, 1e-4),),
    passes=(
        Pass("quantise", True, "1.9 times as fast for 0.1 pt", FLOAT, INT8, {"calibrator": "mse"}, 12.5),
        Pass("prune", False, "lost 2 pt", INT8, INT8),
    ),
    target=Target("cpu-2", {"architecture": "x86_64"}),
    gates=(loss_gate(Paired(3, 2, 4000), 0.005), limit_gate("size", 1_000_000, 1_500_000, " bytes")),
    not_executed=(NotRun("rknn", "kit/rknn.zip", "needs the vendor's SDK"),),
    notes=("no board of another maker was seen",),
)


def with_unknown(draw, value):
    """Return the JSON value with unknown fields in every object whose fields have names."""
    if isinstance(value, list):
        return [with_unknown(draw, one) for one in value]
    if not isinstance(value, dict):
        return value
    closed = ("facts", "options", "seeds", "tools", "interval")
    inner = {key: one if key in closed else with_unknown(draw, one) for key, one in value.items()}
    return {**draw(unknown), **inner}


def test_a_card_comes_back_as_it_was():
    assert Card.read(CARD.json()) == CARD
    assert read_card(CARD.bytes) == CARD
    assert read_card(CARD.bytes).bytes == CARD.bytes
    assert Card.read({"schema": 1}) == Card()
    assert Card().bytes == Card.read(Card().json()).bytes


@given(st.data())
def test_fields_that_nobody_knows_stay(data):
    told = with_unknown(data.draw, CARD.json())
    assert Card.read(told).json() == told


@given(json_values | almost(CARD.json()))
def test_arbitrary_json_raises_skerry_errors_alone(value):
    card = tried(Card.read, value)
    if isinstance(card, Card):
        assert isinstance(tried(lambda: card.bytes), bytes | SkerryError)
        assert json.dumps(Card.read(card.json()).json()) == json.dumps(card.json())


@given(st.binary(max_size=64))
def test_arbitrary_bytes_raise_skerry_errors_alone(data):
    with pytest.raises(SkerryError):
        read_card(data)


def test_a_card_is_proven_when_all_of_its_gates_pass():
    assert CARD.proven
    assert not Card().proven
    assert not Card(gates=(*CARD.gates, limit_gate("size", 2, 1))).proven


WRONG = [
    ({"schema": 2}, "card.schema: this version of Skerry reads 1; got 2"),
    ({"measured": {"size": -1}}, "card.measured: size: expected a whole number"),
    ({"measured": {"coverage": 1.5}}, "card.measured: coverage: expected a number from 0.0 to 1.0"),
    ({"measured": {"accuracy": {"kind": "top-1"}}}, "card.measured: accuracy: value: expected this field"),
    ({"data": [{"name": "x", "use": "test", "files": 1, "manifest": "x"}]}, r"card.data\[0\]: manifest: digest"),
    ({"seeds": {"a": True}}, "card.seeds: a: expected a whole number from 0"),
    ({"seeds": {"a": -1}}, "card.seeds: a: expected a whole number from 0"),
    ({"seeds": {str(n): n for n in range(1001)}}, "card.seeds: expected at most 1000 fields; got 1001"),
    ({"tools": {"torch": 2}}, "card.tools: torch: expected a string"),
    ({"passes": [{"name": "a", "kept": 1}]}, r"card.passes\[0\]: kept: expected true or false"),
    ({"gates": [{"gate": "a", "text": "", "outcome": "maybe"}]}, r"card.gates\[0\]: outcome: expected one of pass"),
    ({"target": {"name": "x", "facts": []}}, "card.target: facts: expected an object"),
]


@pytest.mark.parametrize(("change", "text"), WRONG, ids=lambda v: repr(v)[:40])
def test_what_is_wrong_is_named(change, text):
    with pytest.raises(Invalid, match=text):
        Card.read({**CARD.json(), **change})


def test_an_interval_runs_upwards():
    told = CARD.json()
    told["measured"]["ratio"]["interval"] = {"low": 2, "high": 1}
    with pytest.raises(Invalid, match=r"card.measured: ratio: interval: high: expected a number from 2.0"):
        Card.read(told)


def test_a_card_has_a_limit():
    with pytest.raises(TooLarge, match=r"card.json: expected at most"):
        read_card(b" " * (MAX_CARD + 1))
