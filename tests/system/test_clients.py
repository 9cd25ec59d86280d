"""Clients that others wrote, against a real node: Triton's Python client, unchanged."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.data import DATA, needs
from tests.models import brightness_bundle
from tests.system.world import World

pytestmark = needs("triton_models")
ROWS = np.arange(16).reshape(1, 16)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceServerClient]:
    """Triton's client of a node that serves Triton's own example models and one of ours."""
    folder = tmp_path_factory.mktemp("clients")
    brightness_bundle(folder / "bundle")
    world = World(folder / "world")
    paths = [str(DATA / "triton_models"), str(folder / "bundle")]
    child = world._child("serve", ["-m", "skerry", "serve", *paths, "--http", "127.0.0.1:0", "--json"])
    found = InferenceServerClient(child.ready(40)["http"].removeprefix("http://"))
    yield found
    found.close()
    world.close()


def asked(client: InferenceServerClient, model: str, kind: str, dtype: type, binary: bool) -> tuple[np.ndarray, ...]:
    """Send the rows twice to one of the adders and return its two outputs."""
    inputs = []
    for name in ("INPUT0", "INPUT1"):
        inputs.append(InferInput(name, [1, 16], kind))
        inputs[-1].set_data_from_numpy(ROWS.astype(dtype), binary_data=binary)
    outputs = [InferRequestedOutput(name, binary_data=binary) for name in ("OUTPUT0", "OUTPUT1")]
    result = client.infer(model, inputs, outputs=outputs, request_id="7")
    assert result.get_response()["id"] == "7"
    return result.as_numpy("OUTPUT0"), result.as_numpy("OUTPUT1")


def test_health_and_metadata(client: InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("simple")
    assert not client.is_model_ready("nope")
    assert client.get_server_metadata()["name"] == "skerry"
    metadata = client.get_model_metadata("simple", "1")
    assert metadata["inputs"][0] == {"name": "INPUT0", "datatype": "INT32", "shape": [-1, 16]}


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(("model", "kind", "dtype"), [("simple", "INT32", np.int32), ("simple_int8", "INT8", np.int8)])
def test_adders(client: InferenceServerClient, model: str, kind: str, dtype: type, binary: bool) -> None:
    total, difference = asked(client, model, kind, dtype, binary)
    assert total.tolist() == (ROWS + ROWS).tolist()
    assert difference.tolist() == np.zeros((1, 16)).tolist()


@pytest.mark.parametrize("binary", [True, False])
def test_strings(client: InferenceServerClient, binary: bool) -> None:
    inputs = []
    for name in ("INPUT0", "INPUT1"):
        inputs.append(InferInput(name, [1, 16], "BYTES"))
        inputs[-1].set_data_from_numpy(ROWS.astype(str).astype(object), binary_data=binary)
    result = client.infer("simple_string", inputs).as_numpy("OUTPUT0")
    assert [int(value) for value in result.reshape(-1)] == (ROWS + ROWS).reshape(-1).tolist()


def test_outputs_are_binary_when_none_is_named(client: InferenceServerClient) -> None:
    image = InferInput("image", [1, 3, 8, 8], "FP32")
    image.set_data_from_numpy(np.full((1, 3, 8, 8), 0.9, np.float32))
    result = client.infer("brightness", [image])
    assert result.get_response()["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert result.as_numpy("probabilities").argmax() == 1


def test_classification(client: InferenceServerClient) -> None:
    image = InferInput("image", [1, 3, 8, 8], "FP32")
    image.set_data_from_numpy(np.full((1, 3, 8, 8), 0.1, np.float32))
    result = client.infer("brightness", [image], outputs=[InferRequestedOutput("probabilities", class_count=1)])
    value, index, label = result.as_numpy("probabilities").reshape(-1)[0].decode().split(":")
    assert (index, label) == ("0", "dark")
    assert 0.9 < float(value) <= 1


def test_errors_are_told(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="unknown model: nope"):
        client.get_model_metadata("nope")
    image = InferInput("image", [1, 3, 8, 9], "FP32")
    image.set_data_from_numpy(np.zeros((1, 3, 8, 9), np.float32))
    with pytest.raises(InferenceServerException, match="input 'image': expected shape"):
        client.infer("brightness", [image])
