"""The webhook action: the alarm as JSON by POST, until the receiver takes it.

Calls wait in the journal, so a receiver that is away, or a node that is killed, delays an alarm and never
loses it. A receiver may see one alarm twice (its answer was lost); the alarm's `id` tells.
"""

from __future__ import annotations

import logging
import random

from skerry.core.errors import RequestError, SkerryError
from skerry.core.retry import Backoff
from skerry.link.http import Fetcher, Reply, check
from skerry.node.record.journal import Call, Journal

log = logging.getLogger(__name__)

SECONDS = 5.0  # one call; a receiver does its work afterwards
MAX_REPLY = 64 << 10  # bytes of its answer, which nobody reads
PAUSE = 60.0  # s; the longest that a waiting call sleeps when nothing wakes it


class Webhooks:
    """Calls what the journal says has to be called."""

    def __init__(self, journal: Journal, fetcher: Fetcher) -> None:
        self._journal = journal
        self._fetcher = fetcher
        self._backoff = Backoff()
        self._failures = 0

    @property
    def failing(self) -> bool:
        """Whether a receiver was away at the last tick."""
        return self._failures > 0

    def tick(self) -> float:
        """Call everything that waits; return the seconds after which to look again.

        A receiver that refuses an alarm (4xx) will refuse it again, so that call is dropped and logged; one
        that cannot be reached holds up its own calls only.
        """
        away: set[str] = set()
        calls = self._journal.calls()
        for call in calls:
            if call.url in away:
                continue
            try:
                check(self._post(call), call.url)
            except RequestError as error:
                log.error("webhook: alarm %d dropped: %s", call.seq, error)
            except SkerryError as error:
                log.warning("webhook: %s; it will be called again", error)
                away.add(call.url)
                continue
            self._journal.called(call.seq)
        self._failures = self._failures + 1 if away else 0
        if away:
            return self._backoff.delay(self._failures, random.random())  # noqa: S311 (jitter)
        return 0.0 if calls else PAUSE  # more may wait than one look shows

    def _post(self, call: Call) -> Reply:
        return self._fetcher.request(
            "POST",
            call.url,
            body=call.body.encode(),
            headers={"Content-Type": "application/json"},
            limit=MAX_REPLY,
            seconds=SECONDS,
        )
