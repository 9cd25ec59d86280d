"""Dynamic INT8: weights of products and recurrent cells in int8, what they meet quantised anew in each run.

It pays where weights are read once for each run: Gemm, MatMul, LSTM, and GRU written as products. Never for
convolutions, which become 3 to 8 times slower and, depthwise, wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from skerry.core.errors import Invalid
from skerry.forge.optimise.qdq import weight_scale
from skerry.forge.optimise.rewrites.fold import plain
from skerry.forge.optimise.rewrites.gru import OPSET, open_grus
from skerry.forge.optimise.rewrites.net import MICROSOFT, STANDARD, Array, Net, at_least, attribute
from skerry.forge.optimise.work import Work

LEAST = 1024  # weights of a node; below, the bytes saved are fewer than those of the operators added


@dataclass(frozen=True)
class DynamicInt8:
    """The pass. `grus`: write GRUs out as products first; `lstms`: quantise LSTMs, for ONNX Runtime alone."""

    floats: frozenset[str] = frozenset()
    least: int = LEAST
    grus: bool = True
    lstms: bool = True
    narrow_weights: bool = False  # 7 bits, for x86 without VNNI
    name: str = "dynamic int8"

    def __call__(self, model: onnx.ModelProto, work: Work) -> onnx.ModelProto | None:
        """Return the model with its products in INT8; None where there are none."""
        net = at_least(model, OPSET)
        opened = 0
        if self.grus:
            opened, said = open_grus(net)
            for line in said:
                work.say(line)
        writer = _Writer(net, 63 if self.narrow_weights else 127)
        done = [node.op_type for node in list(net.graph.node) if self._may(node) and writer.node(node, self.least)]
        if not done:
            work.say(f"no MatMul, Gemm or LSTM with {self.least} constant weights or more")
            return None
        counts = ", ".join(f"{done.count(kind)} {kind}" for kind in dict.fromkeys(done))
        work.say(f"{counts} in dynamic INT8" + (f", {opened} GRU written out" if opened else ""))
        net.index()
        return net.finish()

    def _may(self, node: onnx.NodeProto) -> bool:
        kinds = {"MatMul", "Gemm", "LSTM"} if self.lstms else {"MatMul", "Gemm"}
        return node.op_type in kinds and node.domain in STANDARD and node.name not in self.floats


class _Writer:
    """The graph while its products change."""

    def __init__(self, net: Net, most: int) -> None:
        self.net, self.most = net, most
        self.entries: dict[str, list[str]] = {}  # tensor -> its levels, scale, zero: quantised once for all readers
        self.packed: dict[tuple[str, bool], tuple[str, str, str]] = {}  # weight -> the same; a cell reads it each step

    def node(self, node: onnx.NodeProto, least: int) -> bool:
        """Rewrite a node; False if it stays as it is."""
        if node.op_type == "LSTM":
            return self._lstm(node, least)
        weight = self.net.constant(node.input[1])
        if weight is None or weight.dtype != np.float32 or weight.ndim != 2 or weight.size < least:
            return False
        if self.net.constant(node.input[0]) is not None or (node.op_type == "Gemm" and not plain(node)):
            return False
        self._product(node, weight)
        return True

    def _product(self, node: onnx.NodeProto, weight: Array) -> None:
        turned = node.op_type == "Gemm" and bool(attribute(node, "transB", 0))
        levels, steps, zero = self._pack(node.input[1], weight, turned)
        entry = self._entry(node.input[0])
        bias = node.input[2] if len(node.input) > 2 else ""
        whole, real, scale, product = (
            self.net.fresh(f"{node.output[0]}_{part}") for part in ("whole", "real", "scale", "product")
        )
        answer = product if bias else node.output[0]
        new = [
            helper.make_node("MatMulInteger", [entry[0], levels, entry[2], zero], [whole], name=node.name),
            helper.make_node("Cast", [whole], [real], name=real, to=TensorProto.FLOAT),
            helper.make_node("Mul", [entry[1], steps], [scale], name=scale),
            helper.make_node("Mul", [real, scale], [answer], name=f"{answer}_scaled"),
        ]
        if bias:
            new.append(helper.make_node("Add", [product, bias], [node.output[0]], name=f"{node.output[0]}_biased"))
        self.net.graph.node.remove(node)
        self.net.graph.node.extend(new)

    def _entry(self, tensor: str) -> list[str]:
        if tensor not in self.entries:
            names = [self.net.fresh(f"{tensor}_{part}") for part in ("levels", "step", "zero")]
            self.net.graph.node.append(helper.make_node("DynamicQuantizeLinear", [tensor], names, name=names[0]))
            self.entries[tensor] = names
        return self.entries[tensor]

    def _pack(self, name: str, weight: Array, turned: bool) -> tuple[str, str, str]:
        if (name, turned) not in self.packed:
            matrix = weight.T if turned else weight
            steps = self._steps(matrix, 1)
            levels = np.rint(matrix / steps).clip(-self.most, self.most).astype(np.int8)
            self.packed[name, turned] = (
                self.net.add_weight(f"{name}_levels", levels),
                self.net.add_weight(f"{name}_steps", steps),
                self.net.add_weight(f"{name}_zero", np.zeros((), np.int8)),
            )
        return self.packed[name, turned]

    def _steps(self, matrix: Array, axis: int) -> Array:
        if not np.isfinite(matrix).all():
            raise Invalid("weights: expected finite values; got NaN or infinity")
        return weight_scale(matrix, axis, self.most, 1.0, None)

    def _lstm(self, node: onnx.NodeProto, least: int) -> bool:
        pair = [self.net.constant(name) for name in node.input[1:3]]
        if any(weight is None or weight.dtype != np.float32 for weight in pair) or attribute(node, "layout", 0):
            return False
        weights = [weight for weight in pair if weight is not None]
        if sum(weight.size for weight in weights) < least:
            return False
        inputs = [*node.input, *[""] * (8 - len(node.input))]
        for place, weight in enumerate(weights, start=1):
            turned = weight.transpose(0, 2, 1)  # [directions, inputs, 4 * hidden]
            steps = np.stack([self._steps(matrix, 1) for matrix in turned])
            levels = np.rint(turned / steps[:, None, :]).clip(-self.most, self.most).astype(np.int8)
            hint = inputs[place]
            inputs[place] = self.net.add_weight(f"{hint}_levels", levels)
            inputs.append(self.net.add_weight(f"{hint}_steps", steps))
            inputs.append(self.net.add_weight(f"{hint}_zero", np.zeros(steps.shape, np.int8)))
        node.op_type, node.domain = "DynamicQuantizeLSTM", MICROSOFT
        del node.input[:]
        node.input.extend(inputs)
        for item in [a for a in node.attribute if a.name == "layout"]:
            node.attribute.remove(item)
        self.net.require(MICROSOFT, 1)
        return True
