"""`skerry serve` and `skerry infer` as processes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from skerry.link.http import Fetcher
from tests.models import adder_onnx, brightness_bundle, brightness_onnx, grey_png

ENVIRON = {k: v for k, v in os.environ.items() if not k.startswith("SKERRY_")}


def skerry(*argv, seconds=30):
    """Run the command to its end."""
    line = [sys.executable, "-m", "skerry", *map(str, argv)]
    return subprocess.run(line, capture_output=True, text=True, timeout=seconds, env=ENVIRON, check=False)


@contextmanager
def served(*argv, json_line=True):
    """Start `skerry serve` on a free port; yields the process and its ready line; SIGTERM must end it with 0."""
    line = [sys.executable, "-m", "skerry", "serve", *map(str, argv), "--http", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*line, *(["--json"] if json_line else [])],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRON,
    )  # fmt: skip
    try:
        ready = process.stdout.readline()
        assert ready, process.stderr.read()
        yield process, json.loads(ready) if json_line else ready
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=15)
        assert process.returncode == 0, err
        assert "Traceback" not in err
        assert out == ""
    finally:
        process.kill()
        process.communicate()


def get(url):
    reply = Fetcher().request("GET", url, limit=1 << 20, seconds=10)
    return reply.status, reply.json()


def test_serve_a_bundle_and_ask_it(tmp_path):
    bundle = brightness_bundle(tmp_path / "b", version=4)
    images = []
    for name, level in (("dark.png", 3), ("bright.png", 250)):
        images.append(tmp_path / name)
        images[-1].write_bytes(grey_png(level))
    with served(bundle.path) as (_, ready):
        assert (ready["event"], ready["models"]) == ("ready", ["brightness"])
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", ready["http"])
        ask = ["--node", ready["http"], "--model", "brightness"]
        found = skerry("infer", *images, *ask, "--json")
        assert found.returncode == 0, found.stderr
        lines = [json.loads(line) for line in found.stdout.splitlines()]
        assert [line["image"] for line in lines] == [str(i) for i in images]
        assert [line["findings"][0]["label"] for line in lines] == ["dark", "bright"]
        assert {line["version"] for line in lines} == {4}
        plain = skerry("infer", images[1], *ask)
        assert plain.returncode == 0
        assert re.search(r"bright\.png  32x32  +[\d.]+ ms  brightness version 4 on ", plain.stdout)
        assert re.search(r"  [01]\.\d{3}  bright\n", plain.stdout)
        assert "\x1b" not in plain.stdout
        wrong = skerry("infer", images[1], "--node", ready["http"], "--model", "nothing")
        assert (wrong.returncode, wrong.stdout) == (1, "")
        assert wrong.stderr.startswith("error: ")
        assert "unknown model: nothing; this node serves: brightness" in wrong.stderr
        (tmp_path / "broken.png").write_bytes(grey_png(1)[:50])
        broken = skerry("infer", tmp_path / "broken.png", *ask)
        assert broken.returncode == 1
        assert "damaged or incomplete" in broken.stderr
        port = ready["http"].rpartition(":")[2]
        busy = skerry("serve", bundle.path, "--http", f"127.0.0.1:{port}")
        assert busy.returncode == 1
        assert f"port {port} on 127.0.0.1: Address already in use" in busy.stderr
        assert busy.stdout == ""
        both = skerry("serve", bundle.path, "--http", "127.0.0.1:0", "--grpc", f"127.0.0.1:{port}")
        text = f"port {port} on 127.0.0.1: Address already in use; stop what uses it, or choose another"
        assert (both.returncode, both.stdout, both.stderr) == (1, "", f"error: {text}\n")


def test_serve_a_bare_file_and_a_repository_with_strays(tmp_path):
    repository = tmp_path / "models"
    for name, version in (("adder", 1), ("adder", 12), ("other", 3)):
        folder = repository / name / str(version)
        folder.mkdir(parents=True)
        adder_onnx(folder / "model.onnx")
    (repository / "README.md").write_text("strays")
    (repository / "adder" / "config.pbtxt").write_text('platform: "onnxruntime_onnx"')
    (repository / "odd" / "1").mkdir(parents=True)
    adder_onnx(repository / "odd" / "1" / "model.onnx")
    (repository / "odd" / "config.pbtxt").write_text("x")
    (repository / "empty").mkdir()
    bare = brightness_onnx(tmp_path / "bare.onnx")
    with served(repository, bare, json_line=False) as (_, ready):
        assert "\x1b" not in ready
        url = ready.split()[-1]
        assert ready == f"ready: serving adder, bare, other at {url}\n"
        assert get(f"{url}/v2/models/adder")[1]["versions"] == ["12"]
        assert get(f"{url}/ready") == (200, {"ready": True, "models": ["adder", "bare", "other"]})


def test_an_empty_folder_is_followed(tmp_path):
    (tmp_path / "models").mkdir()
    with served(tmp_path / "models") as (_, ready):
        assert ready["models"] == []
        for path in ("/v2/health/ready", "/ready"):
            assert get(ready["http"] + path)[0] == 503
        (tmp_path / "models" / "adder" / "1").mkdir(parents=True)
        adder_onnx(tmp_path / "models" / "adder" / "1" / "model.onnx")
        deadline = time.monotonic() + 30
        while get(ready["http"] + "/v2/health/ready")[0] != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert get(ready["http"] + "/ready") == (200, {"ready": True, "models": ["adder"]})


def test_one_bad_model_does_not_stop_the_others(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"hello")
    with served(tmp_path / "bad.onnx", adder_onnx(tmp_path / "good.onnx")) as (_, ready):
        assert ready["models"] == ["good"]
        status, answer = get(ready["http"] + "/ready")
        assert status == 503
        assert "bad: ONNX Runtime cannot load bad.onnx" in answer["error"]


def test_nothing_that_loads_is_an_error(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"hello")
    found = skerry("serve", tmp_path / "bad.onnx", "--http", "127.0.0.1:0")
    assert (found.returncode, found.stdout) == (1, "")
    assert "error: no model could be loaded:" in found.stderr
    assert "Traceback" not in found.stderr


def test_trust_is_asked_of_bundles(tmp_path):
    skerry("keys", "new", tmp_path / "a.key")
    bundle = brightness_bundle(tmp_path / "b")
    found = skerry("serve", bundle.path, "--http", "127.0.0.1:0", "--trust", tmp_path / "a.pub")
    assert found.returncode == 1
    assert "not signed" in found.stderr
    assert skerry("bundle", "sign", bundle.path, "--key", tmp_path / "a.key").returncode == 0
    with served(bundle.path, "--trust", tmp_path / "a.pub") as (_, ready):
        assert ready["models"] == ["brightness"]


def test_a_node_of_a_hub_needs_somebody_to_trust(tmp_path):
    argv = ["--hub", "http://127.0.0.1:1", "--http", "127.0.0.1:0", "--state", tmp_path / "state"]
    found = skerry("node", *argv)
    assert (found.returncode, found.stdout) == (1, "")
    assert "needs at least one publisher's public key; see --trust" in found.stderr


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:x", ":80", "127.0.0.1:70000"])
def test_a_bad_address_is_told(tmp_path, address):
    found = skerry("serve", adder_onnx(tmp_path / "a.onnx"), "--http", address)
    assert found.returncode == 1
    assert "address: expected HOST:PORT" in found.stderr


def test_ctrl_c_ends_it_as_sigterm_does(tmp_path):
    with served(adder_onnx(tmp_path / "a.onnx")) as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0


def test_a_request_in_flight_is_answered_before_the_end(tmp_path):
    body = grey_png(9)
    with served(brightness_bundle(tmp_path / "b").path) as (process, ready):
        host, port = ready["http"].removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as line:
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            line.sendall(head + body[:40])
            time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            line.sendall(body[40:])
            assert b" 200 " in line.recv(1 << 16).split(b"\r\n")[0]
