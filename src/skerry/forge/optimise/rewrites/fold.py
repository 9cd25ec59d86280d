"""Rewrites that say the same with fewer operators: constants, no-ops, batch norms, poolings, hard-swish, biases.

Each takes a net, changes it and returns how often it did. None changes an answer by more than float32 rounds.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from skerry.forge.optimise.rewrites.net import STANDARD, Array, Net, attribute, captured

MAX_FOLDED = 1 << 24  # bytes of a constant that folding makes; a larger one is a file grown to save no time
RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
UNFOLDED = RANDOM | {"Constant", "DequantizeLinear", "QuantizeLinear", "If", "Loop", "Scan", "Shape", "Size"}
DEFAULTS_FREE = 4  # the file format since which weights need not be inputs
SWISH_OPSET = 14  # HardSwish came with it


def fold_constants(net: Net) -> int:
    """Compute every node whose inputs are all known. QuantizeLinear and its inverse stay: they are what INT8 reads."""
    done, shapes = 0, net.shapes()
    for node in list(net.graph.node):
        if node.domain not in STANDARD or not node.output or net.pinned & set(node.output):
            continue
        known = _known(net, node, shapes)
        if known is not None:
            net.redirect(node.output[0], net.add_weight(f"{node.output[0]}_folded", known))
            done += 1
            continue
        if node.op_type in UNFOLDED or captured(node):
            continue
        values = {name: net.constant(name) for name in node.input if name}
        if any(value is None for value in values.values()):
            continue
        found = _computed(net, node, {name: value for name, value in values.items() if value is not None})
        if found is None:
            continue
        for name, value in zip(node.output, found, strict=True):
            if name:
                net.redirect(name, net.add_weight(f"{name}_folded", value))
        done += 1
    return done


def _known(net: Net, node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> Array | None:
    """Return what a Constant gives, or the Shape of a tensor whose sizes are all fixed."""
    if node.op_type == "Constant":
        return net.constant(node.output[0])
    if node.op_type != "Shape" or node.input[0] not in shapes or 0 in shapes[node.input[0]]:
        return None
    return np.asarray(shapes[node.input[0]][attribute(node, "start", 0) : attribute(node, "end")], np.int64)


def _computed(net: Net, node: onnx.NodeProto, values: dict[str, Array]) -> list[Array] | None:
    """Return a node's answers; None where the reference does not know the operator or the answer is too large."""
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in values.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([node], "one", inputs, outputs)
    model = helper.make_model(graph, opset_imports=net.model.opset_import, ir_version=net.model.ir_version)
    try:
        found = ReferenceEvaluator(model).run(None, values)
    except Exception:  # boundary: the reference raises what numpy does, and its own errors
        return None
    arrays = [np.asarray(value) for value in found]
    if any(a.dtype == object or a.nbytes > MAX_FOLDED for a in arrays) or len(arrays) != len(outputs):
        return None
    made = iter(arrays)
    return [next(made) if name else np.empty(0) for name in node.output]


def fix_defaults(net: Net) -> int:
    """Take weights out of the list of inputs, where file formats before 4 wanted them: nobody feeds them."""
    extra = [value for value in net.graph.input if value.name in net.weights]
    if extra:
        net.model.ir_version = max(net.model.ir_version, DEFAULTS_FREE)
    for value in extra:
        net.graph.input.remove(value)
    net.index()
    return len(extra)


def drop_noops(net: Net) -> int:
    """Take out Identity, Dropout outside training, and a Cast to the type that is there."""
    done = 0
    inputs = {value.name: value.type.tensor_type.elem_type for value in net.graph.input}
    for node in list(net.graph.node):
        noop = node.op_type == "Identity" or (node.op_type == "Dropout" and _idle_dropout(net, node))
        noop = noop or (node.op_type == "Cast" and inputs.get(node.input[0]) == attribute(node, "to"))
        if noop and node.domain in STANDARD and net.bypass(node, node.input[0]):
            done += 1
    return done


def _idle_dropout(net: Net, node: onnx.NodeProto) -> bool:
    if any(name in net.readers or name in net.pinned for name in node.output[1:]):
        return False
    training = node.input[2] if len(node.input) > 2 else ""
    return not training or net.scalar(training) == 0


def fold_batch_norms(net: Net) -> int:
    """Put batch norms into the weights of the Conv or Gemm before them."""
    done = 0
    for norm in list(net.graph.node):
        if norm.op_type != "BatchNormalization" or attribute(norm, "training_mode", 0) or len(norm.output) > 1:
            continue
        before = net.makers.get(norm.input[0])
        parameters = [net.constant(name) for name in norm.input[1:5]]
        if before is None or net.only_reader(norm.input[0]) is not norm or any(p is None for p in parameters):
            continue
        gain, shift, mean, variance = (np.asarray(p, np.float64) for p in parameters)
        factor = gain / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
        if scale_outputs(net, before, factor, shift - mean * factor) and net.bypass(norm, before.output[0]):
            done += 1
    return done


def scale_outputs(net: Net, node: onnx.NodeProto, factor: Array, shift: Array) -> bool:
    """Make a Conv or Gemm give `answer * factor + shift` by output channel; False if its weights are not constant."""
    if node.op_type not in ("Conv", "Gemm") or node.domain not in STANDARD:
        return False
    weight = net.constant(node.input[1])
    bias = net.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    if weight is None or bias is None or weight.dtype != np.float32 or (node.op_type == "Gemm" and not plain(node)):
        return False
    across = node.op_type == "Gemm" and not attribute(node, "transB", 0)
    shape = (1, -1) if across else (-1,) + (1,) * (weight.ndim - 1)
    if weight.shape[1 if across else 0] != factor.size or bias.size not in (1, factor.size):
        return False
    scaled = weight.astype(np.float64) * factor.reshape(shape)
    moved = bias.astype(np.float64).reshape(-1) * factor + shift
    node.input[1] = net.add_weight(f"{node.input[1]}_scaled", scaled.astype(np.float32))
    name = net.add_weight(f"{node.output[0]}_bias", moved.astype(np.float32))
    if len(node.input) > 2:
        node.input[2] = name
    else:
        node.input.append(name)
    return True


def plain(node: onnx.NodeProto) -> bool:
    """Whether a Gemm is a product and a sum, nothing scaled, its first input as it is."""
    return (
        attribute(node, "alpha", 1.0) == 1.0
        and attribute(node, "beta", 1.0) == 1.0
        and not attribute(node, "transA", 0)
    )


def pool_reductions(net: Net) -> int:
    """Turn means and maxima over height and width into poolings, which have INT8 kernels and reductions have not."""
    shapes = net.shapes()
    done = 0
    for node in list(net.graph.node):
        kind = {"ReduceMean": "GlobalAveragePool", "ReduceMax": "GlobalMaxPool"}.get(node.op_type)
        shape = shapes.get(node.input[0]) if node.input else None
        if kind is None or shape is None or len(shape) != 4 or _axes(net, node) != {2, 3}:
            continue
        keeps = attribute(node, "keepdims", 1)
        name = node.output[0] if keeps else net.fresh(f"{node.output[0]}_pooled")
        pool = helper.make_node(kind, [node.input[0]], [name], name=f"{node.name}_pool")
        added = [pool]
        if not keeps:
            added.append(helper.make_node("Flatten", [name], [node.output[0]], name=f"{node.name}_flat", axis=1))
        net.graph.node.remove(node)
        net.graph.node.extend(added)
        done += 1
    net.index()
    return done


def _axes(net: Net, node: onnx.NodeProto) -> set[int]:
    """Return the axes of a reduction of four dimensions: an attribute once, an input since opset 18."""
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1:
        value = net.constant(node.input[1])
        axes = None if value is None else value.reshape(-1).tolist()
    return {int(axis) % 4 for axis in axes} if axes is not None else set()


def join_hard_swish(net: Net) -> int:
    """Join `x * hardsigmoid(x)` and `x * clip(x + 3, 0, 6) / 6` into HardSwish."""
    if net.opset < SWISH_OPSET:
        return 0
    done = 0
    for node in list(net.graph.node):
        source = _swished(net, node)
        if source is None:
            continue
        joined = helper.make_node("HardSwish", [source], [node.output[0]], name=f"{node.name}_swish")
        net.graph.node.remove(node)
        net.graph.node.append(joined)
        net.index()
        done += 1
    return done


def _swished(net: Net, node: onnx.NodeProto) -> str | None:
    """Return x if the node gives hard-swish of x."""
    if node.op_type == "Div" and net.scalar(node.input[1]) == 6:
        product = net.makers.get(node.input[0])
        return _times_gate(net, product, 6.0) if product is not None and net.only_reader(node.input[0]) else None
    if node.op_type != "Mul":
        return None
    for one, other in ((0, 1), (1, 0)):
        factor = net.scalar(node.input[one])
        product = net.makers.get(node.input[other])
        if (
            factor is not None
            and abs(factor - 1 / 6) < 1e-7
            and product is not None
            and net.only_reader(node.input[other])
        ):
            return _times_gate(net, product, 6.0)
    return _times_gate(net, node, 1.0)


def _times_gate(net: Net, product: onnx.NodeProto, top: float) -> str | None:
    """Return x of `x * gate(x)`, where the gate goes from 0 to `top`."""
    if product.op_type != "Mul":
        return None
    for one, other in ((0, 1), (1, 0)):
        if _gate(net, product.input[other], top) == product.input[one]:
            return product.input[one]
    return None


def _gate(net: Net, name: str, top: float) -> str | None:
    """Return x if the tensor is `clip(x + 3, 0, 6) * top / 6`."""
    node = net.makers.get(name)
    if node is None or not net.only_reader(name):
        return None
    if top == 1.0 and node.op_type == "HardSigmoid":
        slope, middle = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
        return node.input[0] if abs(slope - 1 / 6) < 1e-6 and middle == 0.5 else None
    if top == 1.0 and node.op_type == "Div" and net.scalar(node.input[1]) == 6:
        return _gate(net, node.input[0], 6.0)
    if top == 1.0 and node.op_type == "Mul":
        factor = net.scalar(node.input[1])
        return _gate(net, node.input[0], 6.0) if factor is not None and abs(factor - 1 / 6) < 1e-7 else None
    if top == 6.0 and node.op_type == "Clip" and limits(net, node) == (0.0, 6.0):
        added = net.makers.get(node.input[0])
        if added is not None and added.op_type == "Add" and net.only_reader(node.input[0]):
            for one, other in ((0, 1), (1, 0)):
                if net.scalar(added.input[one]) == 3:
                    return added.input[other]
    return None


def limits(net: Net, node: onnx.NodeProto) -> tuple[float | None, float | None]:
    """Return the ends of a Clip: attributes once, inputs since opset 11."""
    low, high = attribute(node, "min"), attribute(node, "max")
    if len(node.input) > 1 and node.input[1]:
        low = net.scalar(node.input[1])
    if len(node.input) > 2 and node.input[2]:
        high = net.scalar(node.input[2])
    return low, high


def split_hard_swish(net: Net) -> int:
    """Write HardSwish as `x * hardsigmoid(x)`: both have INT8 kernels, the whole has none."""
    found = [node for node in net.graph.node if node.op_type == "HardSwish" and node.domain in STANDARD]
    for node in found:
        gate = net.fresh(f"{node.output[0]}_gate")
        sigmoid = helper.make_node(
            "HardSigmoid", [node.input[0]], [gate], name=f"{node.name}_gate", alpha=1 / 6, beta=0.5
        )
        net.graph.node.append(sigmoid)
        node.op_type = "Mul"
        node.input.append(gate)
    net.index()
    return len(found)


def join_biases(net: Net) -> int:
    """Put what is added to each channel after a Conv or Gemm into its bias, and make `MatMul + Add` a Gemm."""
    shapes = net.shapes()
    done = 0
    for node in list(net.graph.node):
        if node.op_type != "Add" or node.domain not in STANDARD:
            continue
        for one, other in ((0, 1), (1, 0)):
            before, bias = net.makers.get(node.input[one]), net.constant(node.input[other])
            if before is None or bias is None or net.only_reader(node.input[one]) is not node:
                continue
            if _joined(net, node, before, bias, shapes):
                done += 1
                break
    return done


def _joined(
    net: Net, add: onnx.NodeProto, before: onnx.NodeProto, bias: Array, shapes: dict[str, tuple[int, ...]]
) -> bool:
    shape = shapes.get(before.output[0], ())
    if before.op_type == "MatMul":
        weight = net.constant(before.input[1])
        if weight is None or weight.ndim != 2 or len(shape) != 2 or bias.shape not in ((shape[1],), (1, shape[1])):
            return False
        name = net.add_weight(f"{add.output[0]}_bias", bias.reshape(-1))
        gemm = helper.make_node("Gemm", [*before.input, name], [add.output[0]], name=f"{before.name}_gemm")
        net.graph.node.remove(add)
        net.graph.node.append(gemm)
        net.index()
        return True
    rank = len(shape)
    by_channel = rank > 1 and bias.ndim <= rank and _channels(bias, rank) == shape[1] and bias.size == shape[1]
    if not by_channel or shape[1] == 0:
        return False
    ones = np.ones(shape[1])
    return scale_outputs(net, before, ones, bias.reshape(-1).astype(np.float64)) and net.bypass(add, before.output[0])


def _channels(value: Array, rank: int) -> int:
    """Return how many values a constant has along the second of so many dimensions."""
    full = (1,) * (rank - value.ndim) + value.shape
    return full[1]


def scale_inputs(net: Net, name: str, factor: Array) -> bool:
    """Put a factor for each channel of a tensor into the convolutions that read it; False if others read it too."""
    readers = net.readers.get(name, [])
    if not readers or name in net.pinned:
        return False
    for node in readers:
        weight = net.constant(node.input[1]) if node.op_type == "Conv" and node.domain in STANDARD else None
        if weight is None or list(node.input).count(name) != 1 or attribute(node, "group", 1) != 1:
            return False
        if weight.dtype != np.float32 or weight.shape[1] != factor.size:
            return False
    for node in readers:
        weight = net.constant(node.input[1])
        assert weight is not None
        scaled = weight.astype(np.float64) * factor.reshape((1, -1) + (1,) * (weight.ndim - 2))
        node.input[1] = net.add_weight(f"{node.input[1]}_scaled", scaled.astype(np.float32))
    return True
