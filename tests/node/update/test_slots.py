from __future__ import annotations

import json

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from skerry.core.errors import Invalid, TooLarge
from skerry.core.names import Digest, ModelName
from skerry.core.plan import Wanted
from skerry.host.files import Disk, FaultyDisk
from skerry.node.update.slots import MAX_REFUSED, MAX_SLOTS, Installed, Refused, Slot, Slots, Table
from tests.core.values import DIGEST

M = ModelName("m")


def want(n, rollout=1, model=M):
    return Wanted(model, n, Digest(f"sha256:{n:064x}"), rollout)


def bundle(n, rollout=1):
    return Installed(Digest(f"sha256:{n:064x}"), n, rollout)


@pytest.fixture
def slots(tmp_path):
    return Slots(tmp_path / "slots.json", Disk())


def again(slots):
    """Return the slots as a restarted node reads them."""
    found = Slots(slots._path, Disk())
    assert found.table == slots.table
    return found


def test_a_bundle_moves_from_provisional_to_committed_to_previous(slots):
    assert again(slots).table == Table()
    assert slots.begin(want(1)) == 1
    assert again(slots).table.slots[M] == Slot(provisional=bundle(1), tries=1)
    slots.commit(M)
    assert again(slots).table.slots[M] == Slot(committed=bundle(1))
    slots.begin(want(2))
    assert slots.kept() == {bundle(1).digest, bundle(2).digest}
    slots.commit(M)
    assert again(slots).table.slots[M] == Slot(bundle(2), bundle(1))
    slots.begin(want(3))
    slots.commit(M)
    assert slots.kept() == {bundle(2).digest, bundle(3).digest}
    slots.fall_back(M)
    assert again(slots).table.slots[M] == Slot(bundle(2))
    slots.fall_back(M)
    assert again(slots).table.slots[M] == Slot()
    slots.drop(M)
    slots.drop(M)
    assert again(slots).table.slots == {}


def test_tries_are_counted_over_restarts_for_the_same_bundle_and_rollout(slots):
    assert [slots.begin(want(1)), again(slots).begin(want(1))] == [1, 2]
    slots = Slots(slots._path, Disk())
    assert slots.begin(want(1, rollout=2)) == 1
    assert slots.begin(want(2, rollout=2)) == 1
    assert slots.begin(want(2, rollout=2)) == 2
    slots.commit(M)
    assert slots.begin(want(2, rollout=2)) == 1


def test_the_same_bundle_again_keeps_the_previous_one(slots):
    for n in (1, 2):
        slots.begin(want(n))
        slots.commit(M)
    slots.begin(want(2, rollout=5))
    slots.commit(M)
    assert again(slots).table.slots[M] == Slot(bundle(2, 5), bundle(1))


def test_refusals_are_remembered_by_bundle_and_rollout(slots):
    slots.begin(want(1))
    slots.commit(M)
    slots.begin(want(2))
    slots.refuse(want(2), "bad é")
    assert again(slots).table == Table({M: Slot(bundle(1))}, (Refused(M, bundle(2), "bad é"),))
    slots.refuse(want(2), "worse")
    slots.refuse(want(2, rollout=2), "bad")
    assert [r.reason for r in again(slots).table.refused] == ["worse", "bad"]
    slots.refuse(want(9, model=ModelName("never-begun")), "unknown")
    for n in range(3, 3 + MAX_REFUSED):
        slots.refuse(want(n), "x")
    assert len(again(slots).table.refused) == MAX_REFUSED


def test_a_move_that_fails_on_disk_has_not_happened(tmp_path):
    slots = Slots(tmp_path / "slots.json", Disk())
    slots.begin(want(1))
    before = slots.table
    for nth in range(1, 4):
        full = Slots(tmp_path / "slots.json", FaultyDisk(nth))
        with pytest.raises(OSError, match="No space left"):
            full.commit(M)
        assert full.table == before
        assert Slots(tmp_path / "slots.json", Disk()).table == before


GOOD = {"models": {"m": {"committed": {"digest": DIGEST, "version": 1, "rollout": 1}, "previous": None,
                         "provisional": None, "tries": 0}}, "refused": []}  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"{}", b"\xff", b'{"models": {}}', b'{"models": [], "refused": []}',
        json.dumps(GOOD).replace("sha256", "md5").encode(), json.dumps(GOOD).replace('"m"', '"a b"').encode(),
        json.dumps(GOOD).replace('"version": 1', '"version": 0').encode(),
        json.dumps({**GOOD, "refused": [{"model": "m", "bundle": None, "reason": "x"}]}).encode(),
    ],
    ids=range(11),
)  # fmt: skip
def test_a_damaged_file_is_invalid_and_stays_for_people_to_see(tmp_path, data):
    path = tmp_path / "slots.json"
    path.write_bytes(data)
    with pytest.raises(Invalid):
        Slots(path, Disk())
    assert path.read_bytes() == data


def test_a_huge_file_is_refused(tmp_path):
    (tmp_path / "slots.json").write_bytes(b" " * (MAX_SLOTS + 1))
    with pytest.raises(TooLarge):
        Slots(tmp_path / "slots.json", Disk())
    (tmp_path / "slots.json").write_text(json.dumps(GOOD))
    assert Slots(tmp_path / "slots.json", Disk()).table.slots[M].committed == Installed(Digest(DIGEST), 1, 1)


class Moves(RuleBasedStateMachine):
    """Any order of moves: what is committed was begun, is never lost but by falling back, and survives a restart."""

    def __init__(self):
        super().__init__()
        import tempfile
        from pathlib import Path

        self.folder = tempfile.TemporaryDirectory()
        self.slots = Slots(Path(self.folder.name) / "slots.json", Disk())
        self.committed = self.previous = self.begun = None

    @rule(n=st.integers(1, 4), rollout=st.integers(1, 2))
    def begin(self, n, rollout):
        self.slots.begin(want(n, rollout))
        self.begun = bundle(n, rollout)

    @precondition(lambda self: self.begun)
    @rule()
    def commit(self):
        self.slots.commit(M)
        if self.committed is None or self.committed.digest != self.begun.digest:
            self.previous = self.committed
        self.committed, self.begun = self.begun, None

    @precondition(lambda self: self.begun)
    @rule()
    def refuse(self):
        self.slots.refuse(want(self.begun.version, self.begun.rollout), "no")
        self.begun = None

    @precondition(lambda self: self.committed)
    @rule()
    def fall_back(self):
        self.slots.fall_back(M)
        self.committed, self.previous = self.previous, None

    @rule()
    def die(self):
        self.slots = again(self.slots)
        found = self.slots.table.slots.get(M, Slot())
        assert (found.committed, found.previous, found.provisional) == (self.committed, self.previous, self.begun)

    def teardown(self):
        self.folder.cleanup()


Moves.TestCase.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
TestMoves = Moves.TestCase
