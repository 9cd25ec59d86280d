"""A trial: a candidate version beside the one that serves, on real requests, and what becomes of it.

Shadow: the client has its answer from the version that serves; then the candidate is asked the same, one request at
a time and only while nobody waits and the machine has time to spare, and says itself whether the two agree. The
request is not copied: the candidate reads it where it lies. Canary: every so many requests go to the candidate; one
that it cannot answer is answered by the version that serves. A candidate never answers who names no version, but in
a canary's share, until it is promoted.

waiting ──> running ──> promoted | rolled back | ended ──> promoted
   ^───────────┘ one of the two versions is not there
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from skerry.core.agreement import Tally, Terms, breach, turn
from skerry.core.errors import Conflict, DeadlinePassed, QueueFull, SkerryError
from skerry.host.caps import at_rest
from skerry.host.clock import Clock
from skerry.node.generation import Generation, State
from skerry.node.queue import MAX_ATTEMPTS
from skerry.node.worker.order import ENCODER, VERDICT_ROOM, VERDICTS, Mirror, Op
from skerry.node.worker.ticket import Answered, Ticket

CALM = 0.75  # of the processors; above it the machine has no time for a request that nobody waits for
LOOK_SECONDS = 0.5  # between two looks at how busy the machine is
GAP_SECONDS = 0.005  # between two requests that a candidate is shown: at 40 us each, 1 % of the event loop's time
MAX_MIRRORED = 1 << 20  # bytes of an answer that is compared: it is copied, in 0.1 ms

Done = Callable[[Ticket, Answered | SkerryError], None]


@dataclass
class Spare:
    """What a shadow may take."""

    busy: Callable[[], float]  # the share of the processors that was busy since the last call, 0 to 1
    gap: float = GAP_SECONDS


class Stage(Enum):
    """Where a trial stands."""

    WAITING = "waiting"
    RUNNING = "running"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    ENDED = "ended"


MOVES = {
    Stage.WAITING: {Stage.RUNNING, Stage.ENDED, Stage.ROLLED_BACK},
    Stage.RUNNING: {Stage.WAITING, Stage.PROMOTED, Stage.ROLLED_BACK, Stage.ENDED},
    Stage.ROLLED_BACK: {Stage.PROMOTED},
    Stage.ENDED: {Stage.PROMOTED},
    Stage.PROMOTED: set[Stage](),
}
LIVE = (Stage.WAITING, Stage.RUNNING)


class Trial:
    """One candidate of one model. Used from the event loop alone."""

    def __init__(
        self, name: str, terms: Terms, clock: Clock, spare: Spare, failed: Callable[[Trial, str], None]
    ) -> None:
        self.name, self.terms = name, terms
        self.stage = Stage.WAITING
        self.why = "a version is not there yet"
        self.tally = Tally()
        self.began = clock.now()
        self.serving: Generation | None = None
        self.candidate: Generation | None = None
        self._clock = clock
        self._spare, self._looked, self._calm = spare, 0.0, True
        self._shown = 0.0  # when the candidate was shown a request last
        self._failed = failed
        self._seen = 0  # requests that named no version
        self._passed = 0  # of those that were the candidate's to see, not shown: nothing was to spare
        self._mirroring = False
        self._rested: int | None = None  # the process that was told to run when nothing else does
        self._worst: float | None = None
        self._same_top = 0
        self._last = ""  # how the last disagreement or error read
        self._nanos = {True: [0, 0], False: [0, 0]}  # requests and their ns: the candidate's, and the other's

    def move(self, to: Stage, why: str = "") -> None:
        """Go to another stage; raise Conflict if there is no way."""
        if to not in MOVES[self.stage]:
            raise Conflict(f"trial of {self.name} version {self.terms.version}: it is {self.stage.value}")
        self.stage, self.why = to, why

    def pair(self, serving: Generation | None, candidate: Generation | None) -> None:
        """Run between these two; wait if one is missing."""
        if self.serving is not None:
            self.serving.door = self.serving.queue
        self.serving, self.candidate = serving, candidate
        if serving is None or candidate is None:
            self._rise()
            if self.stage is Stage.RUNNING:
                self.move(Stage.WAITING, "a version is not there any more")
            return
        serving.door = self
        if self.stage is Stage.WAITING:
            self.move(Stage.RUNNING)

    @property
    def idle(self) -> bool:
        """No: every request is to be seen."""
        return False

    def submit(self, ticket: Ticket) -> None:
        """Take a request that names no version."""
        serving, candidate = self.serving, self.candidate
        assert serving is not None
        assert candidate is not None
        self._seen += 1
        mine, shadow = turn(self._seen, self.terms.share), self.terms.mode == "shadow"
        if mine and not shadow and candidate.state is State.SERVING:
            self._try(ticket, serving, candidate)
            return
        self._passed += mine and not shadow
        if mine or not shadow:
            ticket.done = self._afterwards(ticket.done, self._mirror if shadow else self._time_served)
        serving.queue.submit(ticket)

    def json(self) -> dict[str, Any]:
        """Return how it stands as JSON values."""
        terms, tally = self.terms, self.tally
        return {
            "model": self.name,
            "version": terms.version,
            "serving": None if self.serving is None else self.serving.manifest.version,
            "mode": terms.mode,
            "share": terms.share,
            "rule": terms.rule,
            "tolerance": terms.tolerance,
            "limits": terms.limits.json(),
            "stage": self.stage.value,
            "why": self.why,
            "began": self.began,
            "requests": self._seen,
            "asked": tally.asked,
            "failed": tally.failed,
            "passed_over": self._passed,
            "compared": tally.compared,
            "agreed": tally.agreed,
            "same_top": self._same_top,
            "worst_difference": self._worst,
            "last_trouble": self._last,
            "candidate_ms": _mean(self._nanos[True]),
            "serving_ms": _mean(self._nanos[False]),
            "latency_ratio": self._ratio(),
        }

    def _ratio(self) -> float | None:
        mine, other = _mean(self._nanos[True]), _mean(self._nanos[False])
        return round(mine / other, 3) if mine and other else None

    # canary

    def _try(self, ticket: Ticket, serving: Generation, candidate: Generation) -> None:
        """Give a request to the candidate; what it refuses at once goes to the other."""
        done, self.tally.asked = ticket.done, self.tally.asked + 1
        assert done is not None

        def tried(asked: Ticket, found: Answered | SkerryError) -> None:
            if isinstance(found, Answered):
                self._time(True, asked)
            if isinstance(found, Answered | DeadlinePassed | QueueFull):
                done(asked, found)
            else:
                self._instead(asked, found, done)

        ticket.done, ticket.attempts = tried, MAX_ATTEMPTS - 1  # if the candidate dies of it, the other is asked next
        try:
            candidate.queue.submit(ticket)
        except SkerryError:
            self.tally.asked -= 1
            self._passed += 1
            ticket.done, ticket.attempts = self._afterwards(done, self._time_served), 0
            serving.queue.submit(ticket)

    def _instead(self, asked: Ticket, error: SkerryError, done: Done) -> None:
        """The candidate could not: whoever waits hears of that only if the version that serves cannot either."""
        serving = self.serving
        if serving is None:
            done(asked, error)
            return
        other = asked.heir()

        def answered(ticket: Ticket, found: Answered | SkerryError) -> None:
            if isinstance(found, Answered):
                self._time(False, ticket)
            done(ticket, found)
            if isinstance(found, Answered):
                self._count_failure(f"{type(error).__name__}: {error}")

        other.done = answered
        try:
            serving.queue.submit(other)
        except SkerryError as refusal:
            other.finish(refusal)
            other.close()

    # shadow

    def _mirror(self, ticket: Ticket, found: Answered) -> None:
        """Ask the candidate what has just been answered, if nothing is lost by it."""
        worker = self._free_worker()
        if worker is None or len(found.body) > MAX_MIRRORED:
            self._passed += 1
            return
        try:
            asked = Ticket(Op.SHADOW, ticket.arena, len(found.body), VERDICT_ROOM)
        except QueueFull:
            self._passed += 1
            return
        told = Mirror(
            ticket.op, ticket.block.at, ticket.head_size, ticket.body_at, ticket.body_size,
            found.kind, found.json_length, self.terms.rule, self.terms.tolerance,
        )  # fmt: skip
        asked.body[:] = found.body
        asked.put_head(ENCODER.encode(told))
        kept, nanos = ticket.heir(), sum(ticket.times) - ticket.times[1]  # without the time in the queue

        def judged(_: Ticket, verdict: Answered | SkerryError) -> None:
            kept.close()
            self._mirroring = False
            self._judged(verdict, nanos, kept)

        kept.times = ticket.times
        asked.done = judged
        self._mirroring = True
        self.tally.asked += 1
        worker.send(asked, self._clock.nanos())

    def _free_worker(self) -> Any:
        """Return the candidate's worker if it has nothing to do, nobody waits, and the machine has time to spare."""
        serving, candidate, now = self.serving, self.candidate, self._clock.monotonic()
        if self._mirroring or now - self._shown < self._spare.gap or serving is None or candidate is None:
            return None
        worker = candidate.queue.worker
        if (
            worker is None
            or candidate.state is not State.SERVING
            or worker.flying
            or candidate.queue.length
            or serving.queue.length
        ):
            return None
        if now - self._looked > LOOK_SECONDS:
            self._looked, self._calm = now, self._spare.busy() < CALM
        if not self._calm:
            return None
        self._shown = now
        if worker.pid != self._rested:
            self._rested = worker.pid
            at_rest(worker.pid, True)
        return worker

    def _judged(self, found: Answered | SkerryError, nanos: int, served: Ticket) -> None:
        candidate = self.candidate
        if candidate is None or self.stage is not Stage.RUNNING:
            return
        if isinstance(found, SkerryError):
            self._count_failure(f"{type(found).__name__}: {found}")
            return
        verdict = VERDICTS.decode(found.body)
        if verdict.skipped:
            self.tally.asked -= 1
            self._passed += 1
            return
        if verdict.failed:
            self._count_failure(verdict.failed)
            return
        self._time(False, served)
        self._add(True, verdict.nanos)
        self.tally.compared += 1
        self.tally.agreed += verdict.agreed
        self._same_top += verdict.same_top is True
        if verdict.worst is not None:
            self._worst = max(verdict.worst, self._worst or 0.0)
        if verdict.why:
            self._last = verdict.why
        candidate.series.shadow.compared(verdict.agreed, verdict.nanos / max(1, nanos))
        self._look()

    # both

    @staticmethod
    def _afterwards(done: Done | None, act: Callable[[Ticket, Answered], None]) -> Done:
        """Return what tells whoever waits, and only then acts on a good answer."""
        assert done is not None

        def answered(ticket: Ticket, found: Answered | SkerryError) -> None:
            done(ticket, found)
            if isinstance(found, Answered):
                act(ticket, found)

        return answered

    def _time_served(self, ticket: Ticket, _: Answered) -> None:
        self._time(False, ticket)

    def _count_failure(self, text: str) -> None:
        if self.candidate is not None and self.stage is Stage.RUNNING:
            self._last = text
            self.tally.failed += 1
            self.candidate.series.shadow.failed()
            self._look()

    def _look(self) -> None:
        why = breach(self.terms.limits, self.tally)
        if why:
            self._failed(self, f"{why}; the last: {self._last}")

    def _time(self, candidate: bool, ticket: Ticket) -> None:
        if ticket.times:
            self._add(candidate, sum(ticket.times) - ticket.times[1])

    def _add(self, candidate: bool, nanos: int) -> None:
        cell = self._nanos[candidate]
        cell[0] += 1
        cell[1] += nanos

    def _rise(self) -> None:
        if self._rested is not None:
            at_rest(self._rested, False)
            self._rested = None


def _mean(cell: list[int]) -> float | None:
    return round(cell[1] / cell[0] / 1e6, 4) if cell[0] else None
