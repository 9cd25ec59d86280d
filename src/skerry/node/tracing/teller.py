"""Tells a collector of traces: what has gathered is sent now and then from a thread of its own, and never twice.

A collector that is away or slow costs the node a bounded list, and the traces that did not fit it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Sequence

from skerry.core.errors import SkerryError
from skerry.link.http import Fetcher, check
from skerry.node.loop import Loop
from skerry.node.trace import Kept, Traces, body

log = logging.getLogger(__name__)

GATHER_SECONDS = 2.0  # between two sendings; a trace is looked at minutes later
SEND_SECONDS = 5.0  # for a collector to answer
REST_SECONDS = 30.0  # after a failure; so long nothing is sent, and what comes meanwhile is dropped when it is too much
MAX_BATCHES = 8  # that wait to be sent
MAX_REPLY = 64 << 10  # bytes
STOP_SECONDS = 1.0  # that a sending under way is waited for
PATH = "/v1/traces"
NEVER = 3600.0  # s; the loop is nudged when there is something


class Teller:
    """Sends the traces of a node to a collector's OTLP/HTTP endpoint, as JSON."""

    def __init__(self, traces: Traces, url: str, node: str, fetcher: Fetcher | None = None) -> None:
        self._traces = traces
        self._url = url if url.rstrip("/").endswith(PATH) else url.rstrip("/") + PATH
        self._node = node
        self._fetcher = fetcher or Fetcher()
        self._batches: deque[Sequence[Kept]] = deque(maxlen=MAX_BATCHES)
        self._failed = False
        self._timer: asyncio.TimerHandle | None = None
        self._loop = Loop("traces", self.tick, lambda: self._failed)

    def start(self) -> None:
        """Begin; on the event loop, on which the traces are kept."""
        self._loop.start()
        self._gather()

    def finish(self) -> None:
        """Gather no more; on the event loop."""
        if self._timer is not None:
            self._timer.cancel()
        self._take()

    def stop(self) -> None:
        """Send what is left, if the collector was there last, and end; blocks."""
        self._loop.stop(STOP_SECONDS)
        if not self._failed:
            self.tick(STOP_SECONDS)

    def tick(self, seconds: float = SEND_SECONDS) -> float:
        """Send what waits; return how long to wait for more."""
        while self._batches:
            kept = self._batches.popleft()
            data = body(self._node, kept, secrets.token_bytes)
            try:
                headers = {"Content-Type": "application/json"}
                reply = self._fetcher.request(
                    "POST", self._url, body=data, headers=headers, limit=MAX_REPLY, seconds=seconds
                )
                check(reply, self._url)
            except SkerryError as error:
                if not self._failed:
                    log.warning("traces: %d not sent: %s", len(kept), error)
                self._failed = True
                return REST_SECONDS
            self._failed = False
        return NEVER

    def _gather(self) -> None:
        self._take()
        self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._gather)

    def _take(self) -> None:
        kept = self._traces.take()
        if kept:
            self._batches.append(kept)
            self._loop.nudge()
