"""The audit trail: everything that changes writes one event, in the transaction that changes it.

The words for what may happen stand here, so that a console can explain each. An event is never changed or
deleted. What happens all the time (a check-in, a result) is no event; `notice` tells of those.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from skerry.hub.store import events as rows
from skerry.hub.store.events import EventRow, Notice
from skerry.hub.store.store import Page, Store, Tx

HUB = "hub"  # who did what nobody asked for


class What(Enum):
    """What may happen."""

    ADMIN_TOKEN_MADE = "admin token made"  # noqa: S105 - a word, not a secret
    JOIN_TOKEN_MADE = "join token made"  # noqa: S105
    JOIN_TOKEN_REVOKED = "join token revoked"  # noqa: S105
    NODE_ENROLLED = "node enrolled"
    NODE_MOVED = "node moved"  # to another group
    PUBLISHED = "version published"
    SIGNED = "version signed"  # again: its signatures are others now
    PUBLISH_REFUSED = "version refused"  # its signature or its bytes are not to be believed
    BLOB_REFUSED = "blob refused"  # its bytes are not the ones that were named
    ROLLOUT_STARTED = "rollout started"
    ROLLOUT_JOINED = "rollout joined"  # by a node that came to the group later
    ROLLOUT_ENDED = "rollout ended"
    NODE_CONFIRMED = "node confirmed"  # it serves what the rollout asked for
    NODE_REFUSED = "node refused"  # and goes back to what it was to serve before
    NODE_TAKEN_OVER = "node taken over"  # by a newer rollout, before it had answered
    JOURNAL_GAP = "journal gap"  # entries were lost before they reached the hub
    PICTURE_DROPPED = "picture dropped"  # over the limit; its result was kept


def note(tx: Tx, at: float, who: str, what: What, on: str, **details: Any) -> None:
    """Write one event. `on` names a thing as `kind:name`; details are JSON values and hold no secret."""
    rows.add(tx, at, who, what.value, on, details)


class Events:
    """The trail as people read it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def listed(self, page: Page) -> tuple[EventRow, ...]:
        """Return events: newest first, or oldest first after `page.after`."""
        with self._store.read() as tx:
            return rows.listed(tx, page)

    def notice(self) -> Notice:
        """Return the newest ids of everything; cheap enough to ask every second for each open console."""
        with self._store.read() as tx:
            return rows.notice(tx)
