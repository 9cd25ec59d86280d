"""Static INT8: right within its steps, really in INT8 kernels, float where it was asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from skerry.core.errors import Invalid, LoadFailed
from skerry.forge.optimise.coverage import cover
from skerry.forge.optimise.graph import kept_ends
from skerry.forge.optimise.plan import Recipe, gates, plan, prepared
from skerry.forge.optimise.qdq import INT32, weight_scale
from skerry.forge.optimise.quantise import LADDER, WIDEST, StaticInt8, calibrated, output_error
from skerry.forge.optimise.rewrites.net import Net, operators
from skerry.forge.optimise.work import Work
from skerry.host.clock import FakeClock
from tests.forge.optimise.kit import Draft, mobile, run, samples

PLAIN = Recipe(gates_in_float=False, first_in_float=False)


def quantised(model: onnx.ModelProto, recipe: Recipe = PLAIN, count: int = 8) -> tuple[onnx.ModelProto, Work]:
    work = Work(feeds=samples(model, count))
    found = StaticInt8(recipe)(model, work)
    assert found is not None
    assert kept_ends(model, found)
    return found, work


@pytest.mark.parametrize("act", ["Relu", "HardSwish", "Sigmoid"])
@pytest.mark.parametrize("recipe", [recipe for _, recipe in LADDER], ids=[name for name, _ in LADDER])
def test_a_mobile_network_keeps_its_answers(act: str, recipe: Recipe) -> None:
    model = mobile(act=act)
    found, work = quantised(model, recipe)
    assert output_error(model, found, work) < 0.02


def test_every_multiplication_is_in_int8_and_steps_are_few() -> None:
    model = mobile(act="Relu")
    found, work = quantised(model)
    covered = cover(found, work.feeds[0])
    assert covered.share == 1.0
    assert covered.macs == cover(model, work.feeds[0]).macs
    assert covered.conversions <= 2  # the picture's entry, and the answer's way out
    assert cover(model, work.feeds[0]).share == 0.0
    assert "Relu" not in operators(found)


def test_gates_and_first_convolution_stay_float_by_the_recipe() -> None:
    model = mobile(act="Relu")
    net = Net(prepared(model))
    inner = gates(net, net.shapes())
    assert len(inner) == 4  # a convolution and a hard-sigmoid in each of two blocks
    chosen = plan(net, Recipe())
    assert not inner & set(chosen.nodes)
    first = next(node.name for node in net.graph.node if node.input[0] == "x")
    assert first not in chosen.nodes
    assert first in plan(net, PLAIN).nodes
    last = net.makers["y"].name
    assert last in chosen.nodes
    assert last not in plan(net, Recipe(last_in_float=True)).nodes


def test_nodes_named_stay_float_and_strange_names_are_refused() -> None:
    model = mobile(act="Relu")
    net = Net(prepared(model))
    name = next(node.name for node in net.graph.node if node.op_type == "Conv")
    found, _ = quantised(model, replace(PLAIN, floats=frozenset({name})))
    node = next(node for node in found.graph.node if node.name == name)
    assert node.input[1] in {tensor.name for tensor in model.graph.initializer}
    with pytest.raises(Invalid, match="no node is called nobody"):
        plan(net, Recipe(floats=frozenset({"nobody"})))


@pytest.mark.parametrize("turned", [0, 1])
def test_a_gemm_of_either_way_round_is_quantised_by_channel(turned: int) -> None:
    draft = Draft()
    weight = draft.random.standard_normal((6, 8)) * np.logspace(-3, 1, 6)[:, None]
    draft.node("Gemm", "x", draft.weight(weight if turned else weight.T), draft.normal(6), out="y", transB=turned)
    model = draft.model({"x": [4, 8]}, {"y": [4, 6]})
    found, work = quantised(model)
    true, got = (run(m, work.feeds[0])["y"] for m in (model, found))
    bias = numpy_helper.to_array(model.graph.initializer[1])
    moved, wanted = got - bias, true - bias
    # The least channel has 1/10,000 of the largest's weights, and a scale of its own: bias apart, it is as right.
    assert (np.abs(moved - wanted).max(axis=0) < 0.03 * np.abs(wanted).max(axis=0) + 2e-7).all()
    assert cover(found, work.feeds[0]).share == 1.0


def test_a_bias_too_large_for_a_dead_channel_widens_its_scale() -> None:
    weight = np.array([[1e-12, -1e-12], [0.5, 1.0], [0.0, 0.0]], np.float32)
    bias = np.array([3.0, 0.1, -7.0], np.float32)
    scale = weight_scale(weight, 0, 127, 0.01, bias)
    assert (np.abs(bias) / (0.01 * scale.astype(np.float64)) <= INT32).all()
    assert scale[1] == pytest.approx(1 / 127)
    draft = Draft()
    draft.node("Gemm", "x", draft.weight(weight), draft.weight(bias), out="y", transB=1)
    model = draft.model({"x": [1, 2]}, {"y": [1, 3]})
    found, work = quantised(model)
    assert run(found, work.feeds[0])["y"] == pytest.approx(run(model, work.feeds[0])["y"], abs=0.03)


def test_bias_correction_takes_away_the_mean_shift() -> None:
    random = np.random.default_rng(0)
    draft = Draft()
    weight = random.standard_normal((8, 4, 3, 3)).astype(np.float32)
    weight[:, :, 0, 0] *= 30  # one large weight makes coarse steps for the others
    draft.node("Conv", "x", draft.weight(weight), draft.normal(8), out="y")
    model = draft.model({"x": [1, 4, 8, 8]}, {"y": [1, 8, 6, 6]})
    feeds = [{"x": (random.random((1, 4, 8, 8)) + 1).astype(np.float32)} for _ in range(16)]
    measured = calibrated(model, PLAIN, Work(feeds=feeds))
    shifts = {}
    for correct in (False, True):
        found = measured.quantised(replace(PLAIN, correct_bias=correct))
        gaps = [run(found, feed)["y"] - run(model, feed)["y"] for feed in feeds]
        shifts[correct] = float(np.abs(np.mean(gaps, axis=(0, 1, 3, 4))).max())
    assert shifts[True] < 0.35 * shifts[False]


def test_the_same_samples_give_the_same_bytes() -> None:
    model = mobile()
    one, other = (quantised(model)[0].SerializeToString(deterministic=True) for _ in range(2))
    assert one == other


def test_bytes_as_input_are_their_own_grid() -> None:
    draft = Draft()
    real = draft.node("Cast", "x", to=1)
    draft.node("Relu", draft.node("Conv", real, draft.normal(4, 3, 3, 3), draft.normal(4)), out="y")
    model = draft.model({"x": [1, 3, 8, 8]}, {"y": [1, 4, 6, 6]}, onnx.TensorProto.UINT8)
    found, work = quantised(model)
    assert operators(found) == {"DequantizeLinear": 4, "Conv": 1, "QuantizeLinear": 1}
    assert cover(found, work.feeds[0]).share == 1.0
    assert output_error(model, found, work) < 1e-3


def test_an_old_operator_set_is_converted_and_nothing_to_do_is_said() -> None:
    draft = Draft(opset=11)
    draft.node("Relu", draft.node("Conv", "x", draft.normal(4, 3, 3, 3)), out="y")
    model = draft.model({"x": [1, 3, 8, 8]}, {"y": [1, 4, 6, 6]})
    model.ir_version = 6
    assert StaticInt8(PLAIN)(model, Work(feeds=samples(model))) is not None
    draft = Draft()
    draft.node("Relu", "x", out="y")
    work = Work()
    assert StaticInt8()(draft.model({"x": [1, 4]}, {"y": [1, 4]}), work) is None
    assert work.said == ["no Conv, Gemm or MatMul with constant weights may be quantised"]


def test_what_cannot_be_quantised_is_an_error_that_names_it() -> None:
    model = mobile()
    with pytest.raises(Invalid, match="at least one sample"):
        StaticInt8()(model, Work())
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(np.full(tuple(weight.dims), np.nan, np.float32), weight.name))
    with pytest.raises(Invalid, match="node 'n0': expected finite weights"):
        StaticInt8(PLAIN)(model, Work(feeds=samples(model)))
    broken = mobile()
    broken.graph.node[0].op_type = "Nonsense"
    with pytest.raises(LoadFailed):
        StaticInt8()(broken, Work(feeds=samples(broken)))


def test_a_deadline_ends_calibration_with_the_samples_so_far() -> None:
    model, clock = mobile(), FakeClock()
    work = Work(feeds=samples(model, 6), clock=clock, deadline=clock.time + 1, watch=lambda *_: _pass(clock))
    assert StaticInt8()(model, work) is not None
    assert "calibration: the time was over after 2 samples" in work.said


def _pass(clock: FakeClock) -> None:
    clock.time += 0.5


OPS = st.sampled_from(["Conv", "Relu", "Add", "Mul", "Concat", "Clip", "Sigmoid", "Swish", "MaxPool", "Depthwise"])


def random_graph(kinds: list[str], seed: int) -> onnx.ModelProto:
    draft = Draft(seed)
    now, other = draft.conv("x", 3, 4), ""
    other = now
    for kind in kinds:
        at, before = now, other
        if kind == "Conv":
            now = draft.conv(at, 4, 4)
        elif kind == "Depthwise":
            now = draft.conv(at, 4, 4, groups=4)
        elif kind in ("Add", "Mul"):
            now = draft.node(kind, at, before if kind == "Add" else draft.node("Sigmoid", before))
        elif kind == "Concat":
            now = draft.conv(draft.node("Concat", at, before, axis=1), 8, 4, 1)
        elif kind == "Clip":
            now = draft.node("Clip", at, draft.weight(0.0), draft.weight(2.0))
        elif kind == "Swish":
            now = draft.node("HardSwish", at)
        elif kind == "MaxPool":
            now = draft.node("MaxPool", at, kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1])
        else:
            now = draft.node(kind, at)
        other = at
    flat = draft.node("Flatten", draft.node("GlobalAveragePool", now))
    draft.node("Gemm", flat, draft.normal(4, 3), draft.normal(3), out="y")
    return draft.model({"x": [1, 3, 6, 6]}, {"y": [1, 3], now: [1, 4, 6, 6]})


@given(st.lists(OPS, min_size=1, max_size=7), st.integers(0, 10_000), st.sampled_from([True, False]))
@settings(max_examples=60, deadline=None)
def test_any_small_graph_stays_right_within_its_steps(kinds: list[str], seed: int, narrow: bool) -> None:
    model = random_graph(kinds, seed)
    work = Work(feeds=samples(model, 4, seed))
    recipe = replace(PLAIN, method="minmax", narrow_weights=narrow)
    found = StaticInt8(recipe)(model, work)
    assert found is not None
    assert kept_ends(model, found)
    for feed in work.feeds:
        true, got = run(model, feed), run(found, feed)
        for name, value in true.items():
            span = max(float(value.max()), 0.0) - min(float(value.min()), 0.0)
            # Each operator adds about half a step of 255 (twice that with weights of 7 bits); they add up like noise.
            allowed = (len(kinds) + 3) * (0.02 if narrow else 0.012) * max(span, 0.5)
            assert np.abs(got[name] - value).max() < max(allowed, 0.08), (name, kinds)
    plain, joined = (run(found, work.feeds[0], level)["y"] for level in ("basic", "all"))
    assert joined == pytest.approx(plain, abs=0.05 * max(1.0, float(np.abs(plain).max())))


def pooled(first: Recipe) -> tuple[onnx.ModelProto, onnx.ModelProto, Work]:
    draft = Draft()
    now = draft.conv(draft.node("Relu", draft.conv("x", 3, 8)), 8, 8)
    now = draft.node("MaxPool", now, kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
    draft.node("Relu", draft.conv(now, 8, 8, 1), out="y")
    model = draft.model({"x": [1, 3, 16, 16]}, {"y": [1, 8, 8, 8]})
    return model, *quantised(model, first)


@pytest.mark.parametrize("level", ["extended", "all"])
def test_a_max_pool_runs_in_float(level: str) -> None:
    model, found, work = pooled(PLAIN)
    kinds = cover(found, work.feeds[0], level=level).kinds()
    assert kinds["Max"][0] == 2  # before and behind it: nothing draws it into INT8, where it is 20 times as slow
    assert kinds["QLinearConv"][0] == 3
    assert output_error(model, found, work) < 1e-3


def test_what_follows_the_last_weights_keeps_its_precision() -> None:
    draft = Draft()
    boxes = draft.node("Mul", draft.conv("x", 3, 4, 1), draft.weight(np.full((1, 4, 1, 1), 0.1)))
    draft.node("Transpose", draft.node("Sigmoid", boxes), out="y", perm=[0, 2, 3, 1])
    model = draft.model({"x": [1, 3, 8, 8]}, {"y": [1, 8, 8, 4]})
    chosen = plan(Net(prepared(model)), PLAIN)
    assert [node.op_type for node in chosen.nodes.values()] == ["Conv"]


def test_shuffled_channels_stay_in_int8() -> None:
    draft = Draft()
    now = draft.node("Relu", draft.conv("x", 3, 8))
    now = draft.node("Reshape", now, draft.weight([1, 2, 4, 8, 8], np.int64))
    now = draft.node("Transpose", now, perm=[0, 2, 1, 3, 4])
    now = draft.node("Reshape", now, draft.weight([1, 8, 8, 8], np.int64))
    draft.nodes.append(onnx.helper.make_node("Split", [now], ["left", "right"], name="split", axis=1, num_outputs=2))
    joined = draft.node("Concat", draft.conv("left", 4, 4), "right", axis=1)
    draft.conv(joined, 8, 4, out="y")
    model = draft.model({"x": [1, 3, 8, 8]}, {"y": [1, 4, 8, 8]})
    found, work = quantised(model)
    covered = cover(found, work.feeds[0])
    assert (covered.share, covered.conversions) == (1.0, 2)
    assert output_error(model, found, work) < 1e-3


def test_a_free_batch_is_quantised_like_a_fixed_one() -> None:
    model = mobile(act="Relu")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    net = Net(prepared(model))
    assert len(gates(net, net.shapes())) == 4
    random = np.random.default_rng(0)
    feeds = [{"x": random.standard_normal((size, 3, 16, 16)).astype(np.float32)} for size in (1, 3, 2)]
    found = StaticInt8()(model, Work(feeds=feeds))
    assert found is not None
    assert kept_ends(model, found)
    assert output_error(model, found, Work(feeds=feeds)) < 0.01


@pytest.mark.parametrize("act", ["Relu", "HardSwish"])
def test_one_calibration_serves_every_rung_and_every_single_node(act: str) -> None:
    model = mobile(act=act)
    work = Work(feeds=samples(model, 3))
    measured = calibrated(model, WIDEST, work)
    for _, recipe in LADDER:
        assert output_error(measured.model, measured.quantised(recipe), work) < 0.03
    ranges = measured.ranges("minmax")
    for node in measured.model.graph.node:
        measured.quantised(replace(WIDEST, floats=frozenset({node.name})), ranges)
