"""The blocks of a config.pbtxt that name tensors: declared inputs and outputs, and requests that warm a model up."""

from __future__ import annotations

import math
import re

from skerry.core.names import shown
from skerry.core.tensor import MAX_ELEMENTS, MAX_RANK
from skerry.wire.config.message import INT32, Message
from skerry.wire.config.options import Port, WarmInput, Warmup
from skerry.wire.config.reasons import RAGGED, TENSORRT

PLAIN = re.compile(r"[^/\\\x00-\x1f.][^/\\\x00-\x1f]*")  # a file's name: no folder before it, none above it
_FORMATS = ("FORMAT_NONE", "FORMAT_NHWC", "FORMAT_NCHW")
_REFUSED_PORT = {
    "is_shape_tensor": TENSORRT,
    "is_non_linear_format_io": TENSORRT,
    "allow_ragged_batch": RAGGED,
}


def read_ports(top: Message, kind: str) -> tuple[Port, ...]:
    """Return what the blocks `input` or `output` declare."""
    found: dict[str, Port] = {}
    for block in top.many(kind):
        name = block.text("name")
        if not name or name in found:
            raise block.error("name", f"expected a name, each once; got {shown(name)}")
        dims = block.wholes("dims", -1, MAX_ELEMENTS)
        if len(dims) > MAX_RANK or 0 in dims:
            raise block.error("dims", f"expected at most {MAX_RANK} dimensions of 1 or more, or -1; got {list(dims)}")
        found[name] = Port(
            name=name,
            dtype=block.dtype("data_type"),
            dims=dims,
            optional=kind == "input" and block.flag("optional"),
            format=block.word("format", _FORMATS, _FORMATS[0]) if kind == "input" else _FORMATS[0],
            label_file=_label_file(block) if kind == "output" else "",
            reshape=_reshape(block, dims),
        )
        for field in ("is_shape_tensor", "is_non_linear_format_io", "allow_ragged_batch"):
            if (kind == "input" or field != "allow_ragged_batch") and block.flag(field):
                raise block.error(field, f"expected false: {_REFUSED_PORT[field]}")
        block.end(_REFUSED_PORT)
    return tuple(found.values())


def _reshape(block: Message, dims: tuple[int, ...]) -> tuple[int, ...] | None:
    inner = block.one("reshape")
    if inner is None:
        return None
    shape = inner.wholes("shape", -1, MAX_ELEMENTS)
    inner.end({})
    free, fixed = shape.count(-1), math.prod(size for size in shape if size != -1)
    same = free == dims.count(-1) and fixed == math.prod(size for size in dims if size != -1)
    if len(shape) > MAX_RANK or 0 in shape or not same:
        raise block.error("reshape", f"expected as many elements as dims, {list(dims)}; got {list(shape)}")
    return shape


def _label_file(block: Message) -> str:
    name = block.text("label_filename")
    if name and not PLAIN.fullmatch(name):
        raise block.error("label_filename", f"expected the name of a file in the model's folder; got {shown(name)}")
    return name


def read_warmup(block: Message) -> Warmup:
    """Return one request of `model_warmup`."""
    inputs = {}
    for entry in block.many("inputs"):
        value = entry.one("value")
        if value is None:
            raise entry.error("value", "expected the data of this input; it is missing")
        inputs[entry.text("key")] = _warm_input(value)
        entry.end({})
    size, count = block.whole("batch_size", 0, INT32), block.whole("count", 0, 10_000)
    warmup = Warmup(block.text("name"), size or 1, inputs, count or 1)
    block.end({})
    if not inputs:
        raise block.error("inputs", "expected at least one input")
    return warmup


def _warm_input(block: Message) -> WarmInput:
    sources = {"zero": "zero_data", "random": "random_data", "file": "input_data_file"}
    given = [source for source, field in sources.items() if block.has(field)]
    if len(given) != 1:
        raise block.error("zero_data", "expected one of zero_data, random_data and input_data_file")
    block.flag("zero_data")
    block.flag("random_data")
    file = block.text("input_data_file")
    if given == ["file"] and not PLAIN.fullmatch(file):
        raise block.error("input_data_file", f"expected the name of a file in the folder 'warmup'; got {shown(file)}")
    dims = block.wholes("dims", 0, MAX_ELEMENTS)
    if len(dims) > MAX_RANK:
        raise block.error("dims", f"expected at most {MAX_RANK} dimensions; got {len(dims)}")
    found = WarmInput(block.dtype("data_type"), dims, given[0], file)
    block.end({})
    return found
