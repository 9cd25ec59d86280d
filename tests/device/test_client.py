from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

import pytest

from skerry.core.errors import BrokenReply, Invalid, NotFound, NotReady, QueueFull, TooLarge, Unreachable
from skerry.core.finding import Finding
from skerry.device.client import MAX_IMAGE, Client
from skerry.link.http import FakeFetcher, Reply
from tests.link.server import serving
from tests.link.test_http import closed_port
from tests.models import grey_png
from tests.wire.messages import ANSWER


class Node:
    """A small real node: fails as told, then answers; remembers what it was asked."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.asked = []

    def __call__(self, asked):
        import json

        self.asked.append(asked)
        if self.failures:
            status = self.failures.pop(0)
            if status is None:
                asked.handler.close_connection = True
            else:
                asked.answer(status, b'{"error": "not now"}', Retry_After="0")
        else:
            asked.answer(200, json.dumps(ANSWER).encode())


def query(asked):
    return parse_qs(urlsplit(asked.path).query)


def test_an_answer_is_typed():
    node = Node()
    with serving(node) as url:
        answer = Client(url + "/").infer("boards", grey_png(1))
    assert answer.findings[0] == Finding("crack", 0.5, 1, (1, 2, 3, 4))
    assert (answer.model, answer.version, answer.node) == ("boards", 3, "dock-1")
    (asked,) = node.asked
    assert (asked.method, urlsplit(asked.path).path, asked.body) == ("POST", "/predict", grey_png(1))
    assert asked.headers["Content-Type"] == "image/png"
    assert query(asked) == {"model": ["boards"]}


def test_the_source_is_the_files_name_unless_told(tmp_path):
    node, path = Node(), tmp_path / "böard &=1.jpg"
    path.write_bytes(b"\xff\xd8 is a JPEG to a client")
    with serving(node) as url:
        client = Client(url)
        client.infer("boards", path)
        client.infer("boards", str(path), source="camera 1")
    assert [query(a)["source"] for a in node.asked] == [["böard &=1.jpg"], ["camera 1"]]
    assert node.asked[0].headers["Content-Type"] == "image/jpeg"
    assert node.asked[0].body == path.read_bytes()


@pytest.mark.parametrize("failure", [503, 429, 502, None])
def test_a_node_that_is_busy_or_broken_is_asked_again(failure):
    node = Node(failure, failure)
    with serving(node) as url:
        assert Client(url, tries=3).infer("boards", b"x").version == 3
    assert len(node.asked) == 3


@pytest.mark.parametrize(
    ("failure", "kind"), [(503, NotReady), (429, QueueFull), (502, Unreachable), (None, Unreachable)]
)
def test_after_the_last_try_the_error_is_the_callers(failure, kind):
    node = Node(*[failure] * 5)
    with serving(node) as url, pytest.raises(kind):
        Client(url, tries=2).infer("boards", b"x")
    assert len(node.asked) == 2


@pytest.mark.parametrize(("status", "kind"), [(400, Invalid), (404, NotFound), (413, TooLarge), (500, BrokenReply)])
def test_what_the_node_refuses_is_not_asked_again(status, kind):
    node = Node(status)
    with serving(node) as url, pytest.raises(kind, match="not now"):
        Client(url).infer("boards", b"x")
    assert len(node.asked) == 1


def test_nobody_there_is_unreachable_soon():
    started = time.monotonic()
    with pytest.raises(Unreachable):
        Client(closed_port(), tries=2).infer("boards", b"x")
    assert time.monotonic() - started < 2


def test_a_nodes_wish_to_wait_is_heard_but_not_for_ever():
    times = []

    def answer(*_):
        times.append(time.monotonic())
        return Reply(503, b"", {"retry-after": "1" if len(times) == 1 else "9999"})

    with pytest.raises(NotReady):
        Client("http://x", tries=3, fetcher=FakeFetcher(answer)).infer("boards", b"x")
    assert 1 <= times[1] - times[0] < 1.5
    assert 2 <= times[2] - times[1] < 2.5


@pytest.mark.parametrize("body", [b"{}", b"[]", b"<html>", b'{"model": 5}'])
def test_a_reply_that_is_no_answer_is_the_nodes_fault(body):
    with pytest.raises(BrokenReply):
        Client("http://x", tries=1, fetcher=FakeFetcher(lambda *_: Reply(200, body))).infer("boards", b"x")


def test_bad_arguments_are_told(tmp_path):
    with pytest.raises(Invalid, match="expected http://HOST:PORT; got 'node:8441'"):
        Client("node:8441")
    with pytest.raises(TooLarge, match=f"expected at most {MAX_IMAGE} bytes"):
        Client("http://x").infer("boards", bytes(MAX_IMAGE + 1))
    with pytest.raises(FileNotFoundError):
        Client("http://x").infer("boards", tmp_path / "none.png")
