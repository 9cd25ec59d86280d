"""A real node while things go wrong: workers die and hang, clients go, come in storms or crawl.

Throughout: no wrong answer, only 200 and 503, and afterwards as many files, threads and bytes in use as before.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto

from skerry.host.process import Child, raise_file_limit
from tests.data import DATA, needs
from tests.engine.kit import identity
from tests.system.clients import put_version
from tests.system.test_processes import alive, below
from tests.system.world import SECONDS, World, until

MODELS = [f"m{number}" for number in range(8)]  # one dies at most twice a minute: three deaths are a quarantine
SPARE_FILES, SPARE_THREADS = 12, 8  # what a pool of threads and a worker that is just being born may hold
IDLE, SLOW, GONE, STORM, TOGETHER = 10_000, 500, 1_000, 2_000, 50  # connections
HEAD = "POST /v2/models/{} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
RESET = struct.pack("ii", 1, 0)  # close with RST, as a process that is killed with unread data


class Node:
    """A real node, and how much of the machine it holds."""

    def __init__(self, child: Child, url: str, repository: Path) -> None:
        self.child = child
        self.repository = repository
        host, port = url.removeprefix("http://").split(":")
        self.address = (host, int(port))

    def line(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection(self.address, timeout=SECONDS)

    def ask(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return status and body of the answer to a request on a connection of its own."""
        connection = http.client.HTTPConnection(*self.address, timeout=SECONDS)
        try:
            connection.request("GET" if body is None else "POST", path, body)
            found = connection.getresponse()
            return found.status, found.read()
        finally:
            connection.close()

    def infer(self, model: str, number: int) -> int:
        """Have a model say a number back; return the status, and fail the test for a wrong answer."""
        status, body = self.ask(f"/v2/models/{model}/infer", one(number))
        if status == 200:
            assert json.loads(body)["outputs"][0]["data"] == [number, -number]
        assert status in (200, 503), body
        return status

    def stats(self) -> dict[str, Any]:
        """Return /stats."""
        found: dict[str, Any] = json.loads(self.ask("/stats")[1])
        return found

    def files(self) -> int:
        """Return how many files the control process has open."""
        return len(list(Path(f"/proc/{self.child.pid}/fd").iterdir()))

    def threads(self) -> int:
        """Return how many threads the control process has."""
        return len(list(Path(f"/proc/{self.child.pid}/task").iterdir()))

    def worker(self, model: str) -> int:
        """Return the process of a model's worker, 0 if there is none."""
        return next((pid for pid, name in below(self.child.pid).items() if name == f"sk:{model}"), 0)

    def empty(self) -> bool:
        """Whether no request's bytes are held, and nobody but the one who asks is connected."""
        found = self.stats()
        return not any(found["held_bytes"].values()) and found["connections"] <= 1


def one(number: int) -> bytes:
    """Return a request of one row."""
    return json.dumps(
        {"inputs": [{"name": "x", "datatype": "INT32", "shape": [1, 2], "data": [number, -number]}]}
    ).encode()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with eight models that say back what they hear; of whole numbers, so that none runs in the node itself."""
    raise_file_limit()
    folder = tmp_path_factory.mktemp("faults")
    for name in MODELS:
        identity(put_version(folder / "models", name, 1), TensorProto.INT32)
    world = World(folder / "world")
    argv = ["-m", "skerry", "serve", str(folder / "models"), "--http", "127.0.0.1:0", "--json", "--log-level", "error"]
    child = world._child("serve", argv)
    yield Node(child, child.ready(SECONDS)["http"], folder / "models")
    world.close()


@pytest.fixture
def node(served: Node) -> Iterator[Node]:
    """The node, which in the end holds what it held before."""
    for model in MODELS:
        until(model, lambda model=model: served.infer(model, 0) == 200)
    before = served.files(), served.threads()
    yield served
    until("the memory to be given back", served.empty)
    until("the files to be closed", lambda: served.files() <= before[0] + SPARE_FILES)
    until("the threads to end", lambda: served.threads() <= before[1] + SPARE_THREADS)
    for model in MODELS:
        until(model, lambda model=model: served.infer(model, 1) == 200)


class Clients:
    """Threads that ask one model after another until they are told to stop."""

    def __init__(self, node: Node, count: int) -> None:
        self.statuses: Counter[int] = Counter()
        self.millis: list[float] = []
        self.faults: list[BaseException] = []
        self._node = node
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(count)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(SECONDS)
        assert self.faults == []

    def _ask(self, first: int) -> None:
        number = first
        try:
            while not self._stop.is_set():
                began = time.perf_counter()
                status = self._node.infer(MODELS[number % len(MODELS)], number)
                self.millis.append((time.perf_counter() - began) * 1000)
                self.statuses[status] += 1
                number += 1
        except (AssertionError, OSError, http.client.HTTPException) as error:
            self.faults.append(error)


def test_workers_that_are_killed_under_load_are_not_missed(node: Node) -> None:
    took = []
    with Clients(node, 4) as clients:
        for number in range(2 * len(MODELS) - 2):
            model = MODELS[number % len(MODELS)]
            os.kill(until(model, lambda model=model: node.worker(model)), signal.SIGKILL)
            began = time.monotonic()
            until(model, lambda model=model: node.infer(model, 7) == 200)
            took.append(time.monotonic() - began)
            time.sleep(max(0.0, 0.5 - took[-1]))
    assert statistics.median(took) < 2.0, took
    assert clients.statuses[200] > 20 * clients.statuses[503], clients.statuses
    assert not any("quarantines" in one and one["quarantines"] for one in node.stats()["models"])


def test_a_worker_that_stands_still_is_ended_and_its_request_answered(node: Node) -> None:
    model = MODELS[-1]  # it has died once less than the others
    worker = node.worker(model)
    os.kill(worker, signal.SIGSTOP)
    began = time.monotonic()
    assert node.infer(model, 5) == 200
    assert 0.5 < time.monotonic() - began < SECONDS / 2
    assert not alive(worker)
    assert node.worker(model) != worker


def test_many_that_are_silent_and_many_that_crawl_keep_nobody_waiting(node: Node) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    idle = min(IDLE, soft - SLOW - 1000)
    lines = [node.line() for _ in range(idle + SLOW)]
    slow = lines[idle:]
    try:
        with Clients(node, 2) as clients:
            began = time.monotonic()
            for byte in b"POST /v2/models/m0/infer HTTP/1.1\r\n":
                for line in slow:
                    with contextlib.suppress(OSError):
                        line.send(bytes([byte]))
                time.sleep(max(0.0, 0.25 - (time.monotonic() - began) % 0.25))
            said = Counter(line.recv(12) for line in slow)
        assert said == {b"HTTP/1.1 408": SLOW}
        assert clients.statuses.keys() == {200}
        assert statistics.median(clients.millis) < 100, "it waits for those that crawl"
        assert node.stats()["connections"] >= idle
    finally:
        for line in lines:
            line.close()


def half(node: Node, sent: bytes) -> bytes:
    """Return what a client hears that sends this, says that it sends no more, and listens."""
    with node.line() as line:
        line.sendall(sent)
        line.shutdown(socket.SHUT_WR)
        found = b""
        while piece := line.recv(1 << 16):
            found += piece
        return found


def test_a_client_that_sends_no_more_hears_its_answer_if_it_asked(node: Node) -> None:
    body = one(9)
    whole = HEAD.format("m1/infer", len(body)).encode() + body
    for number in range(100):
        found = half(node, whole)
        assert found.startswith(b"HTTP/1.1 200") or (found.startswith(b"HTTP/1.1 503") and b"closed its side" in found)
        assert half(node, whole[: number % len(whole)]) == b""


def reset(line: socket.socket) -> None:
    """Be a client that is killed."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    line.close()


def test_clients_that_die_in_the_middle_of_a_body_leave_nothing_behind(node: Node) -> None:
    known = HEAD.format("m2/infer", 100_000).encode()
    chunked = known.replace(b"Content-Length: 100000", b"Transfer-Encoding: chunked") + b"ffff\r\n"
    held = 0
    with Clients(node, 1) as clients:
        for batch in range(0, GONE, TOGETHER):
            lines = [node.line() for _ in range(TOGETHER)]
            for number, line in enumerate(lines, batch):
                line.sendall((known, chunked)[number % 2] + b"x" * (1 + 97 * number % 50_000))
            held = max(held, node.stats()["held_bytes"]["m2"])
            for line in lines:
                reset(line)
    assert held >= TOGETHER * 4096, "no body had begun to come"
    assert clients.statuses.keys() == {200}


def test_a_storm_of_connections_passes(node: Node) -> None:
    with Clients(node, 1) as clients:
        for number in range(STORM):
            if number % 3:
                node.line().close()
            else:
                line = node.line()
                line.send(HEAD.format("m3/infer", 10).encode()[: number % 80])
                reset(line)
    assert clients.statuses.keys() == {200}


def test_a_broken_model_is_refused_and_the_others_go_on(node: Node) -> None:
    def put(version: int, write: Callable[[Path], object]) -> None:
        fresh = node.repository / "m4" / f".{version}"
        fresh.mkdir()
        write(fresh / "model.onnx")
        fresh.rename(fresh.parent / str(version))

    with Clients(node, 1) as clients:
        put(2, lambda path: path.write_bytes(b"\x08\x07 no model"))
        put(3, lambda path: path.write_bytes(os.urandom(5000)))
        time.sleep(2.0)
        assert node.infer("m4", 3) == 200
        put(4, lambda path: identity(path, TensorProto.INT32))
        until("the good one", lambda: b'"model_version": "4"' in _spaced(node.ask("/v2/models/m4/infer", one(1))[1]))
    assert clients.statuses.keys() == {200}


def _spaced(body: bytes) -> bytes:
    return json.dumps(json.loads(body)).encode()


def add(node: Node, name: str, write: Callable[[Path], object], file: str = "model.onnx") -> Path:
    """Put a model into the repository, in one move; return its folder."""
    fresh = node.repository / f".{name}" / "1"
    fresh.mkdir(parents=True)
    write(fresh / file)
    return fresh.parent.rename(node.repository / name)


def test_a_model_whose_workers_die_again_and_again_is_quarantined_alone(node: Node) -> None:
    add(node, "frail", lambda path: identity(path, TensorProto.INT32))
    until("the model", lambda: node.infer("frail", 1) == 200 if node.ask("/v2/models/frail")[0] == 200 else False)
    with Clients(node, 1) as clients:
        for death in range(3):
            assert node.infer("frail", death) == 200
            os.kill(until("a worker", lambda: node.worker("frail")), signal.SIGKILL)
            if death < 2:
                until("another worker", lambda: node.infer("frail", 2) == 200)
        until("the quarantine", lambda: b"quarantined" in node.ask("/v2/models/frail/infer", one(1))[1])
    assert clients.statuses.keys() == {200}
    assert node.ask("/ready")[0] == 503
    identity(node.repository / "frail" / "1" / "model.onnx", TensorProto.INT32, (2,))
    (node.repository / "frail" / "1").rename(node.repository / "frail" / "2")
    until("the next version", lambda: node.ask("/v2/models/frail/ready")[0] == 200)
    assert node.ask("/ready")[0] == 200


@needs("tflite_micro")
def test_a_model_that_kills_its_process_as_it_loads_is_refused_and_kills_nothing_else(node: Node) -> None:
    pytest.importorskip("ai_edge_litert")
    source = DATA / "tflite_micro" / "keyword_scrambled_8bit.tflite"  # it writes beyond its memory as it runs
    with Clients(node, 1) as clients:
        add(node, "killer", lambda path: shutil.copyfile(source, path), "model.tflite")
        said = b"the process that loaded it died"
        until("the refusal", lambda: said in node.ask("/v2/models/killer/infer", one(1))[1])
    assert node.ask("/v2/models/killer/infer", one(1))[0] == 503
    assert node.child.running
    assert clients.statuses.keys() == {200}
