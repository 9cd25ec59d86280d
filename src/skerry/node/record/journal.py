"""The journal: results on this node's disk until the hub has acknowledged them. SQLite, one file.

Every entry has a seq, one more than the last, in an epoch that names this very journal: a copied or lost
one is another epoch. A committed write survives a power cut (WAL, synchronous FULL). Webhooks that still
have to be called and the rules' memories are in the same file, so that one commit settles a result with
all that follows from it.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skerry.core.rules import Memory
from skerry.wire.results import Batch, Entry, read_body

SCHEMA = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entry (
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL, picture BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS aside (seq INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS call (seq INTEGER PRIMARY KEY, url TEXT NOT NULL, body TEXT NOT NULL);
"""
BATCH_ENTRIES = 200
BATCH_BYTES = 4 << 20  # bytes of pictures in one upload; a slow link (1 Mbit/s) takes 32 s for it
WAIT_SECONDS = 5.0  # how long one thread waits for another's commit


@dataclass(frozen=True)
class Call:
    """A webhook that has to be called for the alarm `seq`."""

    seq: int
    url: str
    body: str


class Journal:
    """A journal file. Safe to use from several threads."""

    def __init__(self, path: Path, limit: int) -> None:
        """`limit` is the most bytes the file may grow to; over it the journal takes no more (OSError)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._base = sqlite3.connect(path, timeout=WAIT_SECONDS, check_same_thread=False, isolation_level=None)
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = FULL")
        page = self._base.execute("PRAGMA page_size").fetchone()[0]
        self._base.execute(f"PRAGMA max_page_count = {max(limit // page, 64)}")
        self._base.executescript(SCHEMA)
        self._base.execute("INSERT OR IGNORE INTO fact VALUES ('epoch', ?)", (secrets.token_hex(8),))
        self.epoch: str = self._base.execute("SELECT value FROM fact WHERE name = 'epoch'").fetchone()[0]
        # The seq goes on after the last one that was ever given, even if all entries have been acknowledged.
        acked = self._base.execute("SELECT value FROM fact WHERE name = 'acked'").fetchone()
        there = self._base.execute("SELECT max(seq) FROM (SELECT seq FROM entry UNION SELECT seq FROM aside)")
        self._last: int = max(there.fetchone()[0] or 0, int(acked[0]) if acked else 0)

    @property
    def next_seq(self) -> int:
        """The seq that the next entry must have."""
        return self._last + 1

    def write(self, entries: Sequence[Entry], calls: Sequence[Call], memories: Mapping[str, Memory]) -> None:
        """Commit entries, whose seqs go on from `next_seq`, with the calls and memories that follow from them.

        Raises OSError, and nothing is written, if the disk or the limit does not allow it.
        """
        assert [e.seq for e in entries] == list(range(self.next_seq, self.next_seq + len(entries)))
        try:
            self._insert(entries, calls, memories)
        except sqlite3.Error as error:
            raise OSError(f"journal: {error}") from error
        self._last += len(entries)

    def _insert(self, entries: Sequence[Entry], calls: Sequence[Call], memories: Mapping[str, Memory]) -> None:
        with self._lock, self._base:
            self._base.execute("BEGIN IMMEDIATE")
            self._base.executemany(
                "INSERT INTO entry VALUES (?, ?, ?, ?, ?)",
                [(e.seq, e.at, e.kind, json.dumps(e.body.json()), e.picture) for e in entries],
            )
            self._base.executemany("INSERT INTO call VALUES (?, ?, ?)", [(c.seq, c.url, c.body) for c in calls])
            self._base.executemany(
                "INSERT OR REPLACE INTO fact VALUES (?, ?)",
                [(f"rule {name}", json.dumps([m.recent, m.standing])) for name, m in memories.items()],
            )

    def read(self, most: int = BATCH_ENTRIES) -> Batch:
        """Return the oldest entries that are not acknowledged, as many as one upload should carry, at most `most`."""
        entries: list[Entry] = []
        size = 0
        with self._lock:
            rows = self._base.execute("SELECT seq, at, kind, body, picture FROM entry ORDER BY seq LIMIT ?", (most,))
            for seq, at, kind, body, picture in rows:
                size += len(picture) + len(body)
                if entries and size > BATCH_BYTES:
                    break
                entries.append(Entry(seq, at, read_body(kind, json.loads(body)), picture))
            rows.close()
        return Batch(self.epoch, tuple(entries))

    def acknowledge(self, high: int) -> None:
        """Forget the entries up to `high`: the hub has them."""
        with self._lock, self._base:
            self._base.execute("BEGIN IMMEDIATE")
            self._base.execute("DELETE FROM entry WHERE seq <= ?", (high,))
            self._base.execute("INSERT OR REPLACE INTO fact VALUES ('acked', ?)", (str(high),))

    def set_aside(self, seq: int) -> None:
        """Take one entry out of the way of those behind it: the hub refuses it. It stays in the file."""
        with self._lock, self._base:
            self._base.execute("BEGIN IMMEDIATE")
            self._base.execute("INSERT INTO aside SELECT seq, at, kind, body FROM entry WHERE seq = ?", (seq,))
            self._base.execute("DELETE FROM entry WHERE seq = ?", (seq,))

    def backlog(self) -> int:
        """Return how many entries are not acknowledged."""
        with self._lock:
            found: int = self._base.execute("SELECT count(*) FROM entry").fetchone()[0]
            return found

    def memories(self) -> dict[str, Memory]:
        """Return the rules' memories, by the rule's identity."""
        with self._lock:
            rows = self._base.execute("SELECT name, value FROM fact WHERE name LIKE 'rule %'").fetchall()
        found = {name.removeprefix("rule "): json.loads(value) for name, value in rows}
        return {name: Memory(tuple(recent), standing) for name, (recent, standing) in found.items()}

    def calls(self) -> list[Call]:
        """Return the webhooks that have to be called, oldest first."""
        with self._lock:
            return [Call(*row) for row in self._base.execute("SELECT seq, url, body FROM call ORDER BY seq LIMIT 100")]

    def called(self, seq: int) -> None:
        """Forget a webhook that was called."""
        with self._lock, self._base:
            self._base.execute("DELETE FROM call WHERE seq = ?", (seq,))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._base.close()
