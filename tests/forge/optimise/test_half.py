"""Half precision: half the file, the same ends, and float32 where it would break."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from skerry.forge.optimise.graph import difference, kept_ends
from skerry.forge.optimise.half import Half, Widen
from skerry.forge.optimise.work import Work
from tests.forge.optimise.kit import Draft, mobile, run, samples


def two_layers(width: int = 256, scale: float = 1.0) -> tuple[Draft, str]:
    draft = Draft()
    hidden = draft.node("Relu", draft.node("Gemm", "x", draft.normal(width, 64), draft.normal(width), transB=1))
    return draft, draft.node("Mul", hidden, draft.weight(scale))


@pytest.mark.parametrize("compute", [False, True])
def test_the_file_halves_and_answers_stay(compute: bool) -> None:
    draft, hidden = two_layers()
    draft.node("Gemm", hidden, draft.normal(256, 40), draft.normal(40), out="y")
    model = draft.model({"x": [2, 64]}, {"y": [2, 40]})
    work = Work(feeds=samples(model))
    found = Half(compute)(model, work)
    assert found is not None
    assert kept_ends(model, found)
    assert len(found.SerializeToString()) < 0.56 * len(model.SerializeToString())
    assert max(difference(model, found, samples(model)).values()) < 3e-3


def test_what_overflows_stays_in_float32() -> None:
    draft, hidden = two_layers(scale=1e5)
    back = draft.node("Mul", hidden, draft.weight(1e-5))
    draft.node("Gemm", back, draft.normal(256, 40), draft.normal(40), out="y")
    model = draft.model({"x": [2, 64]}, {"y": [2, 40]})
    found = Half(compute=True)(model, Work(feeds=samples(model)))
    assert found is not None
    answer = run(found, samples(model)[0])["y"]
    assert np.isfinite(answer).all()
    assert max(difference(model, found, samples(model)).values()) < 3e-3
    kinds = {t.name: t.data_type for t in found.graph.initializer}
    assert TensorProto.FLOAT in kinds.values()
    assert TensorProto.FLOAT16 in kinds.values()


def test_a_network_of_convolutions_runs_in_it() -> None:
    model = mobile()
    work = Work(feeds=samples(model))
    found = Half(compute=True)(model, work)
    assert found is not None
    assert "nodes run in it" in work.said[0]
    assert kept_ends(model, found)
    assert max(difference(model, found, samples(model)).values()) < 5e-3


def test_a_model_without_large_weights_is_left() -> None:
    draft = Draft()
    draft.node("Gemm", "x", draft.normal(4, 4), draft.normal(4), out="y")
    work = Work()
    assert Half()(draft.model({"x": [1, 4]}, {"y": [1, 4]}), work) is None
    assert "no float32 weights of 256" in work.said[0]


def test_a_model_in_half_precision_is_widened() -> None:
    draft = Draft()
    hidden = draft.node("Relu", draft.node("Gemm", "x", draft.weight(draft.random.standard_normal((8, 6)), np.float16)))
    out = draft.node("Cast", draft.node("Cast", hidden, to=TensorProto.FLOAT), to=TensorProto.FLOAT16)
    draft.node("Identity", out, out="y")
    model = draft.model({"x": [2, 8]}, {"y": [2, 6]}, TensorProto.FLOAT16)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    work = Work()
    found = Widen()(model, work)
    assert found is not None
    assert kept_ends(model, found)
    assert TensorProto.FLOAT16 not in {tensor.data_type for tensor in found.graph.initializer}
    feeds = [{"x": np.random.default_rng(0).standard_normal((2, 8)).astype(np.float16)}]
    assert max(difference(model, found, feeds).values()) < 5e-3
    assert Widen()(found, work) is None
