"""The queue in front of one generation of a model: bounded, first things first, nothing run in vain.

Order: priority, then the earliest deadline, then as they came. A request whose deadline cannot be met is refused at
once; one whose client has gone, whose deadline has passed or whose stream has a newer one is never run. A model's
configuration may have levels of priority, and for each how long and how many may wait.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Iterable

from skerry.core.errors import DeadlinePassed, NotReady, QueueFull, SkerryError
from skerry.host.clock import Clock
from skerry.node.metrics import Series
from skerry.node.worker.life import Worker
from skerry.node.worker.order import Op
from skerry.node.worker.ticket import Answered, Ticket
from skerry.wire.config import Batching, Queueing

ROOM = 2048  # bytes kept for an answer before one has been seen
MAX_ROOM = 8 << 20  # bytes kept for one at most; a larger one is fetched in a second step
MAX_ATTEMPTS = 2  # a request that a worker died under is run once more: it changes nothing, so that is safe
SMOOTHING = 0.1  # weight of the newest run in the estimate of how long one takes
LEVELS = 8  # of priority, where a configuration has none of its own
FREE = Queueing()
NEVER = 1 << 63  # ns; the deadline of a request that has none
API = {
    Op.INFER: "oip-http",
    Op.PREDICT: "predict",
    Op.TFS_PREDICT: "tfs-http",
    Op.TFS_CLASSIFY: "tfs-http-classify",
    Op.TFS_REGRESS: "tfs-http-regress",
    Op.GRPC_INFER: "oip-grpc",
    Op.GRPC_PREDICT: "tfs-grpc",
    Op.GRPC_CLASSIFY: "tfs-grpc-classify",
    Op.GRPC_REGRESS: "tfs-grpc-regress",
    Op.GRPC_MULTI: "tfs-grpc-multi",
}


class Queue:
    """Tickets that wait, and the worker they wait for. Used from the event loop alone."""

    def __init__(
        self,
        name: str,
        limit: int,
        series: Series,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        rules: Batching | None = None,
    ) -> None:
        self.worker: Worker | None = None
        self.room = ROOM  # bytes that an answer of this model has been seen to need
        self.refusal: SkerryError | None = None  # why nothing is taken any more
        self._name = name
        self._limit = limit
        self._rules = rules
        self._lines: dict[int, int] = {}  # how many wait under each level's policy
        self._series = series
        self._clock = clock
        self._loop = loop
        self._heap: list[tuple[int, int, int, Ticket]] = []
        self._numbers = itertools.count()
        self._waiting = 0  # of the heap, those that somebody still waits for
        self._streams: dict[str, Ticket] = {}
        self._run_ns = 0.0  # how long one request keeps one thread of the worker, smoothed

    @property
    def series(self) -> Series:
        """The counts of the version that answers here."""
        return self._series

    @property
    def length(self) -> int:
        """How many tickets wait here."""
        return self._waiting

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._waiting and self.worker is not None and not self.worker.flying

    def submit(self, ticket: Ticket) -> None:
        """Take a ticket; raise QueueFull if too many wait, or if its deadline cannot be met."""
        now = ticket.queued = self._clock.nanos()
        ticket.queue = self
        worker = self.worker
        if self.refusal is not None:
            raise self.refusal
        if self._rules is not None or ticket.wish or ticket.level:
            self._place(ticket, now)
        if ticket.deadline:
            self._check(ticket, now)
        due = ticket.deadline
        if worker is not None and not self._waiting and worker.free > 0:
            ticket.until = 0
            worker.send(ticket, now)  # the usual way: nothing waits
            self._series.inflight += 1
        else:
            if ticket.stream:
                self._replace(ticket)
            if self._waiting >= self._limit:
                self._series.rejected(API[ticket.op])
                raise QueueFull(f"model {self._name}: {self._limit} requests are waiting; try later", self._wait_s())
            self._check_line(ticket)
            self._push(ticket)
            due = min(due or NEVER, ticket.until) if ticket.until else due
        if due:
            ticket.timer = self._loop.call_later((due - now) / 1e9, _expire, ticket)

    def cancel(self, ticket: Ticket) -> None:
        """Nobody waits for this ticket any more: it is not run if it has not begun."""
        if ticket.over:
            return
        ticket.over = True
        if not self.runs(ticket):
            self._unwait(ticket)
            self._series.failed(API[ticket.op], "Cancelled")
            ticket.close()  # its place in the heap is passed over

    def settle(self, ticket: Ticket, found: Answered | SkerryError, times: tuple[int, ...]) -> None:
        """An answer has come from the worker: sent and taken at, phases, batch."""
        if ticket.op < Op.INFER:
            ticket.times = (times[2], max(0, times[1] - ticket.queued), *times[3:7])
            ticket.finish(found)
            ticket.close()
            self._pump()
            return
        _, taken, parse, preprocess, infer, postprocess, encode, batch, company = times
        now = self._clock.nanos()
        series = self._series
        series.inflight -= 1
        if isinstance(found, Answered):
            size = len(found.body) + len(found.notes)
            if size > self.room:
                self.room = min(size + size // 4, MAX_ROOM)
            share = infer * batch // abs(company) if company else infer
            spent = parse + preprocess + share + postprocess + encode
            self._run_ns += SMOOTHING * (spent - self._run_ns) if self._run_ns else spent
            phases = (parse, max(0, taken - ticket.queued), preprocess, infer, postprocess, encode)
            ticket.times = phases
            series.done(API[ticket.op], phases, batch, now - ticket.queued, company == 0)
            if company > 0:
                series.ran(company, parse + preprocess, infer, postprocess + encode)
        else:
            series.failed(API[ticket.op], type(found).__name__, now - ticket.queued)
        ticket.finish(found)
        ticket.close()
        if self._waiting:
            self._pump()

    def put_worker(self, worker: Worker) -> None:
        """From now on this worker answers."""
        self.worker = worker
        self._pump()

    def lost(self, tickets: Iterable[Ticket], why: str = "") -> None:
        """The worker died under these: each is tried once more, before what waits."""
        self.worker = None
        more = f": {why}" if why else ""
        for ticket in tickets:
            ticket.attempts += 1
            if ticket.op >= Op.INFER:
                self._series.inflight -= 1
            if ticket.op < Op.INFER or ticket.over:
                self._give_up(ticket, NotReady(f"the worker died{more}"))
            elif ticket.attempts >= MAX_ATTEMPTS:
                self._give_up(ticket, NotReady(f"model {self._name}: its worker died twice under this request{more}"))
            else:
                self._push(ticket, -1)

    def refuse(self, error: SkerryError) -> None:
        """Answer all that waits with an error, and whatever comes."""
        self.refusal = error
        for ticket in self.empty():
            self._give_up(ticket, error)

    def empty(self) -> list[Ticket]:
        """Return what waits, in order, and forget it: another generation will answer it."""
        found = []
        while self._heap:
            ticket = heapq.heappop(self._heap)[-1]
            if not ticket.over:
                found.append(ticket)
        self._waiting = 0
        self._series.pending -= len(found)
        self._streams.clear()
        self._lines.clear()
        return found

    def adopt(self, tickets: Iterable[Ticket]) -> None:
        """Take over what waited for another generation; the limit was kept there."""
        for ticket in tickets:
            ticket.queue = self
            if self.refusal is None:
                self._push(ticket)
            else:
                self._give_up(ticket, self.refusal)
        self._pump()

    def _place(self, ticket: Ticket, now: int) -> None:
        """Give a ticket its place and its times: what its protocol's parameters say, as far as the rules let them."""
        rules = self._rules
        if rules is None or not rules.levels:
            if ticket.level:
                ticket.priority = min(ticket.level, LEVELS) - 1
        else:
            ticket.line = ticket.level if 0 < ticket.level <= rules.levels else rules.level
            ticket.priority = ticket.line - 1
        policy = FREE if rules is None else rules.queues.get(ticket.line, rules.queue)
        if policy.timeout:
            ticket.until = now + policy.timeout * 1000
        if ticket.wish and (policy.override or not policy.timeout):
            until = now + ticket.wish * 1000
            ticket.deadline = min(ticket.deadline or until, until)

    def _check_line(self, ticket: Ticket) -> None:
        """Raise QueueFull if as many wait under the policy of a ticket's level as it lets."""
        if self._rules is None:
            return
        size = self._rules.queues.get(ticket.line, self._rules.queue).size
        if size and self._lines.get(ticket.line, 0) >= size:
            self._series.rejected(API[ticket.op])
            level = f" of priority {ticket.line}" if ticket.line else ""
            text = f"model {self._name}: Exceeds maximum queue size: {size} requests{level} are waiting; try later"
            raise QueueFull(text, self._wait_s())

    def _check(self, ticket: Ticket, now: int) -> None:
        if ticket.deadline <= now:
            self._series.failed(API[ticket.op], DeadlinePassed.__name__)
            raise DeadlinePassed(f"model {self._name}: the deadline had passed when the request came")
        busy = self._waiting + (len(self.worker.flying) if self.worker is not None else 0)
        runs = self.worker.order.runs if self.worker is not None else 1
        wait = self._run_ns * (busy // runs + 1)
        if now + wait > ticket.deadline and busy:
            self._series.rejected(API[ticket.op])
            raise QueueFull(
                f"model {self._name}: the answer would take {wait / 1e6:.0f} ms, "
                f"the deadline is in {(ticket.deadline - now) / 1e6:.0f} ms",
                self._wait_s(),
            )

    def expire(self, ticket: Ticket) -> None:
        """A time has come: at the deadline, what is not answered never will be; what may only not wait, may run."""
        if ticket.over:
            return
        waited = bool(ticket.until) and ticket.until < (ticket.deadline or NEVER)
        text = "the deadline passed before the answer was there"
        if self.runs(ticket):
            if not waited:
                ticket.finish(DeadlinePassed(f"model {self._name}: {text}"))
            elif ticket.deadline:
                left = (ticket.deadline - self._clock.nanos()) / 1e9
                ticket.until, ticket.timer = 0, self._loop.call_later(max(0.0, left), _expire, ticket)
        else:
            if waited:
                text = "Request timeout expired: it waited longer than its queue policy lets it"
            error = DeadlinePassed(f"model {self._name}: {text}")
            self._unwait(ticket)
            self._series.failed(API[ticket.op], DeadlinePassed.__name__)
            self._give_up(ticket, error)

    def _replace(self, ticket: Ticket) -> None:
        old = self._streams.get(ticket.stream)
        if old is not None and not old.over and not self.runs(old):
            self._unwait(old)
            self._series.skipped()
            self._give_up(old, QueueFull(f"stream {ticket.stream}: a newer request took this one's place"))

    def runs(self, ticket: Ticket) -> bool:
        """Whether a worker has it."""
        return self.worker is not None and ticket.id in self.worker.flying

    def _give_up(self, ticket: Ticket, error: SkerryError) -> None:
        ticket.finish(error)
        ticket.close()

    def _push(self, ticket: Ticket, ahead: int = 0) -> None:
        self._waiting += 1
        self._series.pending += 1
        if self._rules is not None:
            self._lines[ticket.line] = self._lines.get(ticket.line, 0) + 1
        if ticket.stream and not ahead:
            self._streams[ticket.stream] = ticket
        place = (ahead or ticket.priority, ticket.deadline or NEVER, next(self._numbers), ticket)
        heapq.heappush(self._heap, place)

    def _pump(self) -> None:
        worker = self.worker
        while worker is not None and self._heap and worker.free > 0:
            ticket = heapq.heappop(self._heap)[-1]
            if ticket.over:
                continue
            self._unwait(ticket)
            self._series.inflight += 1
            if ticket.stream and self._streams.get(ticket.stream) is ticket:
                del self._streams[ticket.stream]
            worker.send(ticket, self._clock.nanos())

    def _unwait(self, ticket: Ticket) -> None:
        self._waiting -= 1
        self._series.pending -= 1
        if self._rules is not None:
            self._lines[ticket.line] -= 1

    def _wait_s(self) -> float:
        runs = self.worker.order.runs if self.worker is not None else 1
        return max(1.0, self._run_ns * self._waiting / runs / 1e9)


def _expire(ticket: Ticket) -> None:
    """Its deadline has come. The queue that has it may be another one than at first: a swap moves what waits."""
    if ticket.queue is not None:
        ticket.queue.expire(ticket)
