"""The queue before a generation: who is run, when, and who never is. A worker by hand, a clock and timers by hand."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.errors import DeadlinePassed, Invalid, NotReady, QueueFull, SkerryError
from skerry.host.clock import FakeClock
from skerry.host.shared import Arena
from skerry.node.metrics import Metrics
from skerry.node.queue import Queue
from skerry.node.worker.order import Op, Order
from skerry.node.worker.ticket import Answered, Ticket
from skerry.wire.config import Batching, Queueing

MS = 1_000_000  # ns


@dataclass
class Later:
    """A call that a timer will make."""

    at: float
    call: Any
    args: tuple[Any, ...]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class Timers:
    """The event loop's timers, which the clock's hand fires."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.laters = clock, []

    def call_later(self, seconds: float, call: Any, *args: Any) -> Later:
        self.laters.append(Later(self.clock.time + seconds, call, args))
        return self.laters[-1]

    @property
    def waiting(self) -> int:
        return sum(not one.cancelled for one in self.laters)

    def advance(self, seconds: float) -> None:
        self.clock.time += seconds
        due = [one for one in self.laters if one.at <= self.clock.time + 1e-6]
        self.laters = [one for one in self.laters if one not in due]
        for one in sorted(due, key=lambda one: one.at):
            if not one.cancelled:
                one.call(*one.args)


class Hands:
    """A worker that answers when the test says so."""

    def __init__(self, depth: int = 1, runs: int = 1) -> None:
        self.order = Order(path="hands", runs=runs)
        self.depth = depth
        self.flying: dict[int, Ticket] = {}
        self.sent: list[Ticket] = []

    @property
    def free(self) -> int:
        return self.depth - len(self.flying)

    def send(self, ticket: Ticket, now: int) -> None:
        assert self.free > 0
        assert not ticket.over
        self.flying[ticket.id] = ticket
        self.sent.append(ticket)


@dataclass
class Quay:
    """A queue with all that it needs."""

    limit: int = 8
    depth: int = 1
    runs: int = 1
    clock: FakeClock = field(default_factory=lambda: FakeClock(1000.0))
    rules: Batching | None = None

    def __post_init__(self) -> None:
        self.arena = Arena(1 << 24, 1 << 22)
        self.metrics = Metrics(self.clock)
        self.series = self.metrics.of("m", 1)
        self.timers = Timers(self.clock)
        self.queue = Queue("m", self.limit, self.series, self.clock, self.timers, self.rules)  # type: ignore[arg-type]
        self.worker = Hands(self.depth, self.runs)
        self.queue.put_worker(self.worker)  # type: ignore[arg-type]
        self.answers: dict[Ticket, Answered | SkerryError] = {}
        self.names = itertools.count()

    def ticket(
        self,
        seconds: float = 0,
        priority: int = 4,
        stream: str = "",
        op: Op = Op.INFER,
        level: int = 0,
        wish: float = 0,
    ) -> Ticket:
        made = Ticket(op, self.arena, 10, 100)
        made.deadline = self.clock.nanos() + int(seconds * 1e9) if seconds else 0
        made.priority, made.stream, made.level, made.wish = priority, stream, level, int(wish * 1e6)
        made.done = self.told
        return made

    def told(self, ticket: Ticket, found: Answered | SkerryError) -> None:
        assert ticket not in self.answers
        self.answers[ticket] = found

    def submit(self, *args: Any, **wishes: Any) -> Ticket:
        """Submit as the site does: a ticket that is refused is closed."""
        made = self.ticket(*args, **wishes)
        try:
            self.queue.submit(made)
        except SkerryError as error:
            made.close()
            self.answers[made] = error
        return made

    def answer(self, ticket: Ticket | None = None, ms: float = 1.0, error: SkerryError | None = None) -> Ticket:
        """Let the worker answer a ticket, its oldest if none is named."""
        one = ticket or next(iter(self.worker.flying.values()))
        del self.worker.flying[one.id]
        times = (0, self.clock.nanos(), 0, 0, int(ms * MS), 0, 0, 1, 0)
        self.queue.settle(one, error or Answered(b"{}"), times)
        return one

    def drain(self) -> list[Ticket]:
        """Answer everything; return what was run, in order."""
        while self.worker.flying:
            self.answer()
        return self.worker.sent

    def die(self, successor: Hands | None = None) -> None:
        """Let the worker die."""
        tickets = list(self.worker.flying.values())
        self.worker.flying.clear()
        self.queue.lost(tickets)
        if successor is not None:
            self.worker = successor
            self.queue.put_worker(successor)  # type: ignore[arg-type]

    def failures(self) -> dict[str, int]:
        """Count of failures by outcome."""
        return {outcome: count for (_, outcome), (count, _) in self.series.reading().failures.items()}

    def check_empty(self) -> None:
        """Nothing waits, runs, holds memory, is counted as pending, or will be told later; the end."""
        assert self.arena.used == 0
        assert (self.series.pending, self.series.inflight, self.queue.length) == (0, 0, 0)
        assert self.timers.waiting == 0
        self.arena.close()


@pytest.fixture
def quay():
    found = Quay()
    yield found
    found.drain()
    found.check_empty()


def outcome(quay, ticket):
    found = quay.answers.get(ticket)
    return type(found).__name__ if found is not None else None


def test_priority_then_deadline_then_as_they_came(quay):
    first = quay.submit()
    wishes = [{}, {"seconds": 9}, {"seconds": 5}, {"priority": 7}, {"priority": 0}, {"priority": 0, "seconds": 8}, {}]
    rest = [quay.submit(**wish) for wish in wishes]
    assert quay.worker.sent == [first]
    assert (quay.queue.length, quay.series.pending, quay.series.inflight) == (7, 7, 1)
    order = [rest[n] for n in (5, 4, 2, 1, 0, 6, 3)]
    assert quay.drain() == [first, *order]
    assert {outcome(quay, one) for one in [first, *rest]} == {"Answered"}


def test_a_worker_is_kept_supplied_and_no_more(quay):
    quay.worker.depth = 3
    tickets = [quay.submit() for _ in range(5)]
    assert quay.worker.sent == tickets[:3]
    quay.answer(tickets[1])
    assert quay.worker.sent == tickets[:4]


def test_over_the_limit_it_is_refused_with_a_time_to_come_back(quay):
    tickets = [quay.submit() for _ in range(quay.limit + 3)]
    refused = tickets[quay.limit + 1 :]
    for one in refused:
        error = quay.answers[one]
        assert isinstance(error, QueueFull)
        assert str(error) == "model m: 8 requests are waiting; try later"
        assert error.after == 1.0
    quay.answer(ms=4000)  # now it is known that a run takes 4 s
    quay.submit()
    error = quay.answers[quay.submit()]
    assert isinstance(error, QueueFull)
    assert error.after == 4.0 * quay.limit
    assert quay.failures() == {"QueueFull": 3}
    quay.drain()
    assert outcome(quay, quay.submit()) is None  # taken at once


def test_a_deadline_that_cannot_be_met_is_refused_at_once(quay):
    quay.submit()
    quay.answer(ms=100)
    quay.submit()
    quay.submit()
    late = quay.submit(seconds=0.25)  # two before it: 300 ms
    assert str(quay.answers[late]) == "model m: the answer would take 300 ms, the deadline is in 250 ms"
    assert isinstance(quay.answers[late], QueueFull)
    in_time = quay.submit(seconds=0.35)
    quay.drain()
    assert outcome(quay, in_time) == "Answered"
    alone = quay.submit(seconds=0.05)  # nothing is before it: who knows, it may be fast
    quay.drain()
    assert outcome(quay, alone) == "Answered"


def test_a_refused_deadline_leaves_no_trace(quay):
    quay.limit = quay.queue._limit = 1
    quay.submit()
    quay.submit()
    for _ in range(3):
        assert outcome(quay, quay.submit(seconds=1)) == "QueueFull"
    assert outcome(quay, quay.submit(seconds=1, stream="s")) == "QueueFull"
    assert outcome(quay, quay.submit(seconds=1, stream="s")) == "QueueFull"
    assert quay.queue.length == 1
    quay.timers.advance(2)
    assert quay.queue.length == 1
    quay.drain()
    assert outcome(quay, quay.submit()) is None
    assert len(quay.worker.sent) == 3


def test_one_that_came_too_late_is_not_taken(quay):
    made = quay.ticket()
    made.deadline = quay.clock.nanos()
    with pytest.raises(DeadlinePassed, match="the deadline had passed when the request came"):
        quay.queue.submit(made)
    made.close()
    assert quay.failures() == {"DeadlinePassed": 1}


def test_the_deadline_while_it_waits(quay):
    quay.submit()
    waits = quay.submit(seconds=1)
    quay.timers.advance(1)
    assert str(quay.answers[waits]) == "model m: the deadline passed before the answer was there"
    assert quay.failures() == {"DeadlinePassed": 1}
    assert quay.drain() != [waits]
    assert waits not in quay.worker.sent


def test_the_deadline_while_it_runs(quay):
    runs = quay.submit(seconds=1)
    quay.timers.advance(1)
    assert outcome(quay, runs) == "DeadlinePassed"
    assert quay.arena.used > 0  # the worker still writes there
    quay.answer()
    assert outcome(quay, runs) == "DeadlinePassed"


def test_an_answer_in_time_ends_the_timer(quay):
    quay.submit(seconds=1)
    quay.drain()
    assert quay.timers.waiting == 0


def test_given_up_while_it_waits_it_is_never_run(quay):
    first, second, third = quay.submit(), quay.submit(), quay.submit()
    quay.queue.cancel(second)
    quay.queue.cancel(second)
    assert quay.queue.length == 1
    assert quay.drain() == [first, third]
    assert second not in quay.answers
    assert quay.failures() == {"Cancelled": 1}


def test_given_up_while_it_runs_its_answer_is_dropped(quay):
    first = quay.submit()
    quay.queue.cancel(first)
    assert quay.arena.used > 0
    quay.answer()
    assert first not in quay.answers
    quay.queue.cancel(first)


def test_given_up_all_that_wait_the_next_goes_at_once(quay):
    first = quay.submit()
    for one in [quay.submit() for _ in range(3)]:
        quay.queue.cancel(one)
    quay.answer()
    last = quay.submit()
    assert quay.worker.sent == [first, last]


def test_of_a_stream_the_latest_alone_is_run(quay):
    first = quay.submit()
    frames = [quay.submit(stream="cam") for _ in range(4)]
    other = quay.submit(stream="other")
    assert quay.queue.length == 2
    for old in frames[:-1]:
        assert str(quay.answers[old]) == "stream cam: a newer request took this one's place"
    assert quay.drain() == [first, frames[-1], other]
    assert quay.series.reading().skips == 3
    assert quay.failures() == {}


def test_a_frame_that_runs_is_not_overtaken(quay):
    first = quay.submit(stream="cam")
    second = quay.submit(stream="cam")
    assert quay.drain() == [first, second]
    assert quay.series.reading().skips == 0


def test_a_frame_that_was_given_up_or_expired_is_not_skipped(quay):
    quay.submit()
    given_up, late = quay.submit(stream="cam"), quay.submit(stream="other", seconds=1)
    quay.queue.cancel(given_up)
    quay.timers.advance(1)
    quay.submit(stream="cam")
    quay.submit(stream="other")
    assert quay.queue.length == 2
    assert outcome(quay, late) == "DeadlinePassed"
    assert quay.series.reading().skips == 0


def ruled(**rules: Any) -> Quay:
    found = Quay(rules=Batching(**rules))
    found.submit()  # it runs, so that what follows waits
    return found


def test_levels_of_a_configuration():
    """1 is the first; who names none, or one that is not there, has the default; HTTP's own priority does not count."""
    quay = ruled(levels=3, level=2)
    tickets = [
        quay.submit(level=level, priority=priority) for level, priority in ((0, 0), (3, 0), (1, 7), (9, 4), (2, 4))
    ]
    order = [tickets.index(one) for one in quay.drain()[1:]]
    assert order == [2, 0, 3, 4, 1]
    quay.check_empty()


def test_without_levels_a_request_may_have_one_of_eight(quay):
    quay.submit()
    first, second, last = quay.submit(level=8), quay.submit(level=3), quay.submit(level=99)
    assert quay.drain()[1:] == [second, first, last]


def test_a_level_has_room_for_so_many():
    quay = ruled(levels=2, level=2, queue=Queueing(size=2), queues={1: Queueing(size=1)})
    good = [quay.submit(level=1), quay.submit(), quay.submit()]
    for level, size in ((1, 1), (2, 2)):
        late = quay.submit(level=level)
        assert outcome(quay, late) == "QueueFull"
        text = f"model m: Exceeds maximum queue size: {size} requests of priority {level} are waiting; try later"
        assert str(quay.answers[late]) == text
    quay.queue.cancel(good[0])
    assert outcome(quay, quay.submit(level=1)) is None
    quay.drain()
    quay.check_empty()


def test_a_request_may_wait_so_long_and_run_for_longer():
    quay = ruled(queue=Queueing(timeout=1_000_000))
    runs, waits = quay.submit(), quay.submit(wish=0.1)  # which the configuration does not let it ask for
    quay.answer()
    quay.timers.advance(0.5)
    assert waits not in quay.answers
    quay.timers.advance(0.5)
    assert str(quay.answers[waits]) == (
        "model m: Request timeout expired: it waited longer than its queue policy lets it"
    )
    assert outcome(quay, waits) == "DeadlinePassed"
    quay.timers.advance(9)
    assert runs not in quay.answers
    quay.drain()
    quay.check_empty()


def test_a_request_may_ask_for_less_where_it_is_let():
    quay = ruled(queue=Queueing(timeout=1_000_000, override=True))
    waits, long = quay.submit(wish=0.2), quay.submit(wish=5)
    quay.timers.advance(0.2)
    assert (outcome(quay, waits), outcome(quay, long)) == ("DeadlinePassed", None)
    quay.timers.advance(0.8)
    assert outcome(quay, long) == "DeadlinePassed"
    quay.drain()
    quay.check_empty()


def test_the_deadline_still_holds_for_what_did_not_wait_too_long():
    quay = ruled(queue=Queueing(timeout=1_000_000))
    runs = quay.submit(seconds=3)
    quay.answer()
    quay.timers.advance(1)
    assert outcome(quay, runs) is None
    quay.timers.advance(2)
    assert str(quay.answers[runs]) == "model m: the deadline passed before the answer was there"
    quay.drain()
    quay.check_empty()


def test_a_death_is_survived_once(quay):
    quay.worker.depth = 2
    tickets = [quay.submit() for _ in range(4)]
    quay.die()
    assert quay.answers == {}
    assert (quay.queue.length, quay.series.pending, quay.series.inflight) == (4, 4, 0)
    second = Hands(depth=2)
    quay.die(second)
    assert second.sent == tickets[:2]  # before what waited
    third = Hands(depth=2)
    quay.die(third)
    for one in tickets[:2]:
        assert str(quay.answers[one]) == "model m: its worker died twice under this request"
        assert isinstance(quay.answers[one], NotReady)
    assert third.sent == tickets[2:]


def test_nobody_waits_for_what_was_given_up_before_a_death(quay):
    quay.worker.depth = 2
    given_up, late = quay.submit(), quay.submit(seconds=1)
    quay.queue.cancel(given_up)
    quay.timers.advance(1)
    quay.die(Hands())
    assert quay.worker.sent == []
    assert quay.arena.used == 0
    assert outcome(quay, late) == "DeadlinePassed"


def test_a_deadline_passes_while_there_is_no_worker(quay):
    runs = quay.submit(seconds=1)
    quay.die()
    quay.timers.advance(1)
    assert outcome(quay, runs) == "DeadlinePassed"
    quay.die(Hands())
    assert quay.worker.sent == []


def test_a_question_of_the_watchdog_is_not_repeated(quay):
    ping = quay.ticket(op=Op.PING)
    quay.worker.send(ping, 0)
    quay.die(Hands())
    assert outcome(quay, ping) == "NotReady"
    assert quay.worker.sent == []


def test_a_question_of_the_watchdog_counts_for_nothing(quay):
    ping = quay.ticket(op=Op.PING)
    quay.worker.send(ping, 0)
    waits = quay.submit()
    quay.answer(ping)
    assert quay.worker.sent == [ping, waits]
    assert quay.series.reading().requests == 0


def test_what_waited_is_adopted_by_another_generation(quay):
    running = quay.submit()
    waits, frame, given_up, late = (
        quay.submit(seconds=9), quay.submit(stream="cam"), quay.submit(), quay.submit(seconds=1),
    )  # fmt: skip
    quay.queue.cancel(given_up)
    heir = Quay(clock=quay.clock)
    heir.queue.adopt(quay.queue.empty())
    quay.queue.refuse(NotReady("out of service"))
    assert (quay.queue.length, quay.series.pending) == (0, 0)
    assert heir.worker.sent == [late]
    assert (heir.queue.length, heir.series.pending) == (2, 2)
    quay.timers.advance(1)  # the deadline is kept where the ticket is now, and it runs there
    assert outcome(quay, late) == "DeadlinePassed"
    assert (quay.queue.length, heir.queue.length) == (0, 2)
    newer = heir.submit(stream="cam")  # the stream goes on
    assert outcome(quay, frame) == "QueueFull"
    assert heir.drain() == [late, waits, newer]
    assert outcome(quay, waits) == "Answered"
    heir.check_empty()
    quay.answer(running)
    assert outcome(quay, running) == "Answered"


def test_an_adopted_ticket_expires_where_it_waits(quay):
    running = quay.submit()
    late = quay.submit(seconds=1)
    heir = Quay(clock=quay.clock)
    first = heir.submit()
    heir.queue.adopt(quay.queue.empty())
    quay.timers.advance(1)
    assert outcome(quay, late) == "DeadlinePassed"
    assert (quay.queue.length, heir.queue.length) == (0, 0)
    assert heir.drain() == [first]
    heir.check_empty()
    quay.answer(running)


def test_refused_it_stays_refused(quay):
    running, waits = quay.submit(), quay.submit()
    quay.queue.refuse(NotReady("model m: out of service"))
    assert outcome(quay, waits) == "NotReady"
    assert outcome(quay, quay.submit()) == "NotReady"
    quay.answer(running)
    assert outcome(quay, running) == "Answered"


def test_errors_of_the_worker_are_told_and_counted(quay):
    one = quay.submit()
    quay.answer(error=Invalid("no"))
    assert outcome(quay, one) == "Invalid"
    assert quay.failures() == {"Invalid": 1}


ACTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("submit"),
            st.integers(0, 7),
            st.sampled_from([0, 0.5, 1, 3]),
            st.sampled_from(["", "a"]),
            st.integers(0, 3),
            st.sampled_from([0, 0.2, 1]),
        ),
        st.tuples(st.just("answer"), st.integers(0, 3)),
        st.tuples(st.just("fail"), st.integers(0, 3)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("advance"), st.sampled_from([0.1, 0.6, 2])),
        st.tuples(st.just("die")),
        st.tuples(st.just("put")),
        st.tuples(st.just("ping")),
    ),
    max_size=60,
)


class Story:
    """A queue under any acts, in any order."""

    def __init__(self, rules: Batching | None) -> None:
        self.quay = Quay(limit=4, depth=2, rules=rules)
        self.tickets: list[Ticket] = []
        self.given_up: list[Ticket] = []

    def act(self, what: str, *args: Any) -> None:
        quay = self.quay
        flying = list(quay.worker.flying.values()) if quay.queue.worker is not None else []
        if what == "submit":
            priority, seconds, stream, level, wish = args
            self.tickets.append(quay.submit(seconds, priority=priority, stream=stream, level=level, wish=wish))
        elif what in ("answer", "fail") and args[0] < len(flying):
            quay.answer(flying[args[0]], error=Invalid("no") if what == "fail" else None)
        elif what == "cancel" and args[0] < len(self.tickets):
            one = self.tickets[args[0]]
            if one not in quay.answers and one not in self.given_up:
                self.given_up.append(one)
                quay.queue.cancel(one)
        elif what == "advance":
            quay.timers.advance(*args)
        elif what == "die" and quay.queue.worker is not None:
            quay.die()
        elif what == "put" and quay.queue.worker is None:
            quay.die(Hands(depth=2))
        elif what == "ping" and quay.queue.worker is not None and quay.worker.free:
            quay.worker.send(quay.ticket(op=Op.PING), 0)

    def check(self) -> None:
        quay = self.quay
        waiting = [one for *_, one in quay.queue._heap if not one.over]
        assert quay.queue.length == quay.series.pending == len(waiting) <= 4 + 2 * 2  # and those of a death
        lines = Counter(one.line for one in waiting)
        assert {line: count for line, count in quay.queue._lines.items() if count} == (lines if quay.rules else {})
        if quay.queue.worker is not None:
            assert not waiting or quay.worker.free <= 0
        assert quay.arena.used == sum(
            one.block.size for one in {*waiting, *(quay.worker.flying.values() if quay.queue.worker else ())}
        )

    def end(self) -> None:
        quay = self.quay
        if quay.queue.worker is None:
            quay.die(Hands(depth=2))
        quay.drain()
        quay.check_empty()
        for one in self.tickets:
            assert (one in quay.answers) != (one in self.given_up)


STRICT = Batching(levels=2, level=2, queue=Queueing(timeout=700_000, size=3), queues={1: Queueing(size=1)})
LOOSE = Batching(queue=Queueing(timeout=400_000, override=True))


@settings(max_examples=150)
@given(ACTS, st.sampled_from([None, STRICT, LOOSE]))
def test_whatever_happens_each_is_answered_once_or_given_up_and_nothing_is_held(acts, rules):
    story = Story(rules)
    for act in acts:
        story.act(*act)
        story.check()
    story.end()
