"""A loop: one thread around a `tick()` that says how long to wait. Tests call the tick, not the loop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

AFTER_FAULT = 5.0  # s; a fault of ours that repeats must neither stop the loop nor fill the log


class Loop:
    """Calls `tick` again and again.

    `nudge` (there is something to do) cuts a wait short unless the loop is `failing`: a peer that is away
    must not be asked once for every new result. `wake` (the peer is back) always does.
    """

    def __init__(self, name: str, tick: Callable[[], float], failing: Callable[[], bool] = lambda: False) -> None:
        self._tick = tick
        self._failing = failing
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def nudge(self) -> None:
        """Tick now, unless the last tick failed and waits to try again."""
        if not self._failing():
            self._wake.set()

    def wake(self) -> None:
        """Tick now."""
        self._wake.set()

    def stop(self, seconds: float) -> None:
        """End after the tick that is under way, waiting at most `seconds` for it."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping:
            try:
                wait = self._tick()
            except Exception:  # boundary: a loop outlives every fault; the fault is logged with its place
                log.exception("%s: a fault of Skerry's own; going on", self._thread.name)
                wait = AFTER_FAULT
            self._wake.wait(wait)
            self._wake.clear()
