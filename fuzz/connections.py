"""Target of the HTTP server: bytes cut anywhere, answers that come late, clients that go; the real site and queue.

Invariants: never a fault of ours; what is said is whole HTTP answers, and nothing after the one that closes; the same
bytes mean the same however they are cut, and whether their head was seen before; in the end no memory is held.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any, cast

from fuzz.sessions import PLAIN
from skerry.core.errors import NotFound, SkerryError
from skerry.host.clock import FakeClock
from skerry.host.shared import Arena
from skerry.node.lane import Lane
from skerry.node.metrics.series import Series
from skerry.node.queue import Queue
from skerry.node.serve.cold import as_json
from skerry.node.serve.http.connection import Connection
from skerry.node.serve.inference import Target
from skerry.node.serve.site import Route, Site
from skerry.node.worker.answer import Answers
from skerry.node.worker.order import Op, Order
from skerry.node.worker.ticket import Answered, Ticket

MEMORY = 1 << 24  # bytes of the arena; a body that does not fit is refused, as on a full node
MAX_CUTS = 24
STEPS = ("feed", "answer", "last", "sweep", "wait", "choke", "free", "eof", "finish")
_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]+\r\n((?:[a-z0-9-]+: [^\r\n]*\r\n)*)\r\n")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Faults(logging.Handler):
    """Keeps what the node logs as its own fault."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.told.append(self.format(record))


FAULTS = Faults()  # to be added to the log "skerry" by whoever runs `http`


class Wire:
    """What asyncio gives for a connection: it keeps what is written, and is as strict as uvloop."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.closing = self.ended = self.paused = False

    def write(self, data: bytes) -> None:
        """Send."""
        assert not self.ended, "written after its end"
        if not self.closing:
            self.out += data

    def write_eof(self) -> None:
        """Send no more."""
        self.ended = True

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    def is_closing(self) -> bool:
        """Whether it is closed."""
        return self.closing

    def close(self) -> None:
        """End."""
        self.closing = True

    abort = close

    def pause_reading(self) -> None:
        """Give nothing."""
        assert not self.closing
        self.paused = True

    def resume_reading(self) -> None:
        """Give again."""
        self.paused = False


class Timers:
    """The part of an event loop that a queue uses; no time passes by itself."""

    def call_later(self, _: float, __: Callable[..., None], *___: Any) -> Any:
        """Return a timer that does not run."""
        return SimpleNamespace(cancel=lambda: None)


class Slow:
    """A worker that answers when it is told to."""

    def __init__(self, arena: Arena) -> None:
        self.flying: dict[int, Ticket] = {}
        self.order = Order(path="fuzz", name="m", version=1)
        self.queue: Queue
        self._arena = arena
        self._answers = Answers(PLAIN, FakeClock(), record=False)

    @property
    def free(self) -> int:
        """How many tickets it takes now."""
        return 4 - len(self.flying)

    def send(self, ticket: Ticket, _: int) -> None:
        """Take a ticket."""
        self.flying[ticket.id] = ticket

    def answer(self, last: bool = False) -> bool:
        """Answer the oldest ticket or the newest; return whether there was one."""
        if not self.flying:
            return False
        ticket = self.flying.pop((max if last else min)(self.flying))
        head = bytes(self._arena.view[ticket.block.at : ticket.block.at + ticket.head_size])
        found: Answered | SkerryError
        try:
            made = self._answers(ticket.op, head, ticket.body)
            found = Answered(made.body, made.kind, made.json_length, made.notes)
        except SkerryError as error:
            found = error
        self.queue.settle(ticket, found, (0, 0, 1, 1, 1, 1, 1, 1, 0))
        return True


class Node:
    """A site with one model, "m"."""

    def __init__(self, lane: bool) -> None:
        self.clock = FakeClock()
        self.memory = Arena(MEMORY, MEMORY)
        self.worker = Slow(self.memory)
        loop = cast("asyncio.AbstractEventLoop", Timers())
        self.queue = Queue("m", 8, Series("m", "1", self.clock), self.clock, loop)
        self.queue.put_worker(cast("Any", self.worker))
        self.worker.queue = self.queue
        found = Lane(Answers(PLAIN, self.clock, record=False), None) if lane else None
        self._generation = SimpleNamespace(
            arena=self.memory, room=2048, lane=found, door=self.queue, queue=self.queue, series=self.queue.series,
            order=self.worker.order,
        )  # fmt: skip
        routes = [
            Route("GET", "/health", lambda _: as_json({"status": "alive"})),
            Route("POST", "/echo", lambda request: as_json({"size": len(request.body)})),
            Route("POST", "/v2/models/{model}/infer", target=lambda _, parts: Target(Op.INFER, parts["model"])),
            Route("POST", "/v1/{model}", target=lambda _, parts: Target(Op.TFS_PREDICT, parts["model"])),
        ]
        self.site = Site(routes, cast("Any", self), self.clock)

    def live(self, name: str, *_: object) -> Any:
        """Return the model."""
        if name != "m":
            raise NotFound(f"unknown model: {name}")
        return self._generation

    def arena(self, _: str) -> Arena:
        """Return the memory of the model."""
        return self.memory

    def line(self) -> Line:
        """Return a new connection."""
        self.clock.time += 1.0
        return Line(self)

    def close(self) -> None:
        """Check that nothing is held."""
        while self.worker.answer():
            pass
        assert (self.queue.length, self.queue.series.pending, self.queue.series.inflight) == (0, 0, 0)
        assert self.memory.used == 0, f"{self.memory.used} bytes are held"
        assert FAULTS.told == [], FAULTS.told
        self.memory.close()


class Line:
    """A client's connection."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.wire = Wire()
        self._it = Connection(node.site, node.clock)
        self._it.connection_made(cast("asyncio.Transport", self.wire))
        self._left = b""
        self._over = False

    def feed(self, data: bytes, patient: bool) -> None:
        """Have bytes come; `patient`: all that is answered is, before and after."""
        self._left += data
        while self._left and not self.wire.closing and not self._over:
            if self.wire.paused and not (patient and self._node.worker.answer()):
                return
            if self.wire.paused:
                continue
            place = self._it.get_buffer(-1)
            size = min(len(place), len(self._left))
            assert size
            place[:size] = self._left[:size]
            self._left = self._left[size:]
            self._it.buffer_updated(size)
        while patient and self._node.worker.answer():
            pass

    def step(self, what: str) -> None:
        """Have something else happen."""
        node = self._node
        if what in ("answer", "last"):
            node.worker.answer(what == "last")
            self.feed(b"", patient=False)
        elif what in ("sweep", "wait"):
            node.clock.time += 0.5 if what == "sweep" else 12.0
            for connection in list(node.site.connections):
                connection.sweep(node.clock.time)
        elif what == "choke" and not self.wire.closing:
            self._it.pause_writing()
        elif what == "free" and not self.wire.closing:
            self._it.resume_writing()
        elif what == "finish" and not self.wire.closing:
            self._it.finish()
        elif what == "eof" and not self.wire.closing and not self._over:
            self._over = True
            if not self._it.eof_received():
                self.wire.closing = True

    def close(self) -> bytes:
        """The client goes; return what it was told."""
        self._it.connection_lost(None)
        return bytes(self.wire.out)


def http(data: bytes) -> None:
    """A connection's bytes, and how they are cut and what happens between."""
    if len(data) < 2:
        return
    FAULTS.told.clear()
    count = data[1] % MAX_CUTS
    plan, stream = data[2 : 2 + 2 * count], data[2 + 2 * count :]
    node = Node(lane=bool(data[0] & 1))
    line = node.line()
    line.feed(stream, patient=True)
    at_once = line.close()
    said(at_once)
    line, pieces = node.line(), list(_pieces(stream, plan))
    for _, piece in pieces:
        line.feed(piece, patient=True)
    cut = line.close()
    assert at_once.replace(_CONTINUE, b"") == cut.replace(_CONTINUE, b""), (at_once, cut)
    node.close()
    node = Node(lane=bool(data[0] & 2))
    line = node.line()
    for step, piece in pieces:
        line.step(step)
        line.feed(piece, patient=False)
    said(line.close())
    node.close()


def said(out: bytes) -> list[int]:
    """Check that bytes are whole answers, and that none follows the one that closes; return their statuses."""
    found, at, closed = [], 0, False
    while at < len(out):
        match = _ANSWER.match(out, at)
        assert match, out[at:]
        status = int(match[1])
        assert not closed, "an answer follows the one that closes"
        assert status != 500, "a fault of ours"
        length = re.search(rb"content-length: (\d+)\r\n", match[2])
        at = match.end() + (int(length[1]) if length and status != 100 else 0)
        if at > len(out) or (status != 100 and out[at : at + 5] not in (b"", b"HTTP/")):
            at = match.end()  # of a HEAD
        closed = b"connection: close\r\n" in match[2]
        found.append(status)
    return found


def _pieces(stream: bytes, plan: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a step and a piece for each pair of bytes of the plan, then the rest."""
    at = 0
    for step, size in zip(plan[::2], plan[1::2], strict=False):
        yield STEPS[step % len(STEPS)], stream[at : at + size]
        at += size
    yield "answer", stream[at:]


def cuts(steps: Iterable[tuple[int, int]]) -> bytes:
    """Return a plan as `http` reads it: its count, then steps and sizes."""
    pairs = list(steps)
    return bytes([len(pairs), *[byte for pair in pairs for byte in pair]])
