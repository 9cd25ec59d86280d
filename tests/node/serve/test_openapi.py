"""The OpenAPI documents and the pages: they say what is served, nothing else, and nothing gets into them unescaped."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import wave
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format, message_factory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from skerry.core.manifest import FileEntry, GoldenEntry, Manifest, Runtime, StepEntry
from skerry.core.names import Digest, ModelName
from skerry.core.tensor import DType, Spec
from skerry.engine.runners.fake import FakeRunner
from skerry.engine.session import Session
from skerry.host.clock import Clock
from skerry.node.serve.docs import sample
from skerry.node.serve.docs.lines import lines
from skerry.wire.protos.pool import POOL
from tests.core.values import DIGEST, json_values
from tests.node.kit import place, steady

DOCUMENTS = ("oip", "tfs", "node")
METHODS = ("get", "post", "put", "delete")
EVIL = "<script>alert(1)</script>&\"'"


def document(node, name):
    reply = node.client.get(f"/openapi/{name}.json")
    assert reply.status_code == 200
    return reply.json()


def operations(doc):
    """Return (method, path, operation, its parameters)."""
    return [
        (method, path, item[method], [*item.get("parameters", []), *item[method].get("parameters", [])])
        for path, item in doc["paths"].items()
        for method in METHODS
        if method in item
    ]


def walk(value):
    yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(one)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_sound(node, name):
    doc = document(node, name)
    assert doc["openapi"] == "3.1.0"
    for one in walk(doc):
        if isinstance(one, dict) and "$ref" in one:
            found: Any = doc
            for part in one["$ref"].removeprefix("#/").split("/"):
                found = found[part]
    names = [operation["operationId"] for _, _, operation, _ in operations(doc)]
    assert len(set(names)) == len(names)
    for method, path, operation, parameters in operations(doc):
        wanted = set(re.findall(r"{(\w+)}", path))
        assert {one["name"] for one in parameters if one["in"] == "path"} == wanted
        assert "$" not in path
        assert operation["responses"]["default"] == {"$ref": "#/components/responses/Error"}
        assert method != "get" or "requestBody" not in operation


def test_the_documents_have_every_route_and_no_other(node):
    documented = {
        (method.upper(), re.sub(r"{\w+}", "{}", path))
        for name in DOCUMENTS
        for method, path, _, _ in operations(document(node, name))
        if not path.startswith("/v1")
    }
    served = {
        (route.method, re.sub(r"{\w+}", "{}", route.path))
        for route, _ in node.site._routes
        if not route.path.lower().startswith("/v1")
    }
    assert documented == served


def test_the_paths_of_tensorflow_serving_are_there(node):
    for method, path, _, _ in operations(document(node, "tfs")):
        target = path.format(model_name="number", model_version="1", label="none")
        reply = node.client.request(method.upper(), target, json={"instances": [[1, 2]], "examples": [{"x": [1, 2]}]})
        assert "Malformed" not in reply.text
        assert reply.status_code in ((400,) if "label" in path else (200, 400))


@pytest.mark.parametrize(("name", "path"), [("oip", "/v2/models/{}/infer"), ("tfs", "/v1/models/{}:predict")])
def test_the_examples_work(node, name, path):
    doc = document(node, name)
    posted = doc["paths"][path.replace("{}", "{model_name}")]["post"]["requestBody"]["content"]["application/json"]
    assert {"adder", "number"} <= set(posted["examples"])
    for model, example in posted["examples"].items():
        reply = node.client.post(path.format(model), json=example["value"])
        assert reply.status_code == 200, (model, reply.text)


def test_documents_follow_what_serves(node):
    with place() as other:
        for name in DOCUMENTS:
            assert "examples" not in json.dumps(document(other, name)["paths"].get("/v2/models/{model_name}", {}))
        assert "No model serves yet" in other.client.get("/docs").text
        other.put(steady("late"))
        parameter = document(other, "oip")["paths"]["/v2/models/{model_name}"]["parameters"][0]
        assert parameter["schema"]["enum"] == ["late"]
        assert parameter["examples"] == {"late": {"value": "late"}}


# --- pages ---


class Page(HTMLParser):
    """A page, taken apart; fails on tags that do not close."""

    VOID = ("meta", "link", "input", "br", "!doctype")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]] = self.texts.get(self.open[-1], "") + data


def test_pages(node):
    page = Page(node.client.get("/docs").text)
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert "/docs/brightness?version=3" in links
    for link in links:
        assert node.client.get(link).status_code in (200, 503)
    found = Page(node.client.get("/docs/brightness").text)
    assert "bright" in found.texts["li"]
    assert "decode_image" in found.texts["li"]
    assert "0 dark" in found.texts["li"]
    assert found.texts["summary"] == "2 labels"
    assert "goldens/" in found.texts["code"], "what is long breaks anywhere"
    assert node.client.get("/docs/nope").status_code == 404
    assert node.client.get("/docs/brightness?version=9").status_code == 404
    assert node.client.get("/docs/brightness?version=x").status_code == 400


def test_a_page_runs_its_own_script_and_no_other(node):
    reply = node.client.get("/docs/adder")
    page = Page(reply.text)
    policy = reply.headers["content-security-policy"]
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.texts[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not [tag for tag, attrs in page.tags if "src" in attrs or any(name.startswith("on") for name in attrs)]
    assert "://" not in page.texts["style"]


def evil() -> Session:
    """Return a session whose every text is an attack."""
    manifest = Manifest(
        name=ModelName("evil"),
        version=1,
        runtime=Runtime("onnx", "model.onnx"),
        files={"model.onnx": FileEntry(Digest(DIGEST), 1), EVIL: FileEntry(Digest(DIGEST), 1)},
        inputs=(Spec(EVIL, DType.FP32, (-1,)),),
        outputs=(Spec(EVIL + "y", DType.FP32, (-1,)),),
        pre=(StepEntry("decode_image", {"colour": "rgb"}),),
        labels=(EVIL,) * 3,
        goldens=(GoldenEntry(EVIL, EVIL, 0.1),),
        description=EVIL,
    )
    return Session(manifest, FakeRunner(manifest.inputs, manifest.outputs, lambda f: {EVIL + "y": f[EVIL]}), Clock())


def test_every_text_is_escaped():
    with place() as node:
        node.put(evil())
        for path in ("/docs", "/docs/evil"):
            reply = node.client.get(path, headers={"host": EVIL.replace("/", "")})
            assert reply.status_code == 200
            assert "<script>alert" not in reply.text
            assert [tag for tag, _ in Page(reply.text).tags].count("script") == 1
        text = node.client.get("/docs/evil", headers={"host": "node.local:8441"}).text
        assert "http://node.local:8441/v2/models/evil/infer" in text


DTYPES = [kind for kind in DType if kind is not DType.BYTES]


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=8), st.sampled_from(DTYPES), st.lists(st.integers(-1, 12), max_size=4)),
        min_size=1,
        max_size=3,
        unique_by=lambda one: one[0],
    )
)
def test_lines_of_any_model(shared, found):
    inputs = tuple(Spec(name, kind, tuple(shape)) for name, kind, shape in found)
    shared.live.inputs = shared.live.outputs = inputs
    made = lines(shared.live, "http://here", "here:1")
    assert made
    assert all("\n" not in one.command or any("\n" in spec.name for spec in inputs) for one in made)
    body = sample.infer_body(shared.live)
    assert body is None or all(np.prod(one["shape"]) == len(one["data"]) for one in body["inputs"])


class Shared:
    live: Any


@pytest.fixture(scope="module")
def shared():
    with place() as node:
        node.put(steady())
        found = Shared()
        found.live = node.models.live("m")
        own = found.live.inputs, found.live.outputs
        yield found
        found.live.inputs, found.live.outputs = own


def test_the_line_of_grpc_is_a_message(node):
    [line] = [one for one in lines(node.models.live("adder"), "http://here", "here:1") if "ModelInfer" in one.command]
    text = re.search(r"-d '(.*)' here:1 inference", line.command)
    kind = message_factory.GetMessageClass(POOL.FindMessageTypeByName("inference.ModelInferRequest"))
    found: Any = json_format.Parse(text[1], kind())
    assert found.model_name == "adder"
    assert [len(one) for one in found.raw_input_contents] == [12, 12]


def test_samples_are_what_they_say():
    spec = Spec("x", DType.INT16, (2, 1, 3))
    data = sample.npy_head(spec) + bytes(12)
    found = np.load(io.BytesIO(data))
    assert (found.shape, found.dtype) == ((2, 1, 3), np.int16)
    assert Image.open(io.BytesIO(sample.picture())).size == (64, 64)
    with wave.open(io.BytesIO(sample.silence_head() + bytes(2 * sample.RATE))) as sound:
        assert (sound.getnframes(), sound.getframerate()) == (sample.RATE, sample.RATE)


# --- whatever is posted, the node does not fail ---

POSTED = [
    "/v2/models/adder/infer",
    "/v2/models/text/infer",
    "/v2/models/brightness/infer",
    "/v1/models/adder:predict",
    "/v1/models/brightness:classify",
    "/v1/models/number:regress",
    "/v2/repository/index",
    "/predict?model=brightness",
    "/v2/models/adder/trial",
    "/v2/systemsharedmemory/region/a/register",
]
KINDS = ["application/json", "application/octet-stream", "application/x-npy", "image/png", "multipart/form-data", ""]
SHAPED = st.fixed_dictionaries(
    {},
    optional={
        "inputs": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from(["x", "y", "image"]), "datatype": st.sampled_from([d.value for d in DType])},
                optional={
                    "shape": st.lists(st.integers(-2, 4), max_size=4),
                    "data": json_values,
                    "parameters": json_values,
                },
            ),
            max_size=3,
        ),
        "instances": st.lists(json_values, max_size=3),
        "examples": st.lists(st.dictionaries(st.sampled_from(["x", "y"]), json_values, max_size=2), max_size=3),
        "outputs": json_values,
        "parameters": st.dictionaries(st.sampled_from(["sequence_id", "timeout", "binary_data_output"]), json_values),
        "signature_name": json_values,
        "version": json_values,
        "key": st.text(max_size=5),
        "byte_size": st.integers(-5, 1 << 70),
    },
)


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(POSTED),
    st.one_of(st.binary(max_size=60), json_values.map(json.dumps), SHAPED.map(json.dumps)),
    st.sampled_from(KINDS),
    st.sampled_from([None, "0", "5", "9999", "-1", "x"]),
)
def test_whatever_is_posted_is_answered(node, path, body, kind, length):
    headers = {"content-type": kind} if kind else {}
    if length is not None:
        headers["inference-header-content-length"] = length
    reply = node.client.post(path, content=body, headers=headers)
    assert reply.status_code < 500 or reply.status_code == 501, reply.text
    if reply.status_code >= 400:
        assert list(reply.json()) == ["error"]
