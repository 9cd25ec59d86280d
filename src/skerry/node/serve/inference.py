"""A request of inference over HTTP: its body goes into its model's memory, then into the queue, not decoded."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from skerry.core.errors import Invalid, NotReady, SkerryError, TooLarge
from skerry.core.names import shown
from skerry.host.clock import Clock
from skerry.node.generation import Generation
from skerry.node.lane import MAX_BODY as LANE_BODY
from skerry.node.lane import REGION, Lane
from skerry.node.models import Models
from skerry.node.queue import API
from skerry.node.serve.access import About, of
from skerry.node.serve.cold import query_of
from skerry.node.serve.http.exchange import JSON, Exchange
from skerry.node.worker import coding
from skerry.node.worker.order import CONTENT_TYPES, ENCODER, HEAD_ROOM, MAX_BODY, Head, Kind, Op
from skerry.node.worker.ticket import PLAIN, Answered, Ticket
from skerry.wire.routes import JSON_LENGTH

CHUNK = 64 << 10  # bytes; what a body of unknown length begins with, and doubles from
MAX_SECONDS = 3600.0  # of a deadline
TIMEOUT = b"request-timeout"  # header: seconds until the answer is of no use
PRIORITY = b"priority"  # header: RFC 9218, u=0 (first) to u=7
STREAM = b"skerry-stream"  # header: only the latest request of a stream is of use
_URGENCY = re.compile(r"(?:^|,)\s*u=([0-7])\s*(?:,|;|$)")
_LENGTH = JSON_LENGTH.lower().encode()
_MORE = re.compile(rb'"(timeout|priority)"\s*:\s*"?(\d{1,18})')
LANE_OPS = (Op.INFER, Op.TFS_PREDICT, Op.TFS_CLASSIFY, Op.TFS_REGRESS)
NOTED = 16 << 10  # bytes at each end of a JSON body where parameters are looked for
OCTETS = CONTENT_TYPES[Kind.BINARY]
BINARY = b"inference-header-content-length: %d\r\n"
CODED = b"content-encoding: %b\r\nvary: accept-encoding\r\n"

Finish = Callable[[Exchange, Ticket, Answered], bool]  # (whether it answers the exchange itself, later)


@dataclass(frozen=True)
class Target:
    """What a path asks for."""

    op: Op
    model: str
    version: int | None = None
    label: str | None = None
    lasting: bool = True  # the same path will mean the same model later


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the headers of a request say: what the worker is told, and until when, how soon and in which stream."""

    head: bytes
    front: int  # bytes of JSON in front of binary tensors
    noted: int  # bytes of the body where parameters may stand, -1: all of it, if it is not too long
    seconds: float
    priority: int
    stream: str
    plain: bool  # nothing is asked that only a queue can do


class Inference:
    """One request."""

    __slots__ = ("_clock", "_exchange", "_finish", "_models", "_small", "_target", "_ticket", "_wishes")

    def __init__(self, models: Models, target: Target, exchange: Exchange, clock: Clock, finish: Finish | None) -> None:
        """Raise NotFound or NotReady if the model does not serve: a wrong name costs no upload."""
        models.live(target.model, target.version, target.label)
        self._models = models
        self._target = target
        self._exchange = exchange
        self._clock = clock
        self._finish = finish
        self._wishes = wishes_of(exchange, target.op)
        self._ticket: Ticket | None = None
        self._small: bytearray | None = None  # the body of a request that may be answered in the lane

    def again(self, exchange: Exchange) -> Inference:
        """Return the same for another exchange with the same head."""
        kind = type(self)
        other = kind.__new__(kind)
        other._models, other._target, other._exchange = self._models, self._target, exchange
        other._clock, other._finish, other._wishes = self._clock, self._finish, self._wishes
        other._ticket = other._small = None
        return other

    @property
    def lasting(self) -> bool:
        """Whether the same head will mean the same later."""
        return self._target.lasting

    def at_once(self, body: memoryview) -> tuple[bytes, bytes, bytes, About] | None:
        """Answer another request with the same head in the model's lane: kind, more header lines, body, how it went.

        None where it has no lane, or the request is not like an earlier one: then it goes the usual way.
        """
        target, wishes = self._target, self._wishes
        if target.op != Op.INFER or not wishes.plain:
            return None
        try:
            generation = self._models.live(target.model, target.version, target.label)
        except SkerryError:
            return None
        lane = generation.lane
        if lane is None or len(body) > LANE_BODY or not generation.door.idle:
            return None
        began = self._clock.nanos()
        made = lane.quick(wishes.front or wishes.noted, body)
        if made is None:
            return None
        parse, _, infer, _, encode = made.phases
        phases = (parse, 0, 0, infer, 0, encode)
        generation.series.done(API[Op.INFER], phases, 1, self._clock.nanos() - began)
        about = (generation.series, phases)
        if made.kind == Kind.JSON:
            return JSON, b"", made.body, about
        return OCTETS, BINARY % made.json_length, made.body, about

    def reserve(self, size: int) -> memoryview | None:
        """Return the place of the body in the model's memory; raise QueueFull if there is none."""
        target = self._target
        generation = self._models.live(target.model, target.version, target.label)
        if generation.lane is not None and size <= LANE_BODY and self._wishes.plain:
            self._small = bytearray(size)
            return memoryview(self._small)
        self._ticket = Ticket(target.op, generation.arena, size, generation.room, self._wishes.front)
        return self._ticket.body

    def add(self, piece: memoryview) -> None:
        """Take a piece of a body of unknown length."""
        ticket = self._ticket
        if ticket is None:
            ticket = self._ticket = Ticket(self._target.op, self._models.arena(self._target.model), 0, CHUNK)
        used = ticket.body_size
        if used + len(piece) > MAX_BODY:
            raise TooLarge(f"body: expected at most {MAX_BODY} bytes")
        ticket.resize(used + len(piece), min(max(CHUNK, used), MAX_BODY))
        ticket.body[used:] = piece

    def complete(self, exchange: Exchange) -> None:  # noqa: ARG002
        """Queue the request, or answer it at once."""
        if self._ticket is None and self._small is None:
            self.reserve(0)
        small = self._small
        if small is not None:
            generation = self._models.live(self._target.model, self._target.version, self._target.label)
            shared = generation.order.regions and REGION in small
            if generation.lane is not None and generation.door.idle and not shared:
                self._in_lane(generation, generation.lane, memoryview(small))
                return
            self._ticket = Ticket(self._target.op, generation.arena, len(small), generation.room, self._wishes.front)
            self._ticket.body[:] = small
        ticket, wishes, target = self._ticket, self._wishes, self._target
        assert ticket is not None
        try:
            if wishes.seconds:
                ticket.deadline = self._clock.nanos() + int(wishes.seconds * 1e9)
            ticket.priority, ticket.stream = wishes.priority, wishes.stream
            if wishes.noted and ticket.body_size:
                self._parameters(ticket, wishes.noted)
            ticket.put_head(wishes.head)
            generation = self._models.live(target.model, target.version, target.label)
            if ticket.room_size < generation.room:
                ticket.resize(ticket.body_size, generation.room)
            ticket.done = self._done
            ticket.bound = target.version is not None or target.label is not None
            (generation.queue if ticket.bound else generation.door).submit(ticket)
        except SkerryError:
            ticket.close()
            self._ticket = None
            raise

    def gone(self) -> None:
        """Nobody waits for the answer: if it has not begun it is not run."""
        ticket = self._ticket
        if ticket is not None:
            if ticket.queue is None:
                ticket.close()
            else:
                ticket.queue.cancel(ticket)

    def left(self) -> None:
        """The client sends no more: a request that still waits is dropped, one that runs is answered."""
        ticket = self._ticket
        if ticket is not None and ticket.queue is not None and not ticket.over and not ticket.queue.runs(ticket):
            ticket.queue.cancel(ticket)
            self._exchange.fail(NotReady("the client closed its side of the connection while the request waited"))

    def _in_lane(self, generation: Generation, lane: Lane, body: memoryview) -> tuple[int, ...]:
        """Answer here and now; return the nanoseconds by phase."""
        op, series, began = self._target.op, generation.series, self._clock.nanos()
        try:
            made = lane.answer(op, self._wishes.head, body)
        except SkerryError as error:
            series.failed(API[op], type(error).__name__, self._clock.nanos() - began)
            raise
        parse, preprocess, infer, postprocess, encode = made.phases
        phases = (parse, 0, preprocess, infer, postprocess, encode)
        series.done(API[op], phases, made.batch, self._clock.nanos() - began)
        self._exchange.about = (series, phases)
        reply(self._exchange, made)
        return phases

    def _parameters(self, ticket: Ticket, noted: int) -> None:
        """Read the protocol's own timeout and priority; the worker reads the rest."""
        body = ticket.body
        if noted > 0:
            text = bytes(body[:noted])
        elif len(body) <= 2 * NOTED:
            text = bytes(body)
        else:
            text = bytes(body[:NOTED]) + bytes(body[-NOTED:])
        if b'"timeout"' not in text and b'"priority"' not in text:
            return
        for name, value in _MORE.findall(text):
            if name == b"timeout":
                ticket.wish = int(value)
            else:
                ticket.level = int(value)

    def _done(self, ticket: Ticket, found: Answered | SkerryError) -> None:
        exchange = self._exchange
        if exchange.connection.site.access is not None:
            exchange.about = of(ticket)
        if not isinstance(found, Answered):
            exchange.fail(found)
        elif self._finish is None or not self._finish(exchange, ticket, found):
            reply(exchange, found)


def reply(exchange: Exchange, found: Answered) -> None:
    """Answer with what the worker made."""
    if found.kind == Kind.JSON:
        exchange.answer(200, found.body)
        return
    kind, packed = coding.split(found.kind)
    extra = CODED % packed.encode() if packed else b""
    if kind == Kind.BINARY:
        extra += BINARY % found.json_length
    exchange.answer(200, found.body, CONTENT_TYPES[kind], extra)


def wishes_of(exchange: Exchange, op: Op) -> Wishes:
    """Return what the headers say; raise Invalid naming one that is malformed."""
    headers = exchange.headers
    length = headers.get(_LENGTH)
    accept = coding.wanted(exchange.header(b"accept-encoding")) if op != Op.PREDICT else ("", False)
    head = ENCODER.encode(
        Head(
            exchange.header(b"content-type"),
            None if length is None else length.decode("latin-1"),
            exchange.header(b"content-encoding"),
            query_of(exchange).get("source", "") if exchange.query else "",
            accept=accept[0],
            insists=accept[1],
        )
    )
    if len(head) > HEAD_ROOM:
        raise Invalid("headers: Content-Type, Content-Encoding and source are too long")
    front = int(length) if length is not None and length.isdigit() and len(length) < 10 else 0
    noted = 0
    if op == Op.INFER and b"content-encoding" not in headers:
        if length is not None:
            noted = min(front, NOTED)
        elif headers.get(b"content-type", JSON).startswith(JSON):
            noted = -1
    priority = _URGENCY.search(exchange.header(PRIORITY))
    return Wishes(
        head,
        front,
        noted,
        _seconds(headers[TIMEOUT]) if TIMEOUT in headers else 0.0,
        int(priority[1]) if priority else PLAIN,
        exchange.header(STREAM)[:128],
        op in LANE_OPS and not any(name in headers for name in (TIMEOUT, STREAM, PRIORITY, b"content-encoding")),
    )


def _seconds(text: bytes) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= MAX_SECONDS:
        raise Invalid(
            f"Request-Timeout: expected seconds, more than 0 and at most {MAX_SECONDS:.0f}; "
            f"got {shown(text.decode('latin-1'))}"
        )
    return value
