"""The Open Inference Protocol from outside."""

from __future__ import annotations

import json
import struct

import pytest

from skerry import __version__
from skerry.core.names import ModelName
from skerry.node.serve.admin import EXTENSIONS
from tests.models import grey_png
from tests.node.kit import place, steady

X = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
Y = {"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [[1, 1, 1]]}
N = {"name": "x", "datatype": "INT32", "shape": [1, 2], "data": [1, 2]}
PNG = grey_png(250)


def test_server_and_health(node):
    assert node.get("/v2") == (
        200,
        {"name": "skerry", "version": __version__, "extensions": list(EXTENSIONS)},
    )
    assert node.get("/v2/health/live") == (200, {"live": True})
    assert node.get("/v2/health/ready") == (200, {"ready": True})


def test_metadata(node):
    want = {
        "name": "adder",
        "versions": ["7"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": n, "datatype": "FP32", "shape": [-1, 3]} for n in ("x", "y")],
        "outputs": [{"name": n, "datatype": "FP32", "shape": [-1, 3]} for n in ("sum", "difference")],
    }
    for path in ("/v2/models/adder", "/v2/models/adder/versions/7"):
        assert node.get(path) == (200, want)
        assert node.get(path + "/ready") == (200, {"name": "adder", "ready": True})


@pytest.mark.parametrize("path", ["/v2/models/adder/infer", "/v2/models/adder/versions/7/infer"])
def test_infer(node, path):
    status, answer = node.post(path, {"id": "é42", "inputs": [Y, X], "parameters": {"priority": 1}})
    assert status == 200
    assert answer == {
        "model_name": "adder",
        "model_version": "7",
        "id": "é42",
        "outputs": [
            {"name": "sum", "datatype": "FP32", "shape": [1, 3], "data": [2, 3, 4]},
            {"name": "difference", "datatype": "FP32", "shape": [1, 3], "data": [0, 1, 2]},
        ],
    }


def test_outputs_can_be_chosen(node):
    status, answer = node.post("/v2/models/adder/infer", {"inputs": [X, Y], "outputs": [{"name": "difference"}]})
    assert status == 200
    assert [o["name"] for o in answer["outputs"]] == ["difference"]
    assert "id" not in answer
    status, answer = node.post("/v2/models/adder/infer", {"inputs": [X, Y], "outputs": [{"name": "no"}]})
    assert (status, answer["error"]) == (400, "outputs: unknown output 'no'; model adder gives difference, sum")


def test_text(node):
    given = {"name": "x", "datatype": "BYTES", "shape": [2], "data": ["é", ""]}
    status, answer = node.post("/v2/models/text/infer", {"inputs": [given]})
    assert (status, answer["outputs"]) == (200, [{**given, "name": "y"}])


BAD = [
    (b"", "JSON Parse error"),
    (b"{", "JSON Parse error"),
    (b"[]", "expected an object"),
    ({}, "inputs: expected this field; it is missing"),
    ({"inputs": {}}, "inputs: expected a list"),
    ({"inputs": []}, "inputs: expected x; got"),
    ({"inputs": [N, N]}, "inputs: expected each name once; got ['x', 'x']"),
    ({"inputs": [{**N, "name": "z"}]}, "inputs: expected x; got z"),
    ({"inputs": [{**N, "datatype": "INT64"}]}, "input 'x': expected datatype INT32; got INT64"),
    ({"inputs": [{**N, "datatype": "FP8"}]}, "datatype: expected one of BOOL"),
    ({"inputs": [{**N, "shape": [2]}]}, "input 'x': expected shape [-1, 2]; got [2]"),
    ({"inputs": [{**N, "shape": [-1, 2]}]}, "expected a whole number of 0 or more; got -1"),
    ({"inputs": [{**N, "shape": [1, 2.0]}]}, "expected a whole number of 0 or more; got 2.0"),
    ({"inputs": [{**N, "shape": [2, 2]}]}, "expected 4 values for shape [2, 2]; got 2"),
    ({"inputs": [{**N, "data": [1.0, 2]}]}, "is not of expected type: int32"),
    ({"inputs": [{**N, "data": [1, 2**40]}]}, "from -2147483648 to 2147483647"),
    ({"inputs": [{**N, "data": [[1], 2]}]}, "at one level"),
    ({"inputs": [{**N, "data": "12"}]}, "data: expected a list"),
    ({"inputs": [N], "id": 5}, "id: expected a string"),
    ({"inputs": [N], "outputs": [{}]}, "name: expected this field"),
    *[({"inputs": [{k: v for k, v in N.items() if k != key}]}, f"{key}: expected this field") for key in N],
]


@pytest.mark.parametrize(("body", "text"), BAD, ids=range(len(BAD)))
def test_what_is_wrong_is_a_400_that_says_so(node, body, text):
    status, answer = node.post("/v2/models/number/infer", body)
    assert (status, list(answer)) == (400, ["error"])
    assert text in answer["error"]


@pytest.mark.parametrize("shape", [[2**60 + 2, 4], [2**62, 4], [2**64], [0, 2**60], [2**40, 2**40, 0]])
def test_a_shape_whose_product_overflows_is_the_callers_fault(node, shape):
    status, answer = node.post("/v2/models/number/infer", {"inputs": [{**N, "shape": shape}]})
    assert status in (400, 413)
    assert "input 'x'" in answer["error"]


@pytest.mark.parametrize("tail", ["", "/ready", "/infer"])
def test_unknown_models_and_versions_are_404(node, tail):
    ask = (lambda p: node.post(p, {"inputs": [N]})) if tail == "/infer" else node.get
    status, answer = ask("/v2/models/none" + tail)
    assert status == 404
    assert answer["error"].startswith("unknown model: none; this node serves: adder, brightness")
    status, answer = ask("/v2/models/number/versions/5" + tail)
    assert (status, answer["error"]) == (404, "unknown version: 5 of model number; this node serves 1")
    for bad in ("x", "-1", "0", "9" * 50, "1.0"):
        status, answer = ask(f"/v2/models/number/versions/{bad}" + tail)
        assert status == 400
        assert "version: expected a whole number" in answer["error"]


def test_not_ready_is_503():
    with place() as node:
        status, answer = node.get("/v2/health/ready")
        assert (status, answer) == (503, {"ready": False, "error": "no model to serve yet"})
        node.models.expect(ModelName("slow"))
        for path in ("/v2/models/slow", "/v2/models/slow/ready"):
            reply = node.client.get(path)
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
            assert reply.json() == {"error": "model slow: not ready: loading"}
        node.put(steady())
        assert node.get("/v2/health/ready") == (503, {"ready": False, "error": "slow: loading"})
        assert node.get("/v2/models/m/ready") == (200, {"name": "m", "ready": True})


@pytest.mark.parametrize("kind", ["image/png", "IMAGE/PNG; q=1", "image/jpeg"])
def test_an_image_is_a_body_too(node, kind):
    status, answer = node.post("/v2/models/brightness/infer", PNG, content_type=kind)
    assert status == 200
    outputs = {o["name"]: o for o in answer["outputs"]}
    assert outputs["labels"] == {"name": "labels", "datatype": "BYTES", "shape": [2], "data": ["bright", "dark"]}
    assert outputs["scores"]["data"][0] > 0.9
    status, answer = node.post("/v2/models/adder/infer", PNG, content_type=kind)
    assert status == 400
    assert answer["error"].startswith("model adder takes tensors, not image/")


def test_a_form_is_a_body_too(node):
    reply = node.client.post("/v2/models/brightness/infer", files={"file": ("a.png", PNG, "image/png")})
    assert reply.status_code == 200


def test_binary_tensors_both_ways(node):
    entries = [{"name": n, "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}} for n in "xy"]
    head = json.dumps({"inputs": entries, "outputs": [{"name": "sum", "parameters": {"binary_data": True}},
                                                      {"name": "difference"}]}).encode()  # fmt: skip
    data = struct.pack("<6f", 1, 2, 3, 10, 20, 30)
    headers = {"Inference-Header-Content-Length": str(len(head))}
    reply = node.client.post("/v2/models/adder/infer", content=head + data, headers=headers)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/octet-stream"
    length = int(reply.headers["inference-header-content-length"])
    answer = json.loads(reply.content[:length])
    assert answer["outputs"][0] == {
        "name": "sum", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}
    }  # fmt: skip
    assert answer["outputs"][1]["data"] == [-9, -18, -27]
    assert struct.unpack("<3f", reply.content[length:]) == (11, 22, 33)


@pytest.mark.parametrize("length", ["-1", "x", "9999", "9" * 5000, "²".encode().decode("latin-1")])
def test_a_header_length_that_lies_is_the_callers_error(node, length):
    reply = node.client.post(
        "/v2/models/adder/infer", content=b"{}", headers={"Inference-Header-Content-Length": length.encode("latin-1")}
    )
    assert reply.status_code == 400
    assert "eader" in reply.json()["error"]


def test_a_raw_request_wants_a_model_of_one_input(node):
    reply = node.client.post(
        "/v2/models/adder/infer", content=bytes(12), headers={"Inference-Header-Content-Length": "0"}
    )
    assert (reply.status_code, "one input" in reply.json()["error"]) == (400, True)
