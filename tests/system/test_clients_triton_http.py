"""Triton's own Python client over HTTP, unchanged, against a real node: every call of it that makes sense here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http.aio as aio
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.data import needs
from tests.system.clients import KINDS, Place, put_version, same, serving, slow_onnx

triton = needs("triton_models")
ROWS = np.arange(16).reshape(1, 16)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with serving(tmp_path_factory.mktemp("clients")) as found:
        yield found


@pytest.fixture(scope="module")
def client(place: Place) -> Iterator[InferenceServerClient]:
    found = InferenceServerClient(place.http, concurrency=4)
    yield found
    found.close()


def tensor(name: str, kind: str, values: np.ndarray, binary: bool = True) -> InferInput:
    found = InferInput(name, list(values.shape), kind)
    found.set_data_from_numpy(values, binary_data=binary)
    return found


def values_of(kind: str, dtype: type) -> np.ndarray:
    """Return [3, 2] of a type: its least and greatest values among them."""
    if kind == "BYTES":
        return np.array([[b"a", b""], ["é".encode(), b"0"], [b"x" * 300, b"\n"]], dtype=np.object_)
    if kind == "BOOL":
        return np.array([[True, False], [False, False], [True, True]])
    info = np.iinfo(dtype) if np.issubdtype(dtype, np.integer) else np.finfo(dtype)
    return np.array([[0, 1], [info.min, info.max], [2, 3]], dtype=dtype)


def adders(client: InferenceServerClient, model: str, kind: str, dtype: type, binary: bool) -> list[list[list[int]]]:
    inputs = [tensor(name, kind, ROWS.astype(dtype), binary) for name in ("INPUT0", "INPUT1")]
    outputs = [InferRequestedOutput(name, binary_data=binary) for name in ("OUTPUT0", "OUTPUT1")]
    result = client.infer(model, inputs, outputs=outputs, request_id="7")
    assert result.get_response()["id"] == "7"
    return [result.as_numpy(name).tolist() for name in ("OUTPUT0", "OUTPUT1")]


# --- what a client asks before it infers ---


def test_health(client: InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("adder")
    assert client.is_model_ready("adder", "6")
    assert not client.is_model_ready("adder", "5")
    assert not client.is_model_ready("nope")


def test_metadata(client: InferenceServerClient) -> None:
    server = client.get_server_metadata()
    assert server["name"] == "skerry"
    assert {"binary_tensor_data", "classification", "model_repository", "statistics"} <= set(server["extensions"])
    found = client.get_model_metadata("adder")
    assert found["versions"] == ["6", "7"]
    assert found["inputs"][0] == {"name": "x", "datatype": "FP32", "shape": [-1, 3]}
    with pytest.raises(InferenceServerException, match="unknown model: nope"):
        client.get_model_metadata("nope")


def test_config_and_statistics(client: InferenceServerClient) -> None:
    config = client.get_model_config("brightness")
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    client.infer("adder", [tensor(name, "FP32", np.ones((1, 3), np.float32)) for name in "xy"], model_version="6")
    stats = client.get_inference_statistics("adder", "6")["model_stats"][0]
    assert stats["inference_stats"]["success"]["count"] >= 1
    assert len(client.get_inference_statistics()["model_stats"]) > 10


def test_repository(client: InferenceServerClient, place: Place) -> None:
    def states() -> dict[tuple[str, str], str]:
        return {(one["name"], one["version"]): one["state"] for one in client.get_model_repository_index()}

    client.unload_model("adder")
    assert not client.is_model_ready("adder")
    assert states()["adder", "7"] == "UNAVAILABLE"
    client.load_model("adder")
    assert client.is_model_ready("adder")
    assert states()["adder", "7"] == "READY"
    with pytest.raises(InferenceServerException, match="nope"):
        client.load_model("nope")
    slow_onnx(put_version(place.folder, "late", 1))
    client.load_model("late")
    assert client.is_model_ready("late")


# --- tensors ---


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_type(client: InferenceServerClient, kind: str, binary: bool) -> None:
    values = values_of(kind, KINDS[kind][1])
    if kind == "BYTES" and not binary:
        values = np.array([["a", ""], ["é", "0"], ["x" * 300, "\n"]], dtype=np.object_)
    outputs = [InferRequestedOutput("y", binary_data=binary)]
    found = client.infer(same(kind), [tensor("x", kind, values, binary)], outputs=outputs).as_numpy("y")
    if kind == "BYTES":
        found = [[one if isinstance(one, bytes) else one.encode() for one in row] for row in found.tolist()]
        assert found == [[one if isinstance(one, bytes) else one.encode() for one in row] for row in values.tolist()]
    else:
        assert np.array_equal(found, values)


def test_bf16(client: InferenceServerClient) -> None:
    values = np.array([[1.5, -2.0]], dtype=ml_dtypes.bfloat16)
    found = client.infer(same("BF16"), [tensor("x", "BF16", values)]).as_numpy("y")
    assert found.tolist() == values.tolist()


@triton
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(("model", "kind", "dtype"), [("simple", "INT32", np.int32), ("simple_int8", "INT8", np.int8)])
def test_tritons_adders(client: InferenceServerClient, model: str, kind: str, dtype: type, binary: bool) -> None:
    assert adders(client, model, kind, dtype, binary) == [(ROWS + ROWS).tolist(), np.zeros((1, 16)).tolist()]


@triton
@pytest.mark.parametrize("binary", [True, False])
def test_tritons_strings(client: InferenceServerClient, binary: bool) -> None:
    inputs = [tensor(name, "BYTES", ROWS.astype(str).astype(object), binary) for name in ("INPUT0", "INPUT1")]
    result = client.infer("simple_string", inputs).as_numpy("OUTPUT0")
    assert [int(value) for value in result.reshape(-1)] == (ROWS + ROWS).reshape(-1).tolist()


def test_outputs_are_binary_when_none_is_named(client: InferenceServerClient) -> None:
    result = client.infer("brightness", [tensor("image", "FP32", np.full((1, 3, 8, 8), 0.9, np.float32))])
    assert result.get_response()["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert result.as_numpy("probabilities").argmax() == 1


@pytest.mark.parametrize("binary", [True, False])
def test_classification(client: InferenceServerClient, binary: bool) -> None:
    outputs = [InferRequestedOutput("probabilities", binary_data=binary, class_count=1)]
    image = tensor("image", "FP32", np.full((1, 3, 8, 8), 0.1, np.float32))
    found = client.infer("brightness", [image], outputs=outputs).as_numpy("probabilities").reshape(-1)[0]
    value, index, label = (found if isinstance(found, str) else found.decode()).split(":")
    assert (index, label) == ("0", "dark")
    assert 0.9 < float(value) <= 1


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("given", [None, "gzip", "deflate"])
@pytest.mark.parametrize("asked", [None, "gzip", "deflate"])
def test_compression(client: InferenceServerClient, given: str, asked: str, binary: bool) -> None:
    values = np.arange(40_000, dtype=np.int32).reshape(-1, 2)
    found = client.infer(
        same("INT32"),
        [tensor("x", "INT32", values, binary)],
        outputs=[InferRequestedOutput("y", binary_data=binary)],
        request_compression_algorithm=given,
        response_compression_algorithm=asked,
    )
    assert np.array_equal(found.as_numpy("y"), values)


def test_objects_are_reused(client: InferenceServerClient) -> None:
    x, out = InferInput("x", [1, 2], "FP32"), InferRequestedOutput("y")
    for number in range(3):
        values = np.full((number + 1, 2), number, np.float32)
        x.set_shape(values.shape)
        x.set_data_from_numpy(values, binary_data=number % 2 == 0)
        assert client.infer(same("FP32"), [x], outputs=[out]).as_numpy("y").tolist() == values.tolist()


def test_async(client: InferenceServerClient) -> None:
    waiting = [
        client.async_infer(same("FP32"), [tensor("x", "FP32", np.full((1, 2), number, np.float32))])
        for number in range(20)
    ]
    assert [one.get_result().as_numpy("y")[0, 0] for one in waiting] == list(range(20))


def test_aio(place: Place) -> None:
    async def run() -> list[float]:
        async with aio.InferenceServerClient(place.http) as client:
            assert await client.is_server_ready()
            assert (await client.get_model_metadata("adder"))["versions"] == ["6", "7"]
            asked = [
                client.infer(same("FP32"), [tensor("x", "FP32", np.full((1, 2), number, np.float32))])
                for number in range(10)
            ]
            return [float(one.as_numpy("y")[0, 0]) for one in await asyncio.gather(*asked)]

    assert asyncio.run(run()) == list(range(10))


def test_timeouts(client: InferenceServerClient, place: Place) -> None:
    busy = [client.async_infer("slow", [tensor("n", "INT64", np.array([20_000]))]) for _ in range(4)]
    time.sleep(0.2)
    with pytest.raises(InferenceServerException, match="deadline"):
        client.infer("slow", [tensor("n", "INT64", np.array([20_000]))], timeout=1_000)
    short = InferenceServerClient(place.http, network_timeout=0.001)
    with pytest.raises(Exception, match="timed out"):
        short.infer("slow", [tensor("n", "INT64", np.array([20_000]))])
    assert [one.get_result().as_numpy("y")[0] for one in busy] == [96.0] * 4
    assert client.infer("slow", [tensor("n", "INT64", np.array([1]))], priority=1).as_numpy("y")[0] == 96.0


@pytest.mark.parametrize("number", [7, "seven"])
def test_sequences(client: InferenceServerClient, number: int | str) -> None:
    def ask(value: float, **sequence: bool) -> float:
        x = tensor("x", "FP32", np.array([value], np.float32))
        return float(client.infer("total", [x], sequence_id=number, **sequence).as_numpy("y")[0])

    assert [ask(1, sequence_start=True), ask(2), ask(3, sequence_end=True)] == [1, 3, 6]
    assert [ask(5, sequence_start=True), ask(6, sequence_end=True)] == [5, 11]
    assert client.infer("total", [tensor("x", "FP32", np.array([4], np.float32))]).as_numpy("y")[0] == 4


def test_headers_and_queries_are_passed_over(client: InferenceServerClient) -> None:
    x = tensor("x", "FP32", np.ones((1, 2), np.float32))
    found = client.infer(same("FP32"), [x], headers={"x-odd": "1"}, query_params={"a": "b"}, parameters={"own": "c"})
    assert found.as_numpy("y").tolist() == [[1, 1]]


def test_bodies_made_ahead(client: InferenceServerClient) -> None:
    x = tensor("x", "FP32", np.ones((1, 2), np.float32))
    body, size = InferenceServerClient.generate_request_body([x])
    assert size is not None
    assert len(body) > size


def test_errors_are_told(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="input 'image': expected shape") as caught:
        client.infer("brightness", [tensor("image", "FP32", np.zeros((1, 3, 8, 9), np.float32))])
    assert caught.value.status() == "400"
    with pytest.raises(InferenceServerException, match="unknown version: 5"):
        client.infer("adder", [], model_version="5")
