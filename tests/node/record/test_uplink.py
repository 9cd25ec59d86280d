from __future__ import annotations

import json
import sqlite3
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.errors import Unreachable
from skerry.core.names import GroupName, NodeName
from skerry.link.http import FakeFetcher, Reply
from skerry.node.hub import Hub
from skerry.node.record.journal import Journal
from skerry.node.record.uplink import PAUSE, Uplink
from skerry.wire.checkin import Enrol
from skerry.wire.results import Batch, decode, encode
from tests.node.record.test_journal import write

WEATHER = ["good", "lost answer", "lost request", "503", "500", "nonsense", "half", "other epoch"]


class Sea:
    """A hub that takes each (epoch, seq) once, refuses poison, and the weather on the way to it."""

    def __init__(self, poison=(), status=400):
        self.taken, self.poison, self.status = {}, set(poison), status
        self.weather, self.doubles = [], 0

    def __call__(self, method, url, body, headers):
        weather = self.weather.pop(0) if self.weather else "good"
        assert (method, url) == ("POST", "http://hub/api/v1/results")
        assert headers["Authorization"] == "Bearer secret"
        if weather == "lost request":
            raise Unreachable("cut")
        if weather in ("503", "500"):
            return Reply(int(weather), b'{"error": "later"}', {"retry-after": "5"})
        batch = decode(body)
        if any(e.seq in self.poison for e in batch.entries):
            return Reply(self.status, b'{"error": "malformed"}')
        for entry in batch.entries:
            self.doubles += (batch.epoch, entry.seq) in self.taken
            self.taken[batch.epoch, entry.seq] = entry
        high = batch.entries[-1].seq
        if weather == "lost answer":
            raise Unreachable("cut")
        if weather == "nonsense":
            return Reply(200, b'{"welcome": "to the hotel"}')
        if weather == "half":
            return Reply(200, json.dumps({"epoch": batch.epoch, "high": high - 1}).encode())
        epoch = "another" if weather == "other epoch" else batch.epoch
        return Reply(200, json.dumps({"epoch": epoch, "high": high}).encode())


def uplink_to(sea, journal):
    enrol = Enrol(NodeName("n"), GroupName("g"), "", "secret")
    return Uplink(journal, Hub(FakeFetcher(sea), "http://hub/", enrol))


def drain(uplink, journal, most=500):
    for _ in range(most):
        if uplink.tick() == PAUSE and not journal.backlog():
            return
    raise AssertionError("it never ends")


@settings(max_examples=40)
@given(
    st.integers(1, 30),
    st.lists(st.sampled_from(WEATHER), max_size=12),
    st.sets(st.integers(1, 30), max_size=4),
    st.sampled_from([400, 413]),
)
def test_everything_arrives_exactly_once_and_poison_is_set_aside(tmp_path_factory, count, weather, poison, status):
    path = tmp_path_factory.mktemp("u") / "j.db"
    journal = Journal(path, 1 << 24)
    write(journal, count, b"picture")
    sea = Sea(poison, status)
    sea.weather = list(weather)
    uplink = uplink_to(sea, journal)
    drain(uplink, journal)
    poison = {p for p in poison if p <= count}
    assert {seq for _, seq in sea.taken} == set(range(1, count + 1)) - poison
    write(journal, 3)  # the seq goes on, and so does the uplink
    drain(uplink, journal)
    assert {seq for _, seq in sea.taken} >= {count + 1, count + 2, count + 3} - sea.poison
    journal.close()
    base = sqlite3.connect(path)
    aside = {row[0] for row in base.execute("SELECT seq FROM aside")}
    assert aside == {p for p in sea.poison if p <= count + 3}
    base.close()


@pytest.fixture
def journal(tmp_path):
    found = Journal(tmp_path / "j.db", 1 << 24)
    yield found
    found.close()


def test_nothing_to_send_is_a_long_sleep_and_more_is_none(journal):
    sea = Sea()
    uplink = uplink_to(sea, journal)
    assert uplink.tick() == PAUSE
    write(journal, 450)
    assert [uplink.tick() for _ in range(4)] == [0, 0, 0, PAUSE]
    assert len(sea.taken) == 450
    assert sea.doubles == 0


def test_a_hub_that_is_away_is_asked_ever_more_seldom(journal, caplog):
    sea = Sea()
    sea.weather = ["lost request"] * 12
    uplink = uplink_to(sea, journal)
    write(journal)
    waits = [uplink.tick() for _ in range(12)]
    assert all(0.25 * 2**n <= wait <= 0.5 * 2**n for n, wait in enumerate(waits[:7]))
    assert all(30 <= wait <= 60 for wait in waits[7:])
    assert uplink.tick() == 0
    assert caplog.text.count("results stay in the journal") == 1
    assert "takes results again after 12 tries" in caplog.text


@pytest.mark.parametrize("weather", ["nonsense", "half", "other epoch"])
def test_a_senseless_answer_sets_nothing_aside(journal, weather):
    sea = Sea()
    sea.weather = [weather] * 5
    uplink = uplink_to(sea, journal)
    write(journal)
    for _ in range(5):
        assert uplink.tick() > 0
        assert journal.backlog() == 1
    drain(uplink, journal)


def test_a_restored_journal_loses_nothing_to_a_hub_that_is_ahead(tmp_path):
    """The hub has 1 to 10 of the old epoch; the file is put back as it was after 4, and 5 to 8 are new."""
    path = tmp_path / "j.db"
    journal = Journal(path, 1 << 24)
    write(journal, 4)
    old = journal.epoch
    journal.close()
    journal = Journal(path, 1 << 24)
    write(journal, 4)

    def hub(method, url, body, headers):
        batch = decode(body)
        taken.extend((batch.epoch, entry.seq) for entry in batch.entries)
        high = 10 if batch.epoch == old else batch.entries[-1].seq
        return Reply(200, json.dumps({"epoch": batch.epoch, "high": high}).encode())

    taken = []
    uplink = Uplink(journal, Hub(FakeFetcher(hub), "http://hub", Enrol(NodeName("n"), GroupName("g"), "", "secret")))
    drain(uplink, journal)
    assert taken == [(old, n) for n in (1, 2, 3, 4)] + [(journal.epoch, n) for n in (5, 6, 7, 8)]
    journal.close()


def test_a_result_whose_picture_is_too_large_for_the_way_goes_without_it(tmp_path):
    journal = Journal(tmp_path / "j.db", 1 << 24)
    write(journal, 3, b"picture")

    def proxy(method, url, body, headers):
        if len(body) > limit:
            return Reply(413, b"<html>too large</html>")
        batch = decode(body)
        got.update({entry.seq: entry.picture for entry in batch.entries})
        return Reply(200, json.dumps({"epoch": batch.epoch, "high": batch.entries[-1].seq}).encode())

    got = {}
    limit = len(encode(Batch(journal.epoch, (replace(journal.read(1).entries[0], picture=b"pic"),))))
    uplink = Uplink(journal, Hub(FakeFetcher(proxy), "http://hub", Enrol(NodeName("n"), GroupName("g"), "", "secret")))
    drain(uplink, journal)
    assert got == {1: b"", 2: b"", 3: b""}
    journal.close()
