"""The order of the passes, and what becomes of each: kept if it pays and loses no more than it may, else rolled back.

INT8 goes down a ladder, from fast to safe: recipes that leave more and more in float, then single nodes by what each
gains for its microseconds. The first rung that is good enough ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import onnx

from skerry.core.card import Effect, Pass
from skerry.core.errors import Invalid, ModelError
from skerry.core.gate import Outcome, Verdict
from skerry.core.manifest import Manifest
from skerry.engine.bundle import Bundle
from skerry.forge.measure import compare
from skerry.forge.optimise.dynamic import DynamicInt8
from skerry.forge.optimise.graph import Compact, Simplify, Slim
from skerry.forge.optimise.half import Half, Widen
from skerry.forge.optimise.pixels import take_pixels
from skerry.forge.optimise.plan import Recipe
from skerry.forge.optimise.quantise import LADDER, WIDEST, Calibrated, calibrated
from skerry.forge.optimise.sensitivity import rank
from skerry.forge.optimise.work import Pass as Change
from skerry.forge.optimise.work import Watch, Work
from skerry.forge.shrink.judge import Judge, State
from skerry.host.clock import Clock

RACE_SECONDS = 4.0  # of one race: some 60 rounds of three lanes; less where there is little time for all
RACES = 50  # that fit into all the time there is
LAST_RACE = 2.5  # races: the one whose numbers the card stands on
SMALLER = 0.98  # of the size before; less is not worth a pass
SLOWER = 1.02  # of the time before; noise that an interval does not see
FLOATS = (1, 2, 4, 8, 16)  # nodes that are left in float, one try after the other
RECURRENT = {"GRU", "LSTM", "RNN"}

Told = Callable[[Pass], None]


@dataclass(frozen=True)
class Wishes:
    """What may be lost (a share: 0.005 is half a point), and how long it may take."""

    most: float = 0.005
    minutes: float = 10.0
    seed: int = 0


@dataclass(frozen=True)
class Shrunk:
    """What came of it: the bundle as it was and as it is, every pass, and whether no more is lost than may be."""

    first: State
    last: State
    passes: tuple[Pass, ...]
    verdict: Verdict


@dataclass(frozen=True)
class Try:
    """One candidate: what made it, the graph, the manifest around it, and what its maker said."""

    name: str
    model: onnx.ModelProto
    manifest: Manifest
    said: str = ""
    whole: bool = False  # raced with every step, since the steps have changed


class Drive:
    """One bundle's way through the passes."""

    def __init__(self, judge: Judge, wishes: Wishes, watch: Watch, told: Told) -> None:
        self._judge = judge
        self._wishes = wishes
        self._watch = watch
        self._told = told
        self._clock = Clock()
        self._seconds = min(RACE_SECONDS, wishes.minutes * 60 / RACES)  # of a race
        self._deadline = self._clock.monotonic() + wishes.minutes * 60
        self._passes: list[Pass] = []
        self._first: State | None = None

    def run(self, source: Bundle) -> Shrunk:
        """Do all of it; raise Invalid for a bundle that is not ONNX, or data that do not fit it."""
        if source.manifest.runtime.name != "onnx":
            kind = source.manifest.runtime.name
            raise Invalid(f"bundle {source.path}: only ONNX models can be optimised; this one is for {kind}")
        first = self._first = self._judge.first(source, self._watch)
        now = self._plain(Widen(), first)
        now = self._pixels(now)
        for change in (Simplify(), Slim()):
            now = self._plain(change, now)
        small = self._int8(now)
        if small is now:
            small = self._plain(Half(), now)
        last = self._plain(Compact(), small)
        raced = self._judge.race([first, last], LAST_RACE * self._seconds, self._watch)
        first = replace(first, effect=replace(first.effect, latency=raced.latencies[0], ratio=raced.ratios[0]))
        last = replace(last, effect=replace(last.effect, latency=raced.latencies[1], ratio=raced.ratios[1]))
        verdict = compare(first.measured, last.measured, self._wishes.most)
        return Shrunk(first, last, tuple(self._passes), verdict)

    def _work(self, state: State) -> Work:
        samples = self._judge.samples(state.bundle)
        return Work(samples, self._wishes.seed, self._watch, self._deadline, self._clock)

    def _plain(self, change: Change, now: State) -> State:
        """Do a pass that stands alone."""
        work = self._work(now)
        if work.late():
            return self._left(change.name, now, "the time was over")
        try:
            model = change(now.model, work)
        except ModelError as error:
            return self._left(change.name, now, str(error))
        if model is None:
            return self._left(change.name, now, "; ".join(work.said))
        found = self._tried(Try(change.name, model, now.bundle.manifest, "; ".join(work.said)), now)
        return now if found is None else found

    def _pixels(self, now: State) -> State:
        work = self._work(now)
        raw = take_pixels(now.model, now.bundle.manifest.pre, work)
        if raw is None:
            return self._left("pixels", now, "; ".join(work.said))
        manifest = replace(now.bundle.manifest, pre=raw.steps)
        found = self._tried(Try("pixels", raw.model, manifest, "the model takes pixels as bytes", whole=True), now)
        return now if found is None else found

    def _int8(self, now: State) -> State:
        kinds = {node.op_type for node in now.model.graph.node}
        if kinds & RECURRENT or "Conv" not in kinds:
            return self._plain(DynamicInt8(), now)
        work = self._work(now)
        if work.late():
            return self._left("int8", now, "the time was over")
        measured = calibrated(now.model, WIDEST, work)
        for attempt in self._rungs(measured, now, work):
            found = self._tried(attempt, now)
            if found is not None:
                return found
        return now

    def _rungs(self, measured: Calibrated, now: State, work: Work) -> Iterator[Try]:
        """Give the candidates from fast to safe, each graph once."""
        seen: set[bytes] = set()
        manifest = now.bundle.manifest

        def fresh(name: str, recipe: Recipe) -> Iterator[Try]:
            model = measured.quantised(recipe)
            data = model.SerializeToString(deterministic=True)
            if data not in seen and not work.late():
                seen.add(data)
                yield Try(name, model, manifest, "; ".join(work.said))

        for what, recipe in LADDER:
            yield from fresh(f"int8, {what}", recipe)
        last = LADDER[-1][1]
        if not work.late():
            ranking = rank(measured, last, work)
            for count in FLOATS:
                floats = ranking.floats(count)
                if len(floats) == count:
                    yield from fresh(f"int8, {count} more nodes in float", replace(last, floats=floats))

    def _tried(self, attempt: Try, now: State) -> State | None:
        """Measure a candidate and tell what becomes of it; return it if it is kept."""
        assert self._first is not None
        began = self._clock.monotonic()
        try:
            found = self._judge.state(attempt.model, attempt.manifest, self._first, self._watch)
        except (ModelError, Invalid) as error:
            self._left(attempt.name, now, str(error))
            return None
        raced = self._judge.race([self._first, now, found], self._seconds, self._watch, attempt.whole)
        before = replace(now.effect, latency=raced.latencies[1], ratio=raced.ratios[1])
        after = replace(found.effect, latency=raced.latencies[2], ratio=raced.ratios[2])
        verdict = compare(self._first.measured, found.measured, self._wishes.most)
        kept, why = judged(before, after, verdict, self._wishes.most, loss(self._first.effect, after))
        options = {"raced": "with every step"} if attempt.whole else {}
        text = "; ".join(part for part in (why, attempt.said) if part)
        self._say(Pass(attempt.name, kept, text, before, after, options, self._clock.monotonic() - began))
        return replace(found, effect=after) if kept else None

    def _left(self, name: str, now: State, why: str) -> State:
        self._say(Pass(name, False, why, now.effect, now.effect))
        return now

    def _say(self, done: Pass) -> None:
        self._passes.append(done)
        self._told(done)


def loss(first: Effect, after: Effect) -> float:
    """Return the share of accuracy that was lost, as measured."""
    assert first.accuracy is not None
    assert after.accuracy is not None
    return first.accuracy.value - after.accuracy.value


def judged(before: Effect, after: Effect, verdict: Verdict, most: float, lost: float) -> tuple[bool, str]:
    """Return whether a candidate is kept, and why: it loses no more than it may, and it is smaller or faster.

    Where the data are too few to prove it, what was measured decides; the card's gate says that it is not proven.
    """
    if verdict.outcome is Outcome.FAIL or (verdict.outcome is Outcome.NOT_PROVEN and lost > most):
        return False, verdict.text
    assert before.size is not None
    assert after.size is not None
    assert before.ratio is not None
    assert after.ratio is not None
    smaller = after.size < SMALLER * before.size
    faster = after.ratio.interval.high < before.ratio.interval.low
    slower = after.ratio.interval.low > SLOWER * before.ratio.interval.high
    told = f"{after.size / before.size:.2f} of the size, {after.ratio.value / before.ratio.value:.2f} of the time"
    if slower or not (smaller or faster):
        return False, f"it does not pay: {told}"
    return True, told
