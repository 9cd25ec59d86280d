"""The uplink: the journal's entries to the hub, in order, until each is acknowledged.

Sending again is always safe: the hub knows an entry by (node, epoch, seq) and takes each once.
"""

from __future__ import annotations

import logging
import random

from skerry.core.errors import Invalid, SkerryError, TooLarge, wish
from skerry.core.retry import Backoff
from skerry.node.hub import Hub
from skerry.node.record.journal import Journal
from skerry.wire.results import Batch

log = logging.getLogger(__name__)

PAUSE = 30.0  # s; the longest sleep with nothing to send


class Uplink:
    """Sends what the journal holds."""

    def __init__(self, journal: Journal, hub: Hub) -> None:
        self._journal = journal
        self._hub = hub
        self._backoff = Backoff()
        self._failures = 0
        self._one_by_one = False

    @property
    def failing(self) -> bool:
        """Whether the last upload failed."""
        return self._failures > 0

    def tick(self) -> float:
        """Send one batch; return the seconds after which to tick again (0 while there is more)."""
        batch = self._journal.read(1) if self._one_by_one else self._journal.read()
        if not batch.entries:
            self._one_by_one = False
            return PAUSE
        try:
            ack = self._hub.upload(batch)
        except (Invalid, TooLarge) as error:
            return self._refused(batch, error)
        except SkerryError as error:
            self._failures += 1
            if self._failures == 1:  # once, not at every try: the hub may be away for days
                log.warning("uplink: %s; results stay in the journal until the hub takes them", error)
            return self._backoff.delay(self._failures, random.random(), wish(error))  # noqa: S311 (jitter)
        if self._failures:
            log.warning("uplink: the hub takes results again after %d tries", self._failures)
        self._failures = 0
        # Never beyond what was sent: after a restore the hub's mark may cover numbers of other entries here.
        self._journal.acknowledge(min(ack.high, batch.entries[-1].seq))
        return 0.0

    def _refused(self, batch: Batch, error: SkerryError) -> float:
        """The hub will never take this batch: find the entry that is at fault, and let the others pass it."""
        if len(batch.entries) == 1 and isinstance(error, TooLarge) and batch.entries[0].picture:
            log.error("uplink: entry %d goes without its picture: %s", batch.entries[0].seq, error)
            self._journal.strip(batch.entries[0].seq)
        elif len(batch.entries) == 1:
            log.error("uplink: the hub refuses entry %d, which is set aside: %s", batch.entries[0].seq, error)
            self._journal.set_aside(batch.entries[0].seq)
        self._one_by_one = len(batch.entries) > 1 or isinstance(error, TooLarge)
        return 0.0
