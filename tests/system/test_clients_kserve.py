"""KServe's Python client (0.21), unchanged, against a real node. Skipped where it is not installed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.system.clients import KINDS, Place, same, serving
from tests.system.test_clients_triton_http import values_of

kserve = pytest.importorskip("kserve", reason="kserve is not installed", exc_type=ImportError)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with serving(tmp_path_factory.mktemp("clients")) as found:
        yield found


def ask(protocol: str, call: Callable[[Any], Awaitable[Any]]) -> Any:
    """Return what a call of a REST client gives."""

    async def run() -> Any:
        client = kserve.InferenceRESTClient(config=kserve.RESTConfig(protocol=protocol, retries=0, timeout=20))
        try:
            return await call(client)
        finally:
            await client.close()

    return asyncio.run(run())


def asked(model: str, kind: str, values: np.ndarray, binary: bool = False) -> Any:
    x = kserve.InferInput("x", list(values.shape), kind)
    x.set_data_from_numpy(values, binary_data=binary)
    return kserve.InferRequest(model_name=model, infer_inputs=[x], request_id="5")


def test_rest_health(place: Place) -> None:
    assert ask("v2", lambda client: client.is_server_live(place.url))
    assert ask("v2", lambda client: client.is_server_ready(place.url))
    assert ask("v2", lambda client: client.is_model_ready(place.url, "adder"))


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("FP16", "BYTES")])
def test_rest_infer(place: Place, kind: str, binary: bool) -> None:
    values = values_of(kind, KINDS[kind][1])
    given = asked(same(kind), kind, values, binary)
    found = ask("v2", lambda client: client.infer(place.url, given, model_name=same(kind)))
    assert found.id == "5"
    assert np.array_equal(found.outputs[0].as_numpy(), values)


def test_rest_v1(place: Place) -> None:
    data = {"instances": [{"x": [1, 2, 3], "y": [1, 1, 1]}]}
    found = ask("v1", lambda client: client.infer(place.url, data, model_name="adder"))
    assert found == {"predictions": [{"sum": [2, 3, 4], "difference": [0, 1, 2]}]}


def test_grpc(place: Place) -> None:
    async def run() -> Any:
        async with kserve.InferenceGRPCClient(place.grpc) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("adder")
            return await client.infer(asked(same("FP32"), "FP32", np.float32([[1, 2]]), True))

    assert asyncio.run(run()).outputs[0].as_numpy().tolist() == [[1, 2]]
