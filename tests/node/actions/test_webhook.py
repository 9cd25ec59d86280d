from __future__ import annotations

import pytest

from skerry.core.errors import Unreachable
from skerry.host.clock import FakeClock
from skerry.link.http import FakeFetcher, Fetcher, Reply
from skerry.node.actions.webhook import PAUSE, Webhooks
from skerry.node.record.journal import CALLS, Call, Journal
from tests.link.server import serving
from tests.node.record.test_journal import write

A, B = "http://a/", "http://b/"


class Receivers:
    """Receivers by URL: how many times each still fails, and with what; what each has taken."""

    def __init__(self):
        self.down, self.status, self.taken = set(), {}, []

    def __call__(self, method, url, body, headers):
        assert (method, headers["Content-Type"]) == ("POST", "application/json")
        if url in self.down:
            raise Unreachable("down")
        status = self.status.get((url, body.decode()), 200)
        if status < 300:
            self.taken.append((url, body.decode()))
        return Reply(status, b"")


@pytest.fixture
def journal(tmp_path):
    found = Journal(tmp_path / "j.db", 1 << 24)
    yield found
    found.close()


def calls(journal, *pairs):
    first = len(journal.calls()) + 1
    write(journal, 1, calls=[Call(first + n, url, body) for n, (url, body) in enumerate(pairs)])


def test_calls_are_made_in_order_and_once(journal):
    world = Receivers()
    hooks = Webhooks(journal, FakeFetcher(world), FakeClock())
    assert hooks.tick() == PAUSE
    calls(journal, (A, "1"), (B, "2"), (A, "3"))
    while hooks.tick() != PAUSE:
        pass
    assert world.taken == [(A, "1"), (B, "2"), (A, "3")]


def test_a_receiver_that_is_down_delays_its_own_calls_alone(journal, tmp_path):
    world = Receivers()
    world.down.add(A)
    clock = FakeClock()
    hooks = Webhooks(journal, FakeFetcher(world), clock)
    calls(journal, (A, "1"), (B, "2"), (A, "3"), (B, "4"))
    waits = []
    for _ in range(10):
        waits.append(hooks.tick())
        clock.time += waits[-1]
    assert world.taken == [(B, "2"), (B, "4")]
    assert waits[0] == 0
    assert waits[1] <= 0.5 < waits[4] <= 4
    assert max(waits) <= 60
    write(journal, 1, calls=[Call(9, B, "5")])  # a new alarm does not wait for the one that is down
    hooks.tick()
    assert world.taken[2:] == [(B, "5")]
    journal.close()
    again = Journal(tmp_path / "j.db", 1 << 24)  # the node is killed and starts again
    world.down.clear()
    Webhooks(again, FakeFetcher(world), FakeClock()).tick()
    assert world.taken[3:] == [(A, "1"), (A, "3")]
    assert again.calls() == []
    again.close()


def test_a_dead_receiver_with_many_calls_starves_nobody(journal):
    world = Receivers()
    world.down.add(A)
    calls(journal, *[(A, str(n)) for n in range(CALLS + 50)], (B, "late"))
    Webhooks(journal, FakeFetcher(world), FakeClock()).tick()
    assert world.taken == [(B, "late")]


def test_many_calls_are_not_left_for_the_next_minute(journal):
    world = Receivers()
    hooks = Webhooks(journal, FakeFetcher(world), FakeClock())
    calls(journal, *[(A, str(n)) for n in range(2 * CALLS + 50)])
    assert hooks.tick() == 0
    while hooks.tick() != PAUSE:
        pass
    assert [body for _, body in world.taken] == [str(n) for n in range(2 * CALLS + 50)]


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 422])
def test_a_refused_call_is_dropped(journal, status, caplog):
    world = Receivers()
    world.status[A, "1"] = status
    calls(journal, (A, "1"), (A, "2"))
    Webhooks(journal, FakeFetcher(world), FakeClock()).tick()
    assert world.taken == [(A, "2")]
    assert "webhook: alarm 1 dropped" in caplog.text
    assert journal.calls() == []


@pytest.mark.parametrize("status", [429, 500, 503, 302])
def test_a_receiver_in_trouble_is_called_again_in_order(journal, status):
    world = Receivers()
    world.status[A, "1"] = status
    clock = FakeClock()
    hooks = Webhooks(journal, FakeFetcher(world), clock)
    calls(journal, (A, "1"), (A, "2"))
    wait = hooks.tick()
    assert 0 < wait < PAUSE
    assert hooks.tick() == wait  # not before its time
    assert world.taken == []
    world.status.clear()
    clock.time += wait
    hooks.tick()
    assert world.taken == [(A, "1"), (A, "2")]


def test_a_real_receiver_gets_the_alarm(journal):
    got = []

    def act(asked):
        got.append(asked.body)
        asked.answer(204)

    with serving(act) as url:
        calls(journal, (url, '{"a": 1}'))
        assert Webhooks(journal, Fetcher(), FakeClock()).tick() == 0
    assert got == [b'{"a": 1}']
