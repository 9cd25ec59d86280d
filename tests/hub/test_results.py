"""Each entry of a journal is stored exactly once, whatever the node sends, and how often."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.errors import Invalid, NotFound
from skerry.core.finding import Finding
from skerry.core.manifest import digest_of
from skerry.core.names import ModelName, NodeName
from skerry.host.files import FaultyDisk
from skerry.hub.app import build
from skerry.hub.results import defective
from skerry.hub.store.results import Which
from skerry.hub.store.store import Page
from skerry.wire.results import Ack, Batch, Entry, Result
from tests.hub.world import BOARDS, PICTURE, World, alarm, result

ALL = Page(limit=1000, after=0)


def stored(world: World, node: NodeName) -> Counter[tuple[str, int]]:
    """Return how often each entry of a node is stored."""
    rows = [*world.rooms.results.listed(Which(node), ALL), *world.rooms.results.alarms(Which(node), ALL)]
    return Counter((row.epoch, row.seq) for row in rows)


def entry(seq: int) -> Entry:
    """Return a journal entry: every third is an alarm, every second result has a picture."""
    return alarm(seq, seq - 1) if seq % 3 == 0 else result(seq, picture=PICTURE * (seq % 2))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return one hub for all examples; each has a node of its own."""
    world = World(tmp_path_factory.mktemp("hub"))
    yield world
    world.close()


_numbers = itertools.count()
sends = st.tuples(st.sampled_from(["e1", "e2"]), st.integers(0, 30), st.integers(0, 12))


@settings(max_examples=60)
@given(written=st.integers(0, 25), script=st.lists(sends, max_size=20))
def test_whatever_is_sent_again_each_entry_is_there_once(
    shared: World, written: int, script: list[tuple[str, int, int]]
) -> None:
    node = shared.enrol(f"n{next(_numbers)}")
    acked = {"e1": 0, "e2": 0}
    for epoch, start, count in script:  # a piece from anywhere up to one beyond the mark: repeat, overlap, split
        first = min(start, acked[epoch]) + 1
        seqs = range(first, min(first + count, written + 1))
        ack = shared.rooms.results.take(node, Batch(epoch, tuple(map(entry, seqs))))
        assert ack == Ack(epoch, max([acked[epoch], *seqs]))
        acked[epoch] = ack.high
    for epoch in acked:  # and then all of it, as after a lost acknowledgement
        ack = shared.rooms.results.take(node, Batch(epoch, tuple(map(entry, range(1, written + 1)))))
        assert ack.high == written
    assert stored(shared, node) == Counter((epoch, seq) for epoch in acked for seq in range(1, written + 1))


def test_the_same_batch_at_the_same_time_is_stored_once(world: World) -> None:
    node = world.enrol("dock-1")
    batches = [Batch("e", tuple(map(entry, range(start, 21)))) for start in (1, 1, 1, 1, 5, 9)]
    with ThreadPoolExecutor(len(batches)) as pool:
        first = world.rooms.results.take(node, Batch("e", tuple(map(entry, range(1, 9)))))
        acks = list(pool.map(lambda batch: world.rooms.results.take(node, batch), batches))
    assert (first.high, {ack.high for ack in acks}) == (8, {20})
    assert stored(world, node) == Counter(("e", seq) for seq in range(1, 21))


def test_two_nodes_may_use_the_same_epoch(world: World) -> None:
    nodes = world.enrol("a"), world.enrol("b")
    for node in nodes:
        assert world.rooms.results.take(node, Batch("e", (result(1),))).high == 1
    assert [stored(world, node) for node in nodes] == [Counter({("e", 1): 1})] * 2


def test_a_gap_is_taken_and_told(world: World) -> None:
    node = world.enrol("dock-1")
    world.rooms.results.take(node, Batch("e", (result(1),)))
    assert world.rooms.results.take(node, Batch("e", (result(5), result(6)))).high == 6
    (event,) = [e for e in world.trail() if e.what == "journal gap"]
    assert (event.who, event.on, event.details) == ("node:dock-1", "journal:dock-1/e", {"first": 2, "last": 4})
    assert world.rooms.results.take(node, Batch("e", (result(3),))).high == 6  # too late
    assert stored(world, node) == Counter([("e", 1), ("e", 5), ("e", 6)])


def test_nothing_new_is_acknowledged_with_the_mark(world: World) -> None:
    node = world.enrol("dock-1")
    assert world.rooms.results.take(node, Batch("e", ())) == Ack("e", 0)
    world.rooms.results.take(node, Batch("e", (result(1), result(2))))
    assert world.rooms.results.take(node, Batch("e", ())) == Ack("e", 2)


@pytest.mark.parametrize("epoch", ["", "\x00", "é", "\ud800", "a\nb"])
def test_an_epoch_is_plain(world: World, epoch: str) -> None:
    with pytest.raises(Invalid, match="epoch"):
        world.rooms.results.take(world.enrol("dock-1"), Batch(epoch, (result(1),)))


def test_all_of_a_result_comes_back(world: World) -> None:
    node = world.enrol("dock-1")
    world.clock.time += 60.0
    sent = result(1, picture=PICTURE)
    world.rooms.results.take(node, Batch("e", (sent,)))
    (row,) = world.rooms.results.listed(Which(), Page())
    assert (row.node, row.epoch, row.seq, row.at, row.received) == (node, "e", 1, sent.at, world.clock.time)
    assert (
        Result(row.model, row.version, row.digest, row.source, row.findings, row.width, row.height, row.millis)
        == sent.body
    )
    assert row.picture == digest_of(PICTURE)
    assert world.rooms.blobs.read(row.picture) == PICTURE
    assert world.rooms.results.find(row.id) == row
    with pytest.raises(NotFound):
        world.rooms.results.find(row.id + 1)


def test_an_alarm_knows_its_result_and_its_picture(world: World) -> None:
    node = world.enrol("dock-1")
    world.rooms.results.take(node, Batch("e", (result(1, picture=PICTURE), alarm(2, of=1), alarm(3, of=99))))
    known, orphan = world.rooms.results.alarms(Which(), ALL)
    (row,) = world.rooms.results.listed(Which(), ALL)
    assert (known.result_id, known.picture, known.rule, known.text) == (row.id, row.picture, "cracks", "2 of 3")
    assert (orphan.result_id, orphan.picture) == (None, None)


def test_a_picture_over_the_limit_is_dropped_and_told(make_world: Callable[..., World]) -> None:
    world = make_world(max_picture=8)
    node = world.enrol("dock-1")
    assert (
        world.rooms.results.take(node, Batch("e", (result(1, picture=PICTURE), result(2, picture=b"x" * 9)))).high == 2
    )
    assert [row.picture is None for row in world.rooms.results.listed(Which(), ALL)] == [False, True]
    assert world.trail()[-1].details == {"seq": [2], "limit": 8}


def test_text_that_no_database_takes_does_not_hold_up_a_journal(world: World) -> None:
    node = world.enrol("dock-1")
    assert world.rooms.results.take(node, Batch("e", (result(1, "cr\ud800ck", source="a\x00\udfff"),))).high == 1
    (row,) = world.rooms.results.listed(Which(), ALL)
    assert (row.source, row.findings[0].label) == ("a??", "cr?ck")


@pytest.mark.parametrize("nth", range(1, 9))
def test_a_full_disk_loses_nothing(make_world: Callable[..., World], nth: int) -> None:
    world = make_world()
    node = world.enrol("dock-1")
    faulty = build(world.settings, world.clock, FaultyDisk(nth))
    batch = Batch("e", tuple(map(entry, range(1, 6))))
    try:
        assert faulty.rooms.results.take(node, batch).high == 5  # nothing was left to do for the disk
    except OSError:
        assert stored(world, node) == Counter()
    faulty.close()
    assert world.rooms.results.take(node, batch).high == 5
    assert stored(world, node) == Counter(("e", seq) for seq in range(1, 6))


def test_lists_are_cut_by_id_and_filtered(world: World) -> None:
    a, b = world.enrol("a"), world.enrol("b")
    world.rooms.results.take(a, Batch("e", tuple(result(n, "crack" if n % 2 else None) for n in range(1, 7))))
    axle = result(1)
    world.rooms.results.take(b, Batch("e", (replace(axle, body=replace(axle.body, model=ModelName("axles"))),)))
    listed = world.rooms.results.listed

    def ids(which: Which, page: Page) -> list[int]:
        return [row.id for row in listed(which, page)]

    assert ids(Which(), Page()) == [7, 6, 5, 4, 3, 2, 1]
    assert ids(Which(), Page(limit=2)) == [7, 6]
    assert ids(Which(), Page(limit=2, before=6)) == [5, 4]
    assert ids(Which(), Page(limit=2, after=3)) == [4, 5]
    assert ids(Which(), Page(after=3, before=6)) == [4, 5]
    assert ids(Which(node=b), Page()) == ids(Which(model=ModelName("axles")), Page()) == [7]
    assert ids(Which(node=a, defective=False), Page()) == [6, 4, 2]
    assert ids(Which(model=BOARDS, defective=True), Page()) == [5, 3, 1]


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ((), False),
        ((Finding("crack", 0.9, 0, (0, 0, 1, 1)),), True),
        ((Finding("good", 0.9, 0, (0, 0, 1, 1)),), True),  # a box is a find, whatever it is called
        ((Finding("Good", 0.9), Finding("crack", 0.1)), False),
        ((Finding("crack", 0.9), Finding("good", 0.1)), True),
    ],
)
def test_what_counts_as_defective(findings: tuple[Finding, ...], expected: bool) -> None:
    body = result(1).body
    assert isinstance(body, Result)
    assert defective(replace(body, findings=findings)) is expected


def test_the_notice_moves_with_each_kind(world: World, tmp_path: Path) -> None:
    node = world.enrol("dock-1")
    first = world.rooms.events.notice()
    world.rooms.results.take(node, Batch("e", (result(1), alarm(2, of=1))))
    second = world.rooms.events.notice()
    assert (first.result, first.alarm, second.result, second.alarm) == (0, 0, 1, 1)
    assert (first.event, first.seen) == (second.event, second.seen)
