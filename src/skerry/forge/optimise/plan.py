"""Which operators are to run in INT8: those that have such kernels, and gain from it.

An operator with weights always may. One without runs in INT8 where what it reads is made in INT8 and what it makes
leads to weights again; what comes after the last weights, boxes say, keeps its precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto

from skerry.core.errors import Invalid
from skerry.forge.optimise.calibrate import BYTES, UNIT, Range
from skerry.forge.optimise.rewrites.fold import limits, plain, split_hard_swish
from skerry.forge.optimise.rewrites.net import STANDARD, Net, at_least, attribute, types_of

OPSET = 13  # QuantizeLinear by channel came with it
WEIGHTED = {"Conv", "Gemm", "MatMul"}
POINTWISE = {
    "Add",
    "Mul",
    "AveragePool",
    "GlobalAveragePool",
    "Concat",
    "Sigmoid",
    "LeakyRelu",
    "HardSigmoid",
}  # have INT8 kernels
# These keep the grid of what they move. MaxPool is none: its kernel for bytes is 15 to 25 times as slow as for floats.
MOVING = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Split", "Gather", "Slice"}
POOLS = {"GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax"}
UNITS = {"Sigmoid", "HardSigmoid", "Softmax"}  # give 0 to 1
GATE_SHARE = 4  # what is multiplied has at least so many times the elements of its gate
FEW_CHANNELS = 4  # of a picture


@dataclass(frozen=True)
class Recipe:
    """What is left to choose."""

    floats: frozenset[str] = frozenset()  # names of nodes that stay as they are
    method: str = "best"  # of the calibrator
    swish_in_float: bool = False  # hard-swish, whose gate has 8 bits else
    gates_in_float: bool = True  # squeeze-and-excite and attention: few operations, much harm
    first_in_float: bool = True  # a convolution that reads the picture: 3 channels fill no INT8 kernel (2 x slower)
    last_in_float: bool = False  # a Gemm or MatMul whose answer no other weight meets
    narrow_weights: bool = False  # 7 bits, for x86 without VNNI, where two products of 8 bits overflow 16
    correct_bias: bool = True


@dataclass
class Plan:
    """What will run in INT8: nodes, the ReLUs that vanish into them, and each tensor's grid-mates."""

    nodes: dict[str, onnx.NodeProto] = field(default_factory=dict)
    absorbed: dict[str, onnx.NodeProto] = field(default_factory=dict)  # node -> the activation behind it
    made: dict[str, str] = field(default_factory=dict)  # tensor with a grid -> the node that makes it in INT8
    tensors: dict[str, str] = field(default_factory=dict)  # tensor -> whose grid it has
    fixed: dict[str, Range] = field(default_factory=dict)

    @property
    def weighted(self) -> list[onnx.NodeProto]:
        """The nodes with weights."""
        return [node for node in self.nodes.values() if node.op_type in WEIGHTED]

    @property
    def measured(self) -> list[str]:
        """The tensors whose range must be measured."""
        return [name for name in dict.fromkeys(self.tensors.values()) if name not in self.fixed]

    @property
    def open(self) -> list[str]:
        """The same and those that have another's grid now, and one of their own if fewer nodes were in INT8."""
        return [name for name in self.tensors if name not in self.fixed]


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model in operators that can be quantised; raise LoadFailed where it cannot be converted."""
    net = at_least(model, OPSET)
    split_hard_swish(net)
    return net.sort()


def plan(net: Net, recipe: Recipe) -> Plan:
    """Return what is to run in INT8."""
    found, shapes, kinds = Plan(), net.shapes(), types_of(net.model)
    stays = _staying(net, recipe, shapes)
    before = _leading(net, {n.name for n in net.graph.node if n.name not in stays and _weighted(net, n)})
    for node in net.graph.node:
        if node.name in stays or node.domain not in STANDARD or not node.output:
            continue
        if node.op_type not in WEIGHTED and not before & set(node.output):
            continue  # what only makes answers of what was found, boxes say, wants its precision
        if kinds.get(node.output[0], TensorProto.FLOAT) != TensorProto.FLOAT:
            continue
        if _can(net, node, found, shapes):
            _take(net, node, found)
    for node in list(found.weighted):
        _maybe_float(net, node, found)
    for name in found.tensors:
        _fix(net, name, found)
    return found


def _staying(net: Net, recipe: Recipe, shapes: Mapping[str, tuple[int, ...]]) -> set[str]:
    """Return the names of the nodes that the recipe leaves in float."""
    stays = set(recipe.floats)
    unknown = stays - {node.name for node in net.graph.node}
    if unknown:
        raise Invalid(f"floats: no node is called {', '.join(sorted(unknown)[:5])}")
    if recipe.swish_in_float:
        stays |= {node.name for node in net.graph.node if node.op_type == "HardSigmoid"}
    if recipe.gates_in_float:
        stays |= gates(net, shapes)
    if recipe.first_in_float:
        stays |= _firsts(net)
    if recipe.last_in_float:
        stays |= _lasts(net)
    return stays


def _can(net: Net, node: onnx.NodeProto, found: Plan, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    if node.op_type in WEIGHTED:
        return _weighted(net, node)
    if node.op_type in MOVING:
        return node.input[0] in found.made
    if node.op_type not in POINTWISE:
        return False
    whole = shapes.get(node.output[0])
    moving = [name for name in node.input if name and net.constant(name) is None]
    pooling = node.op_type in {*POOLS, "AveragePool", "Concat"}
    main = [name for name in moving if pooling or whole is None or shapes.get(name) in (None, whole)] or moving
    return bool(main) and all(name in found.made for name in main)


def _leading(net: Net, heads: set[str]) -> set[str]:
    """Return the tensors from which a way leads to one of these nodes."""
    found: set[str] = set()
    for node in reversed(net.graph.node):
        if node.name in heads or any(name in found for name in node.output):
            found.update(node.input)
    return found


def _weighted(net: Net, node: onnx.NodeProto) -> bool:
    """Whether a node has constant float32 weights that INT8 can hold; raise Invalid where they are no numbers."""
    if node.op_type not in WEIGHTED or node.domain not in STANDARD:
        return False
    weight = net.constant(node.input[1])
    bias = net.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1, np.float32)
    if weight is None or bias is None or weight.dtype != np.float32 or net.constant(node.input[0]) is not None:
        return False
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise Invalid(f"node '{node.name}': expected finite weights; got NaN or infinity")
    if node.op_type == "Gemm":
        return (
            plain(node) and bias.ndim <= 2 and bias.size in (1, weight.shape[0 if attribute(node, "transB", 0) else 1])
        )
    return weight.ndim == 2 if node.op_type == "MatMul" else weight.ndim >= 3


def _take(net: Net, node: onnx.NodeProto, found: Plan) -> None:
    found.nodes[node.name] = node
    outputs = [name for name in node.output if name]
    after = net.only_reader(outputs[0])
    if node.op_type in (*WEIGHTED, "Add") and after is not None and _floor(net, after):
        found.absorbed[node.name] = after
        outputs = [after.output[0]]
    for name in node.input[:1] if node.op_type in WEIGHTED | MOVING else node.input:
        if name and net.constant(name) is None:
            found.tensors.setdefault(name, name)
    for name in outputs:
        found.made[name] = node.name
        found.tensors[name] = found.tensors[node.input[0]] if node.op_type in MOVING else name


def _floor(net: Net, node: onnx.NodeProto) -> bool:
    """Whether a node is a ReLU, or a Clip from 0 up: what the end of an unsigned grid does by itself."""
    return node.op_type == "Relu" or (node.op_type == "Clip" and limits(net, node)[0] == 0.0)


def _maybe_float(net: Net, node: onnx.NodeProto, found: Plan) -> None:
    """Let a Gemm or MatMul that no INT8 operator reads give float32: its kernels can, and no step is lost."""
    output = node.output[0]
    read = any(reader.name in found.nodes for reader in net.readers.get(output, []))
    if node.op_type != "Conv" and not read and node.name not in found.absorbed:
        del found.made[output], found.tensors[output]


def _fix(net: Net, name: str, found: Plan) -> None:
    maker = net.makers.get(name)
    if maker is None:
        return
    if maker.op_type in UNITS:
        found.fixed[name] = UNIT
    elif maker.op_type == "Cast" and _is_bytes(net, maker.input[0]):
        found.fixed[name] = BYTES


def _is_bytes(net: Net, name: str) -> bool:
    return any(v.name == name and v.type.tensor_type.elem_type == TensorProto.UINT8 for v in net.graph.input)


def gates(net: Net, shapes: Mapping[str, tuple[int, ...]]) -> set[str]:
    """Return the nodes between a pooling and the multiplication of a much larger tensor by what comes of it."""
    found: set[str] = set()
    for node in net.graph.node:
        if node.op_type != "Mul" or not all(shapes.get(name) for name in node.input):
            continue
        sizes = [_size(shapes[name]) for name in node.input]
        limit = max(sizes) // GATE_SHARE
        if min(sizes) > limit:
            continue
        waiting = [node.input[int(np.argmin(sizes))]]
        while waiting:
            maker = net.makers.get(waiting.pop())
            small = maker is not None and maker.output[0] in shapes and _size(shapes[maker.output[0]]) <= limit
            if maker is not None and small and maker.name not in found and maker.op_type not in POOLS:
                found.add(maker.name)
                waiting.extend(name for name in maker.input if name)
    return found


def _size(shape: tuple[int, ...]) -> int:
    """Return how many elements a shape has; a free dimension (a batch) counts as one."""
    return int(np.prod([size or 1 for size in shape]))


def _firsts(net: Net) -> set[str]:
    given = {value.name for value in net.graph.input}
    for node in net.graph.node:
        if node.op_type in ("Cast", "Sub", "Mul") and node.input[0] in given:
            given.add(node.output[0])
    convs = [node for node in net.graph.node if node.op_type == "Conv" and node.input[0] in given]
    weights = {node.name: net.constant(node.input[1]) for node in convs}
    return {name for name, weight in weights.items() if weight is not None and weight.shape[1] <= FEW_CHANNELS}


def _lasts(net: Net) -> set[str]:
    """Return the Gemm and MatMul whose answers meet no weight any more."""
    heads = {node.name for node in net.graph.node if node.op_type in WEIGHTED}
    before = _leading(net, heads)
    return {n.name for n in net.graph.node if n.op_type in ("Gemm", "MatMul") and not before & set(n.output)}
