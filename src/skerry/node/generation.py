"""One generation of a model in service: its queue, its worker, and what becomes of it when the worker dies.

born ── serving ──> retired
          │  ^
   died   v  │  a new worker of the same bundle
        reviving ──> quarantined (it dies again and again, or cannot be loaded any more)
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from skerry.core.errors import NotReady, SkerryError
from skerry.core.manifest import Manifest
from skerry.core.names import Digest
from skerry.host.clock import Clock
from skerry.host.machine import resident
from skerry.host.shared import Arena
from skerry.node.lane import Lane
from skerry.node.metrics import Metrics
from skerry.node.queue import Queue
from skerry.node.worker.life import Worker
from skerry.node.worker.order import Order
from skerry.node.worker.ticket import Ticket
from skerry.wire.config import Options

log = logging.getLogger(__name__)

PLATFORMS = {"onnx": "onnxruntime_onnx"}
MAX_DEATHS = 3  # within DEATH_SECONDS: more is a crash loop, and no accident
DEATH_SECONDS = 60.0


class State(Enum):
    """Where a generation stands."""

    SERVING = "serving"
    REVIVING = "reviving"
    QUARANTINED = "quarantined"
    RETIRED = "retired"


MOVES = {
    State.SERVING: {State.REVIVING, State.QUARANTINED, State.RETIRED},
    State.REVIVING: {State.SERVING, State.QUARANTINED, State.RETIRED},
    State.QUARANTINED: {State.RETIRED},
    State.RETIRED: set[State](),
}

Revive = Callable[[Order, Arena], Worker]  # blocks; raises what loading raises


class Door(Protocol):
    """Where requests go in."""

    @property
    def idle(self) -> bool:
        """Whether nothing waits, nothing runs, and nobody wants to see what comes."""
        ...

    def submit(self, ticket: Ticket) -> None:
        """Take a ticket; raise BusyError for one that cannot be."""
        ...


class Generation:
    """Used from the event loop alone, once it is in service."""

    lane: Lane | None = None  # a second session in this process, of a tiny model
    options = Options()  # what its configuration asked for

    def __init__(self, worker: Worker, arena: Arena, limit: int, clock: Clock, metrics: Metrics) -> None:
        self.manifest: Manifest = worker.manifest
        self.digest: Digest = worker.digest
        self.inputs, self.outputs = worker.inputs, worker.outputs
        self.hello = worker.hello
        self.order = worker.order
        self.arena = arena
        self.state = State.SERVING
        self.deaths: deque[float] = deque(maxlen=MAX_DEATHS)
        self.trouble = ""
        self._worker = worker
        self._clock = clock
        self._metrics = metrics
        self.series = metrics.of(self.manifest.name, self.manifest.version)
        self.series.load_seconds = worker.hello.seconds
        self.series.bare_ms = worker.hello.run_us / 1000
        self.series.memory = self._resident
        self._limit = limit

    @property
    def platform(self) -> str:
        """What runs it, by the name that Triton's clients know."""
        return PLATFORMS.get(self.manifest.runtime.name, self.manifest.runtime.name)

    @property
    def room(self) -> int:
        """Bytes to keep for an answer."""
        return self.queue.room

    @property
    def takes_images(self) -> bool:
        """Whether its steps begin with decoding."""
        return self.hello.images

    @property
    def remembers(self) -> bool:
        """Whether the requests of a sequence see what came before them."""
        state = "state" in self.manifest.runtime.extra
        return state or self.hello.remembers or self.options.sequences is not None

    @property
    def drains(self) -> bool:
        """Whether it has left, and its worker still owes answers."""
        worker = self.queue.worker
        return self.state is State.RETIRED and worker is not None and bool(worker.flying)

    @property
    def pid(self) -> int | None:
        """The worker's process, None while there is none."""
        worker = self.queue.worker
        return None if worker is None else worker.pid

    def check(self) -> None:
        """Raise NotReady unless its worker is there."""
        if self.state is not State.SERVING:
            raise NotReady(f"model {self.manifest.name}: {self.trouble or 'its worker died; a new one is starting'}")

    def begin(self, revive: Revive, failed: Callable[[Generation], None], loop: asyncio.AbstractEventLoop) -> None:
        """Take requests. `failed` is called if it is quarantined, or if its worker dies after it was retired."""
        self._loop, self._revive, self._failed = loop, revive, failed
        self.queue = Queue(self.manifest.name, self._limit, self.series, self._clock, loop, self.options.batching)
        self.door: Door = self.queue  # of requests that name no version; a trial stands there while it runs
        self._enter(self._worker)

    def retire(self) -> None:
        """Take no more, answer what the worker has, and free it. What waits must have been moved on before."""
        self._move(State.RETIRED)
        self.queue.refuse(NotReady(f"model {self.manifest.name}: out of service"))
        self.close_lane()
        if self.queue.worker is not None:
            self.queue.worker.retire()

    def close(self) -> None:
        """End at once."""
        self._move(State.RETIRED)
        self.close_lane()
        if self.queue.worker is not None:
            self.queue.worker.close()

    def close_lane(self) -> None:
        """Let all requests go to the worker from now on."""
        if self.lane is not None:
            self.lane.close()
            self.lane = None

    def _enter(self, worker: Worker) -> None:
        worker.attach(self._loop, self.queue.settle, self._died)
        self.queue.put_worker(worker)

    def _died(self, worker: Worker) -> None:
        tickets = list(worker.flying.values())
        worker.flying.clear()
        self.queue.lost(tickets, worker.fate)
        if self.state is State.RETIRED:
            self._failed(self)
            return
        now = self._clock.monotonic()
        self.deaths.append(now)
        self._metrics.restarted(self.manifest.name)
        fate = f": {worker.fate}" if worker.fate else ""
        log.error("model %s version %d: its worker died with %d requests%s", *self._who(), len(tickets), fate)
        if len(self.deaths) == MAX_DEATHS and now - self.deaths[0] < DEATH_SECONDS:
            self._quarantine(f"its worker died {MAX_DEATHS} times in {DEATH_SECONDS:.0f} s{fate}")
            return
        self._move(State.REVIVING)
        future = self._loop.run_in_executor(None, self._revive, self.order, self.arena)
        future.add_done_callback(self._revived)

    def _revived(self, future: asyncio.Future[Worker]) -> None:
        if self.state is not State.REVIVING:
            if future.exception() is None:
                future.result().close()
            return
        try:
            worker = future.result()
        except (SkerryError, OSError, MemoryError) as error:
            self._quarantine(f"it could not be loaded again: {error}")
            return
        self._move(State.SERVING)
        self._enter(worker)

    def _quarantine(self, why: str) -> None:
        self._move(State.QUARANTINED)
        self.trouble = f"version {self.manifest.version} is quarantined: {why}"
        self._metrics.quarantined(self.manifest.name)
        log.error("model %s: %s", self.manifest.name, self.trouble)
        self._failed(self)

    def _resident(self) -> int:
        pid = self.pid
        return 0 if pid is None else resident(pid)

    def _who(self) -> tuple[str, int]:
        return self.manifest.name, self.manifest.version

    def _move(self, to: State) -> None:
        assert to in MOVES[self.state] or to is self.state, f"{self.state} -> {to}"
        self.state = to
