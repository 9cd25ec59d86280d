"""The models that the benchmark runs, built node by node with made-up weights: speed does not ask what they know.

`mlp` is the smallest useful one, so that what is measured is the server. `mobilenet` has the layers of
MobileNetV3-small (Howard et al., "Searching for MobileNetV3", 2019, table 2; batch norms folded): 2.5 million
parameters, 224 x 224.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE = 224  # pixels
CLASSES = 1000
WIDTH = 16  # of the multi-layer perceptron, in and out
SEED = 20260101

# kernel, width inside, width out, squeeze and excite, hard-swish (else ReLU), stride
BLOCKS = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)


class Graph:
    """A graph that grows: every method adds nodes behind `at` and returns the new tensor's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(SEED)

    def node(self, kind: str, *inputs: str, out: str = "", **options: Any) -> str:
        """Add one node."""
        name = out or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **options))
        return name

    def weight(self, values: NDArray[np.float32]) -> str:
        """Add a constant."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def random(self, *shape: int) -> str:
        """Add made-up weights that keep the size of what passes through (He et al., 2015)."""
        fan = int(np.prod(shape[1:]))
        return self.weight((self._random.standard_normal(shape) * np.sqrt(2 / fan)).astype(np.float32))

    def conv(self, at: str, width: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> str:
        """Add a convolution with a bias, padded to keep the size."""
        weight = self.random(out, width // groups, kernel, kernel)
        bias = self.weight((self._random.standard_normal(out) * 0.1).astype(np.float32))
        pads = [kernel // 2] * 4
        return self.node(
            "Conv", at, weight, bias, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, group=groups
        )

    def squeeze(self, at: str, width: int) -> str:
        """Add squeeze and excite: each channel weighed by what all channels are on average."""
        inner = max(8, (width // 4 + 4) // 8 * 8)
        pooled = self.node("GlobalAveragePool", at)
        narrow = self.node("Relu", self.conv(pooled, width, inner))
        gate = self.node("HardSigmoid", self.conv(narrow, inner, width), alpha=1 / 6, beta=0.5)
        return self.node("Mul", at, gate)

    def block(self, at: str, width: int, shape: tuple[int, int, int, bool, bool, int]) -> str:
        """Add an inverted residual."""
        kernel, inner, out, squeezed, hard, stride = shape
        act = "HardSwish" if hard else "Relu"
        now = self.node(act, self.conv(at, width, inner)) if inner != width else at
        now = self.node(act, self.conv(now, inner, inner, kernel, stride, groups=inner))
        now = self.squeeze(now, inner) if squeezed else now
        now = self.conv(now, inner, out)
        return self.node("Add", at, now) if stride == 1 and width == out else now

    def save(self, path: Path, given: tuple[str, list[int]], found: tuple[str, list[int]]) -> None:
        """Check it and write it."""
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (given, found)]
        graph = helper.make_graph(self.nodes, path.parent.name or "graph", ends[:1], ends[1:], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString())


def mlp(path: Path) -> None:
    """Write the multi-layer perceptron: x [1, 16] to y [1, 16]."""
    graph = Graph()
    hidden = graph.node("Relu", graph.node("Gemm", "x", graph.random(WIDTH, WIDTH), graph.random(WIDTH)))
    graph.node("Gemm", hidden, graph.random(WIDTH, WIDTH), graph.random(WIDTH), out="y")
    graph.save(path, ("x", [1, WIDTH]), ("y", [1, WIDTH]))


def mobilenet(path: Path) -> None:
    """Write the convolutional network: image [1, 3, 224, 224] to logits [1, 1000]."""
    graph = Graph()
    now, width = graph.node("HardSwish", graph.conv("image", 3, 16, 3, 2)), 16
    for shape in BLOCKS:
        now, width = graph.block(now, width, shape), shape[2]
    now = graph.node("HardSwish", graph.conv(now, width, 576))
    now = graph.node("Flatten", graph.node("GlobalAveragePool", now))
    now = graph.node("HardSwish", graph.node("Gemm", now, graph.random(1024, 576), graph.random(1024), transB=1))
    graph.node("Gemm", now, graph.random(CLASSES, 1024), graph.random(CLASSES), transB=1, out="logits")
    graph.save(path, ("image", [1, 3, SIDE, SIDE]), ("logits", [1, CLASSES]))
