"""Static INT8: ranges measured on samples, then the graph with its pairs, then the biases set right.

`Calibrated` keeps what was measured, so that another choice of nodes (the repair ladder, the ranking of nodes) costs
no further run over the samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
import onnx
from onnx import helper

from skerry.forge.optimise.calibrate import Histogram, Range, collect, ranges_of
from skerry.forge.optimise.observe import Observed
from skerry.forge.optimise.plan import Plan, Recipe, plan, prepared
from skerry.forge.optimise.qdq import by_channel, weight_scale, write
from skerry.forge.optimise.rewrites.net import Array, Net, attribute
from skerry.forge.optimise.work import Feeds, Work

JUDGED = 16  # samples on which the corrected biases must beat the plain ones
CORRECTED = 64  # samples that the shift of a channel is averaged over; its mean is steady long before


@dataclass(frozen=True)
class Calibrated:
    """A model ready to be quantised: its histograms, and the mean shift that INT8 gives each channel of each node.

    It serves every recipe that puts no more nodes in INT8 than the one that was measured.
    """

    model: onnx.ModelProto
    histograms: Mapping[str, Histogram]
    shifts: Mapping[str, Array]

    def ranges(self, method: str = "best") -> dict[str, Range]:
        """Return the range of each measured tensor."""
        return ranges_of(self.histograms, method)

    def quantised(self, recipe: Recipe, ranges: Mapping[str, Range] | None = None) -> onnx.ModelProto:
        """Return the model in INT8 as the recipe says. `ranges` spare choosing them again."""
        net = Net(self.model)
        chosen = plan(net, recipe)
        if recipe.correct_bias:
            _shift_biases(net, chosen, self.shifts)
        if ranges is None:
            ranges = ranges_of({name: self.histograms[name] for name in chosen.measured}, recipe.method)
        return write(net, chosen, ranges, recipe.narrow_weights)


@dataclass(frozen=True)
class StaticInt8:
    """The pass: uint8 activations and int8 weights wherever the CPU has a kernel for them."""

    recipe: Recipe = field(default_factory=Recipe)
    name: str = "int8"

    def __call__(self, model: onnx.ModelProto, work: Work) -> onnx.ModelProto | None:
        """Return the model in INT8; None where nothing can be."""
        net = Net(prepared(model))
        chosen = plan(net, self.recipe)
        if not chosen.weighted:
            work.say("no Conv, Gemm or MatMul with constant weights may be quantised")
            return None
        measured = calibrated(model, self.recipe, work)
        ranges = measured.ranges(self.recipe.method)
        found = measured.quantised(replace(self.recipe, correct_bias=False), ranges)
        if self.recipe.correct_bias:
            other = measured.quantised(self.recipe, ranges)
            plain, better = (output_error(measured.model, candidate, work) for candidate in (found, other))
            if better < plain:
                work.say(f"bias correction: output error {plain:.3e} -> {better:.3e}")
                found = other
            else:
                work.say(f"bias correction left out: output error {plain:.3e} -> {better:.3e}")
        methods = [chosen_range.method.split(" ")[0] for chosen_range in ranges.values()]
        counts = ", ".join(f"{methods.count(method)} {method}" for method in dict.fromkeys(methods))
        work.say(f"{len(chosen.weighted)} nodes with weights in INT8, {len(chosen.nodes)} of all; ranges: {counts}")
        return found


def calibrated(model: onnx.ModelProto, recipe: Recipe, work: Work) -> Calibrated:
    """Run the model over the samples: ranges of all tensors that the recipe puts on a grid, and shifts of channels."""
    ready = prepared(model)
    chosen = plan(Net(ready), recipe)
    histograms = collect(ready, chosen.open, work)
    shifts: dict[str, Array] = {}
    if recipe.correct_bias and chosen.weighted:
        ranges = {**ranges_of(histograms, recipe.method), **chosen.fixed}
        shifts = shifts_of(ready, chosen, ranges, work, 63 if recipe.narrow_weights else 127)
    return Calibrated(ready, histograms, shifts)


def shifts_of(
    model: onnx.ModelProto, chosen: Plan, ranges: Mapping[str, Range], work: Work, most: int = 127
) -> dict[str, Array]:
    """Return by how much INT8 moves the mean of each output channel of each node, each node on its true inputs.

    Beside every node of the float model stands its double with entry and weights on their grids; what is kept is the
    mean of the difference, so nothing large is held.
    """
    net = Net(model)
    names = {}
    for node in chosen.weighted:
        names[node.name] = _double(net, node, ranges[chosen.tensors[node.input[0]]], most)
    sums: dict[str, Array] = {}
    with Observed(net.sort(), names.values()) as session:
        count = 0
        for feeds in islice(work.each("bias correction"), CORRECTED):
            answers = session.run(feeds)
            for name, tensor in names.items():
                value = answers[tensor].astype(np.float64)
                axes = (0, *range(2, value.ndim)) if net_is_conv(chosen, name) else tuple(range(value.ndim - 1))
                sums[name] = sums.get(name, 0.0) + value.mean(axis=axes)
            count += 1
    return {name: total / count for name, total in sums.items()}


def net_is_conv(chosen: Plan, name: str) -> bool:
    """Whether channels come second, not last."""
    return chosen.nodes[name].op_type == "Conv"


def _double(net: Net, node: onnx.NodeProto, span: Range, most: int) -> str:
    """Add a node's double and return the tensor of the difference; pooled, where there is something to pool."""
    weight = net.constant(node.input[1])
    assert weight is not None
    axis = 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1
    bias = net.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    scale = by_channel(weight_scale(weight, axis, most, span.scale, bias), axis, weight.ndim)
    rounded = net.add_weight(
        f"{node.name}_rounded", (np.rint(weight / scale).clip(-most, most) * scale).astype(np.float32)
    )
    grid = [
        net.add_weight(f"{node.name}_s", np.asarray(span.scale, np.float32)),
        net.add_weight(f"{node.name}_z", np.asarray(span.zero, np.uint8)),
    ]
    levels, entry, answer, gap = (net.fresh(f"{node.name}_{part}") for part in ("levels", "entry", "answer", "gap"))
    double = onnx.NodeProto()
    double.CopyFrom(node)
    double.name, double.input[0], double.input[1], double.output[0] = f"{node.name}_double", entry, rounded, answer
    net.graph.node.extend(
        [
            helper.make_node("QuantizeLinear", [node.input[0], *grid], [levels], name=levels),
            helper.make_node("DequantizeLinear", [levels, *grid], [entry], name=entry),
            double,
            helper.make_node("Sub", [answer, node.output[0]], [gap], name=gap),
        ]
    )
    name = gap
    if node.op_type == "Conv":
        name = net.fresh(f"{node.name}_mean")
        net.graph.node.append(helper.make_node("GlobalAveragePool", [gap], [name], name=name))
    return name


def _shift_biases(net: Net, chosen: Plan, shifts: Mapping[str, Array]) -> None:
    """Take the shifts from the biases; a MatMul has none, and stays as it is."""
    for node in chosen.weighted:
        shift = shifts.get(node.name)
        if shift is None or node.op_type == "MatMul":
            continue
        bias = net.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1, np.float32)
        assert bias is not None
        name = net.add_weight(f"{node.name}_bias", (bias.reshape(-1) - shift).astype(np.float32))
        if len(node.input) > 2:
            node.input[2] = name
        else:
            node.input.append(name)


def output_error(model: onnx.ModelProto, other: onnx.ModelProto, work: Work, samples: int = JUDGED) -> float:
    """Return the squared error of another model's float outputs over their own power, the mean of all outputs."""
    feeds = list(islice(iter(work.feeds), samples))
    with Observed(model) as one:
        wanted = [one.run(feed) for feed in feeds]
    return error_of(other, feeds, wanted)


def error_of(model: onnx.ModelProto, feeds: list[Feeds], wanted: list[dict[str, Array]]) -> float:
    """Return the squared error of a model's answers relative to the power of the wanted ones."""
    gaps: dict[str, float] = {}
    powers: dict[str, float] = {}
    with Observed(model, level="all") as session:
        for feed, answers in zip(feeds, wanted, strict=True):
            found = session.run(feed)
            for name, value in answers.items():
                if value.dtype.kind == "f":
                    true = value.astype(np.float64)
                    gaps[name] = gaps.get(name, 0.0) + float(np.square(found[name] - true).sum())
                    powers[name] = powers.get(name, 0.0) + float(np.square(true).sum())
    return sum(gap / max(powers[name], 1e-30) for name, gap in gaps.items()) / max(1, len(gaps))


WIDEST = Recipe(gates_in_float=False, first_in_float=False)  # what is measured once for every recipe

# From fast to safe. Each rung keeps what the one before it gave up.
LADDER: tuple[tuple[str, Recipe], ...] = (
    ("all in INT8", Recipe(gates_in_float=False)),
    ("gates in float", Recipe()),
    ("gates and hard-swish in float", Recipe(swish_in_float=True)),
    ("gates, hard-swish and last product in float", Recipe(swish_in_float=True, last_in_float=True)),
    ("the same, whole ranges", Recipe(swish_in_float=True, last_in_float=True, method="minmax")),
)
