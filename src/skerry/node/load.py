"""From a bundle on disk to a worker that may serve: verified, loaded, goldens passed. No shortcut past it."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass

from skerry.core.errors import BadSignature
from skerry.core.trust import Trust
from skerry.engine.bundle import Bundle, verify
from skerry.engine.golden import check_goldens
from skerry.engine.session import open_bare, open_session, plan_threads
from skerry.host.clock import Clock
from skerry.host.machine import Machine
from skerry.node.repository import Found
from skerry.node.worker import Worker

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loader:
    """How this node loads: which publishers it trusts (None: files of its own disk, unsigned), and on what machine."""

    trust: Trust | None
    machine: Machine
    clock: Clock
    threads: int
    waiting: int

    def load_bare(self, found: Found) -> Worker:
        """Return a worker of a model file without a bundle; raise LoadFailed if it does not run here,

        BadSignature on a node that was told whom to trust.
        """
        if self.trust is not None:
            raise BadSignature(f"{found.path}: a bare file; this node serves signed bundles only")
        threads = plan_threads(self.machine, self.threads)
        return Worker(open_bare(found.path, found.name, found.version, threads, self.clock), self.waiting)

    def load(self, bundle: Bundle) -> Worker:
        """Return a worker; raise TrustError or ModelError if the bundle must not serve here."""
        started = self.clock.monotonic()
        verify(bundle, self.trust)
        session = open_session(bundle, plan_threads(self.machine, self.threads), self.machine, self.clock)
        with contextlib.ExitStack() as undo:
            undo.callback(session.close)
            goldens = check_goldens(session, bundle.path)
            undo.pop_all()
        manifest = bundle.manifest
        spent = self.clock.monotonic() - started
        log.info("%s version %d: loaded in %.2f s, %d goldens passed", manifest.name, manifest.version, spent, goldens)
        return Worker(session, self.waiting)
