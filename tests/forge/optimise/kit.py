"""Small graphs for the tests of the passes: built node by node, weights made up from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from skerry.forge.optimise.observe import Observed


class Draft:
    """A graph that grows; each method returns the new tensor's name."""

    def __init__(self, seed: int = 0, opset: int = 18) -> None:
        self.random, self.opset = np.random.default_rng(seed), opset
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, kind: str, *inputs: str, out: str = "", **options: Any) -> str:
        name = out or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"n{len(self.nodes)}", **options))
        return name

    def weight(self, value: Any, kind: Any = np.float32) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def normal(self, *shape: int) -> str:
        fan = int(np.prod(shape[1:])) or 1
        return self.weight(self.random.standard_normal(shape) * np.sqrt(2 / fan))

    def conv(self, at: str, inner: int, outer: int, kernel: int = 3, groups: int = 1, **options: Any) -> str:
        weight, bias = self.normal(outer, inner // groups, kernel, kernel), self.normal(outer)
        return self.node("Conv", at, weight, bias, group=groups, pads=[kernel // 2] * 4, **options)

    def model(
        self, given: dict[str, list[int]], found: dict[str, list[int]], kind: int = TensorProto.FLOAT
    ) -> onnx.ModelProto:
        ends = [
            [helper.make_tensor_value_info(name, of, shape) for name, shape in side.items()]
            for side, of in ((given, kind), (found, TensorProto.FLOAT))
        ]
        graph = helper.make_graph(self.nodes, "draft", ends[0], ends[1], self.weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9)
        onnx.checker.check_model(made)
        return made


def mobile(seed: int = 0, act: str = "HardSwish", side: int = 16) -> onnx.ModelProto:
    """A picture, two blocks with a depthwise convolution and a gate, a pooling, a Gemm with transB."""
    draft = Draft(seed)
    now = draft.node(act, draft.conv("x", 3, 8))
    for _ in range(2):
        inner = draft.node(act, draft.conv(now, 8, 24, 1))
        inner = draft.node(act, draft.conv(inner, 24, 24, 3, groups=24))
        pooled = draft.node("GlobalAveragePool", inner)
        gate = draft.node("HardSigmoid", draft.conv(pooled, 24, 24, 1), alpha=1 / 6, beta=0.5)
        now = draft.node("Add", now, draft.conv(draft.node("Mul", inner, gate), 24, 8, 1))
    flat = draft.node("Flatten", draft.node("GlobalAveragePool", now))
    draft.node("Gemm", flat, draft.normal(5, 8), draft.normal(5), out="y", transB=1)
    return draft.model({"x": [1, 3, side, side]}, {"y": [1, 5]})


def samples(model: onnx.ModelProto, count: int = 8, seed: int = 1) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        feeds = {}
        for value in model.graph.input:
            shape = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
            if value.type.tensor_type.elem_type == TensorProto.UINT8:
                feeds[value.name] = random.integers(0, 256, shape).astype(np.uint8)
            else:
                feeds[value.name] = random.standard_normal(shape).astype(np.float32)
        found.append(feeds)
    return found


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray], level: str = "all") -> dict[str, np.ndarray]:
    with Observed(model, level=level) as session:
        return session.run(feeds)
