"""TensorFlow Serving's clients against a real node: ovmsclient over both protocols, and recorded replies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import numpy as np
import pytest
from ovmsclient import ModelNotFoundError, make_grpc_client, make_http_client

from tests.data import DATA, needs
from tests.system.clients import KINDS, Place, same, serving
from tests.system.test_clients_triton_http import values_of

LITE = "saved_model_half_plus_two_tflite"
NO_TENSORFLOW = ("FP16", "UINT16")  # ovmsclient sends these; TensorFlow Serving's JSON has no form for them


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("clients")
    paths = []
    if (DATA / "tf_serving_models" / LITE).is_dir():
        shutil.copytree(DATA / "tf_serving_models" / LITE / "00000123", folder / "lite" / "half" / "123")
        paths.append(folder / "lite")
    with serving(folder, *paths) as found:
        yield found


class Client:
    """ovmsclient; its default is version 0, over HTTP `/versions/0`: whichever serves."""

    def __init__(self, place: Place, grpc: bool) -> None:
        self.grpc = grpc
        self.own = make_grpc_client(place.grpc) if grpc else make_http_client(place.http)

    def predict(self, inputs: dict[str, Any], model: str, version: int = 1) -> Any:
        """Predict; by default without a version."""
        return self.own.predict(inputs, model, 0 if version == 1 else version)


@pytest.fixture(scope="module", params=["grpc", "http"])
def client(place: Place, request: pytest.FixtureRequest) -> Client:
    return Client(place, request.param == "grpc")


def test_status(client: Client) -> None:
    assert {version: one["state"] for version, one in client.own.get_model_status("adder", 6).items()} == {
        6: "AVAILABLE"
    }
    with pytest.raises(ModelNotFoundError, match="Could not find version 1 of model nope"):
        client.own.get_model_status("nope", 1)
    if client.grpc:
        assert set(client.own.get_model_status("adder")) == {6, 7}
        with pytest.raises(ModelNotFoundError, match="Could not find any versions of model nope"):
            client.own.get_model_status("nope")


def test_metadata(client: Client) -> None:
    found = client.own.get_model_metadata("adder", 7)
    if client.grpc:
        assert found["inputs"]["x"] == {"shape": [-1, 3], "dtype": "DT_FLOAT"}
        assert set(found["outputs"]) == {"sum", "difference"}
        assert found["model_version"] == 7
    else:  # it knows OpenVINO's spelling of the reply (modelSpec) alone, and gives TensorFlow's as it came
        assert found["model_spec"]["version"] == "7"
    with pytest.raises(ModelNotFoundError):
        client.own.get_model_metadata("nope", 1)


def test_predict(client: Client) -> None:
    x, y = np.float32([[1, 2, 3]]), np.float32([[4, 5, 6]])
    for version in (6, 7):
        found = client.predict({"x": x, "y": y}, "adder", version)
        assert {name: values.tolist() for name, values in found.items()} == {
            "sum": [[5, 7, 9]],
            "difference": [[-3, -3, -3]],
        }
    with pytest.raises(ModelNotFoundError, match="Servable not found"):
        client.predict({"x": x, "y": y}, "adder", 5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in NO_TENSORFLOW])
def test_every_type(client: Client, kind: str) -> None:
    if kind == "BYTES":  # over HTTP it sends text as {"b64": ...}, so text comes back
        given = [["a", "b"], ["é", "0"]] if client.grpc else np.array([[b"a", b"b"], [b"c", b"0"]])
        found = np.asarray(client.predict({"x": given}, same(kind))).reshape(-1).tolist()
        shown = [one.decode() if isinstance(one, bytes) else one for one in found]
        assert shown == (["a", "b", "é", "0"] if client.grpc else ["a", "b", "c", "0"])
        return
    values = values_of(kind, KINDS[kind][1])
    found = client.predict({"x": values}, same(kind))
    if kind == "FP32":
        found = found.astype(np.float32)  # the client reads JSON's numbers as Python's
    assert np.array_equal(found, values)


def test_an_image(client: Client) -> None:
    values = np.full((1, 3, 8, 8), 0.9, np.float32)
    assert client.predict({"image": values}, "brightness", 3).argmax() == 1


# --- recorded of TensorFlow Serving itself ---

recorded = needs("tf_serving_models")


@recorded
def test_a_tflite_model(place: Place) -> None:
    golden = json.loads((DATA / "tf_serving_models" / "golden.json").read_text())
    plain = golden["signatures"]["serving_default"]
    for x, y in zip(plain["x"], plain["y"], strict=True):
        reply = httpx2.post(f"{place.url}/v1/models/half:predict", json={"instances": [[x]]})
        assert reply.json() == {"predictions": [[y]]}
    status = httpx2.get(f"{place.url}/v1/models/half").json()["model_version_status"]
    assert [(one["version"], one["state"]) for one in status] == [("123", "AVAILABLE")]


@recorded
def test_forms_of_replies(place: Place) -> None:
    """Every field of a recorded metadata reply is in ours."""

    def fields(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*map(fields, value.values()))
        return set().union(*map(fields, value)) if isinstance(value, list) else set()

    told = json.loads((DATA / "tf_serving_models" / "half_plus_two_model_metadata.json").read_text())
    ours = httpx2.get(f"{place.url}/v1/models/adder/metadata").json()
    names = {"x", "x2", "y", "y2", "y3", "inputs", "outputs", "scores"}
    wanted = {one for one in fields(told) if one not in names and not one.startswith(("regress", "classify"))}
    assert wanted <= fields(ours) | {"serving_default"}


def curl_like(place: Place) -> Callable[[str], Any]:
    return lambda path: httpx2.get(place.url + path)


def test_paths_are_read_in_any_case(place: Place) -> None:
    get = curl_like(place)
    assert get("/V1/Models/adder").json() == get("/v1/models/adder").json()
    assert get("/v1/models/adder/versions/6/metadata").status_code == 200
    assert get("/v1/models/adder/labels/nope").json() == {"error": "Unrecognized servable version label: nope"}
