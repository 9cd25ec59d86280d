"""The fake of a worker: answers tickets with a session of this process, on threads. For tests that hold a run."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from skerry.core.errors import RunFailed, SkerryError
from skerry.engine.free import filled
from skerry.engine.session import Session
from skerry.host.clock import Clock
from skerry.host.regions import Regions
from skerry.node.worker.answer import Answers
from skerry.node.worker.beside.compare import shadow
from skerry.node.worker.life import Settle, Worker
from skerry.node.worker.made import Made
from skerry.node.worker.order import Hello, Op, Order
from skerry.node.worker.ticket import Answered, Ticket
from skerry.node.worker.work import zeros

_numbers = itertools.count(1 << 30)  # no process has such a number


class FakeWorker(Worker):
    """A worker without a process. `depth` is how many tickets it may be given at a time, by default one a thread."""

    def __init__(
        self, session: Session, order: Order | None = None, depth: int | None = None, clock: Clock | None = None
    ) -> None:
        manifest = session.manifest
        self.order = order or Order(path="fake", name=manifest.name, version=manifest.version)
        self.manifest, self.digest = manifest, manifest.digest
        self.inputs, self.outputs = session.inputs, session.outputs
        self.hello = Hello(manifest=manifest.json(), images=session.takes_images)
        self.flying: dict[int, Ticket] = {}
        self.sent_at: dict[int, int] = {}
        self.depth = depth or self.order.runs
        self.ended = False
        self._session = session
        self._clock = clock or Clock()
        self._answers = Answers(session, self._clock, self.order.record, Regions(self.order.regions))
        self._pool = ThreadPoolExecutor(self.order.runs, "fake")
        self._lock = threading.Lock()
        self._inside = 0  # runs under way
        self._number = next(_numbers)
        self._retiring = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._settle: Settle | None = None
        self._gone: Callable[[Worker], None] | None = None

    @property
    def pid(self) -> int:
        """A number that no process has."""
        return self._number

    def attach(self, loop: asyncio.AbstractEventLoop, settle: Settle, gone: Callable[[Worker], None]) -> None:
        """Begin."""
        self._loop, self._settle, self._gone = loop, settle, gone

    def send(self, ticket: Ticket, now: int) -> None:
        """Run it on a thread."""
        self.flying[ticket.id] = ticket
        self.sent_at[ticket.id] = now
        head = bytes(ticket.arena.view[ticket.block.at : ticket.block.at + ticket.head_size])
        with self._lock:
            self._inside += 1
        self._pool.submit(self._run, ticket.id, ticket.op, head, ticket.body, ticket.arena.view)

    def kill(self) -> None:
        """Die: what it had is left in `flying`."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._die)

    def close(self) -> None:
        """End; the session is closed when no run is under way."""
        if not self.ended:
            self.ended = True
            self._pool.shutdown(wait=False, cancel_futures=False)
            self._left(0)

    def _die(self) -> None:
        if not self.ended:
            self.close()
            assert self._gone is not None
            self._gone(self)

    def _run(self, number: int, op: int, head: bytes, body: memoryview, arena: memoryview) -> None:
        taken = self._clock.nanos()
        made, found = Made(b""), None
        try:
            if op >= Op.INFER:
                made = self._answers(op, head, body)
            elif op == Op.SAMPLE:
                made = self._answers(Op.INFER, head, body)
            elif op == Op.SHADOW:
                labels = len(self.manifest.labels)
                made = shadow(self._answers, labels, arena, memoryview(head), body)
            elif op == Op.GOLDEN:
                self._session.infer(zeros(filled(self._session.inputs, self.hello.free)))
        except SkerryError as error:
            found = error
        except Exception as error:  # boundary: as in a worker, a fault in one request ends that request alone
            found = RunFailed(f"internal error: {type(error).__name__}")
        self._left(1)
        answer = found or Answered(made.body, made.kind, made.json_length, made.notes)
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(
                self._settled, number, answer, (taken, *made.phases, made.batch, made.company)
            )

    def _settled(self, number: int, found: Answered | SkerryError, times: tuple[int, ...]) -> None:
        ticket = None if self.ended else self.flying.pop(number, None)
        if ticket is None:
            return
        assert self._settle is not None
        self._settle(ticket, found, (self.sent_at.pop(number), *times))
        if self._retiring and not self.flying:
            self.close()

    def _left(self, runs: int) -> None:
        with self._lock:
            self._inside -= runs
            if not self.ended or self._inside:
                return
        self._session.close()
