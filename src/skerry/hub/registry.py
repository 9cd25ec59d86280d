"""Models and their versions. A version points to one bundle for ever; its manifest is kept byte for byte.

Publishing comes last: the files are here as blobs first, so what can be resolved can be fetched whole.
"""

from __future__ import annotations

import json

from skerry.core.errors import BadSignature, Conflict, Invalid, NotFound, TrustError
from skerry.core.manifest import Manifest, read_manifest
from skerry.core.names import Digest, ModelName
from skerry.core.trust import Trust, read_signatures, write_signatures
from skerry.host.blobs import Blobs, Incoming
from skerry.host.clock import Clock
from skerry.hub.events import What, note
from skerry.hub.store import models as rows
from skerry.hub.store.models import Signed, VersionRow
from skerry.hub.store.store import Store, Tx
from skerry.wire.registry import Publish

SHOWN_MISSING = 5  # files that an error names


class Registry:
    """The published versions."""

    def __init__(self, store: Store, blobs: Blobs, trust: Trust | None, clock: Clock) -> None:
        self._store = store
        self._blobs = blobs
        self._trust = trust  # None: the hub believes whoever may publish; a node never does
        self._clock = clock

    def keep(self, digest: Digest, incoming: Incoming, who: str) -> int:
        """Put a blob in its place and return its size; raise WrongDigest (and write an event) for other bytes."""
        try:
            return incoming.keep()
        except TrustError as error:
            self._refused(who, What.BLOB_REFUSED, f"blob:{digest}", error)
            raise

    def publish(self, model: ModelName, message: Publish, who: str) -> VersionRow:
        """Return the version that a manifest describes, from now on or already.

        Raises BadSignature (and writes an event), Invalid naming the files that are not here, and Conflict if the
        version points to another bundle.
        """
        now = self._clock.now()
        try:
            manifest = self._believed(message)
        except TrustError as error:
            self._refused(who, What.PUBLISH_REFUSED, f"model:{model}", error)
            raise
        if manifest.name != model:
            raise Invalid(f"manifest.name: expected {model}, as in the path; got {manifest.name}")
        self._check_files(manifest)
        runtime, size = manifest.runtime.name, manifest.size
        row = VersionRow(model, manifest.version, manifest.digest, runtime, size, published=now, published_by=who)
        with self._store.write() as tx:
            known = rows.find(tx, model, manifest.version)
            if known is not None and known.digest != row.digest:
                raise Conflict(f"model {model} version {row.version} is {known.digest}; a version is never changed")
            if known is not None:
                self._add_signatures(tx, known, message.signature, who)
                return known
            rows.add(tx, row, Signed(message.manifest, message.signature))
            note(tx, now, who, What.PUBLISHED, f"model:{model}/{row.version}", digest=row.digest, size=row.size)
        return row

    def listed(self, model: ModelName | None = None) -> tuple[VersionRow, ...]:
        """Return all versions, or one model's: by name, newest version first; raise NotFound for a model with none."""
        with self._store.read() as tx:
            found = rows.listed(tx, model)
        if model is not None and not found:
            raise NotFound(f"model {model}: nothing was published under this name")
        return found

    def resolve(self, model: ModelName, version: int) -> VersionRow:
        """Return a version; raise NotFound if there is none."""
        with self._store.read() as tx:
            found = rows.find(tx, model, version)
        if found is None:
            raise NotFound(f"model {model} has no version {version}")
        return found

    def signed(self, digest: Digest) -> Signed:
        """Return a bundle's manifest and signatures as they were published; raise NotFound if there is none."""
        with self._store.read() as tx:
            found = rows.signed(tx, digest)
        if found is None:
            raise NotFound(f"bundle {digest}: not published here")
        return found

    def _add_signatures(self, tx: Tx, known: VersionRow, signature: str, who: str) -> None:
        """Keep new signatures of a version that is here: a key was changed, or the first one was the wrong one."""
        before = rows.signed(tx, known.digest)
        assert before is not None
        had, given = read_signatures(before.signature.encode()), read_signatures(signature.encode())
        if given.items() <= had.items():
            return
        both = json.dumps(write_signatures({**had, **given}), indent=2, sort_keys=True) + "\n"
        rows.set_signature(tx, known.digest, both)
        note(tx, self._clock.now(), who, What.SIGNED, f"model:{known.model}/{known.version}", keys=sorted(given))

    def _refused(self, who: str, what: What, on: str, error: TrustError) -> None:
        with self._store.write() as tx:
            note(tx, self._clock.now(), who, what, on, reason=str(error))

    def _believed(self, message: Publish) -> Manifest:
        data, signatures = message.manifest.encode(), message.signature.encode()
        if self._trust is not None:
            return self._trust.manifest(data, signatures)
        if not read_signatures(signatures):
            raise BadSignature("signature file: expected at least one signature")
        return read_manifest(data)

    def _check_files(self, manifest: Manifest) -> None:
        missing = [
            f"{path} ({entry.sha256}, {entry.size} bytes)"
            for path, entry in manifest.files.items()
            if not self._blobs.has(entry.sha256) or self._blobs.size(entry.sha256) != entry.size
        ]
        if missing:
            more = f" and {len(missing) - SHOWN_MISSING} more" if len(missing) > SHOWN_MISSING else ""
            raise Invalid(f"publish: these files are not here as blobs: {', '.join(missing[:SHOWN_MISSING])}{more}")
