"""Reading an ONNX file that may be anything: operators that nobody knows and external data are named first.

Nothing is run here and no weight outside the file is read before its place and size are known to be honest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from skerry.core.errors import Invalid, LoadFailed, TooLarge
from skerry.core.names import shown
from skerry.forge.importers.what import MAX_MODEL

STANDARD = ("", "ai.onnx")
KNOWN = (*STANDARD, "ai.onnx.ml")
CONTRIBUTED = ("com.microsoft", "com.microsoft.nchwc")  # of ONNX Runtime itself; it says which it has
SHOWN = 8  # operators that an error names


def read_onnx(path: Path) -> ModelProto:
    """Return the message without what lies outside the file; raise TooLarge or LoadFailed."""
    size = path.stat().st_size
    if size > MAX_MODEL:
        raise TooLarge(f"{path}: expected at most {MAX_MODEL} bytes; got {size}")
    return parse_onnx(path.read_bytes(), str(path))


def parse_onnx(data: bytes, where: str) -> ModelProto:
    """Return the message; raise LoadFailed if it is none."""
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise LoadFailed(f"{where}: truncated, or not ONNX: {error}") from None
    if not _honest_texts(model):
        raise LoadFailed(f"{where}: a name in it is not UTF-8 text")
    if not model.HasField("graph") or not model.graph.node:
        raise LoadFailed(f"{where}: an ONNX file without operators")
    if not any(entry.domain in STANDARD for entry in model.opset_import):
        raise LoadFailed(f"{where}: it says not which version of ONNX's operators it uses")
    return model


def _honest_texts(model: Message) -> bool:
    """Whether every text in a message is text; protobuf gives bytes for one that is not UTF-8."""
    waiting: list[Any] = [model]
    while waiting:
        one = waiting.pop()
        for kind, value in one.ListFields():
            if kind.type == FieldDescriptor.TYPE_STRING:
                texts = [value] if isinstance(value, str | bytes) else value
                if not all(isinstance(text, str) for text in texts):
                    return False
            elif kind.type == FieldDescriptor.TYPE_MESSAGE:
                waiting += [value] if isinstance(value, Message) else value
    return True


def opset(model: ModelProto) -> int:
    """Return the version of ONNX's own operators that a model uses."""
    return max(entry.version for entry in model.opset_import if entry.domain in STANDARD)


def check_operators(model: ModelProto, where: str) -> None:
    """Raise LoadFailed naming operators that neither ONNX nor ONNX Runtime nor the model itself defines."""
    own = {(function.domain, function.name) for function in model.functions}
    bodies = [model.graph.node, *(function.node for function in model.functions)]
    strange: dict[str, None] = {}
    for node in (node for body in bodies for node in nodes_of(body)):
        if (node.domain, node.op_type) in own or node.domain in CONTRIBUTED:
            continue
        if node.domain not in KNOWN:
            strange[f"{shown(node.op_type)} of domain {shown(node.domain)}"] = None
        elif not onnx.defs.has(node.op_type, "" if node.domain in STANDARD else node.domain):
            strange[f"{shown(node.op_type)}, which ONNX {onnx.__version__} has not"] = None
    if strange:
        names = "; ".join(list(strange)[:SHOWN])
        raise LoadFailed(f"{where}: operators that cannot be run here: {names}. Export it without custom operators")


def nodes_of(body: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Yield every operator, with those inside loops and branches."""
    for node in body:
        yield node
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from nodes_of(attribute.g.node)
            elif attribute.type == AttributeProto.GRAPHS:
                for graph in attribute.graphs:
                    yield from nodes_of(graph.node)


def tensors_of(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield every constant of a graph, with those inside its operators."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from tensors_of(inner)


def pull_in(model: ModelProto, path: Path) -> bool:
    """Read weights that lie outside into the message; False if there are none.

    Raises Invalid for a place outside the model's folder, TooLarge before anything is read.
    """
    outside = [t for t in tensors_of(model.graph) if t.data_location == TensorProto.EXTERNAL]
    if not outside:
        return False
    folder = path.parent.resolve()
    total, places = path.stat().st_size, []
    for tensor in outside:
        file, offset, length = _place(tensor, folder, str(path))
        total += length
        places.append((tensor, file, offset, length))
    if total > MAX_MODEL:
        raise TooLarge(f"{path}: expected at most {MAX_MODEL} bytes with its external data; it says {total}")
    for tensor, file, offset, length in places:
        with file.open("rb") as source:
            source.seek(offset)
            tensor.raw_data = source.read(length)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]
    return True


def _place(tensor: TensorProto, folder: Path, where: str) -> tuple[Path, int, int]:
    """Return where a tensor's bytes lie: a file in the folder, offset and length."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    name = shown(tensor.name)
    file = (folder / said.get("location", "")).resolve()
    if not said.get("location") or not file.is_relative_to(folder):
        raise Invalid(
            f"{where}: external data of {name}: expected a file in {folder}; got {shown(said.get('location'))}"
        )
    if not file.is_file():
        raise LoadFailed(f"{where}: external data of {name}: no file {file.name} beside the model")
    size = file.stat().st_size
    numbers = [said.get("offset", "0"), said.get("length", "")]
    if any(not (n.isascii() and n.isdigit() and len(n) < 16) for n in (numbers[0], numbers[1] or "0")):
        raise Invalid(f"{where}: external data of {name}: expected whole numbers; got {shown(numbers)}")
    offset = int(numbers[0])
    length = int(numbers[1]) if numbers[1] else max(0, size - offset)
    if offset + length > size:
        raise LoadFailed(
            f"{where}: external data of {name}: {file.name} has {size} bytes, {offset + length} are needed"
        )
    return file, offset, length
