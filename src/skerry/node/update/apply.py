"""Doing the steps of a plan: fetch, try, drop, forget. The mover and the keeper's customer; each step can be repeated.

On disk, below the node's state folder:
    staging/<digest>/    a bundle on its way, kept so that a broken download goes on where it stopped
    bundles/<digest>/    installed bundles, put there by one rename after every byte was verified
"""

from __future__ import annotations

import errno
import logging
from pathlib import Path

from skerry.core.errors import (
    Invalid,
    LoadFailed,
    ModelError,
    NotFound,
    SkerryError,
    TrustError,
    Unreachable,
    WrongDigest,
)
from skerry.core.manifest import MANIFEST, MAX_MANIFEST, SIGNATURE, Manifest
from skerry.core.names import Digest, ModelName
from skerry.core.plan import Do, Held, PlanStep, Wanted
from skerry.core.trust import MAX_SIGNATURES, Trust
from skerry.engine.bundle import Bundle, open_bundle
from skerry.host.files import Disk, digest_file
from skerry.node.hub import Hub
from skerry.node.load import Loader
from skerry.node.models import Models
from skerry.node.update.slots import MAX_TRIES, Slots
from skerry.node.worker.life import Worker
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
        self._clear_up()
        for model in self.slots.table.slots.keys() - set(self._models.names()):
            while (committed := self.slots.table.slots[model].committed) is not None:
                self._models.expect(model)
                try:
                    self._models.swap(self._load(self._open(committed.digest)))
                    break
                except (TrustError, Invalid, NotFound) as error:
                    self._give_up(model, error)
                    self._disk.remove(self._folder(committed.digest))  # the disk spoilt it
                except ModelError as error:
                    self._give_up(model, error)
                except (OSError, MemoryError) as error:  # it may serve at the next tick
                    log.error("model %s: the committed bundle cannot be loaded now: %s", model, error)
                    self._models.expect(model, f"the committed bundle cannot be loaded now: {error}")
                    break

    def _clear_up(self) -> None:
        """Delete what a death in the middle of a write or a removal has left."""
        for folder in (self._bundles, self._bundles.parent):
            self._disk.sweep(folder)
        for half in self._bundles.glob("[!.]*") if self._bundles.is_dir() else ():
            if not (half / MANIFEST).is_file():
                self._disk.remove(half)

    def _give_up(self, model: ModelName, error: SkerryError) -> None:
        log.error("model %s: the committed bundle cannot serve: %s", model, error)
        self._models.expect(model, f"the committed bundle cannot serve: {error}")
        self.slots.fall_back(model)

    def _open(self, digest: Digest) -> Bundle:
        """Return an installed bundle; raise WrongDigest if another one lies in its place."""
        bundle = open_bundle(self._folder(digest))
        if bundle.manifest.digest != digest:
            raise WrongDigest(f"bundle {digest}: in its place lies {bundle.manifest.digest}")
        return bundle

    def _load(self, bundle: Bundle) -> Worker:
        """Return a worker of a bundle; while others serve, it is loaded with what they leave over."""
        return self._loader.bundle(bundle, self._models.arena(bundle.manifest.name), gentle=bool(self._models.names()))

    def held(self) -> Held:
        """Return what is on this node, as `core.plan` asks for it."""
        folders = self._bundles.iterdir() if self._bundles.is_dir() else ()
        installed = [Digest(f"sha256:{p.name}") for p in folders if (p / MANIFEST).is_file()]
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
            there = sum(p.stat().st_size for p in staging.rglob("*") if p.is_file())
            if self._disk.free(self._staging) < manifest.size - there + RESERVE:
                raise OSError(errno.ENOSPC, f"{manifest.size} bytes for bundle {manifest.name} would fill the disk")
            for path in manifest.files:
                self._fetch_file(manifest, path, staging / path)
            self._disk.folder(self._bundles)
            self._disk.remove(self._folder(want.digest))  # half of one, if it was being deleted when the node died
            self._disk.sweep(staging)
            self._disk.settle(staging)
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
        self._disk.folder(place.parent)
        resumed = place.is_file() and place.stat().st_size > 0
        try:
            self._fetch_rest(manifest, path, place)
        except TrustError:
            self._disk.remove(place)
            if not resumed:
                raise
            # What was here before may have been spoilt by a power cut: the hub's bytes are judged alone.
            self._fetch_rest(manifest, path, place)

    def _fetch_rest(self, manifest: Manifest, path: str, place: Path) -> None:
        entry = manifest.files[path]
        with self._disk.append(place) as file:
            start = place.stat().st_size
            if start < entry.size:
                for chunk in self._hub.blob(entry.sha256, start, entry.size):
                    file.write(chunk)
            self._disk.sync(file)
        size, digest = digest_file(place)
        if size < entry.size:
            raise Unreachable(f"bundle {manifest.name}, file {path}: {size} of {entry.size} bytes came")
        self._trust.file(manifest, path, size, digest)

    def _try(self, want: Wanted) -> None:
        if self.slots.begin(want) > MAX_TRIES:
            raise LoadFailed(f"this node died {MAX_TRIES} times while trying the bundle")
        self._models.expect(want.model)
        try:
            worker = self._load(self._open(want.digest))
        except (TrustError, NotFound):
            self._disk.remove(self._folder(want.digest))  # the disk spoilt it; another rollout fetches it afresh
            raise
        except OSError:
            self.slots.survived(want.model)
            raise
        # Committed before it serves: a node that dies in between serves it again after a restart, and what
        # answered requests is never uncommitted.
        try:
            self.slots.commit(want.model)
        except OSError:
            worker.close()
            raise
        self._models.swap(worker)

    def _drop(self, model: ModelName) -> None:
        self._models.drop(model)
        self.slots.drop(model)

    def _folder(self, digest: Digest) -> Path:
        return self._bundles / digest.removeprefix("sha256:")
