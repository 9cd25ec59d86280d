"""The rewrites: fewer operators, the same answers; and what they must leave alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from skerry.core.errors import LoadFailed
from skerry.forge.optimise.graph import (
    AnswersMoved,
    Compact,
    Simplify,
    Slim,
    difference,
    kept_ends,
    rewritten,
    same_answers,
)
from skerry.forge.optimise.quantise import StaticInt8
from skerry.forge.optimise.rewrites.net import Net, operators
from skerry.forge.optimise.work import Work
from tests.forge.optimise.kit import Draft, mobile, samples


def proven(model: onnx.ModelProto) -> onnx.ModelProto:
    changed, _ = rewritten(model)
    assert kept_ends(model, changed)
    assert max(difference(model, changed, samples(model, 3)).values()) < 1e-5
    return changed


def normed(draft: Draft, at: str, channels: int) -> str:
    parts = [draft.normal(channels) for _ in range(3)]
    return draft.node("BatchNormalization", at, *parts, draft.weight(draft.random.uniform(0.5, 2, channels)))


def test_batch_norms_go_into_the_weights_before_them() -> None:
    draft = Draft()
    now = draft.node("Relu", normed(draft, draft.node("Conv", "x", draft.normal(4, 3, 3, 3)), 4))
    flat = draft.node("Flatten", now)
    draft.node("Identity", normed(draft, draft.node("Gemm", flat, draft.normal(144, 6), draft.normal(6)), 6), out="y")
    changed = proven(draft.model({"x": [1, 3, 8, 8]}, {"y": [1, 6]}))
    assert set(operators(changed)) == {"Conv", "Relu", "Flatten", "Gemm"}


def test_a_batch_norm_behind_a_tensor_that_others_read_stays() -> None:
    draft = Draft()
    conv = draft.node("Conv", "x", draft.normal(4, 3, 3, 3))
    draft.node("Add", normed(draft, conv, 4), conv, out="y")
    assert "BatchNormalization" in operators(proven(draft.model({"x": [1, 3, 8, 8]}, {"y": [1, 4, 6, 6]})))


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize(("kind", "pool"), [("ReduceMean", "GlobalAveragePool"), ("ReduceMax", "GlobalMaxPool")])
@pytest.mark.parametrize("keeps", [0, 1])
def test_reductions_over_pictures_become_poolings(opset: int, kind: str, pool: str, keeps: int) -> None:
    draft = Draft(opset=opset)
    if opset >= 18:
        draft.node(kind, "x", draft.weight([-2, -1], np.int64), out="y", keepdims=keeps)
    else:
        draft.node(kind, "x", out="y", keepdims=keeps, axes=[2, 3])
    model = draft.model({"x": [2, 3, 4, 5]}, {"y": [2, 3, 1, 1] if keeps else [2, 3]})
    assert pool in operators(proven(model))


def test_other_reductions_stay() -> None:
    draft = Draft()
    draft.node("ReduceMean", "x", draft.weight([1], np.int64), out="y")
    assert operators(proven(draft.model({"x": [1, 3, 4, 4]}, {"y": [1, 1, 4, 4]}))) == {"ReduceMean": 1}


def swish(draft: Draft, form: str, at: str = "x") -> str:
    if form == "gate":
        return draft.node("Mul", draft.node("HardSigmoid", at, alpha=1 / 6, beta=0.5), at, out="y")
    low, high, three, six = (draft.weight(v) for v in (0.0, 6.0, 3.0, 6.0))
    clip = draft.node("Clip", draft.node("Add", at, three), low, high)
    if form == "product, divided":
        return draft.node("Div", draft.node("Mul", at, clip), six, out="y")
    if form == "product, times a sixth":
        return draft.node("Mul", draft.node("Mul", at, clip), draft.weight(1 / 6), out="y")
    gate = draft.node("Div", clip, six) if form == "gate divided" else draft.node("Mul", clip, draft.weight(1 / 6))
    return draft.node("Mul", at, gate, out="y")


@pytest.mark.parametrize(
    "form", ["gate", "product, divided", "product, times a sixth", "gate divided", "gate times a sixth"]
)
def test_a_split_hard_swish_is_joined(form: str) -> None:
    draft = Draft()
    swish(draft, form)
    assert operators(proven(draft.model({"x": [1, 3, 4, 4]}, {"y": [1, 3, 4, 4]}))) == {"HardSwish": 1}


def test_a_gate_of_another_slope_is_no_hard_swish() -> None:
    draft = Draft()
    draft.node("Mul", draft.node("HardSigmoid", "x", alpha=0.2, beta=0.5), "x", out="y")
    assert "HardSwish" not in operators(proven(draft.model({"x": [1, 4]}, {"y": [1, 4]})))


def test_constants_shapes_and_no_ops_vanish() -> None:
    draft = Draft()
    size = draft.node("Gather", draft.node("Shape", "x"), draft.weight([0], np.int64))
    shape = draft.node("Concat", size, draft.weight([-1], np.int64), axis=0)
    kept = draft.node("Dropout", draft.node("Identity", "x"))
    draft.node("Cast", draft.node("Reshape", kept, shape), out="y", to=TensorProto.FLOAT)
    changed = proven(draft.model({"x": [2, 3, 4]}, {"y": [2, 12]}))
    assert set(operators(changed)) <= {"Reshape", "Cast"}


def test_a_product_and_a_sum_become_a_gemm_and_biases_join() -> None:
    draft = Draft()
    hidden = draft.node("Add", draft.normal(6), draft.node("MatMul", "x", draft.normal(8, 6)))
    draft.node("Add", draft.node("Gemm", hidden, draft.normal(6, 3), draft.normal(3)), draft.normal(3), out="y")
    assert operators(proven(draft.model({"x": [2, 8]}, {"y": [2, 3]}))) == {"Gemm": 2}
    draft = Draft()
    draft.node("Add", draft.node("Conv", "x", draft.normal(4, 3, 1, 1)), draft.weight(np.ones((4, 1, 1))), out="y")
    assert operators(proven(draft.model({"x": [1, 3, 4, 4]}, {"y": [1, 4, 4, 4]}))) == {"Conv": 1}


def test_declared_shapes_of_weights_are_dropped() -> None:
    model = mobile()
    weight = model.graph.initializer[0]
    model.graph.value_info.append(helper.make_tensor_value_info(weight.name, TensorProto.FLOAT, weight.dims))
    assert not {v.name for v in Net(model).finish().graph.value_info} & {w.name for w in model.graph.initializer}


def test_what_a_subgraph_reads_stays() -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["outer"], ["z"])], "g", [], [helper.make_empty_tensor_value_info("z")]
    )
    nodes = [
        helper.make_node("Identity", ["x"], ["outer"]),
        helper.make_node("If", ["when"], ["y"], then_branch=inner, else_branch=inner),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in ("x", "y")]
    when = helper.make_tensor("when", TensorProto.BOOL, [], [True])
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], [when]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    assert operators(proven(model))["If"] == 1


def test_the_pass_says_what_it_did_or_that_there_was_nothing() -> None:
    draft = Draft()
    swish(draft, "gate")
    work = Work()
    changed = Simplify()(draft.model({"x": [1, 4]}, {"y": [1, 4]}), work)
    assert changed is not None
    assert work.said == ["1 hard-swish joined", "operators 2 -> 1 (HardSigmoid 1 -> 0, Mul 1 -> 0, HardSwish 0 -> 1)"]
    assert Simplify()(changed, work) is None
    assert work.said[-1] == "nothing to rewrite"


def test_a_changed_answer_is_refused() -> None:
    one, other = mobile(0), mobile(1)
    with pytest.raises(AnswersMoved, match="output 'y' moved by"):
        same_answers(one, other, Work())


def test_onnxslim_is_used_only_where_it_is() -> None:
    draft = Draft()
    draft.node("Identity", draft.node("Relu", "x"), out="y")
    work = Work()
    changed = Slim()(draft.model({"x": [1, 4]}, {"y": [1, 4]}), work)
    assert work.said[-1] == "onnxslim is not installed" or (changed is not None and operators(changed) == {"Relu": 1})


def test_a_circle_is_refused() -> None:
    model = mobile()
    model.graph.node[0].input[0] = model.graph.node[3].output[0]
    with pytest.raises(LoadFailed, match="needs its own answer"):
        Net(model).sort()


KINDS = st.sampled_from(["Conv", "Norm", "Relu", "Add", "Mul", "Swish", "Identity", "Bias", "Dropout"])


@given(st.lists(KINDS, min_size=1, max_size=8), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_no_random_graph_changes_its_answers(kinds: list[str], seed: int) -> None:
    draft, now, before = Draft(seed), "x", "x"
    for kind in kinds:
        made = {
            "Conv": lambda at: draft.conv(at, 4, 4),
            "Norm": lambda at: normed(draft, at, 4),
            "Swish": lambda at: draft.node("Mul", at, draft.node("HardSigmoid", at, alpha=1 / 6, beta=0.5)),
            "Bias": lambda at: draft.node("Add", at, draft.weight(draft.random.standard_normal((4, 1, 1)))),
            "Add": lambda at, other=before: draft.node("Add", at, other),
            "Mul": lambda at, other=before: draft.node("Mul", at, draft.node("Sigmoid", other)),
        }.get(kind, lambda at, kind=kind: draft.node(kind, at))(now)
        before, now = now, made
    draft.node("GlobalAveragePool", now, out="y")
    proven(draft.model({"x": [1, 4, 6, 6]}, {"y": [1, 4, 1, 1]}))


def test_a_compact_file_is_the_same_graph() -> None:
    model = mobile()
    work = Work(feeds=samples(model))
    large = StaticInt8()(model, work)
    assert large is not None
    small = Compact()(large, work)
    assert small is not None
    assert small.ByteSize() < 0.75 * large.ByteSize()
    assert kept_ends(large, small)
    assert operators(small) == operators(large)
    assert all(gap == 0 for gap in difference(large, small, samples(model)).values())
    assert Compact()(small, work) is None


def test_what_subgraphs_name_is_not_renamed() -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["outer"], ["1"])], "g", [], [helper.make_empty_tensor_value_info("1")]
    )
    nodes = [
        helper.make_node("Neg", ["x"], ["outer"], doc_string="a note that nobody reads"),
        helper.make_node("If", ["when"], ["middle"], then_branch=inner, else_branch=inner),
        helper.make_node("Neg", ["middle"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in ("x", "y")]
    when = helper.make_tensor("when", TensorProto.BOOL, [], [True])
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [when])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    small = Compact()(model, Work())
    assert small is not None
    assert max(difference(model, small, samples(model)).values()) == 0
