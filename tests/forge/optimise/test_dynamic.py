"""Dynamic INT8 and GRUs written out, against ONNX Runtime's own float kernels."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.errors import Invalid
from skerry.forge.optimise.coverage import cover
from skerry.forge.optimise.dynamic import DynamicInt8
from skerry.forge.optimise.graph import difference, kept_ends
from skerry.forge.optimise.rewrites.gru import MAX_STEPS, open_grus
from skerry.forge.optimise.rewrites.net import Net, operators
from skerry.forge.optimise.work import Work
from tests.forge.optimise.kit import Draft, run, samples


def cell(
    kind: str, way: str = "forward", steps: int = 5, size: int = 16, start: bool = True, **options: int
) -> onnx.ModelProto:
    gates, ways = {"GRU": 3, "LSTM": 4}[kind], 2 if way == "bidirectional" else 1
    draft = Draft(size + steps)
    scale = 1 / np.sqrt(size)
    weights = [
        draft.weight(draft.random.uniform(-scale, scale, shape))
        for shape in ((ways, gates * size, 6), (ways, gates * size, size), (ways, 2 * gates * size))
    ]
    names = ["y", "h"] + (["c"] if kind == "LSTM" else [])
    state = ["h0"] + (["c0"] if kind == "LSTM" else []) if start else []
    inputs = ["x", *weights, *([""] if start else []), *state]
    node = onnx.helper.make_node(kind, inputs, names, name="cell", hidden_size=size, direction=way, **options)
    draft.nodes.append(node)
    ends = {"x": [steps, 2, 6]} | {name: [ways, 2, size] for name in state}
    return draft.model(ends, {"y": [steps, ways, 2, size]} | {name: [ways, 2, size] for name in names[1:]})


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("way", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("start", [True, False])
def test_a_gru_written_out_answers_as_it_did(after: int, way: str, start: bool) -> None:
    model = cell("GRU", way, start=start, linear_before_reset=after)
    net = Net(model)
    assert open_grus(net) == (1, [])
    changed = net.finish()
    assert "GRU" not in operators(changed)
    assert kept_ends(model, changed)
    assert max(difference(model, changed, samples(model, 4)).values()) < 2e-6


@given(st.integers(1, 8), st.integers(1, 12), st.sampled_from([0, 1]), st.sampled_from(["forward", "bidirectional"]))
@settings(max_examples=20, deadline=None)
def test_any_gru_written_out_answers_as_it_did(steps: int, size: int, after: int, way: str) -> None:
    model = cell("GRU", way, steps, size, linear_before_reset=after)
    net = Net(model)
    assert open_grus(net)[0] == 1
    assert max(difference(model, net.finish(), samples(model, 2)).values()) < 5e-6


def test_a_gru_in_int8_is_a_quarter_as_large_and_stays_near_over_many_steps() -> None:
    model = cell("GRU", steps=1, size=96, linear_before_reset=1)
    work = Work()
    found = DynamicInt8()(model, work)
    assert found is not None
    assert work.said == ["2 MatMul in dynamic INT8, 1 GRU written out"]
    assert len(found.SerializeToString()) < 0.35 * len(model.SerializeToString())
    feeds = samples(model, 100)
    one = other = np.zeros((1, 2, 96), np.float32)
    for feed in feeds:
        one, other = (run(m, {"x": feed["x"], "h0": h})["h"] for m, h in ((model, one), (found, other)))
    assert np.abs(one - other).max() < 0.05
    assert cover(found, feeds[0]).share == 1.0


@pytest.mark.parametrize("way", ["forward", "bidirectional"])
def test_an_lstm_in_int8_stays_near(way: str) -> None:
    model = cell("LSTM", way, steps=10, size=64)
    found = DynamicInt8()(model, Work())
    assert found is not None
    assert operators(found) == {"DynamicQuantizeLSTM": 1}
    assert len(found.SerializeToString()) < 0.35 * len(model.SerializeToString())
    assert max(difference(model, found, samples(model, 3)).values()) < 0.06
    assert cover(found, samples(model, 1)[0]).share == 1.0


def test_grus_that_cannot_be_written_out_are_named() -> None:
    for model, reason in (
        (cell("GRU", steps=MAX_STEPS + 1), "expected a fixed length of at most 64"),
        (cell("GRU", linear_before_reset=1, clip=1.0), "clip"),
    ):
        work = Work()
        assert DynamicInt8()(model, work) is None
        assert reason in work.said[0]


@pytest.mark.parametrize("turned", [0, 1])
def test_products_share_their_entry_and_keep_their_bias(turned: int) -> None:
    draft = Draft()
    shape = (48, 32) if turned else (32, 48)
    draft.node("Gemm", "x", draft.normal(*shape), draft.normal(48), out="y", transB=turned)
    draft.node("MatMul", "x", draft.normal(32, 40), out="z")
    model = draft.model({"x": [3, 32]}, {"y": [3, 48], "z": [3, 40]})
    found = DynamicInt8()(model, Work())
    assert found is not None
    counts = operators(found)
    assert counts["DynamicQuantizeLinear"] == 1
    assert counts["MatMulInteger"] == 2
    assert max(difference(model, found, samples(model, 4)).values()) < 0.03
    covered = cover(found, samples(model, 1)[0])
    assert covered.share == 1.0
    assert covered.macs == 3 * 32 * 48 + 3 * 32 * 40


def test_small_and_named_products_and_convolutions_stay() -> None:
    draft = Draft()
    flat = draft.node("Flatten", draft.conv("x", 3, 40))
    draft.node("Gemm", flat, draft.normal(640, 4), draft.normal(4), out="y")
    model = draft.model({"x": [1, 3, 4, 4]}, {"y": [1, 4]})
    name = model.graph.node[-1].name
    for least, floats in ((1 << 20, frozenset[str]()), (1, frozenset({name}))):
        assert DynamicInt8(floats, least)(model, Work()) is None
    found = DynamicInt8()(model, Work())
    assert found is not None
    assert operators(found)["Conv"] == 1


def test_weights_that_are_no_numbers_are_refused() -> None:
    draft = Draft()
    draft.node("MatMul", "x", draft.weight(np.full((32, 40), np.inf)), out="y")
    with pytest.raises(Invalid, match="finite"):
        DynamicInt8()(draft.model({"x": [3, 32]}, {"y": [3, 40]}), Work())
