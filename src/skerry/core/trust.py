"""What is trusted now. The keeper of three: it knows the rules, and always raises.

It touches no disk, no network and no key library: the check of one signature is a function given to
it (`host.keys.verify`), and bytes come from whoever moved them.

The order of calls: `manifest(bytes, signatures)` and then, for each file, `file(manifest, path, size, digest)`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from skerry.core.errors import BadSignature, Invalid, WrongDigest
from skerry.core.fields import Fields, parse
from skerry.core.manifest import Manifest, read_manifest
from skerry.core.names import Digest, shown

Verify = Callable[[bytes, bytes, bytes], bool]  # (public key, signature, message) -> made by that key?

MAX_SIGNATURES = 64 << 10  # bytes of a signature file; one signature takes 150
PUBLIC_KEY_BYTES = 32  # Ed25519, RFC 8032
SIGNATURE_BYTES = 64
DOMAIN = b"skerry bundle manifest v1\n"  # in front of what is signed, so no other use of the key can be replayed


def key_id(public: bytes) -> str:
    """Return the short name of a public key: 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


def message(canonical_manifest: bytes) -> bytes:
    """Return the bytes that a publisher signs."""
    return DOMAIN + canonical_manifest


def write_signatures(signatures: Mapping[str, bytes]) -> dict[str, object]:
    """Return the JSON of a signature file: key id to signature."""
    return {"signatures": {k: base64.b64encode(v).decode() for k, v in signatures.items()}}


def read_signatures(data: bytes) -> dict[str, bytes]:
    """Return key id to signature from a signature file; raise BadSignature if it is not one."""
    try:
        entries = Fields(Fields(parse(data, "signature file", MAX_SIGNATURES), "").raw("signatures"), "signatures")
        return {k: base64.b64decode(entries.text(k), validate=True) for k in entries.rest()}
    except (Invalid, ValueError) as error:  # ValueError: not base64, or not ASCII
        raise BadSignature(f"signature file: {error}") from None


@dataclass(frozen=True)
class Trust:
    """The publishers' public keys that are believed (32 bytes each), and the check of one signature."""

    keys: tuple[bytes, ...]
    verify: Verify

    def manifest(self, data: bytes, signatures: bytes, digest: Digest | None = None) -> Manifest:
        """Return the manifest if a trusted key signed it and it has the digest asked for.

        Raises BadSignature, WrongDigest, or Invalid for a manifest that is signed but malformed.
        """
        found = read_signatures(signatures)
        manifest = read_manifest(data)
        signed = message(manifest.canonical)
        if not any(self._made_by(key, found, signed) for key in self.keys):
            trusted = ", ".join(key_id(key) for key in self.keys) or "none"
            by = ", ".join(shown(k) for k in sorted(found)) or "nobody"
            raise BadSignature(f"bundle {manifest.name}: signed by {by}; trusted here: {trusted}")
        if digest is not None and manifest.digest != digest:
            raise WrongDigest(f"bundle {manifest.name}: expected {digest}; got {manifest.digest}")
        return manifest

    def file(self, manifest: Manifest, path: str, size: int, sha256: Digest) -> None:
        """Raise WrongDigest unless `path` has the size and digest that the manifest names for it."""
        entry = manifest.files.get(path)
        if entry is None:
            raise WrongDigest(f"bundle {manifest.name}: its manifest lists no file {shown(path)}")
        if (size, sha256) != (entry.size, entry.sha256):
            raise WrongDigest(
                f"bundle {manifest.name}, file {path}: expected {entry.size} bytes {entry.sha256}; "
                f"got {size} bytes {sha256}"
            )

    def _made_by(self, key: bytes, signatures: Mapping[str, bytes], signed: bytes) -> bool:
        signature = signatures.get(key_id(key), b"")
        return len(signature) == SIGNATURE_BYTES and self.verify(key, signature, signed)
