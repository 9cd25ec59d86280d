"""An ONNX graph to be changed: who makes a tensor, who reads it, which are constants, what shapes there are.

It works on its own copy. What a subgraph (If, Loop) reads from outside is pinned: nobody renames or removes it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from skerry.core.errors import LoadFailed

Array = NDArray[Any]

STANDARD = ("", "ai.onnx")
MICROSOFT = "com.microsoft"  # ONNX Runtime's own operators
MAX_NODES = 100_000  # of a graph; the largest models for the edge have under 5,000


class Net:
    """A copy of a model with its indexes; after `finish` it is a checked model again."""

    def __init__(self, model: onnx.ModelProto) -> None:
        if len(model.graph.node) > MAX_NODES:
            raise LoadFailed(f"graph: expected at most {MAX_NODES} nodes; got {len(model.graph.node)}")
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.graph = self.model.graph
        self.opset = next((o.version for o in model.opset_import if o.domain in STANDARD), 0)
        self._fresh = 0
        self._name_nodes()
        self.index()

    def index(self) -> None:
        """Look at everything anew, after nodes were added or taken away by hand."""
        self.makers = {name: node for node in self.graph.node for name in node.output if name}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        self.pinned = {value.name for value in self.graph.output}
        for node in self.graph.node:
            for name in dict.fromkeys(node.input):
                if name:
                    self.readers.setdefault(name, []).append(node)
            self.pinned |= captured(node)
        self.weights = {tensor.name: tensor for tensor in self.graph.initializer}
        self._values: dict[str, Array] = {}
        self.taken = {*self.makers, *self.weights, *(value.name for value in self.graph.input)}

    def constant(self, name: str) -> Array | None:
        """Return the value of a constant (a weight, or what a Constant node gives); None for anything else."""
        if name in self._values:
            return self._values[name]
        tensor = self.weights.get(name)
        maker = self.makers.get(name)
        if tensor is not None and name not in {value.name for value in self.graph.input}:
            value = numpy_helper.to_array(tensor)
        elif maker is not None and maker.op_type == "Constant" and maker.domain in STANDARD:
            found = constant_value(maker)
            if found is None:
                return None
            value = found
        else:
            return None
        self._values[name] = value
        return value

    def scalar(self, name: str) -> float | None:
        """Return a constant of one element."""
        value = self.constant(name)
        return float(value.reshape(-1)[0]) if value is not None and value.size == 1 and value.dtype != object else None

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """Return the one node that reads a tensor which nobody else needs."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.pinned else None

    def fresh(self, hint: str) -> str:
        """Return a name that no tensor has."""
        name = hint
        while name in self.taken:
            self._fresh += 1
            name = f"{hint}_{self._fresh}"
        self.taken.add(name)
        return name

    def add_weight(self, hint: str, value: Array) -> str:
        """Add a constant and return its name."""
        name = self.fresh(hint)
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name))
        self.weights[name] = self.graph.initializer[-1]
        return name

    def redirect(self, old: str, new: str) -> None:
        """Let every node read `new` where it read `old`. `old` must not be pinned."""
        for node in self.readers.pop(old, []):
            for place, name in enumerate(node.input):
                if name == old:
                    node.input[place] = new
            self.readers.setdefault(new, []).append(node)

    def bypass(self, node: onnx.NodeProto, source: str) -> bool:
        """Let `source` stand for the first output of a node; False if both ends are names that must stay."""
        old = node.output[0]
        if old not in self.pinned:
            self.redirect(old, source)
            return True
        maker = self.makers.get(source)
        if maker is None or source in self.pinned:
            return False
        for place, name in enumerate(maker.output):
            if name == source:
                maker.output[place] = old
        node.output[0] = self.fresh(f"{source}_unused")
        self.redirect(source, old)
        self.makers[old] = maker
        return True

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes that are known whole; a free dimension is 0."""
        return shapes_of(self.model)

    def require(self, domain: str, version: int) -> None:
        """Name an operator set that the graph uses."""
        if all(o.domain != domain for o in self.model.opset_import):
            self.model.opset_import.append(helper.make_opsetid(domain, version))

    def finish(self) -> onnx.ModelProto:
        """Drop what nobody needs, sort, check, and return the model; raise LoadFailed if it is none any more."""
        self._prune()
        self.sort()
        self._drop_stale()
        try:
            onnx.checker.check_model(self.model)
        except (onnx.checker.ValidationError, DecodeError, ValueError) as error:
            raise LoadFailed(f"graph: the changed model is not valid: {str(error)[:500]}") from error
        return self.model

    def sort(self) -> onnx.ModelProto:
        """Put the nodes in order and return the model as it is, for a run that nobody else sees."""
        ordered = sorted_nodes(self.graph.node, {*self.weights, *(v.name for v in self.graph.input), ""})
        del self.graph.node[:]
        self.graph.node.extend(ordered)
        return self.model

    def _name_nodes(self) -> None:
        """Give every node a name of its own: lists of nodes (to keep in float, say) are lists of names."""
        counts = Counter(node.name for node in self.graph.node)
        for node in self.graph.node:
            if not node.name or counts[node.name] > 1:
                node.name = f"{node.op_type}:{next((name for name in node.output if name), '')}"

    def _prune(self) -> None:
        self.index()
        wanted, kept = deque(self.pinned), set()
        while wanted:
            node = self.makers.get(wanted.popleft())
            if node is not None and id(node) not in kept:
                kept.add(id(node))
                wanted.extend(node.input)
                wanted.extend(captured(node))
        nodes = [node for node in self.graph.node if id(node) in kept]
        copies = []
        for node in nodes:
            copies.append(onnx.NodeProto())
            copies[-1].CopyFrom(node)
        del self.graph.node[:]
        self.graph.node.extend(copies)
        self.index()
        used = set(self.readers) | self.pinned
        weights = [tensor for tensor in self.graph.initializer if tensor.name in used]
        if len(weights) < len(self.graph.initializer):
            held = [_copied(tensor) for tensor in weights]
            del self.graph.initializer[:]
            self.graph.initializer.extend(held)
        self.index()

    def _drop_stale(self) -> None:
        """Keep the declared shapes of what is still made; those of weights crash other tools (onnxruntime 25890)."""
        kept = [_copied(v) for v in self.graph.value_info if v.name in self.makers and v.name not in self.weights]
        del self.graph.value_info[:]
        self.graph.value_info.extend(kept)


def _copied(message: Any) -> Any:
    found = type(message)()
    found.CopyFrom(message)
    return found


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """Return an attribute's value."""
    for found in node.attribute:
        if found.name == name:
            return helper.get_attribute_value(found)
    return default


def constant_value(node: onnx.NodeProto) -> Array | None:
    """Return what a Constant node gives; None for a sparse one or text."""
    value = attribute(node, "value")
    if value is not None:
        return numpy_helper.to_array(value)
    for name, kind in (("value_float", np.float32), ("value_floats", np.float32)):
        if (value := attribute(node, name)) is not None:
            return np.asarray(value, kind)
    for name in ("value_int", "value_ints"):
        if (value := attribute(node, name)) is not None:
            return np.asarray(value, np.int64)
    return None


def captured(node: onnx.NodeProto) -> set[str]:
    """Return what the subgraphs of a node read from outside themselves (and some names of their own)."""
    found: set[str] = set()
    for graph in subgraphs(node):
        for inner in graph.node:
            found.update(name for name in inner.input if name)
            found |= captured(inner)
        found.update(value.name for value in graph.output)
    return found


def at_least(model: onnx.ModelProto, opset: int) -> Net:
    """Return a net in this operator set or a later one; raise LoadFailed where the model cannot be converted."""
    net = Net(model)
    if net.opset >= opset:
        return net
    try:
        return Net(onnx.version_converter.convert_version(net.finish(), opset))
    except (onnx.version_converter.ConvertError, RuntimeError, ValueError) as error:
        raise LoadFailed(f"graph: cannot go from opset {net.opset} to {opset}: {str(error)[:300]}") from error


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs in a node's attributes."""
    for item in node.attribute:
        if item.type == onnx.AttributeProto.GRAPH:
            yield item.g
        elif item.type == onnx.AttributeProto.GRAPHS:
            yield from item.graphs


def sorted_nodes(nodes: Iterable[onnx.NodeProto], given: set[str]) -> list[onnx.NodeProto]:
    """Return copies in an order in which each tensor is made before it is read; the present order where it may stay."""
    waiting = [_copied(node) for node in nodes]
    makers = {name: place for place, node in enumerate(waiting) for name in node.output if name and name not in given}
    needs = [{makers[n] for n in (*node.input, *captured(node)) if n in makers} for node in waiting]
    frees: list[list[int]] = [[] for _ in waiting]
    for place, before in enumerate(needs):
        for maker in before:
            frees[maker].append(place)
    ready = [place for place, before in enumerate(needs) if not before]
    found: list[onnx.NodeProto] = []
    while ready:
        place = heappop(ready)
        found.append(waiting[place])
        for reader in frees[place]:
            needs[reader].discard(place)
            if not needs[reader]:
                heappush(ready, reader)
    if len(found) < len(waiting):
        stuck = next(waiting[place].name for place, before in enumerate(needs) if before)
        raise LoadFailed(f"graph: node '{stuck}' needs its own answer")
    return found


def shapes_of(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shapes of tensors as far as ONNX's own rules tell them; a free dimension is 0."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=False, strict_mode=False, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        inferred = model
    found = {}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        kind = value.type.tensor_type
        if value.type.HasField("tensor_type") and kind.HasField("shape"):
            found[value.name] = tuple(d.dim_value if d.HasField("dim_value") else 0 for d in kind.shape.dim)
    return found


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element types (TensorProto's numbers) of tensors."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=False, strict_mode=False)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        inferred = model
    values = (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def operators(model: onnx.ModelProto) -> dict[str, int]:
    """Return how many of each operator a graph has, subgraphs included, the most frequent first."""
    counts: Counter[str] = Counter()
    _count(model.graph.node, counts)
    return dict(counts.most_common())


def _count(nodes: Sequence[onnx.NodeProto], counts: Counter[str]) -> None:
    for node in nodes:
        counts[node.op_type] += 1
        for graph in subgraphs(node):
            _count(graph.node, counts)
