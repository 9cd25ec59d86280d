"""Models: name to live generations. The only mutable serving state of a node; everyone else asks here.

A model that should serve is expected; it is available when a generation of it has passed its goldens. The node is
ready when every expected model is available. What touches workers happens on the event loop: other threads may call
every method, and wait until it is done there.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

from skerry.core import names
from skerry.core.agreement import Terms
from skerry.core.errors import Invalid, NotFound, NotReady
from skerry.host.clock import Clock
from skerry.host.shared import Arena
from skerry.node.generation import Generation, Revive, State
from skerry.node.lane import Lane, open_lane, suits
from skerry.node.metrics import Metrics
from skerry.node.trials.trials import Trials
from skerry.node.worker.life import Worker
from skerry.node.worker.order import Order
from skerry.wire.config import Options

log = logging.getLogger(__name__)

T = TypeVar("T")

TIDY_SECONDS = 1.0  # after a generation has left
ARENA = 4 << 30  # bytes of address space for the requests of one model; memory is used as they come
BUDGET = 512 << 20  # bytes of one model's requests at a time


@dataclass
class Served:
    """One model: its versions in service, and the one that answers when none is named."""

    arena: Arena
    versions: dict[int, Generation] = field(default_factory=dict)
    default: int | None = None
    labels: dict[str, int] = field(default_factory=dict)
    good: tuple[Order, Options] | None = None  # of the generation before: what to fall back on
    fallen: dict[int, str] = field(default_factory=dict)  # versions that could not serve beside it, and why


class Models:
    """What this node serves."""

    def __init__(self, clock: Clock, metrics: Metrics, revive: Revive, waiting: int, lanes: bool = True) -> None:
        self._clock = clock
        self._metrics = metrics
        self._revive = revive
        self._waiting = waiting
        self._served: dict[str, Served] = {}
        self._leaving: list[Generation] = []  # retired, with answers that are still owed
        self._expected: dict[str, str] = {}  # name -> why it is not available, "" while it loads
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lanes = lanes
        self.labels: Mapping[str, Mapping[str, int]] = {}  # of models, as the settings have them
        self.trials = Trials(clock, metrics)
        self.trials.changed = self._seen_anew
        self.caps = "none asked for"  # how the workers are held, in words
        self.changed: list[Callable[[], None]] = []  # called on the loop whenever what is served changes

    def follow(self, labels: Mapping[str, Mapping[str, int]], trials: Mapping[str, Terms]) -> None:
        """Say which labels and trials the settings ask for; before anything is put into service."""
        self.labels = labels
        for name, terms in trials.items():
            self.trials.begin(name, terms)

    def run_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say which loop serves; before anything is put into service."""
        self._loop = loop

    def expect(self, name: str, reason: str = "") -> None:
        """Say that a model should serve; `reason` why it cannot yet."""
        with self._lock:
            self._expected[name] = reason

    def expect_only(self, names: Collection[str]) -> None:
        """Expect these models and no others: what nobody wants any more must not keep the node from being ready."""
        with self._lock:
            self._expected = {name: self._expected.get(name, "") for name in names}

    def arena(self, name: str) -> Arena:
        """Return where the requests of a model lie; made when it is first asked for."""
        with self._lock:
            if name not in self._served:
                self._served[name] = Served(Arena(ARENA, BUDGET), labels=dict(self.labels.get(name, {})))
            return self._served[name].arena

    def swap(self, worker: Worker, keep: Collection[int] = (), options: Options | None = None) -> None:
        """Put a worker's generation into service as the model's default.

        Other versions leave, but those to `keep`: what waited for them is answered by the new one, what they had
        begun they answer, then their memory is free.
        """
        arena = self.arena(worker.manifest.name)
        generation = Generation(worker, arena, self._waiting, self._clock, self._metrics)
        if options is not None:
            generation.options = options
        self._on_loop(lambda: self._swap(generation, keep))

    def label(self, name: str, labels: Mapping[str, int]) -> None:
        """Point labels at versions of a model; those of the settings stay where they are."""
        self.arena(name)
        with self._lock:
            self._served[name].labels = {**labels, **self.labels.get(name, {})}

    def held(self) -> dict[str, frozenset[int]]:
        """Return, for each model, the versions that a label points at or that a trial needs."""
        with self._lock:
            rows = [(name, served.labels, served.default) for name, served in self._served.items()]
        return {name: frozenset(labels.values()) | self.trials.held(name, default) for name, labels, default in rows}

    def drop(self, name: str, version: int | None = None) -> None:
        """Take a model, or one version of it, out of service."""
        self._on_loop(lambda: self._drop(name, version))

    def close(self) -> None:
        """Take every model out of service, at once; on the loop or after it."""
        for served in self._served.values():
            for generation in served.versions.values():
                generation.close()
            served.arena.close()
        for generation in self._leaving:
            generation.close()
        self._served.clear()

    def names(self) -> list[str]:
        """Return the names of the models in service."""
        with self._lock:
            return sorted(name for name, served in self._served.items() if served.versions)

    def generations(self, name: str | None = None) -> list[Generation]:
        """Return what is in service, of one model or of all, by name and version."""
        with self._lock:
            found = [served for key, served in sorted(self._served.items()) if name in (None, key)]
            return [served.versions[version] for served in found for version in sorted(served.versions)]

    def fell(self, name: str, version: int, why: str) -> None:
        """A version did not load: the model is not available, or only without it."""
        with self._lock:
            served = self._served.get(name)
            if served is not None and served.versions:
                if version not in served.versions:
                    served.fallen[version] = why
                return
        self.expect(name, why)

    def fallen(self) -> dict[tuple[str, int], str]:
        """Return each version that was quarantined or did not load while another serves, and why."""
        with self._lock:
            return {(name, n): why for name, served in self._served.items() for n, why in served.fallen.items()}

    def leaving(self) -> list[Generation]:
        """Return what has left service and still owes answers; on the loop."""
        self._leaving = [one for one in self._leaving if one.drains]
        return self._leaving

    def troubles(self) -> dict[str, str]:
        """Return each expected model that is not available, and why. Empty and something served: ready."""
        serving = self.names()
        with self._lock:
            missing = {name: why or "loading" for name, why in self._expected.items() if name not in serving}
        for generation in self.generations():
            if generation.state is not State.SERVING:
                name = generation.manifest.name
                missing[name] = generation.trouble or "its worker died; a new one is starting"
        return missing if missing or serving else {"": "no model to serve yet"}

    def reason(self, name: str) -> str:
        """Return why an expected model is not available, "" if it is or still loads."""
        serving = self.names()
        with self._lock:
            return "" if name in serving else self._expected.get(name, "")

    def live(self, name: str, version: int | None = None, label: str | None = None) -> Generation:
        """Return a generation in service; raise NotFound, or NotReady for one that should serve and does not.

        An unknown label is Invalid, with TensorFlow Serving's text, whether the model is known or not.
        """
        served = self._served.get(name)
        if served is None or not served.versions:
            expected = self._expected.get(name)
            if expected is not None:
                raise NotReady(f"model {name}: not ready: {expected or 'loading'}")
            if label is not None:
                raise _unknown_label(label)
            here = ", ".join(self.names()) or "none"
            raise NotFound(f"unknown model: {name[: names.MAX_NAME]}; this node serves: {here}")
        if label is not None:
            version = served.labels.get(label) or self.trials.labelled(name, label)
            if version is None:
                raise _unknown_label(label)
        found = served.versions.get(served.default if version is None else version)  # type: ignore[arg-type]
        if found is None:
            here = ", ".join(map(str, sorted(served.versions)))
            raise NotFound(f"unknown version: {version} of model {name}; this node serves {here}")
        return found

    def default(self) -> str:
        """Return the name of the only model; raise Invalid, naming them, if there are several."""
        names = sorted({*self.names(), *self._expected})
        if len(names) != 1:
            raise Invalid(f"model: this node serves {', '.join(names) or 'none'}; choose with ?model=NAME")
        return names[0]

    def _swap(self, generation: Generation, keep: Collection[int]) -> None:
        manifest = generation.manifest
        served = self._served[manifest.name]
        assert self._loop is not None
        generation.begin(self._revive, self._failed, self._loop)
        needed = self.trials.held(manifest.name, served.default)
        if manifest.version in needed:
            keep = {*keep, *needed}
        with self._lock:
            self._expected[manifest.name] = ""
            old = [
                one for version, one in served.versions.items() if version == manifest.version or version not in keep
            ]
            kept = {version: one for version, one in served.versions.items() if one not in old}
            others = (one for one in old if one.state is State.SERVING and one.order != generation.order)
            good = next(((one.order, one.options) for one in others), served.good)
            served.versions = {**kept, manifest.version: generation}
            served.fallen = {version: why for version, why in served.fallen.items() if version > manifest.version}
            served.default = self.trials.default(manifest.name, served.versions)
            served.good = good
        for one in old:
            self._retire(one)
        for one in old:  # the same version again keeps its series
            if one.manifest.version != manifest.version:
                self._metrics.dropped(manifest.name, one.manifest.version)
        if served.default == manifest.version:
            self._metrics.swapped(manifest.name, manifest.version)
        self.trials.pair(manifest.name, served.versions, served.default)
        worker = generation.queue.worker
        if self._lanes and worker is not None and not worker.order.cap and suits(worker):
            future = self._loop.run_in_executor(None, open_lane, generation.order)
            future.add_done_callback(lambda done: _join(generation, done))
        self._tell()

    def _drop(self, name: str, version: int | None) -> None:
        with self._lock:
            served = self._served.get(name)
            if served is None:
                self._expected.pop(name, None)
                return
            gone = [one for number, one in served.versions.items() if version in (None, number)]
            served.versions = {n: one for n, one in served.versions.items() if one not in gone}
            served.fallen = {n: why for n, why in served.fallen.items() if version not in (None, n)}
            served.default = self.trials.default(name, served.versions)
            heir = served.versions.get(served.default or 0)
            if heir is None:
                self._expected.pop(name, None)
            else:
                newest = heir.manifest.version
                older = [one for one in gone if one.state is State.SERVING and one.manifest.version < newest]
                served.good = next(((one.order, one.options) for one in reversed(older)), served.good)
        for one in gone:
            self._retire(one)
            self._metrics.dropped(name, one.manifest.version)
        if heir is None:
            served.arena.trim()
        self.trials.pair(name, served.versions, served.default)
        self._tell()

    def _seen_anew(self, name: str) -> None:
        """A trial has begun or ended: another version may answer who names none."""
        served = self._served.get(name)
        if served is None or not served.versions:
            return
        before, served.default = served.default, self.trials.default(name, served.versions)
        if served.default is not None and served.default != before:
            self._metrics.swapped(name, served.default)
        self.trials.pair(name, served.versions, served.default)
        self._tell()

    def _retire(self, one: Generation) -> None:
        self._bequeath(one)
        one.retire()
        self._leaving.append(one)

    def _bequeath(self, one: Generation) -> None:
        """Have what waits for a generation answered by the one that answers now; by its own version, if it named it."""
        served = self._served.get(one.manifest.name)
        if served is not None:
            same, default = served.versions.get(one.manifest.version), served.versions.get(served.default or 0)
            for ticket in one.queue.empty():
                heir = (same if ticket.bound else default) or one
                heir.queue.adopt([ticket])

    def _failed(self, generation: Generation) -> None:
        """A generation is quarantined: what waits for it is refused, or the last good one takes its place.

        Or it was retired, and its worker died before it had answered all that it had.
        """
        name = generation.manifest.name
        if generation.state is State.RETIRED:
            if not generation.remembers:
                self._bequeath(generation)
            generation.queue.refuse(NotReady(f"model {name}: out of service"))
            return
        served = self._served[name]
        if self.trials.lost(generation):
            generation.queue.refuse(NotReady(f"model {name}: {generation.trouble}"))
            self._tell()
            return
        good, served.good = served.good, None
        if good is None or good[0] == generation.order:
            generation.queue.refuse(NotReady(f"model {name}: {generation.trouble}"))
            self._tell()
            return
        assert self._loop is not None
        future = self._loop.run_in_executor(None, self._revive, good[0], served.arena)
        future.add_done_callback(lambda done: self._fallen_back(generation, done, good[1]))

    def _fallen_back(self, generation: Generation, done: asyncio.Future[Worker], options: Options) -> None:
        if generation.state is State.RETIRED and done.exception() is None:
            done.result().close()
        if generation.state is State.RETIRED or done.exception() is not None:
            if done.exception() is not None:
                log.error("model %s: the version before cannot serve: %s", generation.manifest.name, done.exception())
            generation.queue.refuse(NotReady(f"model {generation.manifest.name}: {generation.trouble}"))
            return
        served = self._served[generation.manifest.name]
        keep = [version for version in served.versions if version != generation.manifest.version]
        fallback = Generation(done.result(), served.arena, self._waiting, self._clock, self._metrics)
        fallback.trouble, fallback.options = generation.trouble, options
        with self._lock:
            served.fallen[generation.manifest.version] = generation.trouble
        self._swap(fallback, keep)

    def _tell(self) -> None:
        assert self._loop is not None
        self._loop.call_later(TIDY_SECONDS, gc.collect)  # what is frozen is not looked through: under a millisecond
        for call in self.changed:
            call()

    def _on_loop(self, act: Callable[[], None]) -> None:
        assert self._loop is not None, "run_on first"
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            act()
            return
        done: Future[None] = Future()

        def run() -> None:
            try:
                act()
                done.set_result(None)
            except BaseException as error:  # boundary: it belongs to the thread that asked
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        done.result()


def _unknown_label(label: str) -> Invalid:
    return Invalid(f"Unrecognized servable version label: {label[: names.MAX_NAME]}")


def _join(generation: Generation, done: asyncio.Future[Lane]) -> None:
    """Give a generation the lane that was opened for it; without one its worker answers everything."""
    error = done.exception()
    if error is not None:
        log.warning("model %s: no lane: %s", generation.manifest.name, error)
    elif generation.state is State.SERVING:
        generation.lane = done.result()
    else:
        done.result().close()
