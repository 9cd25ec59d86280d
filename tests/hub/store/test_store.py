"""Transactions: durable, all or nothing, one writer at a time, and clear when the database cannot answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from skerry.core.errors import NotReady
from skerry.hub.store import people
from skerry.hub.store.store import Store, sqlite


@pytest.fixture
def store(tmp_path: Path):
    found = Store(sqlite(tmp_path / "hub.db"))
    yield found
    found.close()


def test_the_disk_is_asked_to_keep_each_commit(store: Store) -> None:
    with store.read() as tx:
        found = [
            tx.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert found == ["wal", 2, 1]  # 2 is FULL


def test_a_block_that_raises_changes_nothing(store: Store) -> None:
    def fail() -> None:
        with store.write() as tx:
            people.put(tx, "ann", "admin", "hash", 1.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.read() as tx:
        assert people.count(tx) == 0


def test_a_reader_sees_one_state_while_a_writer_writes(store: Store) -> None:
    with store.read() as before:
        assert people.count(before) == 0
        with store.write() as tx:
            people.put(tx, "ann", "admin", "hash", 1.0)
        assert people.count(before) == 0
    with store.read() as after:
        assert people.count(after) == 1


@pytest.mark.parametrize("processes", [1, 2])
def test_writers_take_turns(tmp_path: Path, processes: int) -> None:
    stores = [Store(sqlite(tmp_path / "hub.db")) for _ in range(processes)]  # each as in a process of its own

    def add(number: int) -> None:
        with stores[number % processes].write() as tx:
            count = people.count(tx)  # read, then write: would be refused half-way without BEGIN IMMEDIATE
            people.put(tx, f"p{number}", str(count), f"p{number}", 1.0)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(add, range(64)))
    with stores[0].read() as tx:
        roles = {people.by_token(tx, f"p{number}").role for number in range(64)}  # type: ignore[union-attr]
    assert roles == {str(number) for number in range(64)}
    for one in stores:
        one.close()


def test_a_full_disk_is_not_ready(store: Store) -> None:
    def fill() -> None:
        with store.write() as tx:
            tx.exec_driver_sql("PRAGMA max_page_count = 1")
            for n in range(2000):
                people.put(tx, f"person-{n}", "x" * 32, f"{n}" * 8, 1.0)

    with pytest.raises(NotReady, match="full") as caught:
        fill()
    assert caught.value.after > 0


def test_a_file_left_by_a_killed_hub_is_played_back(tmp_path: Path, store: Store) -> None:
    with store.write() as tx:
        people.put(tx, "ann", "admin", "hash", 1.0)
    copy = tmp_path / "copy"  # what a SIGKILL leaves: the file, and a -wal that was never folded into it
    copy.mkdir()
    for name in ("hub.db", "hub.db-wal"):
        (copy / name).write_bytes((tmp_path / name).read_bytes())
    assert (copy / "hub.db-wal").stat().st_size > 0
    again = Store(sqlite(copy / "hub.db"))
    with again.read() as tx:
        assert people.count(tx) == 1
    again.close()
