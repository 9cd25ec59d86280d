"""Half precision: half the file. Inputs and outputs stay as they are.

Weights alone (`compute` False) is for CPUs: the file holds float16, the runtime widens it once while it loads and
then runs as fast as before. With `compute`, what lies between runs in float16 too, which GPUs and NPUs want and
CPUs mostly turn back; operators that break there, and values too large for it, stay in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from skerry.forge.optimise.observe import Observed, made_up
from skerry.forge.optimise.rewrites.net import STANDARD, Net, captured, types_of
from skerry.forge.optimise.work import Work

LARGEST = 65504.0 / 2  # of float16 is twice that; sums inside an operator need room
SMALLEST = 2.0**-24  # the least step above 0; weights that all lie below would be lost
LEAST = 256  # values of a weight; below, the node that widens it is larger
LOOKED = 8  # samples whose values are looked at
SAFE = {
    *("Abs", "Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "DepthToSpace", "Div", "Elu", "Flatten"),
    *(
        "Gemm",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "MatMul",
        "Max",
        "MaxPool",
    ),
    *("Min", "Mul", "Neg", "PRelu", "Relu", "Reshape", "Sigmoid", "Slice", "SpaceToDepth", "Split", "Squeeze", "Sub"),
    *("Sum", "Tanh", "Transpose", "Unsqueeze", "Gather", "Erf", "Softmax"),
}


@dataclass(frozen=True)
class Half:
    """The pass."""

    compute: bool = False
    floats: frozenset[str] = frozenset()  # names of nodes that stay as they are
    name: str = "fp16"

    def __call__(self, model: onnx.ModelProto, work: Work) -> onnx.ModelProto | None:
        """Return the model in half precision; None where nothing is gained."""
        net = Net(model)
        done = _computing(net, work, self.floats) if self.compute else 0
        stored = _stored(net, self.floats)
        if not stored and not done:
            work.say(f"no float32 weights of {LEAST} values or more")
            return None
        work.say(f"{stored} weights stored in float16" + (f", {done} nodes run in it" if self.compute else ""))
        net.index()
        return net.finish()


@dataclass(frozen=True)
class Widen:
    """Half precision made float32 inside: CPUs have few kernels for float16, and INT8 starts from float32."""

    name: str = "fp32"

    def __call__(self, model: onnx.ModelProto, work: Work) -> onnx.ModelProto | None:
        """Return the model in float32, its inputs and outputs as they were; None where it is already."""
        net = Net(model)
        halves = [tensor for tensor in net.graph.initializer if tensor.data_type == TensorProto.FLOAT16]
        if not halves:
            work.say("no float16 weights")
            return None
        if any(captured(node) or _typed(node) for node in net.graph.node):
            work.say("float16 inside subgraphs or attributes: left as it is")
            return None
        for tensor in halves:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
        for node in net.graph.node:
            for item in node.attribute:
                if node.op_type == "Cast" and item.name == "to" and item.i == TensorProto.FLOAT16:
                    item.i = TensorProto.FLOAT
        del net.graph.value_info[:]
        _widen_ends(net)
        work.say(f"{len(halves)} weights in float32")
        net.index()
        return net.finish()


def _typed(node: onnx.NodeProto) -> bool:
    """Whether a node holds a float16 value itself."""
    return any(item.t.data_type == TensorProto.FLOAT16 for item in node.attribute if item.HasField("t"))


def _widen_ends(net: Net) -> None:
    """Put casts behind float16 inputs and before float16 outputs."""
    for value in net.graph.input:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16 and value.name not in net.weights:
            wide = net.fresh(f"{value.name}_wide")
            net.redirect(value.name, wide)
            net.graph.node.append(helper.make_node("Cast", [value.name], [wide], name=wide, to=TensorProto.FLOAT))
    net.index()
    for value in net.graph.output:
        maker = net.makers.get(value.name)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16 and maker is not None:
            wide = net.fresh(f"{value.name}_wide")
            maker.output[list(maker.output).index(value.name)] = wide
            net.pinned.discard(value.name)
            net.redirect(value.name, wide)
            cast = helper.make_node("Cast", [wide], [value.name], name=f"{wide}_half", to=TensorProto.FLOAT16)
            net.graph.node.append(cast)


def _fits(value: np.ndarray) -> bool:
    largest = float(np.abs(value).max(initial=0.0))
    return np.isfinite(largest) and largest < LARGEST and (largest == 0.0 or largest > SMALLEST * 2**10)


def _stored(net: Net, floats: frozenset[str]) -> int:
    """Hold large float32 weights as float16 with a Cast behind them."""
    done = 0
    inputs = {value.name for value in net.graph.input}
    for tensor in list(net.graph.initializer):
        readers = net.readers.get(tensor.name, [])
        held = tensor.name in net.pinned or tensor.name in inputs or any(r.name in floats for r in readers)
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < LEAST or held or not readers:
            continue
        value = net.constant(tensor.name)
        if value is None or not _fits(value):
            continue
        name = net.add_weight(f"{tensor.name}_half", value.astype(np.float16))
        real = net.fresh(f"{tensor.name}_wide")
        net.redirect(tensor.name, real)
        net.graph.node.append(helper.make_node("Cast", [name], [real], name=real, to=TensorProto.FLOAT))
        done += 1
    return done


def _computing(net: Net, work: Work, floats: frozenset[str]) -> int:
    """Run in float16 every safe node whose values fit, with casts wherever the kind changes."""
    kinds, large = types_of(net.model), _large(net, work)
    chosen = []
    for node in net.graph.node:
        reals = [name for name in (*node.input, *node.output) if name and kinds.get(name) == TensorProto.FLOAT]
        typed = all(kinds.get(name) for name in (*node.input, *node.output) if name)
        fits = not large & set(reals) and all(_fits(v) for n in reals if (v := net.constant(n)) is not None)
        if node.op_type in SAFE and node.domain in STANDARD and node.name not in floats and typed and reals and fits:
            chosen.append(node)
    caster = _Caster(net, {node.name for node in chosen})
    for node in chosen:
        caster.node(node, kinds)
    net.graph.node.extend(caster.nodes)
    del net.graph.value_info[:]
    net.index()
    return len(chosen)


def _large(net: Net, work: Work) -> set[str]:
    """Return the tensors whose values do not fit into float16, on samples or made-up inputs."""
    kinds = types_of(net.model)
    names = [name for name in net.makers if kinds.get(name) == TensorProto.FLOAT]
    feeds = list(islice(iter(work.feeds), LOOKED)) or made_up(net.model, work.seed)
    found: set[str] = set()
    with Observed(net.model, names) as session:
        for feed in feeds:
            answers = {**feed, **session.run(feed)}
            found |= {
                n for n, v in answers.items() if v.dtype == np.float32 and not np.abs(v).max(initial=0.0) < LARGEST
            }
    return found


class _Caster:
    """What is in float16 has another name; casts lead from one to the other, once for each tensor."""

    def __init__(self, net: Net, chosen: set[str]) -> None:
        self.net, self.chosen = net, chosen
        self.nodes: list[onnx.NodeProto] = []
        self.halves: dict[str, str] = {}

    def node(self, node: onnx.NodeProto, kinds: dict[str, int]) -> None:
        """Let a node read and write float16."""
        for place, name in enumerate(node.input):
            if name and kinds.get(name) == TensorProto.FLOAT:
                node.input[place] = self._half(name)
        for place, name in enumerate(node.output):
            if name and kinds.get(name) == TensorProto.FLOAT:
                half = self.halves.setdefault(name, self.net.fresh(f"{name}_half"))
                node.output[place] = half
                others = any(reader.name not in self.chosen for reader in self.net.readers.get(name, []))
                if others or name in self.net.pinned:
                    self.nodes.append(
                        helper.make_node("Cast", [half], [name], name=f"{name}_wide", to=TensorProto.FLOAT)
                    )

    def _half(self, name: str) -> str:
        if name in self.halves:
            return self.halves[name]
        value = self.net.constant(name)
        if value is not None:
            self.halves[name] = self.net.add_weight(f"{name}_half", value.astype(np.float16))
            return self.halves[name]
        self.halves[name] = half = self.net.fresh(f"{name}_half")
        maker = self.net.makers.get(name)
        if maker is None or maker.name not in self.chosen:
            self.nodes.append(helper.make_node("Cast", [name], [half], name=f"{half}_cast", to=TensorProto.FLOAT16))
        return half
