"""Models that remember: state is kept for a sequence of requests and for nothing else.

A model remembers inside its runtime (LSTM variables), or gives its state as outputs that are inputs of the next
request; the manifest declares the latter: `"runtime": {"state": [{"input": "state", "output": "stateN"}]}`. Such
tensors are hidden from callers and start as zeros. A request of no sequence always sees the start state. What a
config.pbtxt asks of sequences is in control.py.

A sequence begins with a request that says so, and ends with one that says so, after `idle` seconds without a
request, or when the model fails on it; a request that is Invalid leaves its state as it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from skerry.core.errors import Invalid, QueueFull
from skerry.core.fields import Fields
from skerry.core.tensor import DType, Spec
from skerry.engine.arrays import Array, numpy_of
from skerry.engine.runners.runner import Lane, Runner
from skerry.host.clock import Clock

MAX_SEQUENCES = 64  # at the same time; an interpreter of a wake word model holds about 0.3 MB
IDLE_SECONDS = 60.0  # a stream that sends every 30 ms is long dead by then
MAX_STATES = 64  # links of one model; a deep recurrent network has two for each layer
MAX_STATE = 64 << 20  # bytes of one state tensor

Pair = tuple[str, str, tuple[int, ...], bytes, bool]


@dataclass(frozen=True)
class Sequence:
    """Which sequence a request belongs to, and whether it begins or ends it."""

    id: int | str
    start: bool = False
    end: bool = False


Fill = Callable[[Mapping[str, Array], Sequence], Mapping[str, Array]]


@dataclass(frozen=True)
class Link:
    """A state tensor: what the output gives is the input of the next request."""

    input: Spec
    output: str
    first: Array  # what a sequence begins with
    seen: bool = False  # callers see the output too


@dataclass(frozen=True)
class Limits:
    """How many sequences may live at the same time, and for how long without a request."""

    most: int = MAX_SEQUENCES
    idle: float = IDLE_SECONDS
    demanded: bool = False  # a request of no sequence is an error of its caller
    fill: Fill | None = None  # what the model is told of a request's sequence goes to its feeds


class Linked:
    """A runner seen without its state tensors: it remembers, and gives lanes, like one that remembers inside."""

    remembers = True

    def __init__(self, runner: Runner, links: tuple[Link, ...]) -> None:
        self._runner = runner
        self._links = links
        hidden, given = {link.input.name for link in links}, {link.output for link in links if not link.seen}
        self.inputs = tuple(spec for spec in runner.inputs if spec.name not in hidden)
        self.outputs = tuple(spec for spec in runner.outputs if spec.name not in given)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run from the start state."""
        return self.step(feeds, self.start())[0]

    def lane(self) -> Lane:
        """Return a lane that begins with the start state."""
        return LinkedLane(self)

    def close(self) -> None:
        """Free the model."""
        self._runner.close()

    def start(self) -> dict[str, Array]:
        """Return the start state."""
        return {link.input.name: link.first for link in self._links}

    def step(self, feeds: Mapping[str, Array], state: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return what callers see of the outputs, and the next state."""
        found = self._runner.run({**feeds, **state})
        after = {link.input.name: found[link.output] for link in self._links}
        for link in self._links:
            if not link.seen:
                del found[link.output]
        return found, after


class LinkedLane:
    """The state between the requests of one sequence."""

    def __init__(self, linked: Linked) -> None:
        self._linked = linked
        self._state = linked.start()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs; the state moves on only if there are any."""
        found, self._state = self._linked.step(feeds, self._state)
        return found


@dataclass
class Live:
    """A sequence that lives: its lane, who waits for it, and when it was last asked."""

    turn: threading.Lock = field(default_factory=threading.Lock)
    lane: Lane | None = None
    users: int = 0
    last: float = 0.0
    over: bool = False


class Sequences:
    """The live sequences of one model. Requests of one sequence run one after the other."""

    def __init__(self, runner: Runner, limits: Limits, clock: Clock, name: str) -> None:
        self._runner = runner
        self._limits = limits
        self._name = name  # of the model
        self._clock = clock
        self._lock = threading.Lock()
        self._live: dict[int | str, Live] = {}

    def __len__(self) -> int:
        """Return how many live; those idle for too long are gone only when a new one begins."""
        return len(self._live)

    def run(self, feeds: Mapping[str, Array], sequence: Sequence) -> dict[str, Array]:
        """Return the outputs of one request of a sequence.

        Raises Invalid if the sequence has not begun, QueueFull if too many live.
        """
        live = self._enter(sequence)
        try:
            with live.turn:
                if live.over:  # it ended while this request waited for its turn
                    raise self._unknown(sequence)
                return self._step(live, feeds, sequence)
        finally:
            self._leave(live, sequence)

    def _step(self, live: Live, feeds: Mapping[str, Array], sequence: Sequence) -> dict[str, Array]:
        over = True  # unless all goes well
        fresh = sequence.start or live.lane is None
        try:
            if self._limits.fill is not None:
                feeds = self._limits.fill(feeds, sequence)
            if fresh or live.lane is None:
                live.lane = self._runner.lane()
            found = live.lane.run(feeds)
            over = sequence.end
        except Invalid:
            over = fresh or sequence.end
            raise
        finally:
            live.over = over  # others look at it while this runs
        return found

    def _enter(self, sequence: Sequence) -> Live:
        with self._lock:
            now = self._clock.monotonic()
            live = self._live.get(sequence.id)
            if live is not None and (live.over or self._idle(live, now)):
                self._live.pop(sequence.id)
                live = None
            if live is None:
                if not sequence.start:
                    raise self._unknown(sequence)
                live = self._begin(sequence, now)
            live.users += 1
            live.last = now
            return live

    def _begin(self, sequence: Sequence, now: float) -> Live:
        if len(self._live) >= self._limits.most:
            self._live = {name: live for name, live in self._live.items() if not self._idle(live, now)}
        if len(self._live) >= self._limits.most:
            raise QueueFull(f"sequence {sequence.id!r}: {self._limits.most} sequences live, which is the most here")
        self._live[sequence.id] = live = Live()
        return live

    def _leave(self, live: Live, sequence: Sequence) -> None:
        with self._lock:
            live.users -= 1
            live.last = self._clock.monotonic()
            if live.over and self._live.get(sequence.id) is live:
                del self._live[sequence.id]

    def _idle(self, live: Live, now: float) -> bool:
        return live.users == 0 and now - live.last > self._limits.idle

    def _unknown(self, sequence: Sequence) -> Invalid:
        """Return the error of a sequence that does not live, in the words that Triton's clients look for."""
        return Invalid(
            f"inference request for sequence {sequence.id} to model '{self._name}' must specify the START flag on the "
            "first request of the sequence; it has ended, or has not begun"
        )


def read_state(fields: Fields, runner: Runner) -> tuple[Runner, Limits]:
    """Read `state` and `sequences` of a manifest's runtime: the runner as callers see it, and its limits."""
    pairs = fields.many("state", _pair, default=(), limit=MAX_STATES)
    limits = fields.read("sequences", _limits, default=Limits())
    if not pairs:
        return runner, limits
    if runner.remembers:
        raise Invalid("runtime.state: this model remembers by itself; declare its state in one of the two ways")
    return Linked(runner, linked(runner, "runtime.state", [(*pair, b"", False) for pair in pairs])), limits


def linked(runner: Runner, where: str, pairs: Iterable[Pair]) -> tuple[Link, ...]:
    """Return the links of input, output, start shape, start bytes and whether the output is seen; raise Invalid."""
    links = tuple(_link(runner, where, *pair) for pair in pairs)
    for names in ([link.input.name for link in links], [link.output for link in links]):
        if len(set(names)) != len(names):
            raise Invalid(f"{where}: expected each tensor once; got {', '.join(names)}")
    return links


def _pair(value: object) -> tuple[str, str, tuple[int, ...]]:
    fields = Fields(value, "")
    pair = fields.text("input"), fields.text("output"), fields.many("shape", _size, default=(), limit=16)
    if fields.rest():
        raise Invalid(f"expected input, output and shape alone; got also {', '.join(sorted(fields.rest()))}")
    return pair


def _size(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_STATE:
        raise Invalid(f"expected a whole number from 0 to {MAX_STATE}; got {value!r}")
    return value


def _limits(value: object) -> Limits:
    fields = Fields(value, "")
    most = fields.whole("most", default=MAX_SEQUENCES, low=1, high=1 << 16)
    found = Limits(most, fields.real("idle", default=IDLE_SECONDS, low=0.0))
    if fields.rest():
        raise Invalid(f"expected most and idle alone; got also {', '.join(sorted(fields.rest()))}")
    return found


def _link(runner: Runner, where: str, name: str, output: str, shape: tuple[int, ...], first: bytes, seen: bool) -> Link:
    """Return a link; a free dimension of the state is 1 unless a shape is declared, and it begins with zeros."""
    takes = {spec.name: spec for spec in runner.inputs}
    gives = {spec.name: spec for spec in runner.outputs}
    for what, one, specs in (("input", name, takes), ("output", output, gives)):
        if one not in specs:
            raise Invalid(f"{where}: no {what} '{one}'; the model has {', '.join(specs)}")
    spec = takes[name]
    if spec.dtype is DType.BYTES or gives[output].dtype is not spec.dtype:
        raise Invalid(f"{where}: '{name}' is {spec.dtype.value}, '{output}' is {gives[output].dtype.value}")
    start = shape or tuple(1 if size < 0 else size for size in spec.shape)
    if not spec.fits(start):
        raise Invalid(f"{where}: '{name}': expected shape {list(spec.shape)}; got {list(start)}")
    if int(np.prod(start, dtype=object)) * spec.dtype.size > MAX_STATE:
        raise Invalid(f"{where}: '{name}': expected at most {MAX_STATE} bytes; got shape {list(start)}")
    size = int(np.prod(start, dtype=np.int64)) * spec.dtype.size
    if first and len(first) != size:
        raise Invalid(f"{where}: '{name}': expected {size} bytes for shape {list(start)} of {spec.dtype.value}; "
                      f"got {len(first)}")  # fmt: skip
    kind = numpy_of(spec.dtype)
    return Link(spec, output, np.frombuffer(first, kind).reshape(start) if first else np.zeros(start, kind), seen)
