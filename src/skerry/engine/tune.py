"""The long look at one model on this machine: threads, runs at the same time, spinning, and sizes of runs that pay.

Every choice is measured in short slices, one after the other and round again, so that what else the machine does meets
all of them; medians and tails are of all rounds. Stopped early, it tells what is known by then.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from skerry.core.batch import SIZES, paying
from skerry.core.errors import Invalid, RunFailed, SkerryError
from skerry.core.tensor import Tensor
from skerry.engine.probe import MAX_INPUT, can_join, independent, made_up
from skerry.engine.runners.runner import Threads
from skerry.engine.session import Session
from skerry.host.clock import Clock
from skerry.host.profiles import Plan, Profile

SLICE_SECONDS = 0.12  # of one choice; short, so that each comes round often
LEAST_RUNS = 3  # in a slice, however long they take, while there is time
MOST_SAMPLES = 20_000  # of one choice are kept; p99 needs some hundreds
CLOSE = 1.05  # times as long as the best is as good: fewer threads are taken
LOSS = 0.90  # of the best rate; a plan that keeps it may be chosen because it answers one caller sooner
SPIN_GAIN = 0.90  # of the median; spinning costs whole processors, so it must save more than a tenth
SHARES = (0.60, 0.90, 1.0)  # of the time, until plans, sizes and spinning are to be measured

THREADS, BATCHES, SPINNING = "threads", "batches", "spinning"  # the phases

Opening = Callable[[Threads], Session]
Told = Callable[[float, str], None]  # share of the time, what is being measured


@dataclass(frozen=True)
class Trial:
    """One choice. What is compared is measured in the same phase, for the machine may be busier in another."""

    intra: int
    runs: int
    batch: int = 1
    spinning: bool = False
    phase: str = THREADS


@dataclass
class Timed:
    """What was measured of a choice."""

    nanos: list[int] = field(default_factory=list)
    wall: int = 0  # ns
    runs: int = 0

    @property
    def p50_us(self) -> float:
        """Microseconds of one run, the median."""
        return statistics.median(self.nanos) / 1000

    @property
    def p99_us(self) -> float:
        """Microseconds that 1 run in 100 exceeds."""
        return sorted(self.nanos)[min(len(self.nanos) - 1, int(len(self.nanos) * 0.99))] / 1000

    @property
    def rate(self) -> float:
        """Runs a second, of all threads together."""
        return self.runs * 1e9 / max(1, self.wall)


@dataclass(frozen=True)
class Wishes:
    """What the operator wants. `latency` None: the plan that gives most, or one that answers sooner for little."""

    seconds: float = 20.0
    slo_ms: float | None = None
    latency: bool | None = None


class Tune:
    """Measures one model. `opening` makes sessions of it; they are closed at the end."""

    def __init__(self, opening: Opening, cpus: int, wishes: Wishes, clock: Clock, told: Told) -> None:
        self.timed: dict[Trial, Timed] = {}
        self.stopped = False  # by Ctrl-C
        self._opening = opening
        self._cpus = cpus
        self._wishes = wishes
        self._clock = clock
        self._told = told
        self._began = clock.monotonic()
        self._sessions: dict[Threads, Session] = {}
        self._inputs: dict[int, Sequence[Tensor]] = {}

    def run(self) -> Profile:
        """Measure until the time is over or Ctrl-C; raise LoadFailed or RunFailed if nothing can be known."""
        self._began = self._clock.monotonic()
        try:
            try:
                self._measure()
            except KeyboardInterrupt:
                self.stopped = True
                if not self._plans():
                    raise
        finally:
            for session in self._sessions.values():
                session.close()
        return self.profile()

    def profile(self) -> Profile:
        """Return what is best as far as is known."""
        latency, most = self._latency(), self._most()
        return Profile(
            best_latency=latency,
            best_throughput=most,
            plan=self._chosen(latency, most),
            batches=self._paying(),
            spinning=self._spins(latency),
            seconds=self._clock.monotonic() - self._began,
            slo_ms=self._wishes.slo_ms,
        )

    def _measure(self) -> None:
        plans = [Trial(intra, runs) for intra in powers(self._cpus) for runs in powers(self._cpus // intra)]
        self._rounds(plans, SHARES[0])
        most = self._most()
        if self._joins(most):
            self._rounds(self._size_trials(most), SHARES[1])
        latency = self._latency()
        if 1 < latency.intra < self._cpus:  # a processor must be free, or spinning takes it from somebody
            self._rounds([Trial(latency.intra, 1, 1, spins, SPINNING) for spins in (False, True)], SHARES[2])

    def _rounds(self, trials: Sequence[Trial], until: float) -> None:
        """Measure each in turn until this share of the time is spent; the first round may go on until all of it is."""
        end = 1.0
        while trials:
            for trial in trials:
                if self.timed and self._spent() >= end:
                    return
                self._told(min(1.0, self._spent()), trial.phase)
                self._slice(trial)
            end = until

    def _slice(self, trial: Trial) -> None:
        session = self._session(trial)
        tensors = self._inputs.get(trial.batch) or made_up(session.inputs, trial.batch)
        self._inputs[trial.batch] = tensors
        timed = self.timed.get(trial)
        if timed is None:
            session.infer(tensors)  # the first run of a size takes longer
            timed = self.timed[trial] = Timed()
        until = self._clock.nanos() + int(SLICE_SECONDS * 1e9)
        stop, faults = threading.Event(), list[SkerryError]()
        found: list[list[int]] = [[] for _ in range(trial.runs)]

        def repeat(mine: list[int]) -> None:
            nanos = self._clock.nanos
            try:
                while not stop.is_set():
                    began = nanos()
                    if began >= until and mine and (len(mine) >= LEAST_RUNS or self._spent() >= 1.0):
                        break
                    session.infer(tensors)
                    mine.append(nanos() - began)
            except SkerryError as error:
                faults.append(error)

        threads = [threading.Thread(target=repeat, args=(mine,), daemon=True) for mine in found[1:]]
        began = self._clock.nanos()
        try:
            for thread in threads:
                thread.start()
            repeat(found[0])
        finally:
            stop.set()  # whoever is left is in its last run: from here on not all run at the same time
            wall = self._clock.nanos() - began
            for thread in threads:
                thread.join()
        if faults:
            raise RunFailed(f"the model fails on made-up inputs: {faults[0]}") from faults[0]
        timed.wall += wall
        timed.runs += sum(map(len, found))
        if len(timed.nanos) < MOST_SAMPLES:
            timed.nanos += [one for mine in found for one in mine]

    def _session(self, trial: Trial) -> Session:
        threads = Threads(trial.intra, self._cpus // trial.intra, trial.spinning)
        if threads not in self._sessions:
            self._sessions[threads] = self._opening(threads)
        return self._sessions[threads]

    def _joins(self, most: Plan) -> bool:
        session = self._session(Trial(most.intra, 1))
        try:
            return can_join(session) and not session.takes_images and independent(session)
        except SkerryError:
            return False

    def _size_trials(self, most: Plan) -> list[Trial]:
        """Return the sizes up to the first that does not pay at a first look, which has been taken."""
        session = self._session(Trial(most.intra, 1))
        found: list[Trial] = []
        for size in SIZES:
            if sum(len(tensor.data) for tensor in made_up(session.inputs, size)) > MAX_INPUT:
                break
            found.append(Trial(most.intra, 1, size, phase=BATCHES))
            self._told(min(1.0, self._spent()), BATCHES)
            self._slice(found[-1])
            if size > 1 and size not in self._paying():
                break
        return found

    def _paying(self) -> tuple[int, ...]:
        slo = self._wishes.slo_ms
        sizes = {trial.batch: one for trial, one in self.timed.items() if trial.phase == BATCHES and one.nanos}
        return paying(
            {size: one.p50_us for size, one in sizes.items()},
            {size: one.p99_us for size, one in sizes.items()},
            None if slo is None else slo * 1000,
        )

    def _plans(self) -> list[Plan]:
        return [
            Plan(trial.intra, trial.runs, round(one.p50_us, 1), round(one.p99_us, 1), round(one.rate, 1), one.runs)
            for trial, one in self.timed.items()
            if trial.phase == THREADS and one.nanos
        ]

    def _latency(self) -> Plan:
        alone = [plan for plan in self._plans() if plan.runs == 1]
        least = min(plan.p50_us for plan in alone)
        return min((plan for plan in alone if plan.p50_us <= CLOSE * least), key=lambda plan: plan.intra)

    def _most(self) -> Plan:
        return max(self._plans(), key=lambda plan: plan.rate)

    def _chosen(self, latency: Plan, most: Plan) -> Plan:
        """Return the plan to use: the wish's, or the one of most throughput, or one that is sooner for little."""
        plans = self._plans()
        sooner = max((plan for plan in plans if plan.intra == latency.intra), key=lambda plan: plan.runs)
        if self._wishes.latency is not None:
            return sooner if self._wishes.latency else most
        slo = self._wishes.slo_ms
        if slo is not None and most.p99_us > slo * 1000:
            good = [plan for plan in plans if plan.p99_us <= slo * 1000]
            return max(good, key=lambda plan: plan.rate) if good else sooner
        return sooner if sooner.rate >= LOSS * most.rate else most

    def _spins(self, latency: Plan) -> bool:
        plain, spun = (self.timed.get(Trial(latency.intra, 1, 1, spins, SPINNING)) for spins in (False, True))
        if plain is None or spun is None or not (plain.nanos and spun.nanos):
            return False
        return spun.p50_us < SPIN_GAIN * plain.p50_us

    def _spent(self) -> float:
        return (self._clock.monotonic() - self._began) / self._wishes.seconds


def powers(most: int) -> list[int]:
    """Return 1, 2, 4 … and `most` itself."""
    return sorted({*(1 << bit for bit in range(most.bit_length())), most})


def checked(wishes: Wishes) -> Wishes:
    """Return the wishes; raise Invalid if they cannot be kept."""
    if not 1.0 <= wishes.seconds <= 30.0:
        raise Invalid(f"seconds: expected 1 to 30; got {wishes.seconds:g}")
    if wishes.slo_ms is not None and not wishes.slo_ms > 0:
        raise Invalid(f"slo-ms: expected more than 0; got {wishes.slo_ms:g}")
    return replace(wishes)


def rows(timed: Iterable[tuple[Trial, Timed]]) -> list[tuple[Trial, Timed]]:
    """Return what was measured, in the order of a table: plans, sizes, spinning."""
    known = [(trial, one) for trial, one in timed if one.nanos]
    order = (THREADS, BATCHES, SPINNING)
    return sorted(known, key=lambda row: (order.index(row[0].phase), *vars(row[0]).values()))
