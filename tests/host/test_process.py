from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Conflict, Invalid, PeerError
from skerry.host.process import Child, listen, split_address, url_of
from tests.core.values import tried

READY = "import sys, time; print('{\"port\": 7}', flush=True); "
STAY = READY + "time.sleep(60)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + STAY


@pytest.fixture
def start(tmp_path, source):
    """Return a function that starts Python code as a Child; all are gone after the test."""
    children = []

    def one(code):
        child = Child("the child", [sys.executable, "-c", code], tmp_path / "log", source)
        children.append(child)
        return child

    yield one
    for child in children:
        child.kill()


def test_a_child_says_that_it_is_ready_and_stops(start):
    child = start(STAY)
    assert child.ready(10) == {"port": 7}
    assert child.running
    os.kill(child.pid, 0)
    assert child.stop() == -signal.SIGTERM
    assert not child.running
    assert child.stop() == -signal.SIGTERM  # to stop it again does no harm


def test_its_own_exit_status_comes_back(start):
    child = start("import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); " + STAY)
    child.ready(10)
    assert child.stop() == 3


def test_a_child_that_will_not_stop_is_killed(start):
    child = start(DEAF)
    child.ready(10)
    begun = time.monotonic()
    assert child.stop(0.3) == -signal.SIGKILL
    assert 0.3 <= time.monotonic() - begun < 5


def test_a_child_can_be_killed_at_once(start):
    child = start(DEAF)
    child.ready(10)
    child.kill()
    assert not child.running


@pytest.mark.parametrize(
    "code",
    [
        "import sys; [print('line', n, file=sys.stderr) for n in range(30)]; sys.exit(1)",
        "import sys; [print('line', n, file=sys.stderr) for n in range(30)]; print('ready!')",
        "import sys; [print('line', n, file=sys.stderr) for n in range(30)]; print('[1]')",
        "import sys, time; [print('line', n, file=sys.stderr, flush=True) for n in range(30)]; time.sleep(60)",
        "import sys; [print('line', n, file=sys.stderr) for n in range(30)]; print('{' + ' ' * 70_000 + '}')",
    ],
    ids=["dies", "talks", "list", "silent", "endless"],
)
def test_a_child_that_does_not_become_ready_is_told_with_the_end_of_its_log(start, code):
    child = start(code)
    deadline = time.monotonic() + 20
    while "line 29" not in child.tail():  # however slowly it starts, this is not what is tested
        assert time.monotonic() < deadline
        time.sleep(0.01)
    how = r"(did not become ready in 1 s|ended with status 1 before it was ready)"
    with pytest.raises(PeerError, match=rf"the child {how}\. Its log ends:") as caught:
        child.ready(1.0)
    told = str(caught.value).splitlines()[1:]
    assert told == [f"line {n}" for n in range(10, 30)]


def test_the_log_is_kept_from_one_child_to_the_next(start):
    for text in ("one", "two"):
        start(f"import sys; sys.stderr.write('{text}\\n'); " + READY).ready(10)
    assert start(STAY).tail() == "one\ntwo"


def test_a_child_that_was_started_ends_with_its_parent(tmp_path, source):
    parent = f"""
import time
from pathlib import Path
from skerry.host.process import Child
from skerry.host.settings import environment
import sys
child = Child("c", [sys.executable, "-c", {STAY!r}], Path({str(tmp_path / "log")!r}), environment())
child.ready(10)
print(child.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", parent], env=source, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert lives(pid)
        process.kill()
    deadline = time.monotonic() + 10
    while lives(pid):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.02)


def lives(pid):
    """Whether a process runs; one that ended and was not yet collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_a_free_port_is_picked_and_answers(host):
    try:
        found = listen(host, 0)
    except Conflict:
        pytest.skip("this machine has no IPv6") if ":" in host else pytest.fail("no port")
    with found:
        port = found.getsockname()[1]
        assert port > 0
        socket.create_connection((host, port), timeout=5).close()


def test_a_busy_port_is_named():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Conflict, match=f"port {port} on 127.0.0.1: Address already in use; stop what uses it"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(
    ("text", "want"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:0", ("::1", 0)), ("edge.local:65535", ("edge.local", 65535))],
)
def test_an_address_is_split(text, want):
    assert split_address(text) == want


@pytest.mark.parametrize(
    "text", ["", ":", "80", ":80", "[]:80", "a:", "a:b", "a:-1", "a:65536", "a:²", "a:" + "1" * 5000]
)
def test_what_is_no_address_is_invalid(text):
    with pytest.raises(Invalid, match="address: expected HOST:PORT with a port from 0 to 65535"):
        split_address(text)


@given(st.text() | st.text().map("a:{}".format))
def test_arbitrary_text_is_an_address_or_invalid(text):
    assert isinstance(tried(split_address, text, refusing=Invalid), tuple | Invalid)


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_the_url_of_a_listener_comes_apart_again(host, shown):
    try:
        found = listen(host, 0)
    except Conflict:
        pytest.skip("this machine has no IPv6")
    with found:
        url = url_of(found)
    assert url.startswith(f"http://{shown}:")
    assert split_address(url.removeprefix("http://"))[0] == host


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 0), ("127.0.0.1", 70_000), ("127.0.0.1", -1)])
def test_where_nobody_can_listen_is_named(host, port):
    with pytest.raises(Conflict, match=f"port {port} on {host}: "):
        listen(host, port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop_calls_stop(source, number):
    code = """
import threading
from skerry.host.process import on_stop
over = threading.Event()
on_stop(over.set)
print("up", flush=True)
over.wait(30)
print("stopped", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], env=source, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        assert process.stdout.readline() == "stopped\n"
        assert process.wait(10) == 0
