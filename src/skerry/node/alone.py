"""A stand-alone node: models from paths on its own disk, no hub, no journal. What changes there is followed."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from skerry.core.errors import Conflict, Invalid, LoadFailed, NotAllowed, NotFound, SkerryError
from skerry.engine.bundle import open_bundle
from skerry.host.clock import Clock
from skerry.node.app import Shared
from skerry.node.generation import State
from skerry.node.layers import Recorded
from skerry.node.load import Loader
from skerry.node.models import Models
from skerry.node.repository import Change, Do, Found, Listing, Source, Watch, find, look, pulse
from skerry.node.serve.admin import Repository
from skerry.node.worker.life import Worker
from skerry.wire.config.agree import agree

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0  # between two looks at the disk, as TensorFlow Serving's
STOP_SECONDS = 2.0  # that a load under way is waited for


def alone(shared: Shared) -> Alone:
    """Return the life of a node that serves its settings' paths; raise NotFound or Invalid if there is nothing.

    A folder that is empty is a repository whose models are still to come.
    """
    paths = shared.settings.paths
    if not paths:
        raise Invalid("nothing to serve: give a bundle, a model file or a repository")
    find(paths)
    return Alone(paths, shared.loader, shared.models, shared.clock)


class Alone:
    """Loads what is found, beside a server that already answers, and follows what changes."""

    def __init__(self, paths: tuple[Path, ...], loader: Loader, models: Models, clock: Clock) -> None:
        self._roots = paths
        self._sources: tuple[Path | Source, ...] = paths
        self._loader = loader
        self._models = models
        self._clock = clock
        self._watch = Watch()
        self._away: set[str] = set()  # unloaded by request, until they are loaded by request
        self._lock = threading.Lock()  # one change at a time, whoever asks
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.recorded: Recorded | None = None
        self.repository: Repository | None = self
        self.failure: SkerryError | None = None

    def start(self, ready: Callable[[list[str]], None], give_up: Callable[[], None]) -> None:
        """Load every model in a thread, then call `ready` with their names; `give_up` if none could be loaded."""
        self._thread = threading.Thread(target=self._run, args=(ready, give_up), name="repository", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Follow no more."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def load(self, name: str) -> None:
        """Load a model, or load again what has changed; raise NotFound if it is not on the paths, or why it failed.

        Blocks; not to be called on the event loop.
        """
        with self._lock:
            away = name in self._away
            self._away.discard(name)
            listing = self._look(math.inf)
            if not listing.of(name):
                if away:
                    self._away.add(name)
                why = next((str(one.error) for one in listing.refusals if one.name == name), "")
                raise NotFound(f"model {name}: not in the repository{': ' + why if why else ''}")
            for one in self._models.generations(name):
                if one.state is State.QUARANTINED:  # to be asked for again means to be tried again
                    self._watch.forget(name, one.manifest.version)
            failures = self._follow(listing, name, math.inf)
            if failures:
                raise failures[0]

    def unload(self, name: str) -> None:
        """Take a model out of service until it is loaded by request; raise NotFound if it does not serve."""
        with self._lock:
            if name not in self._models.names():
                raise NotFound(f"model {name}: not in service")
            self._away.add(name)
            for one in self._watch.serving.of(name):
                self._watch.unloaded(one)
            self._models.drop(name)

    def reload(self, sources: Sequence[Source]) -> None:
        """Serve these models and no others from now on; raise why one of them does not load, with the others served.

        Each must lie below a path that the node was started with, or it is NotAllowed, and be there: else nothing is
        changed. Blocks.
        """
        for one in sources:
            self._check_root(one)
        there = look(sources)
        for one in sources:
            if not there.of(one.name):
                raise _missing(one, there)
        wanted = {one.name for one in sources}
        with self._lock:
            self._sources = tuple(sources)
            self._away.clear()
            for found in self._watch.serving.found:
                if found.name not in wanted:
                    self._watch.unloaded(found)
            for name in self._models.names():
                if name not in wanted:
                    self._models.drop(name)
            self._models.expect_only(wanted)
            listing = self._look(math.inf)
            failures = self._follow(listing, now=math.inf)
            failures += [error for error in map(self._label, sources) if error is not None]
            failures += self._follow(self._look(math.inf), now=math.inf)  # what only a label kept may leave now
            missing = [_missing(one, listing) for one in sources if not listing.of(one.name)]
        if missing or failures:
            raise [*missing, *failures][0]

    def index(self) -> Listing:
        """Return all that is on the paths."""
        return look(self._sources, self._clock.now(), bad=self._watch.bad)

    def _check_root(self, source: Source) -> None:
        path = source.path.resolve()
        if not any(path.is_relative_to(root.resolve()) for root in self._roots):
            roots = ", ".join(map(str, self._roots))
            raise NotAllowed(f"model {source.name}: base_path: expected a path in {roots}; got {source.path}")

    def _label(self, source: Source) -> SkerryError | None:
        """Point the labels of a model at its versions; return what is wrong with one that points elsewhere."""
        serve = [one.manifest.version for one in self._models.generations(source.name)]
        good = {label: version for label, version in source.labels.items() if version in serve}
        self._models.label(source.name, good)
        if len(good) == len(source.labels):
            return None
        self._sources = tuple(replace(source, labels=good) if one is source else one for one in self._sources)
        label, version = next(row for row in source.labels.items() if row[0] not in good)
        return Conflict(
            f"Request to assign label to version {version} of model {source.name}, which is not currently available "
            f"for inference; label {label} is left out"
        )

    def _run(self, ready: Callable[[list[str]], None], give_up: Callable[[], None]) -> None:
        seen = self._glance()
        listing = self._look(math.inf)  # who starts a node means the files as they are
        for one in listing.found:
            self._models.expect(one.name)
        with self._lock:
            failures = self._follow(listing, now=math.inf)
        for refusal in listing.refusals:
            log.error("%s: not served: %s", refusal.name, refusal.error)
        if not listing.found and not listing.refusals:
            log.warning("nothing to serve yet: %s: empty; models are looked for", ", ".join(map(str, self._roots)))
        elif not self._models.names():
            self.failure = LoadFailed("no model could be loaded:\n" + "\n".join(map(str, failures)))
            give_up()
            return
        ready(self._models.names())
        seen = "" if failures else seen
        while not self._stopping.wait(POLL_SECONDS):
            try:
                seen = self._poll(seen)
            except Exception:  # boundary: an odd disk must not end the following
                log.exception("repository: a fault of Skerry's own; going on")

    def _poll(self, seen: str) -> str:
        """Look closely if a quick look shows something else than the last; return what it shows, "" to look again."""
        now = self._glance()
        if now == seen:
            return seen
        with self._lock:
            listing = self._look()
            failures = self._follow(listing)
        again = failures or self._watch.doubts or any(one.waiting for one in listing.refusals)
        return "" if again else now

    def _glance(self) -> str:
        """Return what a quick look shows: when it shows the same, nothing has changed."""
        return f"{pulse(_path(one) for one in self._sources)} {sorted(self._models.held().items())}"

    def _look(self, now: float | None = None) -> Listing:
        found = look(self._sources, self._clock.now() if now is None else now, bad=self._watch.bad)
        return Listing(tuple(one for one in found.found if one.name not in self._away), found.refusals)

    def _follow(self, listing: Listing, only: str | None = None, now: float | None = None) -> list[SkerryError]:
        """Do what leads from what serves to what was found; return what failed."""
        failures: list[SkerryError] = []
        while True:
            todo = self._watch.decide(listing, self._models.held(), self._clock.now())
            todo = tuple(one for one in todo if only in (None, one.found.name))
            failures += [error for error in map(self._do, todo) if error is not None]
            if not any(one.do in (Do.LOAD, Do.RELOAD) for one in todo) or self._stopping.is_set():
                return failures
            listing = self._look(now)

    def _do(self, change: Change) -> SkerryError | None:
        one = change.found
        if change.do is Do.NOTE:
            log.warning("model %s version %d: %s", one.name, one.version, change.why)
        elif change.do is Do.UNLOAD:
            self._models.drop(one.name, one.version)
            self._watch.unloaded(one)
            log.info("model %s version %d: unloaded: %s", one.name, one.version, change.why)
        else:
            return self._try(one)
        return None

    def _try(self, one: Found) -> SkerryError | None:
        try:
            worker = self._worker(one)
        except Exception as error:  # boundary: one model, whatever is wrong with it, must not stop the others
            self._watch.failed(one, str(error))
            log.error("model %s version %d: not served: %s", one.name, one.version, error)
            self._models.fell(one.name, one.version, str(error))
            return error if isinstance(error, SkerryError) else LoadFailed(f"{one.path}: {error}")
        self._models.label(one.name, one.version_labels)
        serving = [other.manifest.version for other in self._models.generations(one.name)]
        self._models.swap(worker, serving, one.options)
        self._watch.loaded(one)
        return None

    def _worker(self, one: Found) -> Worker:
        arena, gentle = self._models.arena(one.name), bool(self._models.names())
        if not one.bare:
            return self._loader.bundle(open_bundle(one.path), arena, gentle, one.options)
        worker = self._loader.bare(one, arena, gentle)
        with contextlib.ExitStack() as undo:
            undo.callback(worker.close)
            agree(one.options, worker.inputs, worker.outputs)
            undo.pop_all()
        return worker


def _path(one: Path | Source) -> Path:
    return one.path if isinstance(one, Source) else one


def _missing(source: Source, listing: Listing) -> SkerryError:
    why = next((one.error for one in listing.refusals if one.name == source.name or one.path == source.path), None)
    return why or NotFound(f"model {source.name}: no version of it at {source.path}")
