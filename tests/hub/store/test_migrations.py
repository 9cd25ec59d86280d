"""The migrations give exactly the tables of schema.py, once."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from skerry.core.errors import Conflict
from skerry.hub.store.schema import METADATA
from skerry.hub.store.store import Store, sqlite


def _dump(path: Path) -> list[str]:
    with sqlite3.connect(path) as plain:
        found = list(plain.iterdump())
    plain.close()
    return found


def test_migrations_and_schema_agree(tmp_path: Path) -> None:
    store = Store(sqlite(tmp_path / "hub.db"))
    with store.read() as tx:
        assert compare_metadata(MigrationContext.configure(tx), METADATA) == []
    store.close()


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "hub 100%.db"
    Store(sqlite(path)).close()
    first = _dump(path)
    Store(sqlite(path)).close()
    assert _dump(path) == first


def test_a_newer_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    Store(sqlite(path)).close()
    with sqlite3.connect(path) as plain:
        plain.execute("UPDATE alembic_version SET version_num = '9999'")
    plain.close()
    with pytest.raises(Conflict, match="newer Skerry"):
        Store(sqlite(path))


def test_ids_are_never_used_twice(tmp_path: Path) -> None:
    Store(sqlite(tmp_path / "hub.db")).close()
    made = "".join(_dump(tmp_path / "hub.db"))
    counted = [table.name for table in METADATA.tables.values() if "id" in table.c]
    assert made.count("AUTOINCREMENT") == len(counted) == 6
