"""The journal: results on this node's disk until the hub has acknowledged them. SQLite, one file.

Every entry has a seq, one more than the last, in an epoch. An epoch is one opening of the file, so that a
copy of a journal, or one restored from a snapshot, goes on under a name of its own and the hub can never
take its new entries for old ones. A committed write survives a power cut (WAL, synchronous FULL). Webhooks
that still have to be called and the rules' memories are in the same file: one commit settles a result with
all that follows from it. When the file is full the oldest pictures give way to new results.
"""

from __future__ import annotations

import json
import logging
import secrets
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skerry.core.errors import Invalid
from skerry.core.rules import Memory
from skerry.wire.results import Batch, Entry, read_body

log = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS epoch (first INTEGER NOT NULL, name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entry (
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL, picture BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS aside (seq INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS call (seq INTEGER PRIMARY KEY, url TEXT NOT NULL, body TEXT NOT NULL);
"""
BATCH_ENTRIES = 200
BATCH_BYTES = 4 << 20  # bytes of pictures in one upload; a slow link (1 Mbit/s) takes 32 s for it
CALLS = 100  # webhooks of one receiver read at once; one that is away must not hide the others' calls
SHED = 50  # pictures that give way at once when the file is full; the fewer, the more commits it takes
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
        """`limit` is the most bytes the file may grow to, its write-ahead log (some MB) not counted.

        Full of results without pictures, the journal takes no more (OSError).
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._base = sqlite3.connect(path, timeout=WAIT_SECONDS, check_same_thread=False, isolation_level=None)
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = FULL")
        page = self._base.execute("PRAGMA page_size").fetchone()[0]
        self._base.execute(f"PRAGMA max_page_count = {max(limit // page, 64)}")
        self._base.executescript(SCHEMA)
        # The seq goes on after the last one that was ever given, even if all entries have been acknowledged.
        acked = self._base.execute("SELECT value FROM fact WHERE name = 'acked'").fetchone()
        there = self._base.execute("SELECT max(seq) FROM (SELECT seq FROM entry UNION SELECT seq FROM aside)")
        self._last: int = max(there.fetchone()[0] or 0, int(acked[0]) if acked else 0)
        self._held: list[Call] = []
        self._called: set[int] = set()
        self._holds = 0
        self.epoch = secrets.token_hex(8)
        self._first = self.next_seq  # of this epoch

    @property
    def next_seq(self) -> int:
        """The seq that the next entry must have."""
        return self._last + 1

    def write(self, entries: Sequence[Entry], calls: Sequence[Call], memories: Mapping[str, Memory]) -> None:
        """Commit entries, whose seqs go on from `next_seq`, with the calls and memories that follow from them.

        Raises OSError, and nothing is written, if the disk or the limit does not allow it.
        """
        assert [e.seq for e in entries] == list(range(self.next_seq, self.next_seq + len(entries)))
        while True:
            try:
                self._insert(entries, calls, memories)
                break
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_FULL or not self._shed():
                    raise OSError(f"journal: {error}") from error
        self._last += len(entries)

    def _shed(self) -> int:
        """Let the oldest pictures go, so that results can be kept; return how many went."""
        try:
            with self._lock, self._base:
                gone = self._base.execute(
                    "UPDATE entry SET picture = x'' WHERE seq IN "
                    "(SELECT seq FROM entry WHERE length(picture) > 0 ORDER BY seq LIMIT ?)",
                    (SHED,),
                ).rowcount
        except sqlite3.Error:  # not even room to make room
            return 0
        log.warning("journal: full; %d of the oldest pictures gave way", gone)
        return gone

    def _insert(self, entries: Sequence[Entry], calls: Sequence[Call], memories: Mapping[str, Memory]) -> None:
        with self._lock, self._base:
            self._base.execute("BEGIN IMMEDIATE")
            self._base.execute("INSERT OR IGNORE INTO epoch VALUES (?, ?)", (self._first, self.epoch))
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
        size = spoilt = 0
        with self._lock:
            epoch, end = self._oldest_epoch()
            rows = self._base.execute(
                "SELECT seq, at, kind, body, picture FROM entry WHERE seq < ? ORDER BY seq LIMIT ?", (end, most)
            )
            for seq, at, kind, body, picture in rows:
                size += len(picture) + len(body)
                if entries and size > BATCH_BYTES:
                    break
                try:
                    entries.append(Entry(seq, at, read_body(kind, json.loads(body)), picture))
                except (Invalid, ValueError) as error:
                    spoilt = seq
                    log.error("journal: entry %d cannot be read and is set aside: %s", seq, error)
                    break
            rows.close()
        if spoilt and not entries:
            self.set_aside(spoilt)
            return self.read(most)
        return Batch(epoch, tuple(entries))

    def _oldest_epoch(self) -> tuple[str, int]:
        """Return the epoch of the oldest entry, and the seq at which the next epoch begins."""
        oldest = self._base.execute("SELECT min(seq) FROM entry").fetchone()[0]
        if oldest is None:
            return self.epoch, self.next_seq
        name, first = self._base.execute(
            "SELECT name, first FROM epoch WHERE first <= ? ORDER BY first DESC LIMIT 1", (oldest,)
        ).fetchone()
        after = self._base.execute("SELECT min(first) FROM epoch WHERE first > ?", (first,)).fetchone()[0]
        return name, after or self.next_seq

    def acknowledge(self, high: int) -> None:
        """Forget the entries up to `high`: the hub has them."""
        with self._lock, self._base:
            self._base.execute("BEGIN IMMEDIATE")
            self._base.execute("DELETE FROM entry WHERE seq <= ?", (high,))
            self._base.execute(
                "DELETE FROM epoch WHERE first < (SELECT max(first) FROM epoch WHERE first <= ?)", (high,)
            )
            self._base.execute("INSERT OR REPLACE INTO fact VALUES ('acked', ?)", (str(high),))

    def strip(self, seq: int) -> None:
        """Let one entry's picture go."""
        with self._lock, self._base:
            self._base.execute("UPDATE entry SET picture = x'' WHERE seq = ?", (seq,))

    def set_aside(self, seq: int) -> None:
        """Take one entry out of the way of those behind it: the hub refuses it. It stays in the file."""
        with self._lock, self._base:
            self._base.execute("BEGIN IMMEDIATE")
            row = self._base.execute("SELECT seq, at, kind, body FROM entry WHERE seq = ?", (seq,)).fetchone()
            self._base.execute("DELETE FROM entry WHERE seq = ?", (seq,))  # first: a full file has room only after it
            self._base.execute("INSERT INTO aside VALUES (?, ?, ?, ?)", row)

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
        """Return the webhooks that have to be called, oldest first, at most CALLS of one receiver; held ones last."""
        with self._lock:
            rows = self._base.execute(
                "SELECT seq, url, body FROM (SELECT *, row_number() OVER (PARTITION BY url ORDER BY seq) AS place "
                "FROM call) WHERE place <= ? ORDER BY seq",
                (CALLS,),
            )
            return [*(Call(*row) for row in rows if row[0] not in self._called), *self._held]

    def hold(self, calls: Sequence[Call]) -> None:
        """Remember webhooks in memory alone: an alarm must be raised even when the disk takes nothing more."""
        with self._lock:
            for call in calls[: CALLS - len(self._held)]:
                self._holds += 1  # never used twice, or one call made would forget another
                self._held.append(Call(-self._holds, call.url, call.body))

    def called(self, seq: int) -> None:
        """Forget a webhook that was called."""
        with self._lock:
            self._held = [call for call in self._held if call.seq != seq]
            self._called.add(seq)  # first: on a full disk it must not be called again and again
        with self._lock, self._base:
            self._base.execute("DELETE FROM call WHERE seq = ?", (seq,))
            self._called.discard(seq)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._base.close()
