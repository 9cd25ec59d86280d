"""What people and faulty cameras send: each bad upload is a 4xx in under a second, and the node goes on."""

from __future__ import annotations

import json
import socket
import struct
import time
import zlib
from collections.abc import Iterator

import pytest

from skerry.device.client import Client
from skerry.link.http import Fetcher
from tests.models import brightness_bundle, grey_png
from tests.system.world import World, get, post


def huge_png(width: int, height: int) -> bytes:
    """Return a PNG of that many pixels, all black, in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compressobj(9)
    line = b"\0" * (1 + (width + 7) // 8)
    pixels = b"".join(rows.compress(line) for _ in range(height)) + rows.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


GOOD = grey_png(240)
BAD = {
    "empty": b"",
    "text": b"this is not an image" * 100,
    "noise": bytes(range(256)) * 400,
    "truncated": GOOD[: len(GOOD) // 2],
    "corrupt": GOOD[:45] + b"\xff" * 20 + GOOD[65:],
    "gif": b"GIF89a" + bytes(100),
    "20,000 pixels square": huge_png(20_000, 20_000),
    "20,000 pixels wide": huge_png(20_000, 2_100),
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A stand-alone node with one image model."""
    folder = tmp_path_factory.mktemp("uploads")
    brightness_bundle(folder / "bundle")
    world = World(folder / "world")
    child = world._child("serve", ["-m", "skerry", "serve", str(folder / "bundle"), "--http", "127.0.0.1:0", "--json"])
    yield child.ready(40)["http"]
    world.close()


@pytest.mark.parametrize("path", ["/predict", "/v2/models/brightness/infer"])
@pytest.mark.parametrize("kind", ["image/png", "image/jpeg"])
@pytest.mark.parametrize("what", BAD)
def test_a_bad_image_is_the_senders_error_at_once(node: str, path: str, kind: str, what: str) -> None:
    started = time.monotonic()
    reply = post(node + path, BAD[what], kind)
    assert time.monotonic() - started < 1.0
    assert 400 <= reply.status < 500, reply
    assert "image" in reply.json()["error"]
    assert Client(node).infer("brightness", GOOD).findings[0].label == "bright"
    assert get(node + "/ready").status == 200


def test_a_body_over_the_limit_is_refused_before_it_is_read(node: str) -> None:
    reply = post(node + "/predict", b"\xff\xd8" + bytes(65 << 20), "image/jpeg", seconds=30)
    assert reply.status == 413
    assert "bytes" in reply.json()["error"]


def test_many_bad_uploads_do_no_harm(node: str) -> None:
    for _ in range(30):
        for data in BAD.values():
            assert 400 <= post(node + "/predict", data, "image/png").status < 500
    assert Client(node).infer("brightness", GOOD).findings[0].label == "bright"


def test_a_client_that_offers_an_upgrade_is_answered_all_the_same(node: str) -> None:
    headers = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
    reply = Fetcher().request("POST", node + "/predict", body=GOOD, headers=headers, limit=1 << 20, seconds=10)
    assert reply.status == 200, reply


@pytest.mark.parametrize("head", ["FOO BAR BAZ", "GET / HTTP/1.1\r\nContent-Length: -1", "GET /\xff HTTP/1.1"])
def test_a_request_that_is_none_gets_our_error(node: str, head: str) -> None:
    host, port = node.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as line:
        line.sendall(head.encode("latin-1") + b"\r\n\r\n")
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400")
    assert list(json.loads(answer.partition(b"\r\n\r\n")[2])) == ["error"]
