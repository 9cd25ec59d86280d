"""The webhook action: the alarm as JSON by POST, until the receiver takes it.

Calls wait in the journal, so a receiver that is away, or a node that is killed, delays an alarm and does not
lose it; only what a full disk refused waits in memory alone. A receiver may see one alarm twice (its answer
was lost); the alarm's `id` tells.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from urllib.parse import urlsplit

from skerry.core.errors import RequestError, SkerryError
from skerry.core.retry import Backoff
from skerry.host.clock import Clock
from skerry.link.http import Fetcher, Reply, check
from skerry.node.record.journal import Call, Journal

log = logging.getLogger(__name__)

SECONDS = 5.0  # one call; a receiver does its work afterwards
MAX_REPLY = 64 << 10  # bytes of its answer, which nobody reads
PAUSE = 60.0  # s; the longest that a waiting call sleeps when nothing wakes it


@dataclass(frozen=True)
class Away:
    """A receiver that did not answer: how often in a row, and until when it is left alone (monotonic seconds)."""

    failures: int
    until: float


class Webhooks:
    """Calls what the journal says has to be called."""

    def __init__(self, journal: Journal, fetcher: Fetcher, clock: Clock) -> None:
        self._journal = journal
        self._fetcher = fetcher
        self._clock = clock
        self._backoff = Backoff()
        self._away: dict[str, Away] = {}

    def tick(self) -> float:
        """Call everything that waits; return the seconds after which to look again.

        A receiver that refuses an alarm (4xx) will refuse it again, so that call is dropped and logged; one
        that cannot be reached holds up its own calls only.
        """
        calls = self._journal.calls()
        for call in calls:
            if call.url in self._away and self._clock.monotonic() < self._away[call.url].until:
                continue
            try:
                check(self._post(call), call.url)
            except RequestError as error:
                log.error("webhook: alarm %d dropped: %s", call.seq, _hidden(error, call.url))
            except SkerryError as error:
                log.warning("webhook: %s; it will be called again", _hidden(error, call.url))
                self._put_off(call.url)
                continue
            self._away.pop(call.url, None)
            self._journal.called(call.seq)
        waiting = {call.url for call in calls}
        self._away = {url: away for url, away in self._away.items() if url in waiting}
        if waiting - set(self._away):
            return 0.0  # more may wait than one look shows
        soonest = min((away.until for away in self._away.values()), default=self._clock.monotonic() + PAUSE)
        return max(0.0, soonest - self._clock.monotonic())

    def _put_off(self, url: str) -> None:
        failures = self._away[url].failures + 1 if url in self._away else 1
        delay = self._backoff.delay(failures, random.random())  # noqa: S311 (jitter)
        self._away[url] = Away(failures, self._clock.monotonic() + delay)

    def _post(self, call: Call) -> Reply:
        return self._fetcher.request(
            "POST",
            call.url,
            body=call.body.encode(),
            headers={"Content-Type": "application/json"},
            limit=MAX_REPLY,
            seconds=SECONDS,
        )


def _hidden(error: SkerryError, url: str) -> str:
    """Return an error's text with the receiver's host in place of its URL, which may hold a token."""
    return str(error).replace(url, urlsplit(url).hostname or "the receiver")
