"""A worker as the control process sees it: a child that answers tickets, and may die or hang at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from skerry.core.errors import LoadFailed, SkerryError
from skerry.core.manifest import Manifest
from skerry.core.names import Digest
from skerry.core.tensor import DType, Spec
from skerry.host.caps import Cage, Cages, at_rest
from skerry.host.nursery import Born, Nursery, read_message, send_message
from skerry.host.shared import Arena, Block, Channel
from skerry.node.worker.order import (
    ANSWER,
    CALL,
    DONE,
    ENCODER,
    HELLOS,
    NO_ROOM,
    Hello,
    Op,
    Order,
    error_named,
    error_of,
)
from skerry.node.worker.ticket import Answered, Ticket

log = logging.getLogger(__name__)

AHEAD_US = 4000  # microseconds of work that may wait inside a worker, so that it never waits for the next call
MAX_AHEAD = 32  # calls
MAX_TOGETHER = 96  # calls, so that batches fill; the channel has 256 places
LOAD_SECONDS = 600.0  # to load and prove a model; a large one on a slow card takes minutes

Settle = Callable[[Ticket, Answered | SkerryError, tuple[int, ...]], None]


@dataclass(frozen=True)
class Held:
    """What holds a worker to its caps."""

    cages: Cages
    cage: Cage

    def let_go(self) -> str:
        """Take it away, for the process is gone; return what it had to do with its death, "" if nothing."""
        fate = self.cage.fate()
        self.cages.left(self.cage)
        return fate


class Worker:
    """One process with one generation of a model. After `attach` it is used from the event loop alone."""

    fate = ""  # what is known of why it died

    def __init__(self, born: Born, channel: Channel, order: Order, hello: Hello, held: Held | None = None) -> None:
        assert hello.manifest is not None
        self.order = order
        self.hello = hello
        self.manifest = Manifest.read(hello.manifest)
        self.digest: Digest = self.manifest.digest
        self.inputs = tuple(map(_spec, hello.inputs))
        self.outputs = tuple(map(_spec, hello.outputs))
        self.flying: dict[int, Ticket] = {}
        self.sent_at: dict[int, int] = {}  # ticket -> monotonic ns
        ahead = MAX_AHEAD if hello.run_us <= 0 else int(AHEAD_US / hello.run_us)
        most = max(hello.sizes, default=0) * (order.runs + 1)  # a batch for each thread, and the next one
        self.depth = order.runs + max(1, min(MAX_AHEAD, ahead), min(MAX_TOGETHER, most))
        if order.beside.strict:  # what waits is in the queue, which knows who may wait how long
            self.depth = order.runs * max(1, min(MAX_TOGETHER, max(hello.sizes, default=1)))
        self._born = born
        self._held = held
        self._channel = channel
        self._rooms: dict[int, Block] = {}  # ticket -> the larger room of an answer that did not fit
        self._retiring = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._telling = False
        self._settle: Settle | None = None
        self._gone: Callable[[Worker], None] | None = None

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._born.pid

    @property
    def free(self) -> int:
        """How many more tickets it may be given."""
        return self.depth - len(self.flying)

    def attach(self, loop: asyncio.AbstractEventLoop, settle: Settle, gone: Callable[[Worker], None]) -> None:
        """Begin: `settle` is called with each ticket's answer and its times, `gone` once if the process ends."""
        self._loop, self._settle, self._gone = loop, settle, gone
        loop.add_reader(self._channel.back, self._readable)
        loop.add_reader(self._born.socket, self._ended)

    def send(self, ticket: Ticket, now: int) -> None:
        """Give it a ticket."""
        self.flying[ticket.id] = ticket
        self.sent_at[ticket.id] = now
        self._channel.put(*ticket.call())
        if not self._telling:
            self._telling = True
            assert self._loop is not None
            self._loop.call_soon(self._tell)

    def _tell(self) -> None:
        """Wake the worker, once for all that it was given in this turn of the loop."""
        self._telling = False
        if not self._closed:
            self._channel.tell()

    def retire(self) -> None:
        """Take no more: when what it has is answered it ends, and its memory is free."""
        self._retiring = True
        if not self.flying:
            self.close()

    def kill(self) -> None:
        """End the process at once; `gone` will be called."""
        self._born.kill()

    def close(self) -> None:
        """Let go of the process: it ends."""
        if self._closed:
            return
        self._closed = True
        self._settle = self._gone = None  # what they lead to leads back here, and would wait for the collector
        if self._loop is not None:
            self._loop.remove_reader(self._channel.back)
            self._loop.remove_reader(self._born.socket)
        at_rest(self._born.pid, True)  # to take its memory apart is work, which must not hold up those who serve
        self._born.kill()
        self._born.close()
        self._channel.close()
        if self._held is not None:
            self.fate = self._held.let_go()

    def _readable(self) -> None:
        for ticket_id, status, kind, length, size, notes, *times in self._channel.receive():
            ticket = self.flying.get(ticket_id)
            if ticket is None:
                continue
            if status == NO_ROOM:
                self._fetch(ticket, size + notes)
                continue
            del self.flying[ticket_id]
            sent = self.sent_at.pop(ticket_id)
            room = self._rooms.pop(ticket_id, None)
            at = ticket.room_at if room is None else room.at
            view = ticket.arena.view
            found: Answered | SkerryError
            if status == DONE:
                found = Answered(bytes(view[at : at + size]), kind, length)
                if notes:
                    found.notes = bytes(view[at + size : at + size + notes])
            else:
                found = error_of(status, bytes(view[at : at + size]).decode("utf-8", "replace"))
            if room is not None:
                ticket.arena.free(room)
            assert self._settle is not None
            self._settle(ticket, found, (sent, *times))
        if self._retiring and not self.flying:
            self.close()

    def _fetch(self, ticket: Ticket, size: int) -> None:
        try:
            room = ticket.arena.cut(size)
        except SkerryError as error:
            del self.flying[ticket.id]
            sent = self.sent_at.pop(ticket.id)
            assert self._settle is not None
            self._channel.send(ticket.id, 0, 0, Op.FETCH, 0, 0, 0, 0, 0)  # without room: it is to be forgotten
            self._settle(ticket, error, (sent, sent, 0, 0, 0, 0, 0, 1, 0))
            return
        self._rooms[ticket.id] = room
        self._channel.send(ticket.id, 0, 0, Op.FETCH, 0, 0, 0, room.at, room.size)

    def _ended(self) -> None:
        """The socket is readable: the process is gone (it says nothing more once it serves)."""
        self._readable()  # what it had answered before it died
        for ticket_id, room in self._rooms.items():
            self.flying[ticket_id].arena.free(room)
        self._rooms.clear()
        gone = self._gone
        if gone is not None:
            self.close()
            gone(self)


def bear(nursery: Nursery, order: Order, arena: Arena, cages: Cages | None = None) -> Worker:
    """Start a worker, wait until it has loaded and proved its model, and return it.

    Raises what its loading raised, LoadFailed if the process died of it. Not to be called on the event loop.
    """
    held = None if cages is None else Held(cages, cages.cage(order.name))
    channel = Channel(CALL, ANSWER)
    with contextlib.ExitStack() as undo:
        undo.callback(channel.close)
        born = nursery.bear([*channel.fds, arena.fd])
        undo.pop_all()
    try:
        if held is not None:
            held.cage.put(born.pid)
        send_message(born.socket, ENCODER.encode(order))
        born.socket.settimeout(LOAD_SECONDS)
        hello = HELLOS.decode(read_message(born.socket))
        born.socket.setblocking(False)
    except (OSError, SkerryError) as error:
        born.kill()
        born.close()
        channel.close()
        why = "the node's log may say of what" if held is None else held.let_go() or f"it may take {order.cap}: {error}"
        raise LoadFailed(f"{order.path}: the process that loaded it died; {why}") from error
    if hello.manifest is None:
        born.close()
        channel.close()
        if held is not None:
            held.let_go()
        raise error_named(hello.error, hello.text)
    order = order.planned(hello.intra, hello.runs, order.gentle)
    return Worker(born, channel, order, hello, held)


def _spec(value: dict[str, object]) -> Spec:
    return Spec(str(value["name"]), DType(value["datatype"]), tuple(value["shape"]))  # type: ignore[arg-type]
