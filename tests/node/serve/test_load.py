"""Load and unload by request: what else the request says is judged, over HTTP and gRPC alike."""

from __future__ import annotations

import json

import pytest
from tritonclient.utils import InferenceServerException

from tests.node.kit import steady
from tests.node.serve.test_settings import staging

OURS = "a node reads config.pbtxt and models from its disk, not from requests"


@pytest.fixture(scope="module")
def stage():
    with staging() as found:
        found.put(steady())
        yield found


def post(stage, verb, body):
    reply = stage.client._post(f"v2/repository/models/m/{verb}", body, {}, None)
    return reply.status_code, json.loads(reply.read())


@pytest.mark.parametrize("verb", ["load", "unload"])
@pytest.mark.parametrize("body", [b"", b"{}", b'{"parameters": {}}', b'{"parameters": {}, "later": [1]}'])
def test_bodies_that_ask_nothing(stage, verb, body):
    assert post(stage, verb, body) == (200, {})


@pytest.mark.parametrize(
    ("verb", "body", "text"),
    [
        ("load", b"hello", "request: JSON Parse error: Expecting value at offset: 0"),
        ("load", b"[]", "request: expected an object; got []"),
        ("unload", b'"x"', "request: expected an object; got 'x'"),
        ("load", b'{"parameters": []}', "parameters: expected an object; got []"),
        ("load", b'{"parameters": {"config": "{}"}}', f"parameters.config: {OURS}"),
        ("load", b'{"parameters": {"file:1/model.onnx": "AA=="}}', f"parameters.file:1/model.onnx: {OURS}"),
        ("load", b'{"parameters": {"new": 1}}', "parameters.new: unknown parameter of load; expected none"),
        (
            *("unload", b'{"parameters": {"config": "{}"}}'),
            "parameters.config: unknown parameter of unload; expected unload_dependents",
        ),
        (
            *("unload", b'{"parameters": {"unload_dependents": 1}}'),
            "parameters.unload_dependents: expected true or false; got 1",
        ),
    ],
)
def test_bodies_that_are_refused(stage, verb, body, text):
    assert post(stage, verb, body) == (400, {"error": text})


@pytest.mark.parametrize("client", ["client", "grpc"])
def test_what_tritons_clients_send(stage, client):
    asked = getattr(stage, client)
    asked.load_model("m")
    asked.unload_model("m")
    asked.unload_model("m", unload_dependents=True)
    with pytest.raises(InferenceServerException, match=f"parameters.config: {OURS}"):
        asked.load_model("m", config='{"max_batch_size": 8}')
    with pytest.raises(InferenceServerException, match="not from requests"):
        asked.load_model("m", config="{}", files={"file:1/model.onnx": b"model"})


def test_whoever_may_not_load_hears_that_first():
    with staging(controlled=False) as closed:
        closed.put(steady())
        assert post(closed, "load", b'{"parameters": {"config": "{}"}}')[0] == 403
