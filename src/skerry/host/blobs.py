"""Blobs: files named by the SHA-256 of their bytes, in a folder. Put once, never changed.

A blob is written beside its place, checked, and renamed into it, so what can be read is whole and right.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path

from skerry.core.errors import NotFound, TooLarge, WrongDigest
from skerry.core.names import Digest
from skerry.host.files import Disk, chunks, digest_file

INCOMING = "incoming"  # the folder of blobs on their way in


class Incoming:
    """A blob on its way in: `write` as bytes come, then `keep`; `drop` in any case at the end."""

    def __init__(self, blobs: Blobs, digest: Digest, limit: int) -> None:
        self._blobs = blobs
        self._digest = digest
        self._limit = limit
        self._sha = hashlib.sha256()
        self._size = 0
        self._path = blobs.root / INCOMING / secrets.token_hex(16)
        blobs.disk.folder(self._path.parent)
        self._file = blobs.disk.append(self._path)

    def write(self, data: bytes) -> None:
        """Take more bytes; raise TooLarge when they pass the limit."""
        self._size += len(data)
        if self._size > self._limit:
            raise TooLarge(f"blob {self._digest}: expected at most {self._limit} bytes")
        self._sha.update(data)
        self._file.write(data)

    def keep(self) -> int:
        """Put the blob in its place and return its size; raise WrongDigest if the bytes are not those named."""
        found = f"sha256:{self._sha.hexdigest()}"
        if found != self._digest:
            raise WrongDigest(f"blob: expected {self._digest}; got {found} ({self._size} bytes)")
        self._blobs.disk.sync(self._file)
        place = self._blobs.path(self._digest)
        self._blobs.disk.folder(place.parent)
        self._blobs.disk.move(self._path, place)
        return self._size

    def drop(self) -> None:
        """Close, and forget what was not kept."""
        try:
            self._file.close()  # writes what is buffered, for which a full disk has no place
        finally:
            self._path.unlink(missing_ok=True)


class Blobs:
    """A folder of blobs."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.root = root
        self.disk = disk or Disk()

    def path(self, digest: Digest) -> Path:
        """Return where the blob lies, or would lie."""
        hexadecimal = digest.removeprefix("sha256:")
        return self.root / hexadecimal[:2] / hexadecimal

    def has(self, digest: Digest) -> bool:
        """Whether the blob is here."""
        return self.path(digest).is_file()

    def size(self, digest: Digest) -> int:
        """Return the blob's size in bytes; raise NotFound if it is not here."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise NotFound(f"blob {digest}: not here") from None

    def receive(self, digest: Digest, limit: int) -> Incoming:
        """Begin to take in a blob of at most `limit` bytes."""
        return Incoming(self, digest, limit)

    def put(self, data: bytes) -> Digest:
        """Keep bytes and return their digest; free if they are here already."""
        digest = Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")
        if not self.has(digest):
            self.disk.write(self.path(digest), data)
        return digest

    def read(self, digest: Digest) -> bytes:
        """Return the blob's bytes; raise NotFound if it is not here."""
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"blob {digest}: not here") from None

    def stream(self, digest: Digest) -> Iterator[bytes]:
        """Yield the blob's bytes, a chunk at a time; raise NotFound at once if it is not here."""
        self.size(digest)
        return chunks(self.path(digest))

    def sound(self, digest: Digest) -> bool:
        """Whether the blob is here and its bytes still have its digest (a disk may rot)."""
        return self.has(digest) and digest_file(self.path(digest))[1] == digest
