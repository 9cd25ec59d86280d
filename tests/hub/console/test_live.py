"""The stream: what changed arrives by name, one look at the hub serves all, and it ends when it should."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from skerry.hub.console.live import POLL, changed, cursor, since
from skerry.hub.events import Events
from skerry.hub.store.events import Notice
from skerry.wire.results import Batch
from tests.hub.console.town import served
from tests.hub.world import World, alarm, result


@contextmanager
def stream(url: str, token: str, path: str = "/events/stream", **headers: str) -> Iterator[http.client.HTTPResponse]:
    """Open the stream."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request("GET", path, headers={"Cookie": f"skerry_session={token}", **headers})
    yield connection.getresponse()
    connection.close()


def told(answer: http.client.HTTPResponse, *names: str) -> list[str]:
    """Read until every name has come; return the ids."""
    wanted, ids = set(names), []
    while wanted:
        line = answer.readline().decode().strip()
        if line.startswith("id: "):
            ids.append(line[4:])
        if line.startswith("event: "):
            wanted.discard(line[7:])
    return ids


def test_what_changes_arrives_by_name(world: World) -> None:
    node = world.enrol("dock-1")
    with served(world) as url, stream(url, world.admin) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.readline() == b"retry: 2000\n"
        time.sleep(0.2)  # the stream begins where the hub is at its first look
        world.rooms.results.take(node, Batch("e", (result(1), alarm(2, of=1))))
        ids = told(answer, "results", "alarms")
        assert ids[0].startswith("1-1-")
        world.publish()
        world.roll_out(1, node="dock-1")
        told(answer, "nodes", "rollouts")


@pytest.mark.parametrize("how", ["since", "Last-Event-ID"])
def test_nothing_is_missed_between_two_streams(world: World, how: str) -> None:
    world.rooms.results.take(world.enrol("dock-1"), Batch("e", (result(1),)))
    path = "/events/stream?since=0-0-0" if how == "since" else "/events/stream?since=1-0-9"
    headers = {} if how == "since" else {"Last-Event-ID": "0-0-0"}
    with served(world) as url, stream(url, world.admin, path, **headers) as answer:
        told(answer, "results", "nodes")


class Counted(Events):
    """A trail that counts how often it is asked."""

    asked = 0

    def notice(self) -> Notice:
        self.asked += 1
        return super().notice()


def test_all_readers_share_one_look_and_none_is_no_look(world: World) -> None:
    counted = Counted(world.hub.store)
    world.rooms = replace(world.rooms, events=counted)
    with served(world) as url:
        with stream(url, world.admin) as a, stream(url, world.admin) as b, stream(url, world.admin) as c:
            for answer in (a, b, c):
                assert answer.readline() == b"retry: 2000\n"
            before = counted.asked
            time.sleep(1.5 * POLL)
            assert 1 <= counted.asked - before <= 4
        time.sleep(0.3 * POLL)  # the server sees that they have gone
        before = counted.asked
        time.sleep(1.2 * POLL)
        assert counted.asked == before


def test_an_open_stream_does_not_hold_up_the_end(world: World) -> None:
    with served(world) as url, stream(url, world.admin) as answer:
        answer.readline()
        begin = time.monotonic()
        world.rooms.stopping.set()
        while answer.readline():
            pass
        assert time.monotonic() - begin < 2 * POLL


def test_a_stranger_gets_no_stream(world: World) -> None:
    with served(world) as url, stream(url, "guess") as answer:
        assert answer.status == 303


@pytest.mark.parametrize("text", ["", "1-2", "1-2-x", "-1-2-3", "1" * 30 + "-1-1", "١-1-1"])
def test_a_cursor_that_is_none_is_none(text: str) -> None:
    assert since(text) is None


def test_a_cursor_comes_back_as_it_was() -> None:
    notice = Notice(3, 2, 9, 0.0)
    assert since(cursor(notice)) == notice
    assert list(changed(notice, replace(notice, result=4))) == ["results"]
    assert list(changed(notice, replace(notice, alarm=4, event=10))) == ["alarms", "nodes", "rollouts"]
    assert list(changed(notice, replace(notice, seen=4.0))) == []
