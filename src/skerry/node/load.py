"""From a bundle on disk to a worker that may serve: verified, loaded, goldens passed. No shortcut past it."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from skerry.core.batch import allowed
from skerry.core.errors import BadSignature, LoadFailed
from skerry.core.names import Digest
from skerry.core.trust import Trust
from skerry.engine.bundle import Bundle
from skerry.engine.known import bare_digest, runtime_of
from skerry.host.caps import Cages, Caps
from skerry.host.machine import Machine
from skerry.host.nursery import Nursery
from skerry.host.profiles import Profile, Profiles
from skerry.host.shared import Arena
from skerry.node.repository import Found
from skerry.node.worker.life import MAX_TOGETHER, Worker, bear
from skerry.node.worker.order import Beside, Order
from skerry.wire.config import Options, asked_of, unused, wanted

log = logging.getLogger(__name__)

WIDE = 4  # threads of a long run; beyond, most models gain little and every other program on the box waits
MAX_DELAY = 500_000  # microseconds that a request may wait for others; a worker still for 1 s is thought to hang
NOTHING = Options()


class Loader:
    """How this node loads: which publishers it trusts (None: files of its own disk, unsigned), and on what machine.

    Every method blocks until the worker serves or has failed; none may be called on the event loop.
    """

    def __init__(
        self,
        nursery: Nursery,
        trust: Trust | None,
        machine: Machine,
        threads: int,
        record: bool,
        cages: Cages | None = None,
        profiles: Profiles | None = None,
    ) -> None:
        self.trust = trust
        self.machine = machine
        self._nursery = nursery
        self._threads = threads
        self._record = record
        self._cages = cages or Cages(Caps())
        self._profiles = profiles  # what `skerry tune` found on this machine
        self.regions = ""  # the board of shared memory that workers read

    def bare(self, found: Found, arena: Arena, gentle: bool = False) -> Worker:
        """Return a worker of a model file without a bundle; raise LoadFailed if it does not run here,

        BadSignature on a node that was told whom to trust.
        """
        if self.trust is not None:
            raise BadSignature(f"{found.path}: a bare file; this node serves signed bundles only")
        order = Order(
            path=str(found.path), name=found.name, version=found.version, bare=True,
            runtime=found.runtime, labels=found.labels,
            beside=_beside(found.options, found.folder, asked_of(found.options, found.runtime)),
        )  # fmt: skip
        _tell_unused(order, found.options)
        try:
            return self._loaded(self._planned(order, gentle, found.options), arena)
        except LoadFailed as error:
            asked = wanted(found.options)
            if asked:
                raise LoadFailed(f"{error} ({asked})") from error
            raise

    def bundle(self, bundle: Bundle, arena: Arena, gentle: bool = False, options: Options = NOTHING) -> Worker:
        """Return a worker; raise TrustError or ModelError if the bundle must not serve here."""
        manifest = bundle.manifest
        order = Order(
            path=str(bundle.path),
            name=manifest.name,
            version=manifest.version,
            runtime=manifest.runtime.name,
            trust=None if self.trust is None else self.trust.keys,
            record=self._record,
            beside=_beside(options, bundle.path.parent, {}),
        )
        _tell_unused(order, options)
        return self._loaded(self._planned(order, gentle, options, manifest.digest), arena)

    def again(self, order: Order, arena: Arena) -> Worker:
        """Return a new worker of what was loaded before."""
        cages = self._cages
        order = order.here(self.regions, cages.words(order.name))
        return bear(self._nursery, order, arena, cages if order.cap else None)

    def _loaded(self, order: Order, arena: Arena) -> Worker:
        worker = self.again(order, arena)
        order, hello = worker.order, worker.hello
        log.info(
            "%s version %d: loaded in %.2f s, %d goldens passed, %s; threads %d, runs %d, %s",
            order.name, order.version, hello.seconds, hello.goldens,
            f"a run takes {hello.run_us:.0f} us" if hello.run_us else "not timed: it does not run on zeros",
            order.intra, order.runs,
            f"up to {hello.sizes[-1]} examples in a run" if hello.sizes else "each request alone",
        )  # fmt: skip
        return worker

    def _planned(self, order: Order, gentle: bool, options: Options, digest: Digest | None = None) -> Order:
        """Return the order with threads and sizes: the setting's and the configuration's before the profile's."""
        cap = self._cages.cap(order.name).cpus
        cpus = self.machine.cpus if cap is None else min(self.machine.cpus, math.ceil(cap))
        profile = self._profile(order, digest)
        threads = min(self._threads or options.threads, cpus)
        intra, runs = threads or 1, options.instances or (1 if threads > 1 else cpus)
        if profile is not None:
            if not threads and not options.instances:
                intra = min(profile.plan.intra, cpus)
                runs = max(1, min(profile.plan.runs, cpus // intra))
            order = order.tuned(profile.batches, profile.spinning)
        if not threads and not options.instances and profile is None:
            order = order.widened(min(cpus, WIDE))
        return _joining(order.planned(intra, runs, gentle), options)

    def _profile(self, order: Order, digest: Digest | None) -> Profile | None:
        if self._profiles is None or not self._profiles.any():
            return None
        known = digest or bare_digest(Path(order.path))
        found = self._profiles.find(known, runtime_of(order.runtime))
        if found is not None:
            log.info("%s version %d: its profile on this machine is used", order.name, order.version)
        return found


def _beside(options: Options, folder: Path | None, runtime: dict[str, Any]) -> Beside:
    return Beside(
        folder=str(folder or ""),
        options=runtime,
        most=options.max_batch_size or 0,
        sequences=options.sequences,
        shown=tuple(port.name for port in options.outputs),
        warmup=options.warmup,
        reshapes=options.reshapes,
        strict=options.batching is not None and options.batching.strict,
    )


def _tell_unused(order: Order, options: Options) -> None:
    for one in (*options.ignored, *unused(options, order.runtime)):
        log.warning("%s version %d: config.pbtxt: %s", order.name, order.version, one)


def _joining(order: Order, options: Options) -> Order:
    """Return the order with what a configuration says about requests that run together.

    One that names a greatest batch and no dynamic batching wants requests as they come, as Triton has it.
    """
    most, batching = options.max_batch_size, options.batching
    if most is None and batching is None:
        return order
    if batching is None or not most:
        return order.joining(())
    sizes = allowed(min(most, MAX_TOGETHER), batching.preferred)
    return order.joining(sizes, min(batching.delay, MAX_DELAY), batching.preferred)
