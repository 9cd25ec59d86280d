"""A GRU as products, sums and gates: ONNX Runtime has no INT8 GRU, but INT8 products it has.

The products with the input are one for the whole sequence; those with the state are one or two for each step, so a
sequence must have a known and moderate length. Both places of the reset gate (`linear_before_reset`) are known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper

from skerry.forge.optimise.rewrites.net import STANDARD, Array, Net, attribute

MAX_STEPS = 64  # that are written out; a longer sequence would be thousands of nodes
OPSET = 13  # Split and Squeeze take their numbers as inputs since

Step = Callable[[str, str], str]  # what the input gave, the state before -> the state after


def open_grus(net: Net) -> tuple[int, list[str]]:
    """Write out every GRU that can be, and return how many, and why the others were not. Wants OPSET or later."""
    done, said, shapes = 0, [], net.shapes()
    for node in [n for n in net.graph.node if n.op_type == "GRU" and n.domain in STANDARD]:
        weights = [net.constant(name) if name else None for name in (*node.input[1:4], "", "")[:3]]
        reason = _reason(node, shapes.get(node.input[0]), weights)
        if reason:
            said.append(f"{node.name}: {reason}")
            continue
        _Cell(net, node, shapes[node.input[0]][0], weights).write()
        done += 1
    return done, said


def _reason(node: onnx.NodeProto, shape: tuple[int, ...] | None, weights: list[Array | None]) -> str:
    """Return why a GRU cannot be written out; nothing if it can."""
    kinds = [kind.decode() if isinstance(kind, bytes) else kind for kind in attribute(node, "activations", [])]
    if kinds and kinds != ["Sigmoid", "Tanh"] * (len(kinds) // 2):
        return f"activations {', '.join(kinds)}"
    if attribute(node, "clip") is not None or attribute(node, "layout", 0):
        return "clip or batch-first layout"
    if len(node.input) > 4 and node.input[4]:
        return "sequences of different lengths"
    if weights[0] is None or weights[1] is None or (weights[2] is None and len(node.input) > 3 and node.input[3]):
        return "weights that are not constant"
    if shape is None or not 0 < shape[0] <= MAX_STEPS:
        return f"expected a fixed length of at most {MAX_STEPS} steps; got {shape[0] if shape else 'an unknown one'}"
    return ""


@dataclass
class _Cell:
    """One GRU being written out."""

    net: Net
    gru: onnx.NodeProto
    steps: int
    weights: list[Array | None]
    nodes: list[onnx.NodeProto] = field(default_factory=list)

    def op(self, kind: str, *inputs: str, outputs: int = 1, **options: object) -> list[str]:
        """Add a node and return its outputs."""
        names = [self.net.fresh(f"{self.gru.name}_{kind}{len(self.nodes)}") for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=names[0]))
        self.nodes[-1].attribute.extend(helper.make_attribute(key, value) for key, value in options.items())
        return names

    def whole(self, *values: int) -> str:
        """Return a constant of whole numbers."""
        return self.net.add_weight(f"{self.gru.name}_n", np.asarray(values, np.int64))

    def write(self) -> None:
        """Put the nodes in the GRU's place."""
        way = attribute(self.gru, "direction", b"forward").decode()
        backward = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[way]
        found = [self.direction(place, back) for place, back in enumerate(backward)]
        outputs = dict(enumerate(self.gru.output))
        if outputs.get(0):
            every = [self.op("Concat", *hidden, axis=0)[0] for hidden in found]  # [steps, 1, batch, hidden] each
            self.nodes.append(helper.make_node("Concat", every, [outputs[0]], name=f"{self.gru.name}_all", axis=1))
        if outputs.get(1):
            last = [hidden[0 if back else -1] for hidden, back in zip(found, backward, strict=True)]
            flat = [self.op("Squeeze", name, self.whole(0))[0] for name in last]  # [1, batch, hidden]
            self.nodes.append(helper.make_node("Concat", flat, [outputs[1]], name=f"{self.gru.name}_last", axis=0))
        self.net.graph.node.remove(self.gru)
        self.net.graph.node.extend(self.nodes)
        self.net.index()

    def direction(self, place: int, back: bool) -> list[str]:
        """Return the state after each step, in the order of the sequence, as [1, 1, batch, hidden]."""
        w, r, both = self.weights
        assert w is not None
        assert r is not None
        size = r.shape[2]
        biases = both[place] if both is not None else np.zeros(6 * size, np.float32)
        after = bool(attribute(self.gru, "linear_before_reset", 0))
        given, own = biases[: 3 * size].copy(), biases[3 * size :].copy()
        given[: 2 * size] += own[: 2 * size]
        own[: 2 * size] = 0
        if not after:
            given[2 * size :] += own[2 * size :]
        named = f"{self.gru.name}_d{place}"
        product = self.op("MatMul", self.gru.input[0], self.net.add_weight(f"{named}_w", w[place].T))[0]
        entry = self.op("Add", product, self.net.add_weight(f"{named}_b", given))[0]
        parts = self.op("Split", entry, self.whole(*[1] * self.steps), outputs=self.steps, axis=0)
        entries = [self.op("Squeeze", part, self.whole(0))[0] for part in parts]
        state, found = self.first(place, size), {}
        step = self.step_after(named, r[place], own, size) if after else self.step_before(named, r[place], size)
        for at in reversed(range(self.steps)) if back else range(self.steps):
            state = step(entries[at], state)
            found[at] = self.op("Unsqueeze", state, self.whole(0, 1))[0]
        return [found[at] for at in range(self.steps)]

    def first(self, place: int, size: int) -> str:
        """Return the state at the start, [batch, hidden]; zeros that fit any batch where none is given."""
        if len(self.gru.input) > 5 and self.gru.input[5]:
            part = self.op("Slice", self.gru.input[5], self.whole(place), self.whole(place + 1), self.whole(0))[0]
            return self.op("Squeeze", part, self.whole(0))[0]
        return self.net.add_weight(f"{self.gru.name}_zeros", np.zeros((1, size), np.float32))

    def step_after(self, named: str, r: Array, own: Array, size: int) -> Step:
        """Return one step whose reset gate meets the product with the state."""
        weight, bias = self.net.add_weight(f"{named}_r", r.T), self.net.add_weight(f"{named}_rb", own[2 * size :])
        thirds, halves = self.whole(2 * size, size), self.whole(size, size)

        def step(entry: str, state: str) -> str:
            gates, candidate = self.op("Split", entry, thirds, outputs=2, axis=-1)
            product = self.op("MatMul", state, weight)[0]
            more, inner = self.op("Split", product, thirds, outputs=2, axis=-1)
            update, reset = self.gates(gates, more, halves)
            kept = self.op("Mul", reset, self.op("Add", inner, bias)[0])[0]
            return self.mix(update, self.op("Tanh", self.op("Add", candidate, kept)[0])[0], state)

        return step

    def step_before(self, named: str, r: Array, size: int) -> Step:
        """Return one step whose reset gate meets the state before its product."""
        both = self.net.add_weight(f"{named}_rg", r[: 2 * size].T)
        last = self.net.add_weight(f"{named}_rh", r[2 * size :].T)
        thirds, halves = self.whole(2 * size, size), self.whole(size, size)

        def step(entry: str, state: str) -> str:
            gates, candidate = self.op("Split", entry, thirds, outputs=2, axis=-1)
            update, reset = self.gates(gates, self.op("MatMul", state, both)[0], halves)
            product = self.op("MatMul", self.op("Mul", reset, state)[0], last)[0]
            return self.mix(update, self.op("Tanh", self.op("Add", candidate, product)[0])[0], state)

        return step

    def gates(self, entry: str, more: str, halves: str) -> list[str]:
        """Return the update and the reset gate."""
        both = self.op("Sigmoid", self.op("Add", entry, more)[0])[0]
        return self.op("Split", both, halves, outputs=2, axis=-1)

    def mix(self, update: str, new: str, state: str) -> str:
        """Return `new + update * (state - new)`."""
        moved = self.op("Mul", update, self.op("Sub", state, new)[0])[0]
        return self.op("Add", new, moved)[0]
