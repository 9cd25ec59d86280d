"""A request of inference over gRPC: its bytes go into the model's memory, then into the queue, as over HTTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc

from skerry.core.errors import (
    BusyError,
    Conflict,
    DeadlinePassed,
    Invalid,
    ModelError,
    NotAllowed,
    NotFound,
    RequestError,
    SkerryError,
    TooLarge,
    Unsupported,
)
from skerry.host.clock import Clock
from skerry.node.generation import Generation
from skerry.node.lane import MAX_BODY as LANE_BODY
from skerry.node.lane import REGION, Lane
from skerry.node.models import Models
from skerry.node.queue import API
from skerry.node.serve.access import TICKETS
from skerry.node.tracing.traced import Tracing
from skerry.node.worker.order import ENCODER, Head, Op
from skerry.node.worker.ticket import Answered, Ticket

CODES: dict[type[SkerryError], grpc.StatusCode] = {
    Invalid: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    NotAllowed: grpc.StatusCode.PERMISSION_DENIED,
    Conflict: grpc.StatusCode.FAILED_PRECONDITION,
    TooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unsupported: grpc.StatusCode.UNIMPLEMENTED,
    RequestError: grpc.StatusCode.INVALID_ARGUMENT,
    DeadlinePassed: grpc.StatusCode.DEADLINE_EXCEEDED,
    BusyError: grpc.StatusCode.UNAVAILABLE,
    ModelError: grpc.StatusCode.INTERNAL,
    SkerryError: grpc.StatusCode.INTERNAL,
}
NOTED = 4096  # bytes at the front of a request where its parameters are looked for
HEAD = ENCODER.encode(Head())
_WISH = re.compile(rb"(timeout|priority)\x12.[\x10\x18\x30]([\x00-\x7f]|[\x80-\xff]+[\x00-\x7f])", re.DOTALL)

Caller = grpc.aio.ServicerContext[bytes, bytes]
Answer = Callable[[bytes, Caller], Awaitable[bytes]]


@dataclass(frozen=True)
class Calls:
    """Runs requests."""

    models: Models
    clock: Clock
    tracing: Tracing | None = None

    async def run(
        self, op: Op, data: bytes, caller: Caller, name: str, version: int | None, label: str | None = None
    ) -> bytes:
        """Return the worker's answer; raise what it raised. A caller that hangs up cancels it."""
        began = self.clock.nanos()
        generation = self.models.live(name, version, label)
        told = TICKETS.get()
        lane = generation.lane
        if (
            lane is not None
            and self.tracing is None
            and told is None
            and len(data) <= LANE_BODY
            and generation.door.idle
            and not (generation.order.regions and REGION in data)
        ):
            return self._in_lane(generation, lane, op, data)
        ticket = Ticket(op, generation.arena, len(data), generation.room)
        if told is not None:
            told.append(ticket)
        ticket.body[:] = data
        ticket.put_head(HEAD)
        left = caller.time_remaining()
        if left is not None:
            ticket.deadline = self.clock.nanos() + int(left * 1e9)
        if op == Op.GRPC_INFER:
            self._wishes(ticket, data)
        answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()

        def done(ended: Ticket, found: Answered | SkerryError) -> None:
            if self.tracing is not None:
                self._tell(self.tracing, caller, (op, name, version), began, ended.times or found)
            if answer.done():
                return
            if isinstance(found, Answered):
                answer.set_result(found)
            else:
                answer.set_exception(found)

        ticket.done = done
        try:
            ticket.bound = version is not None or label is not None
            (generation.queue if ticket.bound else generation.door).submit(ticket)
        except SkerryError:
            ticket.close()
            raise
        try:
            return (await answer).body
        except asyncio.CancelledError:
            if ticket.queue is not None:
                ticket.queue.cancel(ticket)
            raise

    def _in_lane(self, generation: Generation, lane: Lane, op: Op, data: bytes) -> bytes:
        """Answer here and now."""
        series, began = generation.series, self.clock.nanos()
        try:
            made = lane.answer(op, HEAD, memoryview(data))
        except SkerryError as error:
            series.failed(API[op], type(error).__name__, self.clock.nanos() - began)
            raise
        parse, preprocess, infer, postprocess, encode = made.phases
        phases = (parse, 0, preprocess, infer, postprocess, encode)
        series.done(API[op], phases, made.batch, self.clock.nanos() - began)
        found: bytes = made.body
        return found

    @staticmethod
    def _tell(tracing: Tracing, caller: Caller, asked: tuple[Op, str, int | None], began: int, end: object) -> None:
        metadata = caller.invocation_metadata() or ()
        header = next((value for key, value in metadata if key == "traceparent"), None)
        place = tracing.traces.wants(header if isinstance(header, str) else None, asked[1])
        if place is not None:
            tracing.tell(place, asked[0], asked[1:], began, end)

    def _wishes(self, ticket: Ticket, data: bytes) -> None:
        """Read the protocol's timeout (microseconds) and priority (1 is the first), where they are given."""
        for name, value in _WISH.findall(data, 0, NOTED):
            number = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(value))
            if name == b"timeout":
                ticket.wish = number
            else:
                ticket.level = number


def code_of(error: SkerryError) -> grpc.StatusCode:
    """Return the code of the nearest class in the table."""
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)


async def refuse(caller: Caller, error: SkerryError) -> None:
    """End a call with an error, as the table has it."""
    await caller.abort(code_of(error), str(error))
