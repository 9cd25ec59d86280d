"""What fuzzing begins with: good inputs of each target, from which the engine makes bad ones."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from fuzz.connections import cuts
from skerry.core.tensor import DType, Tensor
from skerry.wire import npy
from skerry.wire.protos.pool import message

ONE = {"name": "x", "datatype": "FP32", "shape": [2], "data": [1.5, -2e-3]}
TWO = {"name": "z", "datatype": "FP32", "shape": [1, 2], "data": [[3, 4]]}
CONFIG = b"""name: "m" # a comment
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, 2 ] reshape { shape: [ 2 ] } } ]
output { name: "y" data_type: TYPE_FP32 dims: 2 label_filename: "labels.txt" }
instance_group [ { count: 2 kind: KIND_CPU } ]
version_policy: { specific { versions: [1, 2] } }
dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 100 priority_levels: 2
  default_priority_level: 1 default_queue_policy { timeout_action: DELAY max_queue_size: 3 } }
parameters { key: "intra_op_thread_count" value: { string_value: "2" } }
optimization { graph { level: 1 } }
model_warmup { name: 'w' batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 dims: 2 zero_data: true } } }
"""
SEQUENCES = b"""sequence_batching { max_sequence_idle_microseconds: 5000000 oldest { max_candidate_sequences: 4 }
  control_input [ { name: "START" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } ] } ]
  state [ { input_name: "i" output_name: "o" data_type: TYPE_FP32 dims: [ -1 ]
    initial_state: { name: "s" data_type: TYPE_FP32 dims: [ 1 ] zero_data: true } } ] }
"""


def js(value: object) -> bytes:
    """Return JSON."""
    return json.dumps(value).encode()


def oip() -> Iterator[bytes]:
    """Requests of Open Inference."""
    whole = {"id": "7", "inputs": [ONE, {"name": "s", "datatype": "BYTES", "shape": [1], "data": ["\u00e9"]}]}
    yield b"\0\0\0" + js(whole)
    yield b"\0\0\0" + js({**whole, "parameters": {"sequence_id": 3, "sequence_start": True, "priority": 1}})
    yield b"\0\0\0" + js({"inputs": [{"name": "h", "datatype": "FP16", "shape": [3], "data": [1, float("nan"), -1]}]})
    yield b"\0\0\0" + js({"inputs": [{"name": "u", "datatype": "UINT64", "shape": [1], "data": [(1 << 64) - 1]}]})
    yield b"\0\0\0" + js({"inputs": [{"name": "b", "datatype": "BOOL", "shape": [2], "data": [True, False]}]})
    shared = {"shared_memory_region": "r", "shared_memory_byte_size": 8, "shared_memory_offset": 4}
    yield b"\0\0\0" + js({"inputs": [{**ONE, "data": None, "parameters": shared}], "outputs": [{"name": "y"}]})
    binary = {key: value for key, value in ONE.items() if key != "data"} | {"parameters": {"binary_data_size": 8}}
    text = {"name": "s", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 6}}
    asked = [{"name": "y", "parameters": {"binary_data": True, "classification": 2}}]
    body = js({"inputs": [binary, text], "outputs": asked, "parameters": {"binary_data_output": True}})
    tail = struct.pack("<2f", 1, 2) + struct.pack("<I", 2) + b"hi"
    yield b"\1" + struct.pack("<h", len(body)) + body + tail
    yield b"\2\0\0" + body + tail
    yield b"\3\0\0" + bytes(16)


def tfs() -> Iterator[bytes]:
    """Bodies of TensorFlow Serving."""
    yield b"\0" + js({"instances": [[1, 2], [3, 4.5]]})
    yield b"\0" + js({"signature_name": "serving_default", "inputs": [[1, -0.0]]})
    yield b"\1" + js({"instances": [{"x": 1.0, "y": [1, 2]}, {"x": 2, "y": [3, 4]}]})
    yield b"\1" + js({"inputs": {"x": [1], "y": [[5, 6]]}})
    yield b"\2" + js({"instances": [{"b64": "aGk="}, "text"]})
    yield b"\3" + js({"instances": [{"x": [[1, 2], [3, 4]], "s": ["a"]}]})
    yield b"\4" + js({"inputs": [True, False]})
    yield b"\1" + js({"context": {"x": 1}, "examples": [{"y": [1, 2]}, {"x": float("nan"), "y": 1}]})


def oip_grpc() -> Iterator[bytes]:
    """ModelInfer requests."""
    request = message("inference.ModelInferRequest")
    given = request(model_name="m", model_version="1", id="7")
    given.inputs.add(name="x", datatype="FP32", shape=[2]).contents.fp32_contents.extend([1, 2])
    given.inputs.add(name="s", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"hi")
    given.outputs.add(name="y").parameters["classification"].int64_param = 2
    given.parameters["sequence_id"].int64_param = 3
    yield given.SerializeToString()
    given = request(model_name="m", raw_input_contents=[bytes(8), struct.pack("<I", 1) + b"a"])
    given.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    given.inputs.add(name="s", datatype="BYTES", shape=[1])
    yield given.SerializeToString()
    given = request(model_name="m")
    one = given.inputs.add(name="x", datatype="INT32", shape=[1])
    one.parameters["shared_memory_region"].string_param = "r"
    one.parameters["shared_memory_byte_size"].int64_param = 4
    yield given.SerializeToString()


def tfs_grpc() -> Iterator[bytes]:
    """Requests of the PredictionService."""
    given = message("tensorflow.serving.PredictRequest")(output_filter=["y"])
    given.model_spec.name, given.model_spec.version.value = "m", 1
    one = given.inputs["x"]
    one.dtype, one.tensor_content = 1, struct.pack("<2f", 1, 2)
    one.tensor_shape.dim.add(size=2)
    other = given.inputs["s"]
    other.dtype = 7
    other.string_val.extend([b"hi", b"you"])
    other.tensor_shape.dim.add(size=2)
    half = given.inputs["h"]
    half.dtype = 19
    half.half_val.extend([15360, 0])
    half.tensor_shape.dim.add(size=4)
    yield given.SerializeToString()
    asked = message("tensorflow.serving.ClassificationRequest")()
    asked.model_spec.name, asked.model_spec.version_label = "m", "stable"
    example = asked.input.example_list.examples.add()
    example.features.feature["x"].float_list.value.extend([1, 2])
    example.features.feature["y"].int64_list.value.extend([1, 2])
    yield asked.SerializeToString()
    reload = message("tensorflow.serving.ReloadConfigRequest")()
    model = reload.config.model_config_list.config.add(name="m", base_path="/m", model_platform="onnx")
    model.model_version_policy.specific.versions.append(2)
    model.version_labels["a"] = 2
    yield reload.SerializeToString()
    meta = message("tensorflow.serving.GetModelMetadataRequest")(metadata_field=["signature_def"])
    meta.model_spec.name = "m"
    yield meta.SerializeToString()


def npy_files() -> Iterator[bytes]:
    """Arrays."""
    for array in (np.eye(2, dtype=np.float32), np.asfortranarray(np.arange(6).reshape(2, 3)), np.array([True])):
        for version in ((1, 0), (2, 0), (3, 0)):
            file = io.BytesIO()
            np.lib.format.write_array(file, array, version)
            yield file.getvalue()
    yield npy.encode(Tensor("", DType.FP16, (2,), bytes(4)))
    file = io.BytesIO()
    np.save(file, np.array([[1, 2]], ">i2"))
    yield file.getvalue()


def images() -> Iterator[bytes]:
    """Small images of each kind."""
    pixels = (np.arange(3 * 11 * 13) % 251).astype(np.uint8).reshape(11, 13, 3)
    colour, exif = Image.fromarray(pixels), Image.Exif()
    exif[274] = 6
    made: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (colour, "JPEG", {"quality": 50, "exif": exif}),
        (colour, "JPEG", {"progressive": True, "quality": 30}),
        (colour.convert("L"), "JPEG", {}),
        (colour.convert("CMYK"), "JPEG", {}),
        (colour, "PNG", {}),
        (colour.convert("P"), "PNG", {"transparency": 1}),
        (colour.convert("LA"), "PNG", {}),
        (colour.convert("RGBA"), "WEBP", {"lossless": True}),
        (colour, "WEBP", {"quality": 20}),
    ]
    for number, (one, kind, options) in enumerate(made):
        file = io.BytesIO()
        one.save(file, kind, **options)
        yield bytes([number % 3 + 4 * (number % 2)]) + file.getvalue()


def sounds() -> Iterator[bytes]:
    """Short sounds of each form."""
    for kind, channels, bits in ((1, 1, 16), (1, 2, 8), (1, 1, 24), (3, 1, 32), (3, 2, 64), (1, 1, 32)):
        step = channels * bits // 8
        form = struct.pack("<HHIIHH", kind, channels, 8000, 8000 * step, step, bits)
        data = bytes(range(step * 8))
        chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
        yield b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
    form = struct.pack("<HHIIHHHHIH", 0xFFFE, 1, 44100, 88200, 2, 16, 22, 16, 4, 1) + bytes.fromhex(
        "000000001000800000aa00389b71"
    )
    yield b"RIFF\0\0\0\0WAVELIST\3\0\0\0abc\0fmt (\0\0\0" + form + b"data\xff\xff\xff\xff" + bytes(40)


def coded() -> Iterator[bytes]:
    """Bodies in codings."""
    yield b"\0" + gzip.compress(b"hello " * 9, mtime=0)
    yield b"\1" + zlib.compress(b"hello " * 9)
    yield b"\2plain"


def forms() -> Iterator[bytes]:
    """Forms with a file."""
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\nDATA'
    field = b'--b\r\nContent-Disposition: form-data; name="n"\r\n\r\n1\r\n'
    yield b"multipart/form-data; boundary=b\n" + field + part + b"\r\n--b--\r\n"
    yield b'multipart/form-data; boundary="b"\n' + part + b"\r\n--b--\r\n"


def answers() -> Iterator[bytes]:
    """Operations on bodies."""
    heads = ((0, 0, 0, 0, 0), (2, 1, 0, 0, 0), (3, 0, 0, 0, 0), (0, 2, 2, 0, 0), (0, 4, 0, 0, 0))
    bodies = (js({"inputs": [ONE]}), js({"instances": [1, 2]}), js({"examples": [{"x": 1}]}), bytes(8))
    for head, body in zip(heads, (*bodies, next(npy_files())), strict=True):
        yield bytes(head) + body
    for number, image in enumerate(images()):
        if number in (0, 4, 7):
            yield bytes((number % 2, 3, 0, 0, 2)) + image[1:]
    yield bytes((1, 6, 0, 0, 130)) + next(forms()).partition(b"\n")[2]
    yield bytes((0, 1, 0, 65, 0)) + gzip.compress(js({"inputs": [ONE]}), mtime=0)
    for op, body in ((5, next(oip_grpc())), (6, next(tfs_grpc()))):
        yield bytes((op, 0, 0, 0, 0)) + body


def quick() -> Iterator[bytes]:
    """A request, and how another one differs."""
    asked = js({"inputs": [ONE]})
    at = asked.index(b"1.5")
    for cut, put in ((3, b"7.25"), (0, b""), (3, b"NaN"), (1, b"-"), (0, b" "), (3, b"[1"), (10, b"1e400, 1")):
        yield struct.pack("<BHBB", 0, at, cut, len(put)) + put + asked
    yield struct.pack("<BHBB", 4, at, 1, 1) + b"2" + js({"inputs": [ONE, TWO]})
    binary = {"name": "x", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}
    body = js({"inputs": [binary], "parameters": {"binary_data_output": True}}) + b"\n" + bytes(8)
    yield struct.pack("<BHBB", 8, len(body) - 8, 4, 4) + b"\0\0\x80?" + body
    for how, kind in ((1, "INT32"), (2, "FP64"), (3, "UINT8")):
        yield struct.pack("<BHBB", how, 55, 1, 1) + b"3" + js({"inputs": [{**ONE, "datatype": kind, "data": [1, 2]}]})


def streams() -> Iterator[bytes]:
    """Connections: flags, a plan of cuts, bytes."""
    body, health = js({"inputs": [ONE]}), b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    infer = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\n"
    known = infer + b"Content-Length: %d\r\n\r\n" % len(body) + body
    chunked = infer + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n5\r\n%b\r\n0\r\nX: y\r\n\r\n" % (
        len(body) - 5, body[:-5], body[-5:],
    )  # fmt: skip
    packed = gzip.compress(body, mtime=0)
    coding = infer + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
    upgrade = infer + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(body)
    expect = infer + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
    closing = b"POST /echo HTTP/1.1\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc"
    plans: tuple[list[tuple[int, int]], ...] = (
        [],
        [(0, 7), (1, 90), (1, 30)],
        [(3, 10), (1, 60), (7, 50)],
        [(5, 200), (6, 9), (2, 200), (4, 1)],
    )
    made = (
        known * 3, known + health + known, chunked + known, coding + health, upgrade + body + health,
        expect + body + known, closing + health, known.replace(b"/m/", b"/n/") + known, health * 20,
        b"HEAD /health HTTP/1.1\r\n\r\n" + known, (b"POST /v1/m HTTP/1.0\r\nContent-Length: 19\r\n\r\n"
         b'{"instances": [1]} '), b"GET / HTTP/1.1\r\nA: \0\r\n\r\n", known[:-9], b"\r\n" + known + b"junk",
    )  # fmt: skip
    for number, stream in enumerate(made):
        yield bytes([number % 4]) + cuts(plans[number % len(plans)]) + stream


SEEDS: Mapping[str, Callable[[], Iterator[bytes]]] = {
    "oip": oip,
    "tfs": tfs,
    "oip_grpc": oip_grpc,
    "tfs_grpc": tfs_grpc,
    "npy": npy_files,
    "config": lambda: iter([CONFIG, SEQUENCES, CONFIG.replace(b"{", b"<").replace(b"}", b">")]),
    "image": images,
    "wav": sounds,
    "coded": coded,
    "form": forms,
    "answers": answers,
    "quick": quick,
    "http": streams,
}
