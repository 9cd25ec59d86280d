"""The node's own routes, the error table, limits on bodies, and noise."""

from __future__ import annotations

import json
import re
import socket

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from skerry.core.names import ModelName
from skerry.node.worker.order import MAX_BODY
from skerry.wire.answer import Answer
from tests.core.values import almost, json_values
from tests.engine.kit import sees
from tests.models import brightness_bundle, grey_png
from tests.node.kit import SECONDS, Held, place, session, steady

PNG = grey_png(250)


def only(node, answer, status, text=""):
    """Check that an answer is an error and nothing else."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    assert text in answer.json()["error"]


# --- /predict ---


def test_predict(node):
    reply = node.client.post("/predict?model=brightness&source=cam-1", content=PNG)
    assert reply.status_code == 200
    answer = Answer.read(reply.json())
    assert (answer.model, answer.version, answer.node, answer.result) == ("brightness", 3, "here", "")
    assert answer.findings[0].label == "bright"
    assert (answer.width, answer.height) == (32, 32)
    assert set(answer.millis) == {"decode", "prepare", "run", "finish", "total"}
    for version in ("3", "03"):
        assert node.client.post(f"/predict?model=brightness&version={version}", content=PNG).status_code == 200


@pytest.mark.parametrize(
    ("query", "body", "status", "text"),
    [
        ("model=none", PNG, 404, "unknown model: none"),
        ("model=brightness&version=4", PNG, 404, "unknown version: 4"),
        ("model=brightness&version=x", PNG, 400, "version: expected a whole number"),
        ("model=brightness", b"", 400, "empty body"),
        ("model=brightness", b"GIF89a", 400, "expected a JPEG, PNG or WebP"),
        ("model=brightness", PNG[:70], 400, "image: "),
        ("model=adder", PNG, 400, "model adder takes tensors, not images"),
        ("", PNG, 400, "this node serves adder, brightness"),
    ],
)
def test_predict_refuses(node, query, body, status, text):
    only(node, node.client.post(f"/predict?{query}", content=body), status, text)


def test_the_only_model_needs_no_name(tmp_path):
    with place() as node:
        only(node, node.client.post("/predict", content=PNG), 400, "this node serves none")
        node.put_bundle(brightness_bundle(tmp_path / "b").path)
        assert node.client.post("/predict", content=PNG).status_code == 200
        node.models.expect(ModelName("other"))
        only(node, node.client.post("/predict", content=PNG), 400, "this node serves brightness, other")


def test_a_model_whose_steps_end_in_tensors_gives_no_findings():
    with place() as node:
        node.put(sees({"y": np.ones((1, 2))}, []))
        only(node, node.client.post("/predict", content=PNG), 400, "end in tensors, not in findings; ask /v2/models/m/")
        assert node.client.post("/v2/models/m/infer", content=PNG, headers={"content-type": "image/png"}).json()[
            "outputs"
        ] == [{"name": "y", "datatype": "FP64", "shape": [1, 2], "data": [1.0, 1.0]}]


@pytest.mark.parametrize("field", ["file", "image", "anything"])
def test_predict_takes_a_form(node, field):
    files = {field: ("böard.png", PNG, "image/png")}
    reply = node.client.post("/predict?model=brightness", files=files, data={"note": "x"})
    assert reply.status_code == 200


PART = b"--x\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\n1"
FORM = "multipart/form-data; boundary=x"
FORMS = [
    (b"", "multipart/form-data"),
    (b"", FORM),
    (b"no form at all", FORM),
    (b"--y\r\n\r\n", FORM),
    (b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--\r\n", FORM),
    (b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n", FORM),
    (b"--x\r\nbroken header\r\n\r\n1\r\n--x--\r\n", FORM),
    (PART, FORM),
    (b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n" + b"1" * 2_000_000 + b"\r\n--x--", FORM),
    ((PART + b"\r\n") * 3 + b"--x--", FORM),
    (PART + b"\r\n--x--", "multipart/form-data; charset=none; boundary=x"),
]


@pytest.mark.parametrize(("body", "kind"), FORMS, ids=range(len(FORMS)))
@pytest.mark.parametrize("path", ["/predict?model=brightness", "/v2/models/brightness/infer"])
def test_a_broken_form_is_the_callers_fault(node, body, kind, path):
    only(node, node.client.post(path, content=body, headers={"content-type": kind}), 400)


# --- statuses ---


@pytest.mark.parametrize("path", ["/x", "/v2/x", "/predict/x", "/v2/models", "/v2/models//infer", "/%00", "/v3/é"])
def test_unknown_paths_are_404(node, path):
    only(node, node.client.get(path), 404, "Not Found: GET /")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/predict", "POST"),
        ("DELETE", "/predict", "POST"),
        ("POST", "/v2", "GET"),
        ("GET", "/v2/models/adder/infer", "POST"),
        ("POST", "/ready", "GET"),
        ("PUT", "/v2/models/adder", "GET"),
        ("OPTIONS", "/metrics", "GET"),
    ],
)
def test_other_methods_are_405(node, method, path, allow):
    reply = node.client.request(method, path)
    only(node, reply, 405, f"Method Not Allowed: {method} {path}")
    assert allow in reply.headers["allow"]


def test_a_fault_of_ours_hides_its_insides():
    def broken(_):
        raise KeyError("secret/path/of/ours")

    with place() as node:
        node.put(session("m", 1, broken))
        given = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}
        for path, body in (("/v2/models/m/infer", given), ("/v1/models/m:predict", {"inputs": [1]})):
            reply = node.client.post(path, json=body)
            only(node, reply, 500, "internal error")
            assert "secret" not in reply.text


def test_a_full_queue_is_503_and_says_when():
    held = Held()
    with place(waiting=2) as node:
        node.put(held.session)
        futures = [node.submit() for _ in range(3)]
        reply = node.client.post("/v1/models/m:predict", json={"inputs": [1]})
        only(node, reply, 503, "model m: 2 requests are waiting; try later")
        assert reply.headers["retry-after"] == "1"
        held.gate.set()
        assert all(b'"data":[1' in f.result(SECONDS).body.replace(b" ", b"") for f in futures)
        assert node.client.post("/v1/models/m:predict", json={"inputs": [1]}).status_code == 200
        node.quiet()


def test_ready_names_what_is_missing():
    with place() as node:
        assert node.get("/health") == (200, {"status": "alive"})
        assert node.get("/ready") == (503, {"ready": False, "error": "no model to serve yet"})
        node.models.expect(ModelName("a"))
        node.models.expect(ModelName("b"), "WrongDigest: file x")
        assert node.get("/ready") == (503, {"ready": False, "error": "a: loading; b: WrongDigest: file x"})
        for name in ("a", "b"):
            node.put(steady(name))
        assert node.get("/ready") == (200, {"ready": True, "models": ["a", "b"]})


@pytest.mark.parametrize(
    ("accept", "query", "kind"),
    [
        ("*/*", "", "application/json"),
        ("text/plain", "", "text/plain"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "", "text/plain"),
        ("application/json, text/plain, */*", "", "application/json"),
        ("application/json", "?as=text", "text/plain"),
    ],
)
def test_statistics_come_as_they_are_wanted(node, accept, query, kind):
    reply = node.client.get(f"/stats{query}", headers={"accept": accept})
    assert (reply.status_code, reply.headers["content-type"].partition(";")[0]) == (200, kind)


def test_the_metrics_page_is_prometheus(node):
    node.client.post("/predict?model=brightness", content=PNG)
    reply = node.client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    assert "skerry_inference_seconds" in {family.name for family in text_string_to_metric_families(reply.text)}


# --- bodies over the limit ---


@pytest.fixture
def server(node):
    """Return the host and port of the node."""
    yield node.address
    node.quiet()  # whatever was sent, nothing is held


def talk(address, head, chunks=(), half=False):
    """Send a request by hand; return the status and body of the answer."""
    with socket.create_connection(address, timeout=20) as line:
        line.sendall(head.encode() + b"\r\n")
        try:
            for chunk in chunks:
                line.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass
        if half:
            line.shutdown(socket.SHUT_WR)
        data = b""
        try:
            while not (found := re.match(rb"HTTP/1.1 (\d+).*?\r\n\r\n(\{.*\})", data, re.DOTALL)):
                more = line.recv(1 << 16)
                if not more:
                    return None, data
                data += more
        except ConnectionResetError:
            return None, data
    return int(found[1]), json.loads(found[2])


POST = "POST /predict?model=brightness HTTP/1.1\r\nHost: x\r\n"


def test_a_declared_length_over_the_limit_is_413_at_once(server):
    status, answer = talk(server, f"{POST}Content-Length: {MAX_BODY + 1}\r\n")
    assert (status, answer["error"]) == (413, f"body: expected at most {MAX_BODY} bytes; got {MAX_BODY + 1}")
    for path in ("/v1/models/number:predict", "/v2/models/number/infer"):
        assert talk(server, f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {10**18}\r\n")[0] == 413


@pytest.mark.parametrize("kind", ["image/png", "multipart/form-data; boundary=x"])
def test_chunks_over_the_limit_are_413(server, kind):
    size = 1 << 20
    begin = b"--x\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\n"
    chunk = b"%x\r\n" % size + bytes(size) + b"\r\n"
    chunks = [b"%x\r\n" % len(begin) + begin + b"\r\n", *[chunk] * (MAX_BODY // size + 2)]
    head = f"{POST}Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n"
    status, answer = talk(server, head, chunks)
    assert (status, answer["error"]) == (413, f"body: expected at most {MAX_BODY} bytes")


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "\u00b2"])
def test_a_senseless_length_is_400(server, length):
    with socket.create_connection(server, timeout=10) as line:
        line.sendall(f"{POST}Content-Length: {length}\r\n\r\n".encode("latin-1"))
        assert b" 400 " in line.recv(1 << 16).split(b"\r\n")[0]


def test_a_client_that_hangs_up_hurts_nobody(server):
    for _ in range(3):
        talk(server, f"{POST}Content-Length: 1000\r\n", [b"half of it"], half=True)
        with socket.create_connection(server) as line:
            line.sendall(f"{POST}Content-Length: 1000\r\n\r\nhalf".encode())
    status, answer = talk(server, f"{POST}Content-Length: {len(PNG)}\r\n", [PNG])
    assert (status, answer["model"]) == (200, "brightness")


# --- noise ---

paths = st.sampled_from(
    [
        "/predict", "/predict?model=brightness", "/predict?model=adder&version=7", "/v1/models/adder:predict",
        "/v1/models/text:predict", "/v1/models/number/versions/1:predict", "/v1/models/brightness:predict",
        "/v2/models/number/infer", "/v2/models/text/infer", "/v2/models/brightness/infer", "/v2/models/adder/infer",
        "/v2/models/wide/versions/1/infer", "/v1/models/flag", "/v2/models/half", "/ready", "/health", "/metrics",
        "/v2",
    ]
)  # fmt: skip
odd_paths = st.text(st.characters(exclude_categories=("Cs",)), max_size=12).map(lambda t: "/" + t)
methods = st.sampled_from(["POST"] * 8 + ["GET", "PUT", "HEAD", "OPTIONS", "BREW"])
kinds = st.sampled_from(
    ["", "application/json", "image/png", "image/jpeg", "multipart/form-data; boundary=x", "é", "a/b;;;"]
)
TFS = {"signature_name": "serving_default", "instances": [{"x": [1, 2, 3], "y": [4, 5, 6]}]}
TEXT = {"instances": [{"b64": "YQ=="}, "b"]}
OIP = {
    "id": "1",
    "inputs": [{"name": "x", "datatype": "INT32", "shape": [1, 2], "data": [1, 2]}],
    "outputs": [{"name": "y"}],
}
bodies = (
    st.binary(max_size=60)
    | (json_values | almost(TFS) | almost(TEXT) | almost(OIP)).map(lambda v: json.dumps(v).encode())
    | st.binary(max_size=40).map(lambda b: b"--x\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\n" + b)
    | st.integers(0, len(PNG)).map(lambda n: PNG[:n])
)


@settings(max_examples=400)
@given(methods, paths | odd_paths, kinds, bodies)
def test_noise_is_answered_and_never_a_fault(node, method, path, kind, body):
    from urllib.parse import quote

    headers = {"content-type": kind.encode("latin-1", "replace")} if kind else {}
    reply = node.client.request(method, quote(path, safe="/?=&:%"), content=body, headers=headers)
    if reply.status_code >= 400:
        if method != "HEAD":
            assert list(json.loads(reply.content)) == ["error"]
        assert reply.status_code < 500, (method, path, body)
