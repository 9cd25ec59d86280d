"""A worker: one session, its threads, and a bounded queue. Full means QueueFull now, not a longer wait.

A worker is retired, never stopped: what it has taken it still answers, then its model is freed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from skerry.core.errors import QueueFull
from skerry.engine.session import Session

T = TypeVar("T")

CALLERS = 2  # threads: one decodes the next image while the other runs the model


class Retired(Exception):
    """This worker takes nothing more; the model has another one by now, or none."""


class Worker:
    """Runs calls on one session."""

    def __init__(self, session: Session, waiting: int) -> None:
        self.session = session
        self._limit = waiting + CALLERS
        self._taken = 0
        self._retired = False
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(CALLERS, thread_name_prefix=f"worker-{session.manifest.name}")

    def submit(self, call: Callable[[Session], T]) -> Future[T]:
        """Queue a call; raise QueueFull if too many wait, Retired if this worker takes no more."""
        with self._lock:
            if self._retired:
                raise Retired
            if self._taken >= self._limit:
                raise QueueFull(f"model {self.session.manifest.name}: {self._limit} requests are waiting; try later")
            self._taken += 1
            future = self._pool.submit(call, self.session)
        future.add_done_callback(self._done)
        return future

    def retire(self) -> None:
        """Take no more; return when all that was taken is answered and the model is freed."""
        with self._lock:
            self._retired = True
        self._pool.shutdown(wait=True)
        self.session.close()

    def _done(self, _: Future[T]) -> None:
        with self._lock:
            self._taken -= 1
