"""What makes a file smaller and leaves the graph as it is: equal weights once, short names, no notes."""

from __future__ import annotations

from itertools import count

import onnx

from skerry.forge.optimise.rewrites.net import Net, subgraphs

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def share_weights(net: Net) -> int:
    """Let all readers of equal weights read one of them."""
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    done = 0
    inputs = {value.name for value in net.graph.input}
    for tensor in net.graph.initializer:
        value = net.constant(tensor.name)
        if value is None or value.dtype == object or tensor.name in net.pinned | inputs:
            continue
        key = (tensor.data_type, tuple(tensor.dims), value.tobytes())
        kept = first.setdefault(key, tensor.name)
        if kept != tensor.name:
            net.redirect(tensor.name, kept)
            done += 1
    return done


def shorten(net: Net) -> None:
    """Give tensors and nodes names of one to three characters, and drop declared shapes, notes and labels."""
    inner = {name for node in net.graph.node for graph in subgraphs(node) for name in _names(graph)}
    kept = net.pinned | inner | {value.name for value in (*net.graph.input, *net.graph.output)}
    fresh = (short for short in map(_short, count()) if short not in kept)
    names = {name: name for name in kept} | {"": ""}
    for tensor in net.graph.initializer:
        if tensor.name not in names:
            names[tensor.name] = next(fresh)
        tensor.name = names[tensor.name]
        tensor.doc_string = ""
    for place, node in enumerate(net.graph.node):
        for side in (node.input, node.output):
            for at, name in enumerate(side):
                if name not in names:
                    names[name] = next(fresh)
                side[at] = names[name]
        node.name, node.doc_string = _short(place), ""
        del node.metadata_props[:]
    del net.graph.value_info[:], net.graph.metadata_props[:], net.model.metadata_props[:]
    net.graph.doc_string = net.model.doc_string = ""
    net.index()


def _names(graph: onnx.GraphProto) -> set[str]:
    found = {value.name for value in (*graph.input, *graph.output)} | {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        found.update(node.input)
        found.update(node.output)
        for inner in subgraphs(node):
            found |= _names(inner)
    return found


def _short(number: int) -> str:
    found = ""
    while True:
        number, digit = divmod(number, len(DIGITS))
        found = DIGITS[digit] + found
        if number == 0:
            return found
