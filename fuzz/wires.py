"""Targets of `skerry.wire`: what is taken is whole and comes back the same, what is refused is the caller's error."""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf import text_format

from skerry.core.errors import NotFound, RequestError
from skerry.core.tensor import DType, Spec, Tensor
from skerry.wire import npy, oip, oip_grpc, tfs, tfs_grpc
from skerry.wire.config import agree, config_json, read_config
from skerry.wire.oip import envelope
from skerry.wire.oip.tensors import Reader
from skerry.wire.protos import examples
from skerry.wire.protos.pool import message

LIMIT = 1 << 20  # bytes
MEMORY = bytes(range(64))  # of the one shared region there is
SPECS: tuple[tuple[Spec, ...], ...] = (
    (Spec("x", DType.FP32, (-1, 2)),),
    (Spec("x", DType.FP32, (-1,)), Spec("y", DType.INT64, (-1, 2))),
    (Spec("x", DType.BYTES, (-1,)),),
    (Spec("x", DType.UINT8, (-1, 2, 2)), Spec("s", DType.BYTES, (-1, 1))),
    (Spec("x", DType.BOOL, (2,)),),
    (Spec("x", DType.FP16, ()),),
)
_CONFIG = message("inference.ModelConfig")
_INFER = message("inference.ModelInferRequest")
_INFERRED = message("inference.ModelInferResponse")
_PREDICT = message("tensorflow.serving.PredictRequest")


def region(name: str, offset: int, size: int) -> memoryview:
    """The one shared region there is, "r"."""
    if name != "r" or offset + size > len(MEMORY):
        raise NotFound(f"no region {name}")
    return memoryview(MEMORY)[offset : offset + size]


def whole(tensors: Iterable[Tensor]) -> None:
    """Check that tensors have as many bytes, or byte strings, as their shapes say."""
    for tensor in tensors:
        count = math.prod(tensor.shape)
        size = len(tensor.data) if isinstance(tensor.data, tuple) else memoryview(tensor.data).nbytes
        assert size == (count if tensor.dtype is DType.BYTES else count * tensor.dtype.size), tensor


def plain(tensors: Iterable[Tensor]) -> list[tuple[Any, ...]]:
    """Return tensors as values that can be compared."""
    return [(t.name, t.dtype, t.shape, t.data if isinstance(t.data, tuple) else bytes(t.data)) for t in tensors]


def oip_request(data: bytes) -> None:
    """An Open Inference request: all JSON, or with binary tensors behind a length that may lie, or raw."""
    if len(data) < 3:
        return
    how, body = data[0] % 4, memoryview(data)[3:]
    header = {1: int.from_bytes(data[1:3], "little", signed=True), 2: bytes(body).rfind(b"}") + 1}.get(how)
    try:
        if how == 3:
            specs = SPECS[data[1] % len(SPECS)]
            whole(oip.decode_raw(body, specs[0]).inputs)
            return
        asked = oip.decode_request(body, LIMIT, header, region)
    except RequestError:
        if how == 0:
            assert not _slowly(bytes(body))
        return
    whole(asked.inputs)
    _ = asked.sequence_id, asked.sequence_start, asked.sequence_end, asked.priority, asked.timeout
    if how == 0 and (slow := _slowly(bytes(body))) is not None:
        assert slow == plain(asked.inputs)
    _comes_back(asked.inputs)


def _slowly(body: bytes) -> list[tuple[Any, ...]] | None:
    """Return the tensors as the slow way reads them, None if it refuses or a key stands twice."""
    try:
        if _twice(body):
            return None
        found = envelope.read_slowly(body)
        reader = Reader(memoryview(b""), region)
        tensors = [reader.tensor(entry) for entry in found.inputs]
    except RequestError:
        return None
    names = [tensor.name for tensor in tensors]
    return None if len(set(names)) < len(names) or found.outputs or found.parameters else plain(tensors)


def _twice(body: bytes) -> bool:
    found = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found.append(len(items) != len(dict(items)))
        return dict(items)

    try:
        json.loads(body, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return True
    return any(found)


def _comes_back(tensors: Sequence[Tensor]) -> None:
    """Check that what was taken can be answered, and that the answer's tensors are the same."""
    _, length = oip.encode_response("m", 1, "", tensors, {tensor.name for tensor in tensors})
    assert length is not None or not tensors
    try:
        text, _ = oip.encode_response("m", 1, "", tensors)
        back = oip.read_tensors(json.loads(text)["outputs"])
    except (RequestError, RecursionError):
        return  # text that is no UTF-8; BF16
    for one, other in zip(tensors, back, strict=True):
        assert (one.name, one.shape) == (other.name, other.shape)
        if isinstance(one.data, tuple):
            assert one.data == other.data
        elif one.dtype is not DType.BF16:
            kind = np.dtype(one.dtype.numpy)
            first, second = (np.frombuffer(bytes(t.data), kind) for t in (one, other))  # type: ignore[arg-type]
            assert np.array_equal(first, second, equal_nan=one.dtype.numpy.startswith("float")), (one, other)


def tfs_request(data: bytes) -> None:
    """A TensorFlow Serving body for one of several models: predict, classify and regress."""
    if len(data) < 1:
        return
    specs, body = SPECS[data[0] % len(SPECS)], data[1:]
    try:
        asked = tfs.decode(body, LIMIT, specs)
    except RequestError:
        pass
    else:
        assert [(t.name, t.dtype) for t in asked.inputs] == [(s.name, s.dtype) for s in specs]
        whole(asked.inputs)
        with contextlib.suppress(RequestError):
            json.loads(tfs.encode_predict(asked.inputs, asked.row))
    try:
        parsed = tfs.parse_body(body, LIMIT)
        tfs.images(parsed)
        whole(tfs.decode_examples(parsed, specs))
    except RequestError:
        pass


def oip_grpc_request(data: bytes) -> None:
    """A ModelInferRequest; what is taken, protobuf's own parser takes too, and reads the same."""
    try:
        call = oip_grpc.decode_infer(memoryview(data), region)
    except RequestError:
        return
    whole(call.request.inputs)
    peer = _INFER.FromString(data)
    assert (call.model, call.version, call.request.id) == (peer.model_name, peer.model_version, peer.id)
    assert [(t.name, t.dtype.value, t.shape) for t in call.request.inputs] == [
        (one.name, one.datatype, tuple(one.shape)) for one in peer.inputs
    ]
    answer = oip_grpc.encode_infer("m", 1, call.request.id, call.request.inputs)
    assert len(_INFERRED.FromString(answer).raw_output_contents) == len(peer.inputs)
    oip_grpc.encode_stream_error("x", call.request.id)


def tfs_grpc_request(data: bytes) -> None:
    """A PredictRequest, and a ClassificationRequest of the same bytes."""
    try:
        asked = tfs_grpc.decode_predict(memoryview(data))
        whole(asked.inputs)
        peer = _PREDICT.FromString(data)
        assert asked.chosen.model == peer.model_spec.name
        assert set(peer.inputs) <= {t.name for t in asked.inputs}  # protobuf drops entries that hold more than it knows
        tfs_grpc.encode_predict("m", 1, asked.inputs)
    except RequestError:
        pass
    for read in (tfs_grpc.decode_chosen, tfs_grpc.decode_metadata, tfs_grpc.decode_status, tfs_grpc.decode_reload):
        with contextlib.suppress(RequestError):
            read(data)
    for specs in SPECS[:2]:
        with contextlib.suppress(RequestError):
            whole(examples.decode_examples(memoryview(data), specs))


def npy_file(data: bytes) -> None:
    """A .npy file; what is taken, NumPy reads as the same array."""
    try:
        tensor = npy.decode(data, LIMIT)
    except RequestError:
        return
    whole([tensor])
    if tensor.dtype is not DType.BF16:
        try:
            peer = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False, max_header_size=1 << 16)
        except ValueError as error:
            if "Cannot parse header" in str(error):  # Python's syntax: it is stricter about white space and zeros
                return
            raise
        ours = np.frombuffer(bytes(tensor.data), np.dtype(tensor.dtype.numpy))  # type: ignore[arg-type]
        assert peer.shape == tensor.shape
        assert ours.tobytes() == peer.astype(peer.dtype.newbyteorder("<")).tobytes()
    again = npy.decode(npy.encode(tensor), 2 * LIMIT)
    assert plain([again]) == plain([tensor])


def config_file(data: bytes) -> None:
    """A config.pbtxt; what is taken, protobuf's own text parser takes too."""
    try:
        options = read_config(data, "m")
    except RequestError:
        return
    text_format.Parse(data, _CONFIG())
    inputs, outputs = (Spec("x", DType.FP32, (-1, 2)),), (Spec("y", DType.FP32, (-1, 2)),)
    json.dumps(config_json("m", options, inputs, outputs, "onnx", "model.onnx"))
    with contextlib.suppress(RequestError):
        agree(options, inputs, outputs)


def json_of(value: Mapping[str, Any]) -> bytes:
    """Return a value as JSON."""
    return json.dumps(value).encode()
