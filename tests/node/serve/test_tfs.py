"""TensorFlow Serving's REST API from outside: its rules and its texts."""

from __future__ import annotations

import base64
import json
import math

import numpy as np
import pytest

from skerry.core.names import ModelName
from tests.engine.kit import data
from tests.models import grey_png
from tests.node.kit import place

B64 = {"b64": base64.b64encode(b"\xc3\xa9").decode()}
IMAGE = {"b64": base64.b64encode(grey_png(250)).decode()}


@pytest.mark.parametrize(
    ("model", "body", "want"),
    [
        ("number", {"instances": [[1, 2], [3, 4]]}, {"predictions": [[1, 2], [3, 4]]}),
        ("number", {"instances": [{"x": [1, 2]}]}, {"predictions": [[1, 2]]}),
        ("number", {"inputs": [[1, 2]]}, {"outputs": [[1, 2]]}),
        ("number", {"inputs": {"x": [[1, 2]], "more": 5}}, {"outputs": [[1, 2]]}),
        ("number", {"inputs": [[1, 2]], "signature_name": "serving_default", "unknown": {}}, {"outputs": [[1, 2]]}),
        ("number", {"instances": [[-(2**31), 2**31 - 1]]}, {"predictions": [[-(2**31), 2**31 - 1]]}),
        ("wide", {"inputs": [[1, 2.5]]}, {"outputs": [[1.0, 2.5]]}),
        ("flag", {"instances": [[True, False]]}, {"predictions": [[True, False]]}),
        ("text", {"instances": ["a", "é", B64]}, {"predictions": ["a", "é", "é"]}),
        ("text", {"inputs": ["a"]}, {"outputs": ["a"]}),
        ("text", {"instances": [{"x": "a"}, {"x": B64}]}, {"predictions": ["a", "é"]}),
        (
            "adder",
            {"instances": [{"x": [1, 2, 3], "y": [1, 1, 1]}] * 2},
            {"predictions": [{"sum": [2, 3, 4], "difference": [0, 1, 2]}] * 2},
        ),
        (
            "adder",
            {"inputs": {"x": [[1, 2, 3]], "y": [[1, 1, 1]]}},
            {"outputs": {"sum": [[2, 3, 4]], "difference": [[0, 1, 2]]}},
        ),
    ],
)
def test_predict(node, model, body, want):
    assert node.post(f"/v1/models/{model}:predict", body) == (200, want)


BAD = [
    ("number", b"", "JSON Parse error: The document is empty"),
    ("number", b"{", "JSON Parse error: "),
    ("number", b"[1]", "Is not object"),
    ("number", b"5", "Is not object"),
    ("number", b"\xff{}", "JSON Parse error: Invalid encoding"),
    ("number", {}, "Missing 'inputs' or 'instances' key"),
    (
        "number",
        {"inputs": [[1, 2]], "instances": [[1, 2]]},
        "expecting only one of 'inputs' or 'instances' keys to exist",
    ),
    ("number", {"inputs": [[1, 2]], "signature_name": 5}, "'signature_name' key must be a string value."),
    ("number", {"inputs": [[1, 2]], "signature_name": "x"}, 'Serving signature name: "x" not found in signature def'),
    ("number", {"instances": []}, "No values in 'instances' array"),
    ("number", {"instances": {}}, "Excepting 'instances' to be an list/array"),
    ("number", {"instances": [[1.0, 2]]}, "is not of expected type: int32"),
    ("number", {"instances": [[1, True]]}, "is not of expected type: int32"),
    ("number", {"instances": [[1, "2"]]}, "is not of expected type: int32"),
    ("number", {"instances": [[1, None]]}, "is not of expected type: int32"),
    ("number", {"instances": [[1, 2**31]]}, "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
    ("byte", {"instances": [[1, 256]]}, "JSON Value: 256 Type: Number is not of expected type: uint8"),
    ("byte", {"instances": [[-1, 0]]}, "JSON Value: -1 Type: Number is not of expected type: uint8"),
    ("flag", {"instances": [[1, 0]]}, "is not of expected type: bool"),
    ("wide", {"instances": [["NaN", 0]]}, "is not of expected type: double"),
    ("wide", {"instances": [[B64, 0]]}, "is not of expected type: double"),
    ("text", {"instances": [5]}, "is not of expected type"),
    ("text", {"instances": [{"b64": "*"}]}, "Unable to base64 decode"),
    ("text", {"instances": [{"b64": "/w=="}]}, "input 'x': expected UTF-8 text"),
    (
        "number",
        {"instances": [[1, 2], [3]]},
        "element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 1",
    ),
    ("number", {"instances": [[1, 2], 3]}, "Expecting tensor size: 2 but got: 1"),
    ("number", {"instances": [1, 2]}, "input 'x': expected shape [-1, 2]; got [2]"),
    ("number", {"instances": [[1, 2, 3]]}, "input 'x': expected shape [-1, 2]; got [1, 3]"),
    ("adder", {"instances": [{"x": [1, 2, 3]}]}, "keys must be equal to: x,y"),
    ("adder", {"instances": [{"x": [1], "y": [1], "z": [1]}]}, "keys must be equal to: x,y"),
    (
        "adder",
        {"instances": [[1, 2, 3]]},
        "expecting list of objects as multiple input tensors required as per tensorinfo_map: x,y",
    ),
    ("adder", {"inputs": {"x": [[1, 2, 3]]}}, "Missing named input: y in 'inputs' object."),
    ("adder", {"inputs": [[1, 2, 3]]}, "expecting an object as multiple input tensors required"),
    ("number", b'{"inputs":' + b"[" * 100_000, "JSON Parse error"),
    (
        "number",
        {"inputs": json.loads("[" * 40 + "1" + "]" * 40)},
        "Encountered list at unexpected level: 16 expected < 16",
    ),
]


@pytest.mark.parametrize(("model", "body", "text"), BAD, ids=range(len(BAD)))
def test_what_is_wrong_is_a_400_that_says_so(node, model, body, text):
    status, answer = node.post(f"/v1/models/{model}:predict", body)
    assert status == 400
    assert list(answer) == ["error"]
    assert text in answer["error"]


def test_what_follows_the_object_is_ignored_and_so_is_the_content_type(node):
    body = b'{"instances": [[1, 2]]} trailing'
    for kind in ("text/plain", "application/octet-stream", "image/png", ""):
        assert node.post("/v1/models/number:predict", body, content_type=kind)[0] == 200


def test_values_that_are_not_finite_pass_both_ways(node):
    reply = node.client.post("/v1/models/wide:predict", content=b'{"inputs": [[NaN, -Infinity], [Infinity, 1]]}')
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    assert b"NaN" in reply.content
    assert b"-Infinity" in reply.content
    (nan, low), (high, one) = json.loads(reply.content)["outputs"]
    assert math.isnan(nan)
    assert (low, high, one) == (-math.inf, math.inf, 1)


def test_numbers_are_written_short_and_come_back_the_same(node):
    values = [0.1, 1 / 3, 1e-7, 16777217.0, 3.4e38, -0.0]
    reply = node.client.post("/v1/models/adder:predict", json={"inputs": {"x": [values[:3]], "y": [[0, 0, 0]]}})
    assert b"0.1," in reply.content
    np.testing.assert_array_equal(np.float32(json.loads(reply.content)["outputs"]["sum"][0]), np.float32(values[:3]))


@pytest.mark.parametrize(
    "path", ["number", "number/versions/1", "number/VERSIONS/1", "number/versions/01", "number/versions/0"]
)
def test_paths_of_predict(node, path):
    for verb in ("predict", "PREDICT"):
        assert node.post(f"/v1/models/{path}:{verb}", {"instances": [[1, 2]]})[0] == 200


NOT_FOUND = {
    "/v1/models/none:predict": "Servable not found for request: Latest(none)",
    "/v1/models/number/versions/2:predict": "Servable not found for request: Specific(number, 2)",
    "/v1/models/number/versions/3:predict": "Servable not found for request: Specific(number, 3)",
}


@pytest.mark.parametrize("path", NOT_FOUND)
def test_an_unknown_model_or_version_is_404(node, path):
    assert node.post(path, {"instances": [[1, 2]]}) == (404, {"error": NOT_FOUND[path]})


@pytest.mark.parametrize("model", ["number", "none"])
def test_an_unknown_label_is_400(node, model):
    path, told = f"/v1/models/{model}/labels/stable", (400, {"error": "Unrecognized servable version label: stable"})
    assert node.post(f"{path}:predict", {"instances": [[1, 2]]}) == told
    assert node.get(path) == node.get(f"{path}/metadata") == told


MALFORMED = [
    "/v1/models/number:explain", "/v1/models/number", "/v1/models/:predict",
    "/v1/models/number/versions/1/labels/x:predict", "/v1/models/number/versions/x:predict",
    "/v1/models/number:predict/", "/v1/models/a/b:predict", "/v1/other",
    "/v1/",
]  # fmt: skip


@pytest.mark.parametrize("path", MALFORMED)
def test_other_paths_are_malformed_requests(node, path):
    assert node.post(path, {}) == (400, {"error": f"Malformed request: POST {path}"})


@pytest.mark.parametrize("digits", ["9223372036854775808", "9" * 30, "9" * 5000])
def test_a_version_beyond_64_bits_is_400(node, digits):
    for status, answer in (
        node.post(f"/v1/models/number/versions/{digits}:predict", {}),
        node.get(f"/v1/models/number/versions/{digits}"),
    ):
        assert (status, answer["error"]) == (400, f"Failed to convert version: {digits} to numeric.")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_are_malformed_requests(node, method):
    reply = node.client.request(method, "/v1/models/number:predict")
    assert (reply.status_code, reply.json()) == (
        400,
        {"error": f"Malformed request: {method} /v1/models/number:predict"},
    )


def test_a_browser_asks_first(node):
    refused = node.client.request("OPTIONS", "/v1/models/number:predict")
    assert (refused.status_code, refused.json()) == (400, {"error": "Origin header is missing in CORS preflight"})
    asked = {"Origin": "http://here", "Access-Control-Request-Method": "POST"}
    assert node.client.request("OPTIONS", "/v1/models/number:predict", headers=asked).status_code == 200


def test_status(node):
    want = {
        "model_version_status": [
            {"version": "7", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
    for path in ("/v1/models/adder", "/v1/models/adder/versions/7"):
        assert node.get(path) == (200, want)
    assert node.get("/v1/models/none") == (404, {"error": "Could not find any versions of model none"})
    assert node.get("/v1/models/adder/versions/9") == (404, {"error": "Could not find version 9 of model adder"})
    assert node.get("/v1/models/adder:predict") == (400, {"error": "Malformed request: GET /v1/models/adder:predict"})
    assert node.get("/v1/models/") == (400, {"error": "Missing model name in request."})
    for path in ("/v1/models", "/V1/Models"):
        assert node.get(path) == (200, {"models": node.models.names()})
    assert node.post("/v1/models", {}) == (400, {"error": "Malformed request: POST /v1/models"})


def test_a_model_that_loads_says_so():
    with place() as node:
        node.models.expect(ModelName("slow"))
        status, answer = node.get("/v1/models/slow")
        assert (status, answer["model_version_status"][0]["state"]) == (200, "LOADING")
        reply = node.client.post("/v1/models/slow:predict", json={"instances": [1]})
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
        assert reply.json() == {"error": "model slow: not ready: loading"}
        node.models.expect(ModelName("slow"), "GoldenFailed: off")
        assert "GoldenFailed: off" in node.get("/v1/models/slow")[1]["model_version_status"][0]["status"][
            "error_message"
        ]  # fmt: skip


@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: {"image": v}, lambda v: {"bytes": v}])
def test_images_in_row_form(node, wrap):
    status, answer = node.post("/v1/models/brightness:predict", {"instances": [wrap(IMAGE)] * 2})
    assert status == 200
    first = answer["predictions"][0]
    assert answer["predictions"] == [first, first]
    assert first["labels"][0] == "bright"
    assert len(first["scores"]) == len(first["classes"]) == 2


def test_an_image_model_takes_tensors_too(node):
    image = np.ones((1, 3, 8, 8)).tolist()
    assert node.post("/v1/models/brightness:predict", {"instances": image})[0] == 200


@pytest.mark.parametrize(
    ("images", "status", "text"),
    [
        ([{"b64": base64.b64encode(b"no image").decode()}], 400, "expected a JPEG, PNG or WebP"),
        ([IMAGE, {"b64": "*"}], 400, "Unable to base64 decode"),
        ([IMAGE] * 65, 400, "expected at most 64 images; got 65"),
    ],
)
def test_bad_images_are_refused(node, images, status, text):
    found, answer = node.post("/v1/models/brightness:predict", {"instances": images})
    assert found == status
    assert text in answer["error"]


@pytest.mark.parametrize(
    ("name", "values"), [("simple", range(16)), ("simple_int8", range(16)), ("simple_string", map(str, range(16)))]
)
def test_tritons_examples(name, values):
    path, values = data(f"triton_models/{name}/1/model.onnx"), list(values)
    ones = ["1"] * 16 if name == "simple_string" else [1] * 16
    with place() as node:
        node.put_file(path, name)
        inputs = {"INPUT0": values, "INPUT1": ones}
        status, answer = node.post(f"/v1/models/{name}:predict", {"instances": [inputs]})
        assert status == 200
        assert [int(v) for v in answer["predictions"][0]["OUTPUT0"]] == [n + 1 for n in range(16)]
        kind = node.get(f"/v2/models/{name}")[1]["inputs"][0]["datatype"]
        tensors = [{"name": k, "shape": [1, 16], "datatype": kind, "data": v} for k, v in inputs.items()]
        status, answer = node.post(f"/v2/models/{name}/infer", {"inputs": tensors})
        assert status == 200
        assert [int(v) for v in answer["outputs"][1]["data"]] == [n - 1 for n in range(16)]
