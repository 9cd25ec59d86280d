"""Shared memory with a real node: by name with Triton's clients, passed as memfds, and taken away under its hands."""

from __future__ import annotations

import contextlib
import http.client
import json
import mmap
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException, serialize_byte_tensor
from tritonclient.utils import shared_memory as shm

from tests.system.gates import Node, Passing, memory, node

FRAME = 1920 * 1080 * 3
KINDS = {"http": triton_http, "grpc": triton_grpc}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("shared")
    with node(folder, shared_memory="named", local=str(folder / "node.sock")) as found:
        yield found


def client_of(kind: str, place: Node) -> Any:
    return KINDS[kind].InferenceServerClient(place.http if kind == "http" else place.grpc)


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(kind: str, place: Node) -> Iterator[Any]:
    found = client_of(kind, place)
    yield found
    found.close()


@contextmanager
def named(size: int) -> Iterator[tuple[Any, str]]:
    key = f"/skerry-test-{uuid.uuid4().hex}"
    handle = shm.create_shared_memory_region(key, key, size)
    try:
        yield handle, key
    finally:
        shm.destroy_shared_memory_region(handle)


def asked(kind: str, shape: list[int], dtype: str, region: str, size: int, offset: int = 0) -> Any:
    found = KINDS[kind].InferInput("x", shape, dtype)
    found.set_shared_memory(region, size, offset)
    return found


def wanted(kind: str, region: str, size: int, offset: int = 0) -> Any:
    found = KINDS[kind].InferRequestedOutput("y")
    found.set_shared_memory(region, size, offset)
    return found


def value_of(found: Any) -> Any:
    """Return the first output as a mapping, of either client."""
    output = found.get_response() if isinstance(found, triton_http.InferResult) else found.get_response(as_json=True)
    return output["outputs"][0]


def test_tensors_go_in_and_out_through_named_memory(kind: str, client: Any) -> None:
    values = np.arange(8, dtype=np.float32).reshape(2, 4)
    with named(64) as (handle, key):
        shm.set_shared_memory_region(handle, [values])
        client.register_system_shared_memory("both", key, 64)
        found = client.infer(
            "pair", [asked(kind, [2, 4], "FP32", "both", 32)], outputs=[wanted(kind, "both", 32, offset=32)]
        )
        assert np.array_equal(shm.get_contents_as_numpy(handle, np.float32, [2, 4], 32), values)
        if kind == "grpc":  # over HTTP it is not said, as with Triton: its C++ client takes parameters for binary data
            assert value_of(found)["parameters"]["shared_memory_region"] == {"string_param": "both"}
        status = client.get_system_shared_memory_status("both")
        if kind == "http":
            assert status == [{"name": "both", "key": key, "offset": 0, "byte_size": 64}]
        else:
            assert status.regions["both"].key == key
        client.unregister_system_shared_memory("both")
        with pytest.raises(InferenceServerException, match="Unable to find shared memory region"):
            client.infer("pair", [asked(kind, [2, 4], "FP32", "both", 32)])


def test_text_goes_through_memory_too(kind: str, client: Any) -> None:
    data = serialize_byte_tensor(np.array([b"one", b"three"], dtype=object)).item()
    with named(256) as (handle, key):
        shm.set_shared_memory_region(handle, [np.array(data, dtype=object)])
        client.register_system_shared_memory("text", key, 256)
        client.infer(
            "text", [asked(kind, [2], "BYTES", "text", len(data))], outputs=[wanted(kind, "text", 128, offset=128)]
        )
        assert list(shm.get_contents_as_numpy(handle, np.object_, [2], 128)) == [b"one", b"three"]
        client.unregister_system_shared_memory("text")


def test_a_part_of_a_region_may_be_registered(kind: str, client: Any) -> None:
    with named(4096) as (handle, key):
        shm.set_shared_memory_region(handle, [np.full(8, 7, np.uint8)], offset=1000)
        client.register_system_shared_memory("part", key, 100, offset=1000)
        found = client.infer("bytes", [asked(kind, [4], "UINT8", "part", 4, offset=4)])
        assert found.as_numpy("y").tolist() == [7, 7, 7, 7]
        with pytest.raises(InferenceServerException, match="Invalid offset"):
            client.infer("bytes", [asked(kind, [4], "UINT8", "part", 4, offset=97)])
        client.unregister_system_shared_memory("part")


def test_what_is_wrong_is_named(kind: str, client: Any) -> None:
    def refused(text: str, *given: Any, **more: Any) -> None:
        with pytest.raises(InferenceServerException, match=text):
            client.register_system_shared_memory(*given, **more)

    with named(64) as (handle, key):
        assert handle
        refused("no shared memory is called", "x", "/skerry-no-such", 8)
        refused("expected the name of POSIX shared memory", "x", "/../etc/passwd", 8)
        refused("expected a part of the 64 bytes", "x", key, 65)
        refused("expected a part of the 64 bytes", "x", key, 60, offset=8)
        client.register_system_shared_memory("x", key, 64)
        refused("already in manager", "x", key, 64)
        with pytest.raises(InferenceServerException, match="should be at least 32 bytes"):
            values = KINDS[kind].InferInput("x", [2, 4], "FP32")
            values.set_data_from_numpy(np.zeros((2, 4), np.float32))
            client.infer("pair", [values], outputs=[wanted(kind, "x", 31)])
        client.unregister_system_shared_memory()
        with pytest.raises(InferenceServerException, match="Unable to find system shared memory region"):
            client.get_system_shared_memory_status("x")
        client.unregister_system_shared_memory("x")  # not there: no error, as with Triton


def test_there_is_no_cuda_memory(kind: str, client: Any) -> None:
    found = client.get_cuda_shared_memory_status()
    assert found == [] if kind == "http" else not found.regions
    with pytest.raises(InferenceServerException, match="cuda shared memory"):
        client.register_cuda_shared_memory("x", b"aGFuZGxl", 0, 8)
    client.unregister_cuda_shared_memory()


def test_the_extension_is_listed_where_it_is_whole(kind: str, client: Any) -> None:
    found = client.get_server_metadata()
    assert "system_shared_memory" in (found["extensions"] if kind == "http" else found.extensions)


def test_memory_that_changes_shrinks_and_vanishes_kills_nobody(place: Node) -> None:
    size, stop = 1 << 20, threading.Event()
    key = f"skerry-test-{uuid.uuid4().hex}"
    path = Path("/dev/shm") / key
    path.write_bytes(bytes(size))
    clients = {kind: client_of(kind, place) for kind in KINDS}
    clients["http"].register_system_shared_memory("wild", key, size)
    counts = {"good": 0, "short": 0}

    def disturb() -> None:
        fd = os.open(path, os.O_RDWR)
        while not stop.is_set():
            os.truncate(fd, 100)
            os.truncate(fd, size)
            os.pwrite(fd, os.urandom(1000), 0)
            time.sleep(0.0002)
        os.close(fd)

    pids = workers(place)
    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            for kind, client in clients.items():
                request = [asked(kind, [size // 2], "UINT8", "wild", size // 2)]
                output = wanted(kind, "wild", size // 2, size // 2)
                counts[outcome(client, request, output)] += 1
            if counts["good"] == 10:
                path.unlink()
    finally:
        stop.set()
        thread.join()
        path.unlink(missing_ok=True)
    clients["http"].unregister_system_shared_memory("wild")
    assert counts["good"] > 10
    assert workers(place) == pids, "a worker was born again"
    for client in clients.values():
        client.close()


def outcome(client: Any, request: list[Any], output: Any) -> str:
    try:
        client.infer("bytes", request, outputs=[output])
    except InferenceServerException as error:
        return "short" if "has become shorter" in str(error) else str(error)
    return "good"


def workers(place: Node) -> list[str]:
    """Return the model's counts of restarts, by which one sees that a worker died."""
    line = http.client.HTTPConnection(place.http)
    line.request("GET", "/stats")
    found = json.loads(line.getresponse().read())
    line.close()
    return [one.get("restarts") for one in found["models"]]


class LocalConnection(http.client.HTTPConnection):
    """HTTP over the node's UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def infer(line: http.client.HTTPConnection, model: str, value: dict[str, Any]) -> tuple[int, Any]:
    line.request("POST", f"/v2/models/{model}/infer", json.dumps(value))
    reply = line.getresponse()
    return reply.status, json.loads(reply.read())


def of(region: str, size: int, offset: int = 0) -> dict[str, Any]:
    return {"shared_memory_region": region, "shared_memory_byte_size": size, "shared_memory_offset": offset}


def frame(region: str, size: int) -> dict[str, Any]:
    """Return a request of bytes that lie at the front of a region, to be answered behind them."""
    return {
        "inputs": [{"name": "x", "datatype": "UINT8", "shape": [size], "parameters": of(region, size)}],
        "outputs": [{"name": "y", "parameters": of(region, size, size)}],
    }


def test_a_passed_frame_goes_in_and_out_over_the_unix_socket(place: Node) -> None:
    fd = memory(2 * FRAME)
    seen = mmap.mmap(fd, 2 * FRAME)
    guest, line = Passing(place.local), LocalConnection(place.local)
    answer = guest.ask({"name": "camera", "byte_size": 2 * FRAME}, fd)
    assert answer["name"].startswith("camera-")
    for value in (3, 250):
        seen[:FRAME] = bytes([value]) * FRAME
        status, found = infer(line, "bytes", frame(answer["name"], FRAME))
        assert status == 200, found
        assert found["outputs"] == [{"name": "y", "datatype": "UINT8", "shape": [FRAME]}]
        assert seen[FRAME:] == seen[:FRAME]
    line.request("GET", "/v2/systemsharedmemory/status")
    assert answer["name"] not in line.getresponse().read().decode()  # it is for those who know it
    guest.close()
    until = time.monotonic() + 10
    while infer(line, "bytes", frame(answer["name"], FRAME))[0] == 200:
        assert time.monotonic() < until
    assert infer(line, "bytes", frame(answer["name"], FRAME))[0] == 404
    line.close()
    seen.close()
    os.close(fd)


def test_memory_that_is_not_sealed_is_refused(place: Node) -> None:
    guest = Passing(place.local)
    for seals, text in ((0, "F_SEAL_SHRINK and F_SEAL_SEAL"), (2, "lacks F_SEAL_SEAL")):
        fd = memory(4096, seals)
        assert text in guest.ask({"name": "x", "byte_size": 4096}, fd)["error"]
        os.close(fd)
    with open(__file__, "rb") as file:
        assert "memfd" in guest.ask({"name": "x", "byte_size": 10}, file.fileno())["error"]
    assert "expected one with the line; got 0" in guest.ask({"name": "x", "byte_size": 10})["error"]
    fd = memory(4096)
    assert "got 2" in guest.ask({"name": "x", "byte_size": 4096}, fd, fd)["error"]
    assert "expected a part of the 4096 bytes" in guest.ask({"name": "x", "byte_size": 4097}, fd)["error"]
    assert "JSON" in guest.ask(b"{nonsense\n", fd)["error"]
    assert "name" in guest.ask({"byte_size": 1}, fd)["error"]
    assert guest.ask({"name": "x", "byte_size": 4096}, fd)["byte_size"] == 4096
    guest.close()
    os.close(fd)


def test_a_guest_that_sends_nonsense_is_shown_out(place: Node) -> None:
    guest = Passing(place.local)
    guest.socket.sendall(b"x" * 10_000)
    with contextlib.suppress(ConnectionResetError):
        assert guest.socket.recv(10) == b""
    guest.close()
    before = open_files(place)
    for _ in range(20):
        guest = Passing(place.local)
        fds = [memory(4096) for _ in range(8)]
        guest.socket.sendmsg(
            [b"{"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, b"".join(f.to_bytes(4, "little") for f in fds))]
        )
        guest.close()
        for fd in fds:
            os.close(fd)
    until = time.monotonic() + 10
    while open_files(place) > before:
        assert time.monotonic() < until, "what was passed stays open"
        time.sleep(0.05)


def open_files(place: Node) -> int:
    return len(list(Path(f"/proc/{place.child.pid}/fd").iterdir()))


def test_nothing_is_shared_unless_the_settings_say_so(tmp_path: Path) -> None:
    with node(tmp_path) as place, named(64) as (_, key):
        for kind in KINDS:
            client = client_of(kind, place)
            with pytest.raises(InferenceServerException, match="takes no shared memory by name"):
                client.register_system_shared_memory("x", key, 64)
            with pytest.raises(InferenceServerException, match="this node shares no memory"):
                client.infer("bytes", [asked(kind, [8], "UINT8", "x", 8)])
            client.unregister_system_shared_memory()
            client.close()
        line = http.client.HTTPConnection(place.http)
        line.request("GET", "/v2")
        assert "system_shared_memory" not in json.loads(line.getresponse().read())["extensions"]
        line.close()


def test_many_at_once_run_together_and_each_finds_its_own(place: Node) -> None:
    count, rows = 48, 4
    size = rows * 4
    with named(2 * count * size) as (handle, key):
        values = np.arange(count * rows, dtype=np.float32).reshape(count, rows)
        shm.set_shared_memory_region(handle, [values])
        client = triton_http.InferenceServerClient(place.http, concurrency=count)
        client.register_system_shared_memory("many", key, 2 * count * size)
        for _ in range(5):
            under_way = [
                client.async_infer(
                    "pair",
                    [asked("http", [1, 4], "FP32", "many", size, one * size)],
                    outputs=[wanted("http", "many", size, (count + one) * size)],
                )
                for one in range(count)
            ]
            for one in under_way:
                one.get_result()
            found = shm.get_contents_as_numpy(handle, np.float32, [count, rows], count * size)
            assert np.array_equal(found, values)
            shm.set_shared_memory_region(handle, [np.zeros_like(values)], offset=count * size)
        client.unregister_system_shared_memory("many")
        client.close()
