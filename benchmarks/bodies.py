"""Requests as bytes and answers as arrays: what each lane sends, and how its answer is read.

Written apart from `skerry.wire` on purpose: encoding with the code under test could agree with its errors.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

HEADER_LENGTH = "Inference-Header-Content-Length"
INFER = "/inference.GRPCInferenceService/ModelInfer"
ECHO = "/bench.Echo/Echo"
SECONDS = 30.0  # for the one request that is checked


@dataclass(frozen=True)
class Request:
    """One HTTP POST that is sent again and again."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def raw(self) -> bytes:
        """The request as it goes over a socket."""
        parts = urlsplit(self.url)
        lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + self.body

    def ask(self) -> tuple[bytes, Mapping[str, str]]:
        """Send it once; return body and headers of the answer, or raise RuntimeError."""
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=SECONDS)
        try:
            connection.request("POST", parts.path, self.body, dict(self.headers))
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{self.url} answered {answer.status}: {body[:300]!r}")
        return body, {name.lower(): value for name, value in answer.getheaders()}


def oip_json(url: str, model: str, name: str, array: np.ndarray) -> Request:
    """Return an Open Inference Protocol request with the numbers as JSON."""
    tensor = {"name": name, "shape": list(array.shape), "datatype": "FP32", "data": array.ravel().tolist()}
    body = json.dumps({"inputs": [tensor]}).encode()
    return Request(f"{url}/v2/models/{model}/infer", body, {"Content-Type": "application/json"})


def oip_binary(url: str, model: str, name: str, array: np.ndarray) -> Request:
    """Return one with the numbers as bytes behind the JSON; the answer is asked for in the same form."""
    data = array.astype("<f4").tobytes()
    tensor = {
        "name": name,
        "shape": list(array.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(data)},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return Request(f"{url}/v2/models/{model}/infer", head + data, headers)


def jpeg(url: str, model: str, data: bytes) -> Request:
    """Return an image as it is."""
    return Request(f"{url}/v2/models/{model}/infer", data, {"Content-Type": "image/jpeg"})


def numbers(answer: tuple[bytes, Mapping[str, str]]) -> np.ndarray:
    """Return the first output of an Open Inference Protocol answer, flat."""
    body, headers = answer
    length = headers.get(HEADER_LENGTH.lower())
    if length is None:
        return np.asarray(json.loads(body)["outputs"][0]["data"], dtype=np.float32)
    size = json.loads(body[: int(length)])["outputs"][0]["parameters"]["binary_data_size"]
    return np.frombuffer(body, dtype="<f4", count=size // 4, offset=int(length))


def best_class(answer: tuple[bytes, Mapping[str, str]]) -> int:
    """Return the best class of an answer to an image."""
    outputs = {one["name"]: one["data"] for one in json.loads(answer[0])["outputs"]}
    return int(outputs["classes"][0])


def infer_message(model: str, name: str, array: np.ndarray) -> bytes:
    """Return a serialised inference.ModelInferRequest with raw contents (field numbers: grpc_service.proto)."""
    shape = b"".join(_varint(size) for size in array.shape)
    tensor = _field(1, name.encode()) + _field(2, b"FP32") + _field(3, shape)
    return _field(1, model.encode()) + _field(5, tensor) + _field(7, array.astype("<f4").tobytes())


def infer_numbers(reply: bytes) -> np.ndarray:
    """Return the first raw output (field 6) of a serialised inference.ModelInferResponse."""
    at = 0
    while at < len(reply):
        tag, at = _read_varint(reply, at)
        size, at = _read_varint(reply, at)  # every field of this message up to 6 has a length
        if tag == 6 << 3 | 2:
            return np.frombuffer(reply, dtype="<f4", count=size // 4, offset=at)
        at += size
    raise RuntimeError(f"gRPC: no raw output in the answer {reply[:100]!r}")


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
