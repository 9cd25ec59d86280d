"""A real node told to serve other models, its access log, its UNIX socket, and what it says of its own cost."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx2
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from skerry.wire.protos.pool import message
from tests.node.kit import until
from tests.system.gates import Node, node
from tests.system.test_shared_memory import LocalConnection, infer

Request = message("tensorflow.serving.ReloadConfigRequest")
Response = message("tensorflow.serving.ReloadConfigResponse")
ONE = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Node]:
    with node(tmp_path, access_log=str(tmp_path / "access.log"), local=str(tmp_path / "node.sock")) as found:
        yield found


def reload(place: Node, *models: dict[str, Any]) -> Any:
    """Call HandleReloadConfigRequest as any client of TensorFlow Serving does."""
    with grpc.insecure_channel(place.grpc) as channel:
        call = channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest")
        data = Request(config={"model_config_list": {"config": models}}).SerializeToString()
        return Response.FromString(call(data, timeout=60)).status


def test_other_models_are_served_on_request(place: Node) -> None:
    base = place.folder / "models"
    pair = {"name": "pair", "base_path": str(base / "pair"), "model_platform": "tensorflow"}
    for path in (f"file://{base / 'pair'}", pair["base_path"]):
        more = {"base_path": path, "model_version_policy": {"all": {}}, "version_labels": {"stable": 1}}
        status = reload(place, {**pair, **more})
        assert (status.error_code, status.error_message) == (0, "")
    with httpx2.Client(base_url=f"http://{place.http}") as client:
        assert client.get("/ready").json() == {"ready": True, "models": ["pair"]}
        assert client.get("/v1/models/bytes").status_code == 404
        found = client.post("/v1/models/pair/labels/stable:predict", json={"instances": [[1, 2, 3, 4]]})
        assert found.json() == {"predictions": [[1.0, 2.0, 3.0, 4.0]]}
        assert len(client.get("/v1/models/pair").json()["model_version_status"]) == 2
    for given, code, text in (
        ({**pair, "base_path": "/etc"}, grpc.StatusCode.PERMISSION_DENIED, "model pair: base_path: expected a path in"),
        ({**pair, "base_path": str(base / "no")}, grpc.StatusCode.NOT_FOUND, "no such file or folder"),
        (
            {**pair, "base_path": "file://host/models"},
            grpc.StatusCode.INVALID_ARGUMENT,
            "file:///PATH; got 'file://host",
        ),
        ({**pair, "version_labels": {"x": 9}}, grpc.StatusCode.FAILED_PRECONDITION, "not currently available"),
        ({**pair, "name": "a/b"}, grpc.StatusCode.INVALID_ARGUMENT, "name"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            reload(place, given)
        assert caught.value.code() == code  # type: ignore[attr-defined]
        assert text in caught.value.details()  # type: ignore[attr-defined]


def test_a_node_that_is_not_controlled_is_not_told_what_to_serve(tmp_path: Path) -> None:
    with node(tmp_path, control="false") as place, pytest.raises(grpc.RpcError) as caught:
        reload(place)
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED  # type: ignore[attr-defined]


def test_browsers_may_ask_before_they_ask(place: Node) -> None:
    with httpx2.Client(base_url=f"http://{place.http}") as client:
        found = client.request("OPTIONS", "/v1/models/pair:predict", headers={"Origin": "https://a.example"})
        assert (found.status_code, found.content) == (200, b"")
        for headers in ({}, {"Origin": "null"}):
            found = client.request("OPTIONS", "/v1/models/pair:predict", headers=headers)
            assert found.status_code == 400
            assert found.json() == {"error": "Origin header is missing in CORS preflight"}


def test_every_request_is_written_down_once(place: Node) -> None:
    line = LocalConnection(place.local)
    assert infer(line, "pair", ONE)[0] == 200
    line.close()
    tcp = http.client.HTTPConnection(place.http)
    tcp.request("GET", "/v2/models/pair/ready?token=geheim", headers={"Authorization": "Bearer geheim"})
    tcp.getresponse().read()
    assert infer(tcp, "none", ONE)[0] == 404
    tcp.close()
    values = triton_grpc.InferInput("x", [1, 4], "FP32")
    values.set_data_from_numpy(np.ones((1, 4), np.float32))
    with triton_grpc.InferenceServerClient(place.grpc) as client:
        client.infer("pair", [values])
        with pytest.raises(InferenceServerException):
            client.infer("none", [values])
    until("the lines", lambda: len(place.lines) == 5)
    found = [(one["method"], one["path"], one["status"], one.get("model"), one.get("version")) for one in place.lines]
    assert found == [
        ("POST", "/v2/models/pair/infer", 200, "pair", "2"),
        ("GET", "/v2/models/pair/ready", 200, None, None),
        ("POST", "/v2/models/none/infer", 404, None, None),
        ("gRPC", "/inference.GRPCInferenceService/ModelInfer", "OK", "pair", "2"),
        ("gRPC", "/inference.GRPCInferenceService/ModelInfer", "NOT_FOUND", None, None),
    ]
    assert [one["client"].split(":")[0] for one in place.lines] == ["local", "127.0.0.1", "127.0.0.1", "ipv4", "ipv4"]
    assert place.lines[0]["bytes_in"] == len(json.dumps(ONE))
    assert set(place.lines[0]["phases_us"]) == {"parse", "queue", "preprocess", "infer", "postprocess", "encode"}
    assert "geheim" not in (place.folder / "access.log").read_text()


def test_the_log_goes_on_in_a_new_file_and_ends_with_the_last_request(place: Node) -> None:
    log = place.folder / "access.log"
    with triton_http.InferenceServerClient(place.http) as client:
        client.is_server_live()
        until("a line", lambda: place.lines)
        log.rename(place.folder / "old.log")
        place.child._process.send_signal(signal.SIGHUP)
        until("the new file", log.exists)
        client.is_server_ready()
    assert place.child.stop() == 0
    assert [one["path"] for one in place.lines] == ["/v2/health/ready"]


def test_a_node_says_what_it_adds_to_the_bare_runtime(place: Node) -> None:
    with httpx2.Client(base_url=f"http://{place.http}") as client:

        def measured() -> Any:
            found = {one["model"]: one for one in client.get("/stats").json()["models"]}
            return found if all(one["overhead"] for one in found.values()) else None

        found = until("every model to be measured", measured)
        assert set(found) == {"bytes", "pair", "text"}
        assert all(0 < one["overhead"]["added_ms"] < 50 for one in found.values())
        assert all(one["requests"] == 0 for one in found.values()), "they are not counted"
        assert "to the bare runtime" in client.get("/stats", params={"as": "text"}).text
    assert "adds" in (place.folder / "log").read_text()
