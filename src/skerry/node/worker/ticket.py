"""A request on its way: where its bytes lie, until when an answer is of use, and whom to tell."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from skerry.core.errors import SkerryError
from skerry.host.shared import Arena, Block
from skerry.node.metrics.series import Series
from skerry.node.worker.order import HEAD_ROOM, Kind, Op

ALIGN = 64  # bytes; a cache line, and what vector instructions want of a tensor
PLAIN = 4  # priority of a request that names none: the middle of 0 (first) to 7
_ids = itertools.count(1)


@dataclass(slots=True)
class Answered:
    """What a worker answered."""

    body: bytes
    kind: int = Kind.JSON  # and its content coding's number above (worker/coding.py)
    json_length: int = 0
    notes: bytes = b""


class Place(Protocol):
    """Where a ticket waits or runs."""

    @property
    def series(self) -> Series:
        """The counts of the version that answers there."""
        ...

    def cancel(self, ticket: Ticket) -> None:
        """Nobody waits for it any more."""
        ...

    def runs(self, ticket: Ticket) -> bool:
        """Whether it has begun."""
        ...

    def expire(self, ticket: Ticket) -> None:
        """Its deadline has come."""
        ...


class Timer(Protocol):
    """What an event loop gives for a later call."""

    def cancel(self) -> None:
        """It need not be made any more."""
        ...


class Ticket:
    """One request. It owns a block of its model's arena from when its body begins to come until `close`."""

    __slots__ = (
        "arena", "attempts", "block", "body_at", "body_size", "bound", "deadline", "done", "head_size", "id", "level",
        "line", "op", "over", "priority", "queue", "queued", "room_at", "room_size", "stream", "timer", "times",
        "until", "wish",
    )  # fmt: skip

    def __init__(self, op: Op, arena: Arena, body_size: int, room: int, front: int = 0) -> None:
        """Cut a block for a body of `body_size` bytes and an answer of `room`; raise QueueFull if there is none.

        `front` bytes of the body stand before what should be aligned.
        """
        self.id = next(_ids)
        self.op = op
        self.arena = arena
        self.block: Block = arena.cut(HEAD_ROOM + 2 * ALIGN + body_size + room)
        self.body_at = self.block.at + HEAD_ROOM + (-front) % ALIGN
        self.body_size = body_size
        self.head_size = 0
        self.deadline = 0  # monotonic ns, 0: none
        self.priority = PLAIN
        self.level = 0  # what the protocol's `priority` says: 1 is the first, 0 says nothing
        self.wish = 0  # what the protocol's `timeout` says, microseconds; 0: nothing
        self.until = 0  # monotonic ns, when it has waited for too long, 0: never
        self.line = 0  # of its queue: the level whose policy it is under
        self.stream = ""  # of which only the latest request is of use
        self.queue: Place | None = None  # where it waits or runs
        self.queued = 0  # monotonic ns
        self.timer: Timer | None = None  # of the deadline
        self.attempts = 0
        self.bound = False  # its request named a version or a label: no other version may answer it
        self.over = False  # nobody waits for it any more, or it is answered
        self.done: Callable[[Ticket, Answered | SkerryError], None] | None = None
        self.times: tuple[int, ...] = ()  # ns by phase (metrics.PHASES), once it is answered well
        self._make_room()

    def _make_room(self) -> None:
        self.room_at = (self.body_at + self.body_size + ALIGN - 1) & -ALIGN
        self.room_size = self.block.at + self.block.size - self.room_at

    @property
    def body(self) -> memoryview:
        """The body's bytes."""
        return self.arena.view[self.body_at : self.body_at + self.body_size]

    def put_head(self, head: bytes) -> None:
        """Write the head, an encoded `Head` of at most HEAD_ROOM bytes, in front of the body."""
        self.head_size = len(head)
        self.arena.view[self.block.at : self.block.at + len(head)] = head

    def resize(self, body_size: int, room: int) -> None:
        """Say how long the body is after all; a block that has become too small is changed for a larger one."""
        need = self.body_at - self.block.at + 2 * ALIGN + body_size + room
        if need > self.block.size:
            larger = self.arena.cut(need)
            used = self.body_at - self.block.at + min(self.body_size, body_size)
            self.arena.view[larger.at : larger.at + used] = self.arena.view[self.block.at : self.block.at + used]
            self.body_at += larger.at - self.block.at
            self.arena.free(self.block)
            self.block = larger
        self.body_size = body_size
        self._make_room()

    def call(self) -> tuple[int, ...]:
        """Return what the channel carries."""
        return (
            self.id, self.block.at, self.head_size, self.op, 0,
            self.body_at, self.body_size, self.room_at, self.room_size,
        )  # fmt: skip

    def heir(self) -> Ticket:
        """Return a ticket for the same bytes, which are its own from now on; this one has none any more."""
        other = Ticket.__new__(Ticket)
        other.id, other.op, other.arena = next(_ids), self.op, self.arena
        other.block, self.block = self.block, Block(0, 0)
        other.body_at, other.body_size, other.head_size = self.body_at, self.body_size, self.head_size
        other.room_at, other.room_size = self.room_at, self.room_size
        other.deadline, other.priority, other.stream = self.deadline, self.priority, self.stream
        other.level, other.wish, other.until, other.line = self.level, self.wish, 0, 0
        other.queue, other.queued, other.timer, other.attempts = None, 0, None, 0
        other.bound, other.over, other.done, other.times = self.bound, False, None, ()
        return other

    def finish(self, found: Answered | SkerryError) -> None:
        """Tell whoever waits, once. The block is theirs to close."""
        if not self.over:
            self.over = True
            done, self.done = self.done, None  # who waits knows the ticket: neither is to keep the other alive
            if done is not None:
                done(self, found)

    def close(self) -> None:
        """Give the block back; nothing is to happen at the deadline any more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.block.size:
            self.arena.free(self.block)
            self.block = Block(0, 0)
