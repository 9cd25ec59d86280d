"""TensorFlow Serving's clients against a real node: ovmsclient over both protocols, and recorded replies.

The recorded replies are of SavedModels, which a node does not run. Their function, y = x / 2 + 2, stands here as ONNX
too: `default` with the recorded signature, and `flat`, whose input is what the recorded requests send.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx2
import numpy as np
import pytest
from ovmsclient import ModelNotFoundError, make_grpc_client, make_http_client
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis.inference_pb2 import (
    MultiInferenceRequest,
    MultiInferenceResponse,
)

from skerry.wire.protos.pool import message
from tests.data import DATA, needs
from tests.engine.kit import graph
from tests.system.clients import KINDS, SECONDS, F, Place, same, serving
from tests.system.test_clients_triton_http import values_of

RECORDED = DATA / "tf_serving_models"
LITE = ("saved_model_half_plus_two_tflite", "saved_model_half_plus_two_tflite_with_sigdef")
NO_TENSORFLOW = ("FP16", "UINT16")  # ovmsclient sends these; TensorFlow Serving's JSON has no form for them


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("clients")
    put_twins(folder / "twins")
    there = [RECORDED] if RECORDED.is_dir() else []  # with its SavedModels, and one that is broken
    with serving(folder, folder / "twins", *there) as found:
        yield found


def put_twins(folder: Path) -> None:
    """Write the models of the recorded replies, and `judge`, which scores three classes and gives a value."""
    consts = {"half": np.float32(0.5), "two": np.float32(2)}
    nodes = [("Mul", ["x", "half"], ["m"]), ("Add", ["m", "two"], ["y"])]
    for place, shape in (("default/00000123", [None, 1]), ("flat/1", [None])):
        (folder / place).mkdir(parents=True)
        graph(folder / place / "model.onnx", nodes, {"x": (F, shape)}, {"y": (F, shape)}, consts)
    (folder / "judge/1").mkdir(parents=True)
    graph(
        folder / "judge/1/model.onnx",
        [("Mul", ["x", "weights"], ["scores"]), ("Add", ["x", "two"], ["value"])],
        {"x": (F, [None, 1])},
        {"scores": (F, [None, 3]), "value": (F, [None, 1])},
        {"weights": np.float32([[1, 2, 3]]), "two": np.float32(2)},
    )
    (folder / "judge/labels.txt").write_text("a\nb\nc\n")


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


def golden() -> Any:
    return json.loads((RECORDED / "golden.json").read_text())


@recorded
@pytest.mark.parametrize("model", LITE)
def test_a_tflite_model(place: Place, model: str) -> None:
    plain = golden()["signatures"]["serving_default"]
    name = "x" if model == LITE[0] else "tflite_input"
    client = make_grpc_client(place.grpc)
    for x, y in zip(plain["x"], plain["y"], strict=True):
        path = f"{place.url}/v1/models/{model}:predict"
        assert httpx2.post(path, json={"instances": [[x]]}).json() == {"predictions": [[y]]}
        assert httpx2.post(path, json={"instances": [{name: [x]}]}).json() == {"predictions": [[y]]}
        assert httpx2.post(path, json={"inputs": {name: [[x]]}}).json() == {"outputs": [[y]]}
        assert client.predict({name: np.float32([[x]])}, model) == [[y]]
    status = httpx2.get(f"{place.url}/v1/models/{model}").json()["model_version_status"]
    assert [(one["version"], one["state"]) for one in status] == [("123", "AVAILABLE")]


@recorded
def test_recorded_requests_have_the_recorded_replies(place: Place) -> None:
    """To the letter where TensorFlow Serving's default signature answers; the signatures are not known here."""
    for one in golden()["rest"]:
        if "signature_name" not in one["body"]:
            reply = httpx2.post(place.url + one["POST"].replace("default", "flat"), json=one["body"])
            assert (reply.status_code, reply.json()) == (200, one["reply"])
            continue
        signature = one["body"].pop("signature_name")
        reply = httpx2.post(place.url + one["POST"], json={**one["body"], "signature_name": signature})
        told = {"error": f'Serving signature name: "{signature}" not found in signature def'}
        assert (reply.status_code, reply.json()) == (400, told)
        reply = httpx2.post(place.url + one["POST"], json=one["body"])
        if one["POST"].endswith("regress"):
            assert (reply.status_code, reply.json()) == (200, one["reply"])
        else:  # a score without a class's name
            assert (reply.status_code, "classify needs labels" in reply.text) == (400, True)


@recorded
def test_recorded_metadata(place: Place) -> None:
    """To the letter, but for the signatures that the SavedModel has besides."""
    told = json.loads((RECORDED / "half_plus_two_model_metadata.json").read_text())
    signatures = told["metadata"]["signature_def"]["signature_def"]
    told["metadata"]["signature_def"]["signature_def"] = {"serving_default": signatures["serving_default"]}
    assert httpx2.get(f"{place.url}/v1/models/default/metadata").json() == told


@recorded
def test_saved_models_are_named_and_stop_nothing(place: Place) -> None:
    index = {one["name"]: one for one in httpx2.post(f"{place.url}/v2/repository/index").json()}
    for name in ("matrix_half_plus_two", "saved_model_half_plus_two_cpu", "saved_model_half_plus_two_2_versions"):
        assert index[name]["state"] == "UNAVAILABLE"
        assert "a TensorFlow SavedModel, which this node does not run" in index[name]["reason"]
    models = httpx2.get(f"{place.url}/v1/models").json()["models"]
    assert {"default", "flat", *LITE} <= set(models)


# --- what no client library has a call for ---


def multi(place: Place, *tasks: tuple[str, str], model: str = "judge", **spec: Any) -> Any:
    """Return the results of a MultiInference on x = 1 and x = 2; each task is a method and a signature."""
    examples = [{"features": {"feature": {"x": {"float_list": {"value": [x]}}}}} for x in (1.0, 2.0)]
    request = MultiInferenceRequest(
        tasks=[
            {"model_spec": {"name": model, "signature_name": signature, **spec}, "method_name": f"{METHOD}{method}"}
            for method, signature in tasks
        ],
        input={"example_list": {"examples": examples}},
    )
    with grpc.insecure_channel(place.grpc) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/MultiInference")
        return MultiInferenceResponse.FromString(call(request.SerializeToString(), timeout=SECONDS)).results


METHOD = "tensorflow/serving/"


def test_several_tasks_in_one_call(place: Place) -> None:
    classes, values = multi(place, ("classify", ""), ("regress", "serving_default"))
    rows = [[(c.label, c.score) for c in one.classes] for one in classes.classification_result.classifications]
    assert rows == [[("a", 1), ("b", 2), ("c", 3)], [("a", 2), ("b", 4), ("c", 6)]]
    assert [one.value for one in values.regression_result.regressions] == [3, 4]
    assert (values.model_spec.name, values.model_spec.version.value) == ("judge", 1)
    path, body = f"{place.url}/v1/models/judge", {"examples": [{"x": 1.0}, {"x": 2.0}]}
    assert httpx2.post(f"{path}:classify", json=body).json() == {
        "results": [[list(one) for one in row] for row in rows]
    }
    assert httpx2.post(f"{path}:regress", json=body).json() == {"results": [3, 4]}
    page = httpx2.get(f"{place.url}/monitoring/prometheus/metrics").text
    assert 'API="MultiInference",entrypoint="GRPC"' in page
    (values,) = multi(place, ("regress", ""), model="flat")
    assert [one.value for one in values.regression_result.regressions] == [2.5, 3]


@pytest.mark.parametrize(
    ("tasks", "spec", "code", "text"),
    [
        ([("classify", ""), ("classify", "")], {}, "INVALID_ARGUMENT", "Duplicate evaluation of signature"),
        ([("predict", "")], {}, "UNIMPLEMENTED", "Unsupported signature method_name: tensorflow/serving/predict"),
        ([("classify", "other")], {}, "INVALID_ARGUMENT", 'Serving signature name: "other" not found'),
        ([("classify", "")], {"model": "flat"}, "INVALID_ARGUMENT", "model flat: classify needs labels"),
        ([("classify", "")], {"model": "nope"}, "NOT_FOUND", "Servable not found for request: Latest(nope)"),
        ([("regress", "")], {"version_label": "new"}, "INVALID_ARGUMENT", "Unrecognized servable version label: new"),
        ([], {}, "INVALID_ARGUMENT", "tasks: expected 1 to 100; got 0"),
    ],
)
def test_tasks_that_cannot_be(place: Place, tasks: Any, spec: Any, code: str, text: str) -> None:
    with pytest.raises(grpc.RpcError) as found:
        multi(place, *tasks, **spec)
    assert (found.value.code().name, text in found.value.details()) == (code, True)


@pytest.mark.parametrize(
    ("method", "field"),
    [
        ("PredictionService/Predict", "Predict"),
        ("PredictionService/Classify", "Classification"),
        ("PredictionService/Regress", "Regression"),
        ("PredictionService/GetModelMetadata", "GetModelMetadata"),
        ("ModelService/GetModelStatus", "GetModelStatus"),
    ],
)
@pytest.mark.parametrize("model", ["adder", "nope"])
def test_an_unknown_label(place: Place, method: str, field: str, model: str) -> None:
    request = message(f"tensorflow.serving.{field}Request")()
    request.model_spec.name, request.model_spec.version_label = model, "new"
    if field == "GetModelMetadata":
        request.metadata_field.append("signature_def")
    with grpc.insecure_channel(place.grpc) as channel, pytest.raises(grpc.RpcError) as found:
        channel.unary_unary(f"/tensorflow.serving.{method}")(request.SerializeToString(), timeout=SECONDS)
    told = (grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label: new")
    assert (found.value.code(), found.value.details()) == told


def curl_like(place: Place) -> Callable[[str], Any]:
    return lambda path: httpx2.get(place.url + path)


def test_paths_are_read_in_any_case(place: Place) -> None:
    get = curl_like(place)
    assert get("/V1/Models/adder").json() == get("/v1/models/adder").json()
    assert get("/v1/models/adder/versions/6/metadata").status_code == 200
    assert get("/v1/models/adder/labels/nope").json() == {"error": "Unrecognized servable version label: nope"}
