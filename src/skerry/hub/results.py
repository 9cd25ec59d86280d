"""Results come home: each entry of a journal is stored exactly once, however often and in whatever pieces it is sent.

Step 1: the pictures are put as blobs, which is free to repeat. Step 2: in one transaction, the entries above the
journal's high-water mark are added and the mark is moved. A hub killed between the two keeps some pictures that
nobody names; killed after them, it has everything. The node sends again until it reads the mark.
"""

from __future__ import annotations

from dataclasses import replace

from skerry.core.errors import Invalid, NotFound
from skerry.core.finding import Finding
from skerry.core.names import Digest, NodeName, shown
from skerry.host.blobs import Blobs
from skerry.host.clock import Clock
from skerry.hub.events import What, note
from skerry.hub.store import fleet
from skerry.hub.store import results as rows
from skerry.hub.store.results import AlarmRow, Counts, ResultRow, Which
from skerry.hub.store.store import Page, Store
from skerry.wire.results import Ack, Alarm, Batch, Entry, Result

# Labels by which classifiers say that nothing is wrong; "good" is what the public inspection sets call it. A
# detector needs none: what it finds are the defects.
GOOD = frozenset({"good", "ok", "normal", "pass"})


class Results:
    """Takes batches, lists what is in them."""

    def __init__(self, store: Store, blobs: Blobs, clock: Clock, max_picture: int) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._max_picture = max_picture  # bytes

    def take(self, node: NodeName, batch: Batch) -> Ack:
        """Store what is new in a batch; return up to where the journal is stored now.

        A batch that begins beyond the mark is taken, and the gap is an event: the node has lost those entries, and
        would never come further if the hub insisted on them. A picture over the limit is dropped, its result kept.
        """
        if not batch.epoch.isascii() or not batch.epoch.isprintable() or not batch.epoch:
            raise Invalid(f"batch.epoch: expected printable ASCII; got {shown(batch.epoch)}")
        with self._store.read() as tx:  # most repeats end here, before any picture is written
            mark = rows.high(tx, node, batch.epoch)
        pictures = {e.seq: self._put(e) for e in batch.entries if e.seq > mark and e.picture}
        on = f"journal:{node}/{batch.epoch}"
        with self._store.write() as tx:
            fleet.hold(tx, node)
            now = self._clock.now()  # inside the transaction, so that times grow as ids do
            mark = rows.high(tx, node, batch.epoch)
            fresh = [e for e in batch.entries if e.seq > mark]
            if not fresh:
                return Ack(batch.epoch, mark)
            if mark and fresh[0].seq > mark + 1:  # a new epoch begins where its journal stands
                note(tx, now, f"node:{node}", What.JOURNAL_GAP, on, first=mark + 1, last=fresh[0].seq - 1)
            dropped = [e.seq for e in fresh if e.picture and pictures[e.seq] is None]
            if dropped:
                note(tx, now, f"node:{node}", What.PICTURE_DROPPED, on, seq=dropped, limit=self._max_picture)
            kept = [_row(node, batch.epoch, e, now, pictures.get(e.seq)) for e in fresh]
            rows.add(tx, [r for r in kept if isinstance(r, ResultRow)], [r for r in kept if isinstance(r, AlarmRow)])
            rows.set_high(tx, node, batch.epoch, fresh[-1].seq)
        return Ack(batch.epoch, fresh[-1].seq)

    def listed(self, which: Which, page: Page) -> tuple[ResultRow, ...]:
        """Return results: newest first, or oldest first after `page.after`."""
        with self._store.read() as tx:
            return rows.listed(tx, which, page)

    def find(self, number: int) -> ResultRow:
        """Return one result; raise NotFound if there is none."""
        with self._store.read() as tx:
            found = rows.find(tx, number)
        if found is None:
            raise NotFound(f"result {number}: there is none")
        return found

    def alarms(self, which: Which, page: Page) -> tuple[AlarmRow, ...]:
        """Return alarms (`which.defective` is not looked at): newest first, or oldest first after `page.after`."""
        with self._store.read() as tx:
            return rows.alarms_listed(tx, replace(which, defective=None), page)

    def since(self, at: float) -> Counts:
        """Return how many results and alarms the hub received since a time (Unix seconds)."""
        with self._store.read() as tx:
            return rows.count_since(tx, at)

    def _put(self, entry: Entry) -> Digest | None:
        return self._blobs.put(entry.picture) if len(entry.picture) <= self._max_picture else None


def defective(result: Result) -> bool:
    """Whether a result says that something is wrong: an object was found, or the best class is not a good one."""
    boxes = any(finding.box is not None for finding in result.findings)
    return boxes or any(finding.label.lower() not in GOOD for finding in result.findings[:1])


def _row(node: NodeName, epoch: str, entry: Entry, now: float, picture: Digest | None) -> ResultRow | AlarmRow:
    body = entry.body
    if isinstance(body, Alarm):
        return AlarmRow(
            id=0,
            node=node,
            epoch=epoch,
            seq=entry.seq,
            at=entry.at,
            received=now,
            rule=_storable(body.rule),
            model=body.model,
            result=body.result,
            text=_storable(body.text),
            picture=picture,
        )
    return ResultRow(
        id=0,
        node=node,
        epoch=epoch,
        seq=entry.seq,
        at=entry.at,
        received=now,
        model=body.model,
        version=body.version,
        digest=body.digest,
        source=_storable(body.source),
        defective=defective(body),
        findings=tuple(_finding(f) for f in body.findings),
        width=body.width,
        height=body.height,
        millis=body.millis,
        picture=picture,
    )


def _finding(found: Finding) -> Finding:
    return replace(found, label=_storable(found.label))


def _storable(text: str) -> str:
    """Return text that any database takes: half of a surrogate pair and NUL become "?".

    A device may send such a file name; refusing it would hold up the node's whole journal for ever.
    """
    return text.encode("utf-8", "replace").decode().replace("\x00", "?")
