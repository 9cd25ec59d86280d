"""Triton's own Python client over gRPC, unchanged, against a real node: every call of it that makes sense here."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc.aio as aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.data import needs
from tests.system.clients import KINDS, Place, same, serving
from tests.system.test_clients_triton_http import ROWS, values_of

triton = needs("triton_models")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with serving(tmp_path_factory.mktemp("clients")) as found:
        yield found


@pytest.fixture(scope="module")
def client(place: Place) -> Iterator[InferenceServerClient]:
    found = InferenceServerClient(place.grpc)
    yield found
    found.close()


def tensor(name: str, kind: str, values: np.ndarray) -> InferInput:
    found = InferInput(name, list(values.shape), kind)
    found.set_data_from_numpy(values)
    return found


def x_of(number: float) -> list[InferInput]:
    return [tensor("x", "FP32", np.full((1, 2), number, np.float32))]


# --- what a client asks before it infers ---


def test_health(client: InferenceServerClient, place: Place) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("adder", "6")
    assert not client.is_model_ready("nope")
    with grpc.insecure_channel(place.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(health_pb2.HealthCheckRequest(service="")).status == 1
        assert next(iter(stub.Watch(health_pb2.HealthCheckRequest(service="adder")))).status == 1


def test_metadata_config_and_statistics(client: InferenceServerClient) -> None:
    assert client.get_server_metadata(as_json=True)["name"] == "skerry"
    found = client.get_model_metadata("adder", as_json=True)
    assert found["versions"] == ["6", "7"]
    assert found["inputs"][0] == {"name": "x", "datatype": "FP32", "shape": ["-1", "3"]}
    assert client.get_model_config("adder").config.input[0].name == "x"
    client.infer(same("FP32"), x_of(1))
    assert client.get_inference_statistics(same("FP32")).model_stats[0].inference_stats.success.count >= 1
    with pytest.raises(InferenceServerException, match=r"NOT_FOUND.*unknown model: nope"):
        client.get_model_metadata("nope")


def test_repository(client: InferenceServerClient) -> None:
    client.unload_model("brightness")
    assert not client.is_model_ready("brightness")
    states = {one.name: one.state for one in client.get_model_repository_index().models}
    assert states["brightness"] == "UNAVAILABLE"
    client.load_model("brightness")
    assert client.is_model_ready("brightness")
    with pytest.raises(InferenceServerException, match="NOT_FOUND"):
        client.load_model("nope")


# --- tensors ---


@pytest.mark.parametrize("kind", KINDS)
def test_every_type(client: InferenceServerClient, kind: str) -> None:
    values = values_of(kind, KINDS[kind][1])
    found = client.infer(same(kind), [tensor("x", kind, values)], outputs=[InferRequestedOutput("y")])
    assert found.as_numpy("y").tolist() == values.tolist()


def test_bf16(client: InferenceServerClient) -> None:
    values = np.array([[1.5, -2.0]], dtype=ml_dtypes.bfloat16)
    assert client.infer(same("BF16"), [tensor("x", "BF16", values)]).as_numpy("y").tolist() == values.tolist()


@triton
def test_tritons_models(client: InferenceServerClient) -> None:
    inputs = [tensor(name, "INT32", ROWS.astype(np.int32)) for name in ("INPUT0", "INPUT1")]
    found = client.infer("simple", inputs, request_id="9")
    assert found.get_response().id == "9"
    assert found.as_numpy("OUTPUT0").tolist() == (ROWS + ROWS).tolist()
    assert found.as_numpy("OUTPUT1").tolist() == np.zeros((1, 16)).tolist()


def test_classification(client: InferenceServerClient) -> None:
    image = tensor("image", "FP32", np.full((1, 3, 8, 8), 0.1, np.float32))
    outputs = [InferRequestedOutput("probabilities", class_count=2)]
    found = client.infer("brightness", [image], outputs=outputs).as_numpy("probabilities")
    assert [one.decode().split(":")[2] for one in found.reshape(-1)] == ["dark", "bright"]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compression(client: InferenceServerClient, coding: str) -> None:
    values = np.zeros((50_000, 2), np.float32)
    found = client.infer(same("FP32"), [tensor("x", "FP32", values)], compression_algorithm=coding)
    assert np.array_equal(found.as_numpy("y"), values)


def test_objects_are_reused(client: InferenceServerClient) -> None:
    x = InferInput("x", [1, 2], "FP32")
    for number in range(3):
        values = np.full((number + 1, 2), number, np.float32)
        x.set_shape(values.shape)
        x.set_data_from_numpy(values)
        assert client.infer(same("FP32"), [x]).as_numpy("y").tolist() == values.tolist()


def test_async(client: InferenceServerClient) -> None:
    answers: queue.Queue[Any] = queue.Queue()

    def done(number: int, result: Any, error: Any) -> None:
        answers.put((number, error or result.as_numpy("y")[0, 0]))

    for number in range(20):
        client.async_infer(same("FP32"), x_of(number), callback=partial(done, number))
    assert sorted(answers.get(timeout=20) for _ in range(20)) == [(number, number) for number in range(20)]


def test_a_stream(place: Place) -> None:
    """Answers come in order; an error is an answer, and the stream goes on."""
    answers: queue.Queue[Any] = queue.Queue()
    with InferenceServerClient(place.grpc) as client:
        client.start_stream(callback=lambda result, error: answers.put(error or result.as_numpy("y")[0, 0]))
        for number in range(20):
            client.async_stream_infer(same("FP32"), x_of(number))
        client.async_stream_infer("nope", x_of(1))
        client.async_stream_infer(same("FP32"), x_of(99), request_id="last")
        found = [answers.get(timeout=20) for _ in range(22)]
        client.stop_stream()
    assert found[:20] == list(range(20))
    assert "unknown model: nope" in str(found[20])
    assert found[21] == 99


def test_sequences_in_a_stream(place: Place) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    with InferenceServerClient(place.grpc) as client:
        client.start_stream(callback=lambda result, error: answers.put(error or (result.as_numpy("y")[0])))
        for value in range(1, 5):
            for number in (7, 8):
                x = [tensor("x", "FP32", np.array([value * number], np.float32))]
                client.async_stream_infer(
                    "total", x, sequence_id=number, sequence_start=value == 1, sequence_end=value == 4
                )
        found = [answers.get(timeout=20) for _ in range(8)]
        client.stop_stream()
    assert found == [7, 8, 21, 24, 42, 48, 70, 80]


def test_aio(place: Place) -> None:
    async def run() -> tuple[list[float], list[float]]:
        async with aio.InferenceServerClient(place.grpc) as client:
            assert await client.is_server_ready()
            asked = [client.infer(same("FP32"), x_of(number)) for number in range(10)]
            plain = [float(one.as_numpy("y")[0, 0]) for one in await asyncio.gather(*asked)]

            async def requests() -> Any:
                for number in range(5):
                    yield {"model_name": same("FP32"), "inputs": x_of(number)}

            stream = [
                float(one.as_numpy("y")[0, 0]) async for one, error in client.stream_infer(requests()) if not error
            ]
            return plain, stream

    assert asyncio.run(run()) == (list(range(10)), list(range(5)))


def test_timeouts_and_a_caller_that_hangs_up(client: InferenceServerClient) -> None:
    long = [tensor("n", "INT64", np.array([60_000]))]
    answers: queue.Queue[Any] = queue.Queue()
    calls = [client.async_infer("slow", long, callback=lambda result, error: answers.put(error)) for _ in range(4)]
    time.sleep(0.2)
    began = time.monotonic()
    with pytest.raises(InferenceServerException, match=r"DEADLINE_EXCEEDED|Deadline|UNAVAILABLE"):
        client.infer("slow", long, client_timeout=0.05)
    assert time.monotonic() - began < 1
    for call in calls:
        call.cancel()
    assert "CANCELLED" in str(answers.get(timeout=20))
    assert client.infer("slow", [tensor("n", "INT64", np.array([1]))]).as_numpy("y")[0] == 96


def test_errors_are_told(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="input 'image': expected shape") as caught:
        client.infer("brightness", [tensor("image", "FP32", np.zeros((1, 3, 8, 9), np.float32))])
    assert "INVALID_ARGUMENT" in caught.value.status()
    with pytest.raises(InferenceServerException, match="cuda shared memory") as caught:
        client.register_cuda_shared_memory("x", b"", 0, 8)
    assert "UNIMPLEMENTED" in caught.value.status()
