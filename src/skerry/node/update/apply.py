"""Doing the steps of a plan: fetch, try, drop, forget. The mover and the keeper's customer; each step can be repeated.

On disk, below the node's state folder:
    staging/<digest>/    a bundle on its way, kept so that a broken download goes on where it stopped
    bundles/<digest>/    installed bundles, put there by one rename after every byte was verified
"""

from __future__ import annotations

import errno
import logging
from pathlib import Path

from skerry.core.errors import LoadFailed, TrustError, Unreachable, WrongDigest
from skerry.core.manifest import MANIFEST, MAX_MANIFEST, SIGNATURE, Manifest
from skerry.core.names import Digest, ModelName
from skerry.core.plan import Do, Held, PlanStep, Wanted
from skerry.core.trust import MAX_SIGNATURES, Trust
from skerry.engine.bundle import open_bundle
from skerry.host.files import Disk, digest_file
from skerry.node.hub import Hub
from skerry.node.load import Loader
from skerry.node.models import Models
from skerry.node.update.slots import MAX_TRIES, Slots
from skerry.wire import routes

log = logging.getLogger(__name__)

RESERVE = 64 << 20  # bytes that a download leaves free for the journal and the system


class Installer:
    """Moves bundles from the hub to this disk and into service."""

    def __init__(
        self,
        state: Path,
        hub: Hub,
        trust: Trust,
        loader: Loader,
        models: Models,
        disk: Disk,
    ) -> None:
        self._bundles = state / "bundles"
        self._staging = state / "staging"
        self._hub = hub
        self._trust = trust
        self._loader = loader
        self._models = models
        self._disk = disk
        self.slots = Slots(state / "slots.json", disk)

    def start(self) -> None:
        """Serve what was committed before this node stopped; a damaged one gives way to the previous."""
        for model in list(self.slots.table.slots):
            while (committed := self.slots.table.slots[model].committed) is not None:
                self._models.expect(model)
                try:
                    self._models.swap(self._loader.load(open_bundle(self._folder(committed.digest))))
                    break
                except Exception as error:  # boundary: whatever is wrong with it, an older one may be good
                    log.error("model %s: the committed bundle cannot serve: %s", model, error)
                    self._models.expect(model, f"the committed bundle cannot serve: {error}")
                    self.slots.fall_back(model)
                    self._disk.remove(self._folder(committed.digest))

    def held(self) -> Held:
        """Return what is on this node, as `core.plan` asks for it."""
        installed = [Digest(f"sha256:{p.name}") for p in self._bundles.iterdir()] if self._bundles.is_dir() else []
        table = self.slots.table
        return Held(
            committed={m: s.committed.digest for m, s in table.slots.items() if s.committed is not None},
            installed=installed,
            kept=self.slots.kept(),
            refused={(r.bundle.digest, r.bundle.rollout) for r in table.refused},
        )

    def do(self, step: PlanStep) -> None:
        """Do one step; raise TrustError or ModelError for a bundle to refuse, PeerError or OSError to try later."""
        if step.do is Do.FETCH and step.wanted is not None:
            self._fetch(step.wanted)
        elif step.do is Do.TRY and step.wanted is not None:
            self._try(step.wanted)
        elif step.do is Do.DROP and step.model is not None:
            self._drop(step.model)
        elif step.do is Do.FORGET:
            self._disk.remove(self._folder(step.digest))

    def tidy(self) -> None:
        """Delete what is left of downloads that nobody wants any more; called when nothing is left to fetch."""
        if self._staging.is_dir():
            self._disk.remove(self._staging)

    def _fetch(self, want: Wanted) -> None:
        staging = self._staging / want.digest.removeprefix("sha256:")
        try:
            manifest = self._fetch_manifest(want, staging)
            if self._disk.free(self._staging) < manifest.size + RESERVE:
                raise OSError(errno.ENOSPC, f"{manifest.size} bytes for bundle {manifest.name} would fill the disk")
            for path in manifest.files:
                self._fetch_file(manifest, path, staging / path)
            self._disk.folder(self._bundles)
            self._disk.move(staging, self._folder(want.digest))
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self._disk.remove(staging)  # half a bundle must not keep the journal from writing
            raise

    def _fetch_manifest(self, want: Wanted, staging: Path) -> Manifest:
        text = self._hub.text(routes.MANIFEST, want.digest, MAX_MANIFEST)
        signature = self._hub.text(routes.SIGNATURE, want.digest, MAX_SIGNATURES)
        manifest = self._trust.manifest(text, signature, want.digest)
        if (manifest.name, manifest.version) != (want.model, want.version):
            raise WrongDigest(f"bundle {want.digest}: signed as {manifest.name} version {manifest.version}; "
                              f"the hub calls it {want.model} version {want.version}")  # fmt: skip
        self._disk.write(staging / MANIFEST, text)
        self._disk.write(staging / SIGNATURE, signature)
        return manifest

    def _fetch_file(self, manifest: Manifest, path: str, place: Path) -> None:
        entry = manifest.files[path]
        self._disk.folder(place.parent)
        start = place.stat().st_size if place.is_file() else 0
        if start < entry.size or not start:
            with self._disk.append(place) as file:
                for chunk in self._hub.blob(entry.sha256, start, entry.size):
                    file.write(chunk)
                self._disk.sync(file)
        size, digest = digest_file(place)
        if size < entry.size:
            raise Unreachable(f"bundle {manifest.name}, file {path}: {size} of {entry.size} bytes came")
        try:
            self._trust.file(manifest, path, size, digest)
        except TrustError:
            self._disk.remove(place)  # so that the next rollout of this bundle starts clean
            raise

    def _try(self, want: Wanted) -> None:
        if self.slots.begin(want) > MAX_TRIES:
            raise LoadFailed(f"this node died {MAX_TRIES} times while trying the bundle")
        self._models.expect(want.model)
        try:
            worker = self._loader.load(open_bundle(self._folder(want.digest)))
        except TrustError:
            self._disk.remove(self._folder(want.digest))  # the disk spoilt it; another rollout fetches it afresh
            raise
        except OSError:
            self.slots.survived(want.model)
            raise
        # Committed before it serves: a node that dies in between serves it again after a restart, and what
        # answered requests is never uncommitted.
        self.slots.commit(want.model)
        self._models.swap(worker)

    def _drop(self, model: ModelName) -> None:
        self._models.drop(model)
        self.slots.drop(model)

    def _folder(self, digest: Digest) -> Path:
        return self._bundles / digest.removeprefix("sha256:")
