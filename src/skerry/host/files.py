"""Durable files: temporary file, fsync, rename, fsync of the directory. Nothing half-written is ever seen.

`Disk` is the seam; every change to the disk goes through one of its few methods, and each method says
what it is about to do (`before`). `FaultyDisk` beside it makes the nth such act fail or kills the process
there, so tests meet a full disk and a power cut at every step without patching anything.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from skerry.core.errors import Conflict, TooLarge
from skerry.core.names import Digest

CHUNK = 1 << 20  # bytes read at a time; larger chunks hash no faster here
PRIVATE = 0o600
PUBLIC = 0o644


class Disk:
    """The machine's disk."""

    def before(self, act: str, path: Path) -> None:
        """Called before each act that changes the disk; the fake's place to strike."""

    def write(self, path: Path, data: bytes, mode: int = PUBLIC) -> None:
        """Put `data` at `path`, whole or not at all, even if the power fails."""
        self.folder(path.parent)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")  # threads may write the same path
        try:
            self.before("write", temporary)
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(data)
                self.sync(file)
            self.move(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def append(self, path: Path) -> IO[bytes]:
        """Open `path` to be written on at its end; the caller writes, then calls `sync`."""
        self.before("append", path)
        return path.open("ab")

    def sync(self, file: IO[bytes]) -> None:
        """Return once what was written to the open file would survive a power cut."""
        self.before("sync", Path(file.name) if isinstance(file.name, str) else Path())
        file.flush()
        os.fsync(file.fileno())

    def move(self, source: Path, target: Path) -> None:
        """Rename, durably; an existing file at the target is replaced, an existing folder is an error."""
        self.before("rename", target)
        source.rename(target)
        self.before("sync folder", target.parent)
        _sync_folder(target.parent)
        if source.parent != target.parent:
            _sync_folder(source.parent)

    def folder(self, path: Path, mode: int = 0o755) -> None:
        """Make a folder and those above it, durably."""
        missing = [p for p in (path, *path.parents) if not p.exists()]
        for one in reversed(missing):
            self.before("folder", one)
            one.mkdir(mode=mode, exist_ok=True)
            _sync_folder(one.parent)

    def settle(self, folder: Path) -> None:
        """Return once the names of all files below a folder would survive a power cut."""
        self.before("settle", folder)
        for one in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
            _sync_folder(one)

    def sweep(self, folder: Path) -> None:
        """Delete what writes and removals that were cut off have left in a folder."""
        if folder.is_dir():
            for left in (*folder.glob(".*.new"), *folder.glob(".*.gone")):
                self.remove(left)

    def free(self, path: Path) -> int:
        """Return the bytes that may still be written where `path` is."""
        return shutil.disk_usage(path).free

    def remove(self, path: Path) -> None:
        """Delete a file or a folder with all that is in it; no error if it is not there."""
        self.before("remove", path)
        if path.is_dir() and not path.is_symlink():
            gone = path.with_name(f".{path.name}.{secrets.token_hex(4)}.gone")
            path.rename(gone)  # so that half of it is never taken for the whole
            shutil.rmtree(gone, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


class FaultyDisk(Disk):
    """A disk whose `nth` act (from 1) and all after it fail as if it were full, or at which the process dies."""

    def __init__(self, nth: int, kill: bool = False) -> None:
        self.nth = nth
        self.kill = kill
        self.acts: list[str] = []  # what was done, for a test to read

    def before(self, act: str, path: Path) -> None:
        """Count the act, and strike when its turn has come."""
        self.acts.append(f"{act} {path.name}")
        if len(self.acts) < self.nth:
            return
        if self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if act != "remove":  # a full disk can still delete
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def lock(path: Path) -> IO[bytes]:
    """Return an open file that this process alone holds until it closes it or ends; raise Conflict if another does."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise Conflict(f"{path.parent}: another process uses this folder; stop it, or choose another one") from None
    return file


def read(path: Path, limit: int) -> bytes | None:
    """Return the bytes of a file of at most `limit` bytes, or None if there is no such file; raise TooLarge over it."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), path.open("rb") as file:
        data = file.read(limit + 1)
        if len(data) > limit:
            raise TooLarge(f"{path}: expected at most {limit} bytes")
        return data
    return None


def digest_file(path: Path) -> tuple[int, Digest]:
    """Return the size and SHA-256 of a file."""
    size, sha = 0, hashlib.sha256()
    for chunk in chunks(path):
        size += len(chunk)
        sha.update(chunk)
    return size, Digest(f"sha256:{sha.hexdigest()}")


def chunks(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, a chunk at a time."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
