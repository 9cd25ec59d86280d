"""The graph that says what runs in INT8: QuantizeLinear and DequantizeLinear in the right places.

Activations are uint8 with a zero of their own, weights int8 for each output channel, biases int32. A runtime joins
`Dequantize, operator, Quantize` into one kernel, so every operator of the plan reads and writes through a pair, and no
other does. A ReLU behind a convolution is the saturation of its grid and vanishes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper

from skerry.forge.optimise.calibrate import BYTES, Range
from skerry.forge.optimise.plan import POINTWISE, WEIGHTED, Plan
from skerry.forge.optimise.rewrites.fold import join_hard_swish, limits
from skerry.forge.optimise.rewrites.net import Array, Net, attribute

INT32 = 2**31 - 1
NUDGE = 1.001  # a weight's scale is raised this much over what makes its bias fit into 32 bits


def write(net: Net, plan: Plan, ranges: Mapping[str, Range], narrow: bool = False) -> onnx.ModelProto:
    """Return the graph with the plan's nodes in INT8; `ranges` are those of `plan.measured`. The net is used up."""
    writer = _Writer(net, plan, {**ranges, **plan.fixed}, narrow)
    for node in plan.nodes.values():
        writer.node(node)
    writer.pairs()
    net.index()
    writer.shield_pools()
    join_hard_swish(net)
    return net.finish()


class _Writer:
    """The graph while pairs go into it."""

    def __init__(self, net: Net, plan: Plan, ranges: Mapping[str, Range], narrow: bool) -> None:
        self.net, self.plan, self.ranges = net, plan, ranges
        self.most = 63 if narrow else 127
        self.levels: dict[str, str] = {}
        self.scales: dict[str, tuple[str, str]] = {}
        # Clip or ReLU behind a node may vanish only if the grid saturates at least as early.
        self.vanished = {name: node for name, node in plan.absorbed.items() if self._ends(node)}

    def _ends(self, node: onnx.NodeProto) -> bool:
        span = self.range(node.output[0])
        _, high = limits(self.net, node)
        return span.zero == 0 and (node.op_type == "Relu" or high is None or span.scale * 255 <= high * (1 + 1e-6))

    def range(self, tensor: str) -> Range:
        """Return the grid of a tensor."""
        return self.ranges[self.plan.tensors[tensor]]

    def node(self, node: onnx.NodeProto) -> None:
        """Let a node read its weights and constants through pairs."""
        if node.op_type in WEIGHTED:
            self._weights(node)
        elif node.op_type in POINTWISE:
            for place, name in enumerate(node.input):
                value = self.net.constant(name) if name else None
                if value is not None:
                    node.input[place] = self._constant(name, value)

    def _weights(self, node: onnx.NodeProto) -> None:
        weight = self.net.constant(node.input[1])
        assert weight is not None
        axis = 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1
        entry = self.range(node.input[0]).scale
        bias = self.net.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        scale = weight_scale(weight, axis, self.most, entry, bias)
        levels = np.rint(weight / by_channel(scale, axis, weight.ndim)).clip(-self.most, self.most).astype(np.int8)
        node.input[1] = self._dequantised(node.input[1], levels, scale, np.zeros(scale.size, np.int8), axis)
        if bias is not None:
            step = (entry * scale.astype(np.float64)).astype(np.float32)
            whole = np.rint(np.broadcast_to(bias.reshape(-1), scale.shape) / step.astype(np.float64))
            levels = whole.clip(-INT32, INT32).astype(np.int32)
            node.input[2] = self._dequantised(node.input[2], levels, step, np.zeros(scale.size, np.int32), 0)

    def _constant(self, name: str, value: Array) -> str:
        span = Range(float(value.min()), float(value.max()))
        levels = (np.rint(value / span.scale) + span.zero).clip(0, 255).astype(np.uint8)
        return self._dequantised(name, levels, np.float32(span.scale), np.uint8(span.zero), None)

    def _dequantised(
        self, hint: str, levels: Array, scale: Array | np.float32, zero: Array | np.uint8, axis: int | None
    ) -> str:
        parts = [self.net.add_weight(f"{hint}_levels", levels)]
        parts += [
            self.net.add_weight(f"{hint}_scale", np.asarray(scale)),
            self.net.add_weight(f"{hint}_zero", np.asarray(zero)),
        ]
        real = self.net.fresh(f"{hint}_real")
        node = helper.make_node("DequantizeLinear", parts, [real], name=f"{real}_dq")
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        self.net.graph.node.append(node)
        return real

    def pairs(self) -> None:
        """Put a pair behind every tensor that has a grid."""
        for name, node in self.vanished.items():
            self.plan.nodes[name].output[0] = node.output[0]
            self.net.graph.node.remove(node)
        self.net.index()
        entries = {name: node.input[0] for name, node in self.plan.nodes.items() if node.op_type == "HardSigmoid"}
        for tensor in self.plan.tensors:
            self._pair(tensor)
        for name, tensor in entries.items():
            self._saturate(self.plan.nodes[name], tensor)

    def _saturate(self, node: onnx.NodeProto, tensor: str) -> None:
        """Write hard-sigmoid as an addition: `alpha` goes into the grid of x; the grid of the sum ends at 0 and 1."""
        alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
        scale = self.net.add_weight(f"{node.name}_scale", np.asarray(self.range(tensor).scale * alpha, np.float32))
        real = self.net.fresh(f"{node.name}_entry")
        parts = [self.levels[tensor], scale, self._grid(tensor)[1]]
        self.net.graph.node.append(helper.make_node("DequantizeLinear", parts, [real], name=f"{real}_dq"))
        middle = self._constant(f"{node.name}_middle", np.asarray(beta, np.float32))
        node.op_type = "Add"
        del node.attribute[:], node.input[:]
        node.input.extend([real, middle])

    def _pair(self, tensor: str) -> None:
        net, parts = self.net, self._grid(tensor)
        maker = net.makers.get(tensor)
        if tensor in self.plan.made:  # all read the grid: the plain answer is never there
            raw, real = net.fresh(f"{tensor}_raw"), tensor
            assert maker is not None
            maker.output[list(maker.output).index(tensor)] = raw
        else:
            raw, real = tensor, net.fresh(f"{tensor}_on_grid")
            for reader in net.readers.get(tensor, []):
                if reader.name in self.plan.nodes:
                    for place, name in enumerate(reader.input):
                        if name == tensor:
                            reader.input[place] = real
        levels = net.fresh(f"{tensor}_quantised")
        if maker is not None and self.ranges.get(tensor) is BYTES:
            levels = maker.input[0]
        else:
            net.graph.node.append(helper.make_node("QuantizeLinear", [raw, *parts], [levels], name=f"{levels}_q"))
        self.levels[tensor] = levels
        net.graph.node.append(helper.make_node("DequantizeLinear", [levels, *parts], [real], name=f"{real}_dq"))

    def shield_pools(self) -> None:
        """Keep MaxPool in float: ONNX Runtime would draw the pairs on either side of it through it.

        `Max` with the least value of the grid changes nothing that passes, and no pair is drawn through it.
        """
        net = self.net
        for pool in [node for node in net.graph.node if node.op_type == "MaxPool"]:
            maker = net.makers.get(pool.input[0])
            if maker is not None and maker.op_type == "DequantizeLinear":
                pool.input[0] = self._least(pool.input[0], maker)
            quantisers = [n for n in net.readers.get(pool.output[0], []) if n.op_type == "QuantizeLinear"]
            for quantiser in quantisers:
                quantiser.input[0] = self._least(pool.output[0], quantiser)
        net.index()

    def _least(self, tensor: str, pair: onnx.NodeProto) -> str:
        """Return the tensor behind a Max with the least value of the grid of a Quantize or Dequantize."""
        scale, zero = (self.net.scalar(name) or 0.0 for name in pair.input[1:3])
        least = self.net.add_weight(f"{tensor}_least", np.asarray(-zero * scale, np.float32))
        name = self.net.fresh(f"{tensor}_shielded")
        self.net.graph.node.append(helper.make_node("Max", [tensor, least], [name], name=name))
        return name

    def _grid(self, tensor: str) -> tuple[str, str]:
        owner = self.plan.tensors[tensor]
        if owner not in self.scales:
            span = self.ranges[owner]
            scale = self.net.add_weight(f"{owner}_scale", np.asarray(span.scale, np.float32))
            self.scales[owner] = scale, self.net.add_weight(f"{owner}_zero", np.asarray(span.zero, np.uint8))
        return self.scales[owner]


def by_channel(values: Array, axis: int, rank: int) -> Array:
    """Return values of one axis in a shape that meets an array of so many dimensions."""
    return values.reshape([-1 if place == axis else 1 for place in range(rank)])


def weight_scale(weight: Array, axis: int, most: int, entry: float, bias: Array | None) -> Array:
    """Return the step of each output channel's weights, wide enough for the bias to fit into 32 bits."""
    largest = np.abs(weight).max(axis=tuple(place for place in range(weight.ndim) if place != axis), initial=0.0)
    scale = largest.astype(np.float64) / most
    if bias is not None:
        scale = np.maximum(scale, np.abs(bias.reshape(-1).astype(np.float64)) / (entry * INT32) * NUDGE)
    tiny = float(np.finfo(np.float32).tiny) / min(entry, 1.0)
    return np.where(scale < tiny, 1.0, scale).astype(np.float32)
