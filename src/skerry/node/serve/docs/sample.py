"""A request that a model takes, made from its inputs alone: zeros, an image of two greys, silence."""

from __future__ import annotations

import base64
import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from skerry.core.manifest import Manifest
from skerry.core.tensor import DType, Spec
from skerry.engine.free import filled
from skerry.node.generation import Generation

FEW = 48  # values; more are made by a program than printed on a page
TAKES = {"decode_image": "image", "decode_raw": "raw", "decode_audio": "audio"}  # the first step -> what it decodes
PIXEL = {"rgb": 3.0, "bgr": 3.0, "grey": 1.0, "nv12": 1.5, "i420": 1.5}  # bytes of one
NO_TFS = (DType.FP16, DType.BF16, DType.UINT16)  # TensorFlow Serving's JSON has none of these
RATE = 16_000  # samples a second of the silence

Values = Mapping[str, Any]


def takes(manifest: Manifest) -> str:
    """Return what the model's steps decode: "image", "raw", "audio", or "" for a model of tensors alone."""
    return TAKES.get(manifest.pre[0].step, "") if manifest.pre else ""


def inputs(live: Generation) -> tuple[Spec, ...]:
    """Return the model's inputs, free dimensions as when it was warmed."""
    return filled(live.inputs, live.hello.free)


def count_of(spec: Spec) -> int:
    """Return how many values an input has."""
    return math.prod(spec.shape)


def zero(spec: Spec) -> object:
    """Return one value in JSON."""
    if spec.dtype is DType.BYTES:
        return "0"
    if spec.dtype is DType.BOOL:
        return False
    return 0 if spec.dtype.integer else 0.0


def nested(spec: Spec) -> Any:
    """Return zeros in lists within lists."""
    found: Any = zero(spec)
    for size in reversed(spec.shape):
        found = [found] * size
    return found


def few(specs: Sequence[Spec]) -> bool:
    """Whether the values fit on a page."""
    return sum(map(count_of, specs)) <= FEW


def head(spec: Spec) -> dict[str, Any]:
    """Return an input of the Open Inference Protocol without its values."""
    return {"name": spec.name, "datatype": spec.dtype.value, "shape": list(spec.shape)}


def parameters(live: Generation) -> dict[str, Any]:
    """Return what a request of this model must say beside its inputs."""
    if live.options.sequences is None:
        return {}
    return {"parameters": {"sequence_id": 1, "sequence_start": True, "sequence_end": True}}


def infer_body(live: Generation) -> Values | None:
    """Return a body of Open Inference; None where JSON cannot carry the model's tensors, or they are too many."""
    specs = inputs(live)
    if not jsonable(live) or not few(specs):
        return None
    return {**parameters(live), "inputs": [{**head(spec), "data": [zero(spec)] * count_of(spec)} for spec in specs]}


def jsonable(live: Generation) -> bool:
    """Whether JSON can carry the inputs and outputs."""
    return DType.BF16 not in {spec.dtype for spec in (*live.inputs, *live.outputs)}


def servable(live: Generation) -> bool:
    """Whether TensorFlow Serving's JSON can carry the inputs."""
    return not {spec.dtype for spec in live.inputs} & set(NO_TFS) and jsonable(live)


def by_rows(live: Generation) -> bool:
    """Whether a batch is the first dimension of all that goes in and comes out."""
    firsts = [spec.shape[:1] for spec in live.outputs]
    return all(spec.shape[:1] == (1,) for spec in inputs(live)) and all(one in ((1,), (-1,)) for one in firsts)


def predict_body(live: Generation) -> Values | None:
    """Return a body of `:predict`; None where its JSON cannot carry the model's tensors, or they are too many."""
    specs = inputs(live)
    if not servable(live) or not few(specs):
        return None
    if not by_rows(live):
        return {"inputs": {spec.name: nested(spec) for spec in specs}}
    rows = {spec.name: nested(spec)[0] for spec in specs}
    return {"instances": [next(iter(rows.values())) if len(rows) == 1 else rows]}


def picture(side: int = 64) -> bytes:
    """Return a PNG: dark grey beside light grey."""
    rows = (b"\0" + b"\x40" * (side // 2) + b"\xc0" * (side // 2)) * side
    found = b"\x89PNG\r\n\x1a\n"
    for kind, data in (
        (b"IHDR", struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    ):
        found += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return found


def silence_head(samples: int = RATE) -> bytes:
    """Return the head of a WAV file of 16-bit mono sound; zeros follow it."""
    size = 2 * samples
    form = struct.pack("<4sI2H2I2H", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + form + struct.pack("<4sI", b"data", size)


def frame_size(manifest: Manifest) -> int:
    """Return the bytes of one frame of a model that takes raw ones, 0 if its steps do not say."""
    options = manifest.pre[0].options
    width, height = options.get("width"), options.get("height")
    if not isinstance(width, int) or not isinstance(height, int):
        return 0
    return int(width * height * PIXEL.get(str(options.get("format", "rgb")), 0))


def npy_head(spec: Spec) -> bytes:
    """Return the head of an NPY file of the input; its bytes follow it."""
    kind = {"bool": "|b1", "int8": "|i1", "uint8": "|u1"}.get(spec.dtype.numpy)
    if kind is None:
        letter = "f" if spec.dtype.numpy.startswith("float") else spec.dtype.numpy[0]
        kind = f"<{letter}{spec.dtype.size}"
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {spec.shape!r}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def base64_of(data: bytes) -> str:
    """Return bytes as base64 text."""
    return base64.b64encode(data).decode()


def text_of(value: Values) -> str:
    """Return a body as JSON."""
    return json.dumps(value)
