"""A real hub process on a real port: start, stop, a kill in the middle of everything, and rude callers."""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from skerry.core.errors import Conflict, PeerError
from skerry.core.manifest import digest_of
from skerry.host.files import lock
from skerry.host.process import Child, listen
from skerry.hub.app import serve
from skerry.hub.settings import HubSettings
from skerry.wire import routes
from skerry.wire.results import Batch, encode
from skerry.wire.routes import Route
from tests.hub.world import PICTURE, alarm, result, secret_of

SCRIPT = Path(__file__).with_name("hub_process.py")
SOURCE = Path(__file__).parents[2] / "src"
READY = 20.0  # s; a start takes 1 s on a machine at rest


class Running:
    """A hub process and what it said when it was ready."""

    def __init__(self, folder: Path, http: str = "127.0.0.1:0") -> None:
        self.log = folder / "hub.log"
        argv = [sys.executable, str(SCRIPT), str(folder / "state"), http]
        self.child = Child("hub", argv, self.log, {**os.environ, "PYTHONPATH": str(SOURCE)})
        try:
            said = self.child.ready(READY)
        except PeerError:
            self.child.stop()
            raise
        self.admin: str | None = said["admin"]
        address = urlsplit(said["url"])
        self.host, self.port = str(address.hostname), int(address.port or 0)

    def ask(self, route: Route, token: str, body: bytes = b"", query: str = "", **parts: object) -> tuple[int, Any]:
        """Ask once, and return status and JSON."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            headers = {"Authorization": f"Bearer {token}"}
            connection.request(route.method, route.at(**parts) + query, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Return a starter of hubs in one folder."""
    running: list[Running] = []

    def begin(http: str = "127.0.0.1:0") -> Running:
        running.append(Running(tmp_path, http))
        return running[-1]

    yield begin
    for hub in running:
        hub.child.kill()


def _enrol(hub: Running, admin: str, name: str) -> str:
    join = hub.ask(routes.JOIN_TOKEN, admin, b"{}")[1]["token"]
    asked = {"name": name, "join_token": join, "secret": secret_of(name)}
    assert hub.ask(routes.ENROL, "", json.dumps(asked).encode())[0] == 200
    return secret_of(name)


def test_it_starts_and_ends_cleanly(start: Callable[..., Running]) -> None:
    hub = start()
    assert hub.admin is not None
    assert hub.ask(routes.HEALTH, "") == (200, {"status": "ok"})
    with socket.create_connection((hub.host, hub.port)):  # an idle caller does not hold it up
        began = time.monotonic()
        assert hub.child.stop() == 0
        assert time.monotonic() - began < 4.0
    again = start()
    assert again.admin is None
    assert again.ask(routes.NODES, hub.admin) == (200, {"nodes": []})
    assert again.child.stop() == 0
    assert hub.log.read_text() == ""  # and no token, no request, no warning in its log


def test_a_busy_port_is_named_and_nothing_is_made(tmp_path: Path) -> None:
    taken = listen("127.0.0.1", 0)
    port = taken.getsockname()[1]
    settings = HubSettings(http=f"127.0.0.1:{port}", state=tmp_path / "state")
    with taken, pytest.raises(Conflict, match=str(port)):
        serve(settings, lambda url, admin: None)
    assert not settings.state.exists()


def test_a_kill_in_the_middle_loses_nothing_and_doubles_nothing(start: Callable[..., Running]) -> None:
    hub = start()
    admin = str(hub.admin)
    secret = _enrol(hub, admin, "dock-1")
    chance, total, at, acked = random.Random(7), 900, 1, 0
    entries = [
        alarm(n, n - 1) if n % 5 == 0 else result(n, picture=PICTURE + b"%d" % n if n % 9 == 0 else b"")
        for n in range(1, total + 1)
    ]
    for _ in range(3):
        threading.Timer(chance.uniform(0.2, 0.9), hub.child.kill).start()
        try:
            while at <= total:  # as a node that forgets what was acknowledged, and cuts its batches anew each time
                size = chance.randint(1, 9)
                status, ack = hub.ask(routes.UPLOAD, secret, encode(Batch("e", tuple(entries[at - 1 : at - 1 + size]))))
                assert status == 200
                assert ack["high"] >= acked
                acked = ack["high"]
                at = max(1, min(acked + 1, at + chance.randint(-3, size + 3)))
            at = 1
        except (OSError, http.client.HTTPException):
            at = max(1, acked - 6)
        hub.child.kill()
        hub = start()
    assert acked > 0  # or nothing was tried
    rows = hub.ask(routes.RESULTS, admin, query="?after=0&limit=1000")[1]["results"]
    assert len({row["seq"] for row in rows}) == len(rows)
    assert {row["seq"] for row in rows} >= {n for n in range(1, acked + 1) if n % 5}  # acknowledged means kept
    for first in range(1, total + 1, 90):
        data = encode(Batch("e", tuple(entries[first - 1 : first + 89])))
        assert hub.ask(routes.UPLOAD, secret, data)[0] == 200
    rows = hub.ask(routes.RESULTS, admin, query="?after=0&limit=1000")[1]["results"]
    alarms = hub.ask(routes.ALARMS, admin, query="?after=0&limit=1000")[1]["alarms"]
    assert sorted(row["seq"] for row in [*rows, *alarms]) == list(range(1, total + 1))
    for row in rows:
        sent = entries[row["seq"] - 1].picture
        assert row["picture"] == (digest_of(sent) if sent else None)
    assert [e["what"] for e in hub.ask(routes.EVENTS, admin)[1]["events"]].count("journal gap") == 0


def _raw(hub: Running, route: Route, token: str, headers: str) -> socket.socket:
    """Open a connection and send the head of a request."""
    found = socket.create_connection((hub.host, hub.port), timeout=10)
    path = route.at(digest=digest_of(b"big"))
    head = f"{route.method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{headers}\r\n"
    found.sendall(head.encode())
    return found


def _answer(connection: socket.socket) -> tuple[int, Any]:
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, json.loads(answer.read())


def test_rude_callers(start: Callable[..., Running], tmp_path: Path) -> None:
    hub = start()
    token = str(hub.admin)
    # A body that is announced too large is refused before it is sent, even to one who waits for "100 Continue".
    with _raw(hub, routes.PUT_BLOB, token, "Content-Length: 99999999999\r\nExpect: 100-continue\r\n") as caller:
        assert _answer(caller)[0] == 413
    # One that grows too large is refused while it comes; the rest is dropped, and the connection stays good.
    with _raw(hub, routes.ROLL_OUT, token, "Transfer-Encoding: chunked\r\n") as caller:
        for _ in range(40):
            caller.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        assert _answer(caller)[0] == 413
        caller.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n0\r\n\r\n")
        caller.sendall(f"GET {routes.HEALTH.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert _answer(caller) == (200, {"status": "ok"})
    # Nobody's body is not read at all.
    with _raw(hub, routes.PUT_BLOB, "stranger", "Content-Length: 1000000\r\n") as caller:
        assert _answer(caller)[0] == 401
    # One that goes away half-way leaves nothing behind.
    with _raw(hub, routes.PUT_BLOB, token, "Content-Length: 1000000\r\n") as caller:
        caller.sendall(b"half" * 1000)
        time.sleep(0.3)
    incoming, deadline = tmp_path / "state/blobs/incoming", time.monotonic() + 5.0
    while (list(incoming.iterdir()) or not incoming.exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(incoming.iterdir()) == []
    with _raw(hub, routes.HEALTH, "", "") as caller:
        assert _answer(caller)[0] == 200
    assert hub.child.stop() == 0
    assert hub.log.read_text() == ""


def test_a_second_hub_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with lock(tmp_path / "lock"), pytest.raises(Conflict, match="another process uses this folder"):
        serve(HubSettings(http="127.0.0.1:0", state=tmp_path), lambda url, token: None)
