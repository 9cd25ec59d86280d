"""Statements about the audit trail and the change notice. Events are added and read, never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select

from skerry.hub.store.schema import alarms, events, nodes, results
from skerry.hub.store.store import Page, Tx


@dataclass(frozen=True)
class EventRow:
    """One thing that changed: who did what, on what, when (Unix seconds)."""

    id: int
    at: float
    who: str
    what: str
    on: str
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Notice:
    """The newest of everything; when it is as it was, nothing has changed."""

    result: int
    alarm: int
    event: int
    seen: float  # Unix seconds of the newest check-in


def add(tx: Tx, at: float, who: str, what: str, on: str, details: Mapping[str, Any]) -> None:
    """Write one event."""
    text = json.dumps(dict(details))
    tx.execute(insert(events).values(at=at, who=who, what=what, subject=on, details=text))


def listed(tx: Tx, page: Page) -> tuple[EventRow, ...]:
    """Return events."""
    rows = tx.execute(page.of(select(events), events.c.id))
    return tuple(EventRow(r.id, r.at, r.who, r.what, r.subject, json.loads(r.details)) for r in rows)


def notice(tx: Tx) -> Notice:
    """Return the newest ids: four look-ups at the end of an index."""
    newest = (results.c.id, alarms.c.id, events.c.id, nodes.c.last_seen)
    result, alarm, event, seen = tx.execute(select(*(select(func.max(c)).scalar_subquery() for c in newest))).one()
    return Notice(result or 0, alarm or 0, event or 0, seen or 0.0)
