"""The nursery: births, deaths of everyone in every order, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import BrokenReply, PeerError, Unreachable
from skerry.host.nursery import MAX_MESSAGE, Nursery, may_rise, read_message, send_message, wants_cpu

ROOT = Path(__file__).parents[2]
SECONDS = 20.0


@pytest.fixture
def environ(source):
    """Return an environment in which the children can be imported too."""
    return {**source, "PYTHONPATH": f"{source['PYTHONPATH']}:{ROOT}"}


@pytest.fixture
def nursery(environ):
    found = Nursery("tests.host.cradle", environ)
    yield found
    found.close()


def ask(born, text=b"who"):
    """Say something to a child; return what it says."""
    send_message(born.socket, text)
    return read_message(born.socket)


def parent_of(born):
    return int(ask(born).split()[1])


def alive(pid):
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(look, seconds=SECONDS):
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended(born):
    """Whether the socket says that the process is gone."""
    return bool(select.select([born.socket], [], [], SECONDS)[0]) and born.socket.recv(1) == b""


@contextlib.contextmanager
def child(nursery, fds=()):
    born = nursery.bear(fds)
    yield born
    born.kill()
    born.close()


def test_a_child_is_born_and_answers(nursery):
    with child(nursery) as born:
        assert ask(born, b"say hello") == b"%d %d hello" % (born.pid, parent_of(born))
        assert select.select([born.pidfd], [], [], 0)[0] == []


def test_a_child_gets_its_file_descriptors_and_no_others(nursery):
    read, write = os.pipe()
    with child(nursery, [write]) as born, child(nursery) as other:
        assert ask(born, b"write abc") == b"3"
        assert os.read(read, 10) == b"abc"
        own = int(ask(other, b"fds"))
        assert int(ask(born, b"fds")) == own + 1
        assert own <= 7  # 0, 1, 2, the socket, the listing, and what Python may hold
    os.close(write)
    assert os.read(read, 1) == b""  # nobody else holds the other end
    os.close(read)


@pytest.mark.parametrize("how", [b"exit 0", b"exit 3", b"raise me", None])
def test_the_end_of_a_child_is_seen_and_it_is_reaped(nursery, how, capfd):
    with child(nursery) as born:
        if how is None:
            born.kill()
        else:
            send_message(born.socket, how)
        assert ended(born)
        until(lambda: not Path(f"/proc/{born.pid}").exists())
        born.kill()  # gone already: no error
    said = capfd.readouterr().err
    if how == b"raise me":
        assert "ValueError: b'me'" in said


def test_a_child_ends_when_it_is_let_go(nursery):
    born = nursery.bear([])
    born.close()
    until(lambda: not Path(f"/proc/{born.pid}").exists())


def test_the_nursery_may_be_killed_and_its_children_live_on(nursery, caplog):
    with child(nursery) as first:
        dead = parent_of(first)
        os.kill(dead, signal.SIGKILL)
        until(lambda: not alive(dead))
        assert ask(first).split()[0] == b"%d" % first.pid
        with child(nursery) as second:
            assert parent_of(second) not in (dead, os.getpid())
            assert ask(first).split()[0] == b"%d" % first.pid
    (line,) = caplog.records
    assert re.match(r"the process that starts workers is gone \(.+\): it is started again", line.getMessage())


def test_a_nursery_that_cannot_start_is_told(environ):
    nursery = Nursery("tests.host.no_such_module", environ)
    with pytest.raises(Unreachable, match="the process that starts workers does not answer"):
        nursery.bear([])
    nursery.close()


PARENT = """
import os, sys, time
from skerry.host.nursery import Nursery, read_message, send_message
nursery = Nursery("tests.host.cradle", os.environ)
born = nursery.bear([])
send_message(born.socket, b"who")
print(read_message(born.socket).decode(), flush=True)
time.sleep(60)
"""


def test_nobody_outlives_a_parent_that_was_killed(environ):
    parent = subprocess.Popen([sys.executable, "-c", PARENT], env=environ, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert all(map(alive, pids))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not any(map(alive, pids)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_group_ends_no_child_before_its_time(nursery, number):
    with child(nursery) as born:
        group = os.getpgid(born.pid)
        assert group == os.getpgid(parent_of(born)) != os.getpgid(0)
        os.killpg(group, number)
        time.sleep(0.05)
        assert ask(born).split()[0] == b"%d" % born.pid
        with child(nursery) as other:
            assert parent_of(other) == parent_of(born)


def test_two_hundred_births_leave_nothing_behind(nursery):
    with child(nursery) as first:
        parent = parent_of(first)

        def held():
            return [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in (os.getpid(), parent)]

        before, pids = held(), []
        for number in range(200):
            born = nursery.bear([])
            pids.append(born.pid)
            if number % 2:
                born.kill()
            born.close()
        assert held() == before
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
        children = Path(f"/proc/{parent}/task/{parent}/children")
        if children.exists():
            assert children.read_text().split() == [str(first.pid)]


def test_who_wants_a_processor(nursery):
    with child(nursery) as born:
        ask(born)
        until(lambda: not wants_cpu(born.pid))  # it waits for a message
        born.kill()
    until(lambda: not wants_cpu(born.pid))
    assert isinstance(may_rise(), bool)


# --- messages ---


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_messages_come_whole_and_in_order(messages):
    one, two = socket.socketpair()
    with one, two:
        for message in messages:
            send_message(one, message)
        assert [read_message(two) for _ in messages] == messages


@given(st.binary(max_size=40))
def test_a_broken_message_is_the_peers_fault(data):
    one, two = socket.socketpair()
    with two:
        with one:
            one.sendall(data)
        size = int.from_bytes(data[:4], "little")
        if len(data) >= 4 and len(data) - 4 >= size:
            assert read_message(two) == data[4 : 4 + size]
        else:
            with pytest.raises(PeerError):
                read_message(two)


def test_a_message_over_the_limit_is_not_read():
    one, two = socket.socketpair()
    with one, two:
        one.sendall((MAX_MESSAGE + 1).to_bytes(4, "little"))
        with pytest.raises(BrokenReply, match=f"expected at most {MAX_MESSAGE} bytes"):
            read_message(two)
