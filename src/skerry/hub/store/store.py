"""The database as the hub sees it: one write transaction at a time, any number of reads, all or nothing.

SQLite in WAL mode with synchronous=FULL: what was committed survives a power cut, which is what an
acknowledgement to a node means. A -wal file left by a killed hub is played back when the file is opened.
No statement stands here; they are in this folder's files named after what they are about.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Column, Connection, Engine, Select, create_engine, event
from sqlalchemy.exc import OperationalError

from skerry.core.errors import Conflict, NotReady

Tx = Connection  # what a statement needs, and what the rest of the hub passes on without looking inside

BUSY_SECONDS = 10.0  # how long SQLite waits for another process; ours queue on a lock, so this is a backup at work
CONNECTIONS = 40  # as many as the web framework has threads (anyio's default), so that none waits for another
MAX_PAGE = 1000  # rows of one list; a result row is about 1 KB as JSON
MIGRATIONS = Path(__file__).parent / "migrations"
# SQLite's primary result codes that pass: BUSY, LOCKED, IOERR, FULL (sqlite.org/rescode.html)
PASSING = frozenset({5, 6, 10, 13})


@dataclass(frozen=True)
class Page:
    """A part of a list: newest first, or, with `after`, oldest first, so that a follower misses nothing."""

    limit: int = 100
    before: int | None = None
    after: int | None = None

    def of(self, query: Select[Any], column: Column[Any]) -> Select[Any]:
        """Return the query cut to this page by its id."""
        if self.before is not None:
            query = query.where(column < self.before)
        if self.after is not None:
            query = query.where(column > self.after)
        order = column.desc() if self.after is None else column.asc()
        return query.order_by(order).limit(min(self.limit, MAX_PAGE))


class Store:
    """The hub's database, brought up to date when it is opened."""

    def __init__(self, url: str) -> None:
        self._read = create_engine(url, pool_size=CONNECTIONS, max_overflow=0)
        if self._read.dialect.name == "sqlite":
            event.listen(self._read, "connect", _prepare)
            event.listen(self._read, "begin", _begin)
        self._write = self._read.execution_options(skerry_write=True)  # the same pool
        self._turn = threading.Lock()  # SQLite has one writer; a queue here is fair, its busy loop is not
        migrate(self._write)

    @contextlib.contextmanager
    def write(self) -> Iterator[Tx]:
        """Open a transaction that may change things; it is kept when the block ends, undone if it raises."""
        with self._turn, _passing(), self._write.begin() as tx:
            yield tx

    @contextlib.contextmanager
    def read(self) -> Iterator[Tx]:
        """Open a transaction that sees one state of everything; it must change nothing."""
        with _passing(), self._read.begin() as tx:
            yield tx

    def close(self) -> None:
        """Let go of the file."""
        self._read.dispose()


def sqlite(path: Path) -> str:
    """Return the URL of a database file."""
    return f"sqlite:///{path.absolute()}"


def migrate(engine: Engine) -> None:
    """Bring the tables up to date, in one transaction; nothing happens if they are."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise Conflict(f"the hub's database was written by a newer Skerry: {error}") from None


def _prepare(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # sqlite3 must not open transactions by itself; `_begin` does
    for pragma in (
        f"busy_timeout = {int(BUSY_SECONDS * 1000)}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # IMMEDIATE takes the write lock first: a transaction that reads and then writes can then never be
    # refused half-way because another one wrote in between.
    write = connection.get_execution_options().get("skerry_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextlib.contextmanager
def _passing() -> Iterator[None]:
    """Turn a database that is busy, full or unreadable right now into NotReady; a node then keeps its journal."""
    try:
        yield
    except OperationalError as error:
        if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in PASSING:
            raise NotReady(f"the hub's database cannot answer: {error.orig}", after=5.0) from error
        raise
