"""The watchdog: finds workers that are there and answer nothing, or no longer the truth, and ends them.

Death is seen at once, by the socket that closes; this is for the hung. A worker that owes an answer for longer than
any run of its model took is ended: soon if none of its threads wants the processor, later if one does (it may be slow,
or starved by others). One with nothing to do is asked now and then, and its golden is run again.
"""

from __future__ import annotations

import asyncio
import logging

from skerry.core.errors import SkerryError
from skerry.host.clock import Clock
from skerry.host.nursery import wants_cpu
from skerry.node.generation import Generation, State
from skerry.node.models import Models
from skerry.node.worker.life import Worker
from skerry.node.worker.order import Op
from skerry.node.worker.ticket import Answered, Ticket

log = logging.getLogger(__name__)

TICK_SECONDS = 0.25
LATE_SECONDS = 0.75  # between two ticks: the loop, or the whole process, was held up
STILL_SECONDS = 1.0  # without an answer, and no thread wants the processor: it waits for something that never comes
BUSY_SECONDS = 10.0  # without an answer, and a thread is busy
TIMES_SLOWEST = 20  # and no run of this model was ever near that slow
PING_SECONDS = 1.0  # between questions to a worker with nothing to do
GOLDEN_SECONDS = 20.0  # between goldens of a worker with nothing to do
QUIET_SECONDS = 5.0  # without requests: then large free blocks of the arena are given back


class Watchdog:
    """Looks at every worker again and again, on the event loop."""

    def __init__(self, models: Models, clock: Clock) -> None:
        self._models = models
        self._clock = clock
        self._asked: dict[int, float] = {}  # pid -> when it was last asked
        self._proved: dict[int, float] = {}  # pid -> when its golden was last asked
        self._busy: dict[int, float] = {}  # pid -> when it last had requests
        self._timer: asyncio.TimerHandle | None = None
        self._ticked = 0.0  # when it looked last
        self._behind: dict[int, int] = {}  # ticket -> monotonic ns when it was last seen to wait for others
        self._woke = 0  # monotonic ns of the last time that this process had stood still

    def start(self) -> None:
        """Begin; on the event loop."""
        self._ticked = self._clock.monotonic()
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._again)

    def stop(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()

    def tick(self) -> None:
        """Look at every worker once."""
        now = self._clock.monotonic()
        self._behind, before = {}, self._behind
        for generation in self._models.leaving():
            worker = generation.queue.worker
            if worker is not None and worker.flying:
                self._judge(generation, worker, before)
        seen = set()
        for generation in self._models.generations():
            worker = generation.queue.worker
            if generation.state is State.SERVING and worker is not None:
                seen.add(worker.pid)
                if worker.flying:
                    self._judge(generation, worker, before)
                    self._busy[worker.pid] = now
                else:
                    self._ask(generation, worker, now)
        for table in (self._asked, self._proved, self._busy):
            for pid in table.keys() - seen:
                del table[pid]

    def _again(self) -> None:
        if self._clock.monotonic() - self._ticked < LATE_SECONDS:
            self.tick()
        else:  # this process stood still, perhaps the workers too: their time begins anew
            self._woke = self._clock.nanos()
        self.start()

    def _judge(self, generation: Generation, worker: Worker, before: dict[int, int]) -> None:
        """End a worker of which a request has run for too long. It takes them in order, so many at a time."""
        now, sent, runs = self._clock.nanos(), list(worker.sent_at), worker.order.runs
        self._behind.update(dict.fromkeys(sent[runs:], now))
        self._behind.update((one, before[one]) for one in sent[:runs] if one in before)
        begun = min(max(worker.sent_at[one], self._behind.get(one, 0)) for one in sent[:runs])
        waited = (now - max(begun, self._woke)) / 1e9
        if waited < STILL_SECONDS:
            return
        usual = worker.hello.slowest_us / 1e6 * TIMES_SLOWEST * len(worker.flying)
        limit = max(BUSY_SECONDS, usual) if wants_cpu(worker.pid) else STILL_SECONDS
        if waited > limit:
            manifest = generation.manifest
            log.error("model %s version %d: its worker hangs for %.1f s", manifest.name, manifest.version, waited)
            worker.kill()

    def _ask(self, generation: Generation, worker: Worker, now: float) -> None:
        pid = worker.pid
        if now - self._busy.setdefault(pid, now) > QUIET_SECONDS:
            generation.arena.trim()
            self._busy[pid] = now
        if now - self._asked.setdefault(pid, now) < PING_SECONDS:
            return
        self._asked[pid] = now
        prove = now - self._proved.setdefault(pid, now) > GOLDEN_SECONDS
        if prove:
            self._proved[pid] = now
        ticket = Ticket(Op.GOLDEN if prove else Op.PING, generation.arena, 0, 4096)

        def done(_: Ticket, found: Answered | SkerryError) -> None:
            if isinstance(found, SkerryError) and generation.queue.worker is worker:
                manifest = generation.manifest
                log.error("model %s version %d: it lies now: %s", manifest.name, manifest.version, found)
                worker.kill()

        ticket.done = done
        worker.send(ticket, self._clock.nanos())
