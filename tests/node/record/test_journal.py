from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from skerry.core.rules import Memory
from skerry.node.record.journal import BATCH_BYTES, BATCH_ENTRIES, CALLS, Call, Journal
from skerry.wire.results import Alarm, Entry, Result
from tests.wire.messages import ALARM, RESULT

LIMIT = 64 << 20
A = "http://a"
BODY = Result.read(RESULT)


def entry(seq, picture=b"", at=5.0):
    return Entry(seq, at, BODY, picture)


def write(journal, count=1, picture=b"", calls=(), memories=None):
    first = journal.next_seq
    journal.write([entry(first + n, picture) for n in range(count)], calls, memories or {})


def fill(journal, count):
    while True:
        write(journal, count)


def seqs(journal, most=BATCH_ENTRIES):
    return [e.seq for e in journal.read(most).entries]


@pytest.fixture
def journal(tmp_path):
    found = Journal(tmp_path / "a" / "journal.db", LIMIT)
    yield found
    found.close()


def test_entries_come_back_as_they_were(journal):
    entries = [entry(1, b"\0\xff picture"), Entry(2, 6.5, Alarm.read(ALARM))]
    journal.write(entries, [], {})
    assert journal.read().entries == tuple(entries)
    assert journal.read().epoch == journal.epoch
    assert journal.backlog() == 2
    assert journal.read(1).entries == (entries[0],)


def test_each_opening_is_an_epoch_and_the_seq_goes_on_through_all(tmp_path):
    path, epochs = tmp_path / "j.db", []
    for first in (1, 3, 5):
        journal = Journal(path, LIMIT)
        epochs.append(journal.epoch)
        assert journal.next_seq == first
        write(journal, 2)
        journal.close()
    assert len(set(epochs)) == 3
    journal = Journal(path, LIMIT)
    for epoch, first in zip(epochs, (1, 3, 5), strict=True):
        batch = journal.read()
        assert (batch.epoch, [e.seq for e in batch.entries]) == (epoch, [first, first + 1])
        journal.acknowledge(first)
        assert (journal.read().epoch, seqs(journal)) == (epoch, [first + 1])
        journal.acknowledge(first + 1)
    assert (journal.read().epoch, journal.read().entries, journal.next_seq) == (journal.epoch, (), 7)
    write(journal)
    journal.set_aside(7)
    journal.close()
    journal = Journal(path, LIMIT)
    assert (journal.next_seq, journal.backlog()) == (8, 0)
    journal.close()


def test_a_copy_goes_on_under_a_name_of_its_own(tmp_path):
    journal = Journal(tmp_path / "j.db", LIMIT)
    write(journal)
    journal.close()
    shutil.copy(tmp_path / "j.db", tmp_path / "copy.db")
    one, two = Journal(tmp_path / "j.db", LIMIT), Journal(tmp_path / "copy.db", LIMIT)
    for each in (one, two):
        write(each)
        each.acknowledge(1)
    assert seqs(one) == seqs(two) == [2]
    assert one.read().epoch != two.read().epoch
    one.close()
    two.close()


def test_a_batch_is_bounded_in_count_and_bytes(journal):
    write(journal, BATCH_ENTRIES + 50)
    assert len(journal.read().entries) == BATCH_ENTRIES
    journal.acknowledge(BATCH_ENTRIES + 50)
    write(journal, 3, bytes(BATCH_BYTES // 2 - 2000))
    assert len(journal.read().entries) == 2
    journal.acknowledge(journal.next_seq)
    journal.write([entry(journal.next_seq, bytes(BATCH_BYTES + 1)), entry(journal.next_seq + 1)], [], {})
    assert len(journal.read().entries) == 1  # a single large one goes alone


def test_calls_and_memories_are_kept_with_their_entries(tmp_path):
    path = tmp_path / "j.db"
    journal = Journal(path, LIMIT)
    memory = {"rule é": Memory((True, False), standing=True), "other": Memory()}
    write(journal, 1, calls=[Call(1, "http://a", "{}"), Call(2, "http://b", "x")], memories=memory)
    journal.close()
    journal = Journal(path, LIMIT)
    assert journal.calls() == [Call(1, "http://a", "{}"), Call(2, "http://b", "x")]
    assert journal.memories() == memory
    journal.called(1)
    assert journal.calls() == [Call(2, "http://b", "x")]
    journal.acknowledge(1)
    assert journal.calls() == [Call(2, "http://b", "x")]  # an acknowledged result may still owe a call
    journal.close()


def test_one_receiver_does_not_hide_the_others(journal):
    calls = [Call(n, "http://dead" if n <= CALLS + 20 else "http://alive", "") for n in range(1, CALLS + 22)]
    write(journal, 1, calls=calls)
    assert [c.url for c in journal.calls()] == ["http://dead"] * CALLS + ["http://alive"]


def test_in_a_full_journal_the_oldest_pictures_give_way(tmp_path):
    journal = Journal(tmp_path / "j.db", 1 << 20)
    for n in range(100):
        write(journal, 1, bytes([n]) * 50_000)
    found = journal.read(1000).entries
    assert [e.seq for e in found] == list(range(1, 101))
    pictures = [e.picture for e in found]
    kept = [p for p in pictures if p]
    assert pictures[-len(kept) :] == kept == [bytes([n]) * 50_000 for n in range(100 - len(kept), 100)]
    assert (tmp_path / "j.db").stat().st_size <= 1 << 20
    journal.close()


def test_a_journal_full_of_results_takes_no_more_and_is_whole_after_acknowledgements(tmp_path):
    path = tmp_path / "j.db"
    journal = Journal(path, 1 << 18)
    with pytest.raises(OSError, match="journal: database or disk is full"):
        fill(journal, 50)
    last = journal.next_seq - 1
    assert journal.backlog() == last > 100
    first = journal.next_seq
    many = [entry(first + n) for n in range(200)]
    with pytest.raises(OSError, match="full"):
        journal.write(many, [Call(first, "http://a", "")], {"r": Memory((True,))})
    assert journal.calls() == []  # nothing of what failed is there
    assert journal.memories() == {}
    assert journal.next_seq == first
    journal.acknowledge(last - 10)
    journal.write(many, [Call(first, "http://a", "")], {"r": Memory((True,))})
    journal.close()
    journal = Journal(path, 1 << 18)
    assert journal.backlog() == 210
    assert journal.next_seq == first + 200
    journal.close()


def test_calls_held_in_memory_are_called_too(journal):
    journal.hold([Call(7, A, "1"), Call(8, A, "2")])
    one, two = journal.calls()
    assert (one.body, two.body) == ("1", "2")
    journal.called(one.seq)
    journal.hold([Call(9, A, "3")])
    assert [c.body for c in journal.calls()] == ["2", "3"]
    journal.called(journal.calls()[0].seq)
    assert [c.body for c in journal.calls()] == ["3"]
    journal.hold([Call(n, A, "x") for n in range(1000)])
    assert len(journal.calls()) == CALLS


def test_a_full_journal_can_still_set_an_entry_aside(tmp_path):
    journal = Journal(tmp_path / "j.db", 1 << 18)
    for count in (20, 1):
        with pytest.raises(OSError, match="full"):
            fill(journal, count)
    before = journal.backlog()
    journal.set_aside(1)
    assert journal.backlog() == before - 1
    assert seqs(journal, 1) == [2]
    journal.close()


def test_a_gap_is_never_written(journal):
    with pytest.raises(AssertionError):
        journal.write([entry(7)], [], {})
    assert journal.backlog() == 0


class Journals(RuleBasedStateMachine):
    """Write, acknowledge, set aside and die in any order: what was written and not acknowledged is there, in order."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "journal.db"

    @initialize()
    def begin(self):
        self.open()
        self.kept, self.aside, self.last, self.memory = [], set(), 0, Memory()

    def open(self):
        self.journal = Journal(self.path, LIMIT)

    @rule(count=st.integers(1, 5), size=st.sampled_from([0, 0, 100, 60_000]), standing=st.booleans())
    def write(self, count, size, standing):
        entries = [entry(self.last + 1 + n, bytes([n]) * size) for n in range(count)]
        self.memory = Memory((standing,) * count, standing)
        self.journal.write(entries, [], {"r": self.memory})
        self.kept += [(self.journal.epoch, one) for one in entries]
        self.last += count

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def acknowledge(self, data):
        high = data.draw(st.sampled_from([e.seq for _, e in self.kept]))
        self.journal.acknowledge(high)
        self.kept = [(epoch, e) for epoch, e in self.kept if e.seq > high]

    @precondition(lambda self: self.kept)
    @rule()
    def set_aside(self):
        _, first = self.kept.pop(0)
        self.journal.set_aside(first.seq)
        self.aside.add(first.seq)

    @rule()
    def die_and_begin_again(self):
        """The process dies: what a power cut would leave is copied away while the file is open, and opened."""
        copy = Path(tempfile.mkdtemp(dir=self.folder))
        for name in ("journal.db", "journal.db-wal"):
            if (self.path.parent / name).exists():
                shutil.copy(self.path.parent / name, copy / name)
        self.journal.close()
        self.path = copy / "journal.db"
        self.open()

    @rule()
    def close_and_open(self):
        self.journal.close()
        self.open()

    @invariant()
    def nothing_is_lost(self):
        if not hasattr(self, "journal"):
            return
        assert self.journal.next_seq == self.last + 1
        assert self.journal.backlog() == len(self.kept)
        batch = self.journal.read(10_000)
        epoch = self.kept[0][0] if self.kept else self.journal.epoch
        assert batch.epoch == epoch
        assert list(batch.entries) == [one for its, one in self.kept if its == epoch]
        assert self.journal.memories() == ({"r": self.memory} if self.memory != Memory() else {})

    def teardown(self):
        if hasattr(self, "journal"):
            self.journal.close()
            found = sqlite3.connect(self.path)
            assert {row[0] for row in found.execute("SELECT seq FROM aside")} == self.aside
            found.close()
        shutil.rmtree(self.folder)


Journals.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestJournals = Journals.TestCase
