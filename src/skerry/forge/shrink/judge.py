"""The truth about one candidate: it is written as a bundle, opened as a node opens it, and measured beside the first.

Never here: which candidate comes next, or whether it is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from skerry.core.card import Difference, Effect
from skerry.core.errors import Invalid, RunFailed
from skerry.core.manifest import Manifest, Runtime
from skerry.engine.bundle import Bundle, write_bundle
from skerry.engine.runners.onnx import OnnxRunner
from skerry.engine.runners.runner import Lane, Threads
from skerry.engine.session import Session
from skerry.forge import measure
from skerry.forge.data import ARRAYS, Data
from skerry.forge.measure.measure import fitted
from skerry.forge.optimise.coverage import cover
from skerry.forge.optimise.work import Feeds, Watch
from skerry.host.clock import Clock
from skerry.host.files import Disk
from skerry.host.machine import Machine

MODEL = "model.onnx"
RACED = 8  # inputs that a race takes in turn
COMPARED = 32  # inputs on which outputs are compared


@dataclass(frozen=True)
class State:
    """A model at one moment: its graph, its bundle (without goldens), and what was measured of it."""

    model: onnx.ModelProto
    bundle: Bundle
    measured: measure.Measured
    effect: Effect


class Tap:
    """A runner that keeps what it is fed, so that a pass can be calibrated with what the steps make of an example."""

    remembers = False

    def __init__(self, inner: OnnxRunner) -> None:
        self._inner = inner
        self.inputs, self.outputs = inner.inputs, inner.outputs
        self.fed: Feeds = {}

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Keep the feeds and run."""
        self.fed = {name: np.array(array) for name, array in feeds.items()}
        return self._inner.run(feeds)

    def lane(self) -> Lane:
        """A model of plain ONNX remembers nothing."""
        raise RunFailed("ONNX Runtime: a model keeps no state by itself")

    def close(self) -> None:
        """Close the runner."""
        self._inner.close()


@dataclass(frozen=True)
class Samples:
    """What a model is fed for the examples of some data, made anew each time it is gone through."""

    bundle: Bundle
    data: Data
    clock: Clock

    def __iter__(self) -> Iterator[Feeds]:
        """Give one example's arrays after the other, as the runner gets them."""
        tap = Tap(OnnxRunner(self.bundle.model_file, Threads()))
        with closing(Session(replace(self.bundle.manifest, post=()), tap, self.clock)) as session:
            for index in range(len(self.data.examples)):
                if self.data.takes == ARRAYS:
                    yield fitted(session.inputs, self.data.feeds(index))
                    continue
                with suppress(Invalid):  # one that the model does not take; the measurement counts it as wrong
                    session.look(self.data.encoded(index))
                    yield tap.fed


class Judge:
    """Measures candidates on the test part; calibration data are never among it."""

    def __init__(self, folder: Path, calibration: Data, test: Data, threads: int, machine: Machine) -> None:
        self._folder = folder
        self._calibration, self._test = calibration, test
        self._threads, self._machine, self._clock = threads, machine, Clock()
        self._count = 0

    def samples(self, bundle: Bundle) -> Samples:
        """Return what the model of a bundle is calibrated with."""
        return Samples(bundle, self._calibration, self._clock)

    def first(self, source: Bundle, watch: Watch) -> State:
        """Return the state of the bundle as it was brought; what comes later is measured against it."""
        return self.state(onnx.load(str(source.model_file)), source.manifest, None, watch)

    def state(self, model: onnx.ModelProto, manifest: Manifest, first: State | None, watch: Watch) -> State:
        """Write, open and measure a candidate; raise LoadFailed, RunFailed or Invalid for one that does not work."""
        bundle = self._written(model, manifest)
        threads = Threads(intra=self._threads)
        with closing(measure.open_wide(bundle, threads, self._machine, self._clock)) as session:
            measured = measure.measure(session, self._test, watch)
        feeds = self._few(bundle, 1)
        effect = Effect(
            size=bundle.model_file.stat().st_size, accuracy=measured.accuracy(), coverage=cover(model, feeds[0]).share
        )
        found = State(model, bundle, measured, effect)
        if first is None:
            return found
        return replace(found, effect=replace(effect, difference=self._difference(first, bundle)))

    def race(self, states: list[State], seconds: float, watch: Watch, whole: bool = False) -> measure.Raced:
        """Return how fast the states are beside the first of them: their models alone, or `whole` with every step."""
        sessions = [
            measure.open_plain(one.bundle, Threads(intra=self._threads), self._machine, self._clock) for one in states
        ]
        try:
            lanes = [
                measure.Lane(session, self._inputs(one.bundle, whole), self._threads)
                for session, one in zip(sessions, states, strict=True)
            ]
            return measure.race(lanes, seconds, self._clock, watch)
        finally:
            for session in sessions:
                session.close()

    def _inputs(self, bundle: Bundle, whole: bool) -> list[Any]:
        count = min(RACED, len(self._test.examples))
        if whole and self._test.takes != ARRAYS:
            return [self._test.encoded(index) for index in range(count)]
        return self._few(bundle, count)

    def _few(self, bundle: Bundle, count: int) -> list[Feeds]:
        some = self._test.only([index < count for index in range(len(self._test.examples))])
        return list(Samples(bundle, some, self._clock))

    def _difference(self, first: State, bundle: Bundle) -> Difference:
        some = self._test.only([index < COMPARED for index in range(len(self._test.examples))])
        threads = Threads(intra=self._threads)
        with (
            closing(measure.open_plain(first.bundle, threads, self._machine, self._clock)) as one,
            closing(measure.open_plain(bundle, threads, self._machine, self._clock)) as other,
        ):
            return measure.differ(one, other, some.inputs())

    def _written(self, model: onnx.ModelProto, manifest: Manifest) -> Bundle:
        self._count += 1
        path = self._folder / str(self._count)
        data = model.SerializeToString(deterministic=True)
        probe = self._folder / MODEL
        Disk().write(probe, data)
        with closing(OnnxRunner(probe, Threads())) as runner:
            inputs, outputs = runner.inputs, runner.outputs
        plain = replace(
            manifest, inputs=inputs, outputs=outputs, goldens=(), runtime=Runtime("onnx", MODEL, manifest.runtime.extra)
        )
        return write_bundle(path, plain, {MODEL: data}, Disk())
