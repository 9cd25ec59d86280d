"""Models: name to live worker. The only mutable serving state of a node; everyone else asks here.

A model that should serve is expected; it is available when its worker has passed its goldens. The node is
ready when every expected model is available.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from skerry.core import names
from skerry.core.errors import Invalid, NotFound, NotReady, QueueFull, SkerryError
from skerry.core.manifest import Manifest
from skerry.core.names import Digest, ModelName
from skerry.core.tensor import Tensor
from skerry.engine.session import Session, Sight
from skerry.engine.steps.step import Named
from skerry.host.clock import Clock
from skerry.node.metrics import Metrics
from skerry.node.worker import Retired, Worker

T = TypeVar("T")


@dataclass(frozen=True)
class Ask:
    """One request for inference: an encoded image, or the model's own tensors."""

    model: str
    version: int | None = None
    image: bytes | None = field(default=None, repr=False)
    tensors: Sequence[Tensor] = ()
    source: str = ""  # the input's name as the caller gave it


@dataclass(frozen=True)
class Seen:
    """The answer: arrays by name; for an image also the sight, and its place in the journal if it has one."""

    manifest: Manifest
    digest: Digest
    arrays: Named
    sight: Sight | None = None
    result: str = ""


@dataclass(frozen=True)
class Live:
    """A model in service."""

    manifest: Manifest
    digest: Digest
    worker: Worker


class Models:
    """What this node serves."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._live: dict[str, Live] = {}
        self._expected: dict[str, str] = {}  # name -> why it is not available, "" while it loads
        self._lock = threading.Lock()

    def expect(self, name: ModelName, reason: str = "") -> None:
        """Say that a model should serve; `reason` why it cannot yet."""
        with self._lock:
            self._expected[name] = reason

    def expect_only(self, names: Collection[str]) -> None:
        """Expect these models and no others: what nobody wants any more must not keep the node from being ready."""
        with self._lock:
            self._expected = {name: self._expected.get(name, "") for name in names}

    def swap(self, worker: Worker) -> None:
        """Put a worker into service; the old one of that name answers what it has taken and is freed."""
        manifest = worker.session.manifest
        with self._lock:
            self._expected[manifest.name] = ""
            old = self._live.get(manifest.name)
            self._live[manifest.name] = Live(manifest, manifest.digest, worker)
        if old is not None:
            old.worker.retire()
        self._metrics.swapped(manifest.name, manifest.version)  # drops the old series, once nothing adds to them

    def drop(self, name: ModelName) -> None:
        """Take a model out of service."""
        with self._lock:
            self._expected.pop(name, None)
            old = self._live.pop(name, None)
        if old is not None:
            old.worker.retire()
        self._metrics.dropped(name)

    def close(self) -> None:
        """Take every model out of service."""
        for name in list(self._live):
            self.drop(ModelName(name))

    def names(self) -> list[str]:
        """Return the names of the models in service."""
        return sorted(self._live)

    def troubles(self) -> dict[str, str]:
        """Return each expected model that is not available, and why. Empty and something served: ready."""
        with self._lock:
            missing = {name: why or "loading" for name, why in self._expected.items() if name not in self._live}
            return missing if missing or self._live else {"": "no model to serve yet"}

    def reason(self, name: str) -> str:
        """Return why an expected model is not available, "" if it is or still loads."""
        with self._lock:
            return "" if name in self._live else self._expected.get(name, "")

    def live(self, name: str, version: int | None = None) -> Live:
        """Return a model in service; raise NotFound, or NotReady for one that should serve and does not."""
        with self._lock:
            found, expected = self._live.get(name), self._expected.get(name)
        if found is None and expected is not None:
            raise NotReady(f"model {name}: not ready: {expected or 'loading'}")
        if found is None:
            raise NotFound(
                f"unknown model: {name[: names.MAX_NAME]}; this node serves: {', '.join(self.names()) or 'none'}"
            )
        if version is not None and version != found.manifest.version:
            raise NotFound(f"unknown version: {version} of model {name}; this node serves {found.manifest.version}")
        return found

    def default(self) -> str:
        """Return the name of the only model; raise Invalid, naming them, if there are several."""
        names = sorted({*self.names(), *self._expected})
        if len(names) != 1:
            raise Invalid(f"model: this node serves {', '.join(names) or 'none'}; choose with ?model=NAME")
        return names[0]

    async def infer(self, ask: Ask) -> Seen:
        """Run one request on the model's worker; raise what the session raises, or QueueFull."""
        while True:
            live = self.live(ask.model, ask.version)
            try:
                future = live.worker.submit(partial(self._run, ask, self._clock.monotonic()))
            except QueueFull:
                self._metrics.failure(live.manifest.name, live.manifest.version, QueueFull.__name__)
                raise
            except Retired:  # it was swapped between the two lines; the next one is there already
                continue
            arrays, sight = await asyncio.wrap_future(future)
            return Seen(live.manifest, live.digest, arrays, sight)

    def _run(self, ask: Ask, since: float, session: Session) -> tuple[Named, Sight | None]:
        try:
            return self._answer(ask, since, session)
        except SkerryError as error:
            self._metrics.failure(session.manifest.name, session.manifest.version, type(error).__name__)
            raise

    def _answer(self, ask: Ask, since: float, session: Session) -> tuple[Named, Sight | None]:
        started = self._clock.monotonic()
        waited = {"waiting": (started - since) * 1000}
        name, version = session.manifest.name, session.manifest.version
        if ask.image is None:
            arrays = session.infer(ask.tensors)
            spent = (self._clock.monotonic() - started) * 1000
            self._metrics.inference(name, version, {"run": spent, "total": spent, **waited})
            return arrays, None
        if not session.takes_images:
            raise Invalid(
                f"model {name} takes tensors, not images; 'skerry bundle init' declares the steps from one to the other"
            )
        sight = session.look(ask.image)
        self._metrics.inference(name, version, {**sight.millis, **waited})
        return sight.arrays, sight
