"""Memory that programs on this machine share with a node: opened with suspicion, and always copied.

Its owner may change it at any moment, and code that reads a value twice would see two, so nobody computes on it. What
may shrink is copied by `pread`, which at worst comes up short; a mapping would fault. Only what is sealed against that
is mapped: a frame of 6.2 MB is then copied in 0.4 ms, not 1.1 ms.

The control process opens regions and writes on a board what it has; workers read the board, open the same memory
through /proc, and copy out of it and into it themselves, so that a large frame never holds up the control process.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import mmap
import os
import stat
import struct
import threading
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from skerry.core.errors import Conflict, Invalid, NotAllowed, NotFound, SkerryError
from skerry.core.names import shown

FOLDER = Path("/dev/shm")  # noqa: S108  # where POSIX shared memory has its names
MAX_KEY = 255  # bytes of a name there
MAX_BOARD = 1 << 20  # bytes of the board's text
TRIES = 100  # looks at a board that is being written; one write takes microseconds
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
UNWRITABLE = fcntl.F_SEAL_WRITE | 0x10  # F_SEAL_FUTURE_WRITE, linux/fcntl.h
TMPFS_MAGIC = 0x01021994  # linux/magic.h
MAX_MAPPED = 64 << 20  # bytes that a worker maps: pages that nobody wrote are made when it reads them, and are its own
WRITABLE = 3  # its place in a row of the board
_HEAD = struct.Struct("<QII")  # of the board: which writing it is, bytes of its text, their CRC-32


@dataclass(frozen=True, slots=True)
class Memory:
    """An open piece of shared memory, and which one it is, so that a number that is used again is not taken for it.

    `steady` memory can be mapped: nothing that its owner does makes a mapping fault.
    """

    fd: int
    device: int
    inode: int
    writable: bool
    steady: bool = False

    def close(self) -> None:
        """Let go of it."""
        os.close(self.fd)


@dataclass(frozen=True, slots=True)
class Place:
    """A region: a stretch of a piece of shared memory."""

    memory: Memory
    offset: int
    size: int


def open_named(key: str, uids: Collection[int], folder: Path = FOLDER) -> Memory:
    """Return the shared memory of that name, as `shm_open` knows it, if its owner is one of `uids`.

    Raises Invalid for a name that could lead elsewhere or is no memory, NotFound, or NotAllowed.
    """
    name = key.removeprefix("/")
    plain = name.isprintable() and "/" not in name and name not in ("", ".", "..")
    if not plain or len(name.encode()) > MAX_KEY:
        raise Invalid(f"key: expected the name of POSIX shared memory, such as /frames; got {shown(key)}")
    path, flags = folder / name, os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd, writable = -1, True
    try:
        try:
            fd = os.open(path, os.O_RDWR | flags)
        except PermissionError:
            fd, writable = os.open(path, os.O_RDONLY | flags), False
        found = os.fstat(fd)
    except (FileNotFoundError, ValueError):
        raise NotFound(f"key: no shared memory is called {shown(key)}") from None
    except PermissionError:
        raise NotAllowed(f"key: this node may not open the shared memory {shown(key)}") from None
    except OSError as error:
        raise Invalid(f"key: {shown(key)} is not shared memory: {error.strerror}") from None
    try:
        if not stat.S_ISREG(found.st_mode):
            raise Invalid(f"key: {shown(key)} is not shared memory")
        if found.st_uid not in uids:
            raise NotAllowed(f"key: the shared memory {shown(key)} belongs to user {found.st_uid}, who may share none")
    except SkerryError:
        os.close(fd)
        raise
    return Memory(fd, found.st_dev, found.st_ino, writable)


def sealed(fd: int) -> Memory:
    """Return memory that a program passed, `fd` with it; raise Invalid unless it can never shrink again."""
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        raise Invalid("file descriptor: expected one of memfd_create; got another") from None
    if seals & SEALS != SEALS:
        missing = [name for name in ("F_SEAL_SHRINK", "F_SEAL_SEAL") if not seals & getattr(fcntl, name)]
        raise Invalid(f"file descriptor: expected a memfd with the seals F_SEAL_SHRINK and F_SEAL_SEAL; it lacks "
                      f"{' and '.join(missing)}")  # fmt: skip
    found = os.fstat(fd)
    writable = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR and not seals & UNWRITABLE
    return Memory(fd, found.st_dev, found.st_ino, writable, _plain_pages(fd))


def _plain_pages(fd: int) -> bool:
    """Whether a file's pages are the usual ones; huge ones may run out, and a mapping of them then faults."""
    found = ctypes.create_string_buffer(256)  # struct statfs has 120 bytes, and its type in front
    if ctypes.CDLL(None, use_errno=True).fstatfs(fd, found):
        return False
    return ctypes.c_long.from_buffer(found).value == TMPFS_MAGIC


def check_size(place: Place) -> None:
    """Raise Invalid unless its memory has these bytes now."""
    have, offset, size = os.fstat(place.memory.fd).st_size, place.offset, place.size
    if offset < 0 or size < 1 or offset + size > have:
        raise Invalid(
            f"offset, byte_size: expected a part of the {have} bytes of this shared memory; got {offset} and {size}"
        )


class Board:
    """What the control process says to all workers: which regions there are. It has the memory open for them."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("skerry-regions", os.MFD_CLOEXEC)
        self.path = f"/proc/{os.getpid()}/fd/{self._fd}"
        self._number = 0
        self.write({})

    def write(self, places: Mapping[str, Place]) -> None:
        """Say that these are all regions; raise Conflict if that is too much to say."""
        rows = {
            name: [memory.fd, memory.device, memory.inode, memory.writable, memory.steady, one.offset, one.size]
            for name, one in places.items()
            for memory in (one.memory,)
        }
        text = json.dumps(rows).encode()
        if len(text) > MAX_BOARD:
            raise Conflict("regions: too many are registered; unregister some first")
        self._number += 1
        os.pwrite(self._fd, _HEAD.pack(self._number, len(text), zlib.crc32(text)) + text, 0)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)


class _Opened:
    """A worker's own handle of a region; it lives as long as a thread uses it."""

    def __init__(self, row: list[int], folder: str, room: int) -> None:
        """Open it, and map it if that is safe and of at most `room` bytes; raise OSError if it is not there."""
        fd, device, inode, writable, steady, self.offset, self.size = row
        self.row = row
        self.map: mmap.mmap | None = None
        self.shift = self.offset % mmap.ALLOCATIONGRANULARITY  # of the region in the map
        self.fd = os.open(f"{folder}/{fd}", (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK)
        found = os.fstat(self.fd)
        if (found.st_dev, found.st_ino) != (device, inode):
            raise FileNotFoundError  # unregistered a moment ago, and its number is another file's now
        if steady and self.size <= room:
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            with contextlib.suppress(OSError, ValueError):  # then it is read and written
                self.map = mmap.mmap(self.fd, self.shift + self.size, access=access, offset=self.offset - self.shift)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.close(self.fd)


class Regions:
    """The regions as a worker uses them, from any thread. `path` is the board's, "" where there are none."""

    def __init__(self, path: str = "") -> None:
        self._folder = path.rpartition("/")[0]
        self._board = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path else -1
        self._head = b""
        self._rows: dict[str, list[int]] = {}
        self._opened: dict[str, _Opened] = {}
        self._lock = threading.Lock()

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return a copy of these bytes of a region; raise NotFound, or Invalid if it has not got them."""
        one = self._find(name, offset, size)
        if one.map is not None:
            return one.map[one.shift + offset : one.shift + offset + size]
        try:
            data = os.pread(one.fd, size, one.offset + offset)
        except OSError as error:
            raise Invalid(f"shared memory region {shown(name)}: it cannot be read: {error.strerror}") from None
        if len(data) != size:
            raise Invalid(f"shared memory region {shown(name)}: it has become shorter than it was registered")
        return data

    def write(self, name: str, offset: int, data: bytes | memoryview) -> None:
        """Copy bytes into a region; raise NotFound, or Invalid if it has no place for them."""
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        one = self._find(name, offset, size)
        if one.map is not None and one.row[WRITABLE]:
            one.map[one.shift + offset : one.shift + offset + size] = data
            return
        at = one.offset + offset
        try:
            short = os.fstat(one.fd).st_size < at + size or os.pwrite(one.fd, data, at) != size
        except OSError as error:
            raise Invalid(f"shared memory region {shown(name)}: it cannot be written: {error.strerror}") from None
        if short:
            raise Invalid(f"shared memory region {shown(name)}: it has become shorter than it was registered")

    def refresh(self) -> None:
        """Let go of what is not registered any more."""
        if self._board >= 0:
            with self._lock:
                self._look()

    def _find(self, name: str, offset: int, size: int) -> _Opened:
        if self._board < 0:
            raise Invalid(f"shared memory region {shown(name)}: this node shares no memory; see 'shared_memory'")
        with self._lock:
            self._look()
            row = self._rows.get(name)
            one = self._opened.get(name)
            if row is None:
                raise NotFound(f"Unable to find shared memory region: {shown(name)}")
            if one is None:
                try:
                    one = self._opened[name] = _Opened(row, self._folder, MAX_MAPPED - self._mapped())
                except OSError:
                    raise NotFound(f"Unable to find shared memory region: {shown(name)}") from None
        if offset + size > one.size:
            raise Invalid(
                f"Invalid offset + byte size for shared memory region: {shown(name)}: "
                f"expected at most {one.size} bytes; got {offset} + {size}"
            )
        return one

    def _mapped(self) -> int:
        return sum(one.size for one in self._opened.values() if one.map is not None)

    def _look(self) -> None:
        """Read the board if it was written since the last look."""
        if os.pread(self._board, _HEAD.size, 0) == self._head:
            return
        for _ in range(TRIES):
            data = os.pread(self._board, _HEAD.size + MAX_BOARD, 0)
            _, size, crc = _HEAD.unpack_from(data)
            text = data[_HEAD.size : _HEAD.size + size]
            if zlib.crc32(text) == crc:
                self._head, self._rows = data[: _HEAD.size], json.loads(text)
                self._opened = {name: one for name, one in self._opened.items() if self._rows.get(name) == one.row}
                return
        raise NotFound("shared memory regions: they are being changed; try again")
