"""curl and a shell: the lines of the documentation pages as they are printed, and the odd things that curl can send."""

from __future__ import annotations

import gzip
import html
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image

from tests.models import grey_png
from tests.system.clients import Place, serving

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
MODELS = ["brightness", "adder", "slow", "total", "same_fp32", "same_fp16", "same_bf16", "same_bytes", "same_bool"]
PRE = re.compile(r"<h3>(.*?)</h3><div class=line><pre>(.*?)</pre>", re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with serving(tmp_path_factory.mktemp("clients")) as found:
        yield found


def shell(command: str, folder: Path) -> tuple[int, bytes]:
    """Run a line as a person's shell does, but let curl tell the status; return it and what was answered."""
    line = command.replace("curl ", "curl -sS -w '%{stderr}%{http_code}' ", 1)
    done = subprocess.run(["sh", "-ec", line], cwd=folder, capture_output=True, timeout=30, check=True)
    answer = folder / "answer.bin"
    found = answer.read_bytes() if "answer.bin" in command else done.stdout
    return int(done.stderr or 0), found


def curl(place: Place, path: str, *options: str, data: bytes = b"") -> tuple[int, str, bytes]:
    """Return the status, the head and the body of an answer."""
    argv = ["curl", "-sS", "-i", *options, f"{place.url}{path}"]
    done = subprocess.run(argv, input=data, capture_output=True, timeout=30, check=True)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode().lower(), body


@pytest.mark.parametrize("model", MODELS)
def test_the_lines_of_the_pages_work(place: Place, model: str, tmp_path: Path) -> None:
    page = httpx2.get(f"{place.url}/docs/{model}").text
    lines = [(html.unescape(title), html.unescape(line)) for title, line in PRE.findall(page)]
    assert len(lines) >= 2
    for title, line in lines:
        if line.startswith("grpcurl"):
            continue
        status, found = shell(line, tmp_path)
        if "curl" in line:
            assert status == 200, (title, line, found)
            assert found
        if "answer.bin" not in line and "curl" in line:
            assert isinstance(json.loads(found), dict), title


JPEG = io.BytesIO()
Image.new("RGB", (32, 32), (250, 250, 250)).save(JPEG, "JPEG")


@pytest.mark.parametrize(("kind", "data"), [("image/png", grey_png(250)), ("image/jpeg", JPEG.getvalue())])
def test_images(place: Place, kind: str, data: bytes) -> None:
    for path in ("/predict?model=brightness", "/v2/models/brightness/infer"):
        status, _, body = curl(place, path, "-H", f"Content-Type: {kind}", "--data-binary", "@-", data=data)
        assert status == 200
        assert b"bright" in body
    status, _, body = curl(place, "/predict?model=brightness", "--data-binary", "@-", data=data)  # curl's own type
    assert json.loads(body)["findings"][0]["label"] == "bright"
    assert curl(place, "/predict?model=brightness", "-F", "file=@-", data=data)[0] == 200
    assert curl(place, "/v2/models/brightness/infer", "-F", f"file=@-;type={kind}", data=data)[0] == 200
    assert curl(place, "/predict?model=brightness", "-T", "-", "-X", "POST", data=data)[0] == 200  # in chunks


def test_arrays(place: Place) -> None:
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    file = io.BytesIO()
    np.save(file, values)
    kind = ("-H", "Content-Type: application/x-npy", "--data-binary", "@-")
    _, _, body = curl(place, "/v2/models/same_fp32/infer", *kind, data=file.getvalue())
    assert json.loads(body)["outputs"][0]["data"] == list(range(6))
    raw = ("-H", "Inference-Header-Content-Length: 0", "--data-binary", "@-")
    status, head, body = curl(place, "/v2/models/same_fp32/infer", *raw, data=values[:1].tobytes())
    assert status == 200
    length = int(head.split("inference-header-content-length: ")[1].split()[0])
    assert body[length:] == values[:1].tobytes()


def large(rows: int = 8000) -> bytes:
    data = [{"name": "x", "datatype": "INT32", "shape": [rows, 2], "data": [7] * rows * 2}]
    return json.dumps({"inputs": data}).encode()


def test_codings(place: Place) -> None:
    target, send = "/v2/models/same_int32/infer", ("--data-binary", "@-", "-H", "Content-Type: application/json")
    plain = curl(place, target, *send, data=large())[2]
    packed = (*send, "-H", "Content-Encoding: gzip")
    assert curl(place, target, *packed, data=gzip.compress(large()))[2] == plain
    _, head, body = curl(place, target, *send, "--compressed", data=large())
    assert "content-encoding: gzip" in head
    assert "vary: accept-encoding" in head
    assert body == plain
    assert "content-encoding" not in curl(place, target, *send, "--compressed", data=large(10))[1]
    for accept in ("identity", "br", "gzip;q=0", "gzip;q=0.1, identity"):
        assert "content-encoding" not in curl(place, target, *send, "-H", f"Accept-Encoding: {accept}", data=large())[1]
    assert curl(place, target, *packed, data=b"no gzip")[0] == 400


def test_odd_http(place: Place) -> None:
    target, send = "/v2/models/same_int32/infer", ("--data-binary", "@-", "-H", "Content-Type: application/json")
    for options in (("--http1.0",), ("--http2",), ("-H", "Expect: 100-continue"), ("-H", "Connection: close")):
        assert curl(place, target, *options, *send, data=large(2))[0] == 200, options
    assert curl(place, "/v2/health/ready", "--http1.0")[0] == 200
    assert curl(place, "/v2/health/ready", "--http2")[0] == 200
    status, head, body = curl(place, "/docs", "-I")
    assert (status, body) == (200, b"")
    assert "content-security-policy" in head
