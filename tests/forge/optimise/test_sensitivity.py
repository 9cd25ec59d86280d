"""The ranking finds the node that harms, says what time it costs, and keeps to its time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from onnx import numpy_helper

from skerry.forge.optimise.plan import Recipe
from skerry.forge.optimise.quantise import calibrated, output_error
from skerry.forge.optimise.sensitivity import Ranking, Weight, rank
from skerry.forge.optimise.work import Work
from skerry.host.clock import FakeClock
from tests.forge.optimise.kit import mobile, samples

PLAIN = Recipe(gates_in_float=False, first_in_float=False, method="minmax", correct_bias=False)


def harmed() -> tuple[onnx.ModelProto, str, list[dict[str, np.ndarray]]]:
    """Return a model, the node that INT8 ruins, and samples: its large weights meet a channel that is always empty."""
    model = mobile(act="Relu")
    node = model.graph.node[0]
    for tensor in model.graph.initializer:
        if tensor.name == node.input[1]:
            value = numpy_helper.to_array(tensor).copy()
            value[:, 2] *= 60
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    feeds = samples(model)
    for feed in feeds:
        feed["x"][:, 2] = 0
    return model, node.name, feeds


def test_the_node_that_harms_most_gains_most() -> None:
    model, name, feeds = harmed()
    work = Work(feeds=feeds)
    measured = calibrated(model, PLAIN, work)
    ranking = rank(measured, PLAIN, work)
    assert not ranking.untried
    assert {w.node for w in ranking.weights} == {n.name for n in model.graph.node if n.op_type in ("Conv", "Gemm")}
    best = max(ranking.weights, key=lambda w: w.gained)
    found = measured.quantised(replace(PLAIN, floats=frozenset({best.node})))
    assert best.node == name
    assert output_error(measured.model, found, work, 8) < 0.6 * ranking.error


def test_a_deadline_leaves_the_rest_untried() -> None:
    model, _, feeds = harmed()
    measured = calibrated(model, PLAIN, Work(feeds=feeds))
    clock = FakeClock()
    work = Work(feeds=feeds, clock=clock, deadline=clock.time - 1)
    ranking = rank(measured, PLAIN, work)
    assert len(ranking.weights) == 1
    assert len(ranking.untried) == 9
    assert "ranking: the time was over after 1 of 10 nodes" in work.said


def test_worth_is_error_for_time_and_only_gains_are_taken() -> None:
    free, dear, bad = Weight("a", 0.1, -3.0), Weight("b", 0.2, 10.0), Weight("c", -0.1, 1.0)
    assert free.worth == float("inf")
    assert dear.worth == 0.02
    assert bad.worth < 0
    assert Weight("d", -0.1, -1.0).worth == 0
    assert Ranking(1.0, (free, dear, bad)).floats(3) == {"a", "b"}
