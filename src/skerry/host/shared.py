"""Shared memory between two processes: an arena that blocks are cut from, and a channel of fixed entries each way.

Order between the processes is made by the eventfd alone: an entry is written before the eventfd is, and read after
it was, and both are system calls on one kernel object, so this holds on ARM as on x86 without barriers of our own.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import select
import struct
from dataclasses import dataclass

from skerry.core.errors import QueueFull

PAGE = mmap.PAGESIZE  # bytes; the least block, so that no two requests share a page, and each can be given back
TRIM = 1 << 20  # bytes; free blocks of at least this size give their memory back when all is quiet


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of an arena: where it begins, and how many bytes it has."""

    at: int
    size: int


class Arena:
    """Memory that one process cuts into blocks and others map. Pages cost nothing until they are touched.

    Blocks are powers of two; a freed one is used again before new ones are cut. `budget` is how many bytes may be
    in use at once.
    """

    def __init__(self, size: int, budget: int) -> None:
        self.fd = os.memfd_create("skerry-arena", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, size)
        self.size = size
        self.used = 0  # bytes of the blocks in use
        self._budget = budget
        self._map = mmap.mmap(self.fd, size)
        self.view = memoryview(self._map)
        self._free: dict[int, list[Block]] = {}
        self._top = 0

    def cut(self, size: int) -> Block:
        """Return a block of at least `size` bytes; raise QueueFull if the budget has not got it now."""
        size = max(PAGE, 1 << (size - 1).bit_length())
        if self.used + size > self._budget:
            raise QueueFull(f"requests: {self.used} bytes of them are waiting, and {self._budget} may; try later")
        free = self._free.get(size)
        if free:
            block = free.pop()
        elif self._top + size <= self.size:
            block = Block(self._top, size)
            self._top += size
        else:
            raise QueueFull(f"requests: no {size} bytes in one piece are free; try later")
        self.used += size
        return block

    def free(self, block: Block) -> None:
        """Take a block back."""
        self.used -= block.size
        self._free.setdefault(block.size, []).append(block)

    def trim(self) -> None:
        """Give the memory of large free blocks back to the machine; forget all blocks if none is in use."""
        if self.used == 0 and self._top:
            self._map.madvise(mmap.MADV_REMOVE, 0, self._top)
            self._free.clear()
            self._top = 0
            return
        for size, blocks in self._free.items():
            for block in blocks if size >= TRIM else ():
                self._map.madvise(mmap.MADV_REMOVE, block.at, block.size)

    def close(self) -> None:
        """Give the memory back; blocks that something still looks into live as long as that does."""
        self.view.release()
        with contextlib.suppress(BufferError):  # an answer that is still being sent
            self._map.close()
        os.close(self.fd)


def map_arena(fd: int) -> memoryview:
    """Return the memory of another process's arena."""
    return memoryview(mmap.mmap(fd, os.fstat(fd).st_size))


class Channel:
    """Two rings of entries of a fixed form: calls one way, answers the other way.

    The caller never has more than `SLOTS` calls out, so neither ring can overrun. One thread calls; any number of
    threads take, each call going to one of them.
    """

    SLOTS = 256
    ENTRY = 128  # bytes

    def __init__(self, call: struct.Struct, answer: struct.Struct, fds: tuple[int, int, int] | None = None) -> None:
        assert max(call.size, answer.size) <= self.ENTRY
        self._call, self._answer = call, answer
        if fds is None:
            memory = os.memfd_create("skerry-channel", os.MFD_CLOEXEC)
            os.ftruncate(memory, 2 * self.SLOTS * self.ENTRY)
            fds = (
                memory,
                os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_CLOEXEC),
                os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC),
            )
        self.fds = fds
        self._memory, self._go, self.back = fds
        self._map = mmap.mmap(self._memory, 2 * self.SLOTS * self.ENTRY)
        self._sent = self._told = self._taken = self._answered = self._received = 0

    def put(self, *values: int) -> None:
        """Put a call, which the other side sees when it is told; the caller's side."""
        self._call.pack_into(self._map, (self._sent % self.SLOTS) * self.ENTRY, *values)
        self._sent += 1

    def tell(self) -> None:
        """Tell the other side of the calls put since the last time: it is woken once for all of them."""
        os.eventfd_write(self._go, self._sent - self._told)
        self._told = self._sent

    def send(self, *values: int) -> None:
        """Put a call and tell; the caller's side."""
        self.put(*values)
        self.tell()

    def receive(self) -> list[tuple[int, ...]]:
        """Return the answers that have come, without waiting; the caller's side."""
        try:
            count = os.eventfd_read(self.back)
        except BlockingIOError:
            return []
        found = []
        for _ in range(count):
            found.append(self._answer.unpack_from(self._map, (self.SLOTS + self._received % self.SLOTS) * self.ENTRY))
            self._received += 1
        return found

    def wait(self) -> None:
        """Wait for one call; each return is a right to one `take`. The answering side."""
        os.eventfd_read(self._go)

    def more(self, seconds: float = 0.0) -> bool:
        """Take a right to one more `take` if a call waits, or comes within `seconds`; the answering side.

        Another thread may be quicker: then the answer is no, but it is never waited for longer than asked. Kernels
        before 5.8 cannot say: no.
        """
        if seconds > 0 and not select.select([self._go], [], [], seconds)[0]:
            return False
        try:
            return os.preadv(self._go, [bytearray(8)], -1, os.RWF_NOWAIT) == 8
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP):
                return False
            raise

    def take(self) -> tuple[int, ...]:
        """Return the next call; the answering side, under a lock if several threads take."""
        found = self._call.unpack_from(self._map, (self._taken % self.SLOTS) * self.ENTRY)
        self._taken += 1
        return found

    def answer(self, *values: int) -> None:
        """Put an answer; the answering side, under a lock if several threads answer."""
        self._answer.pack_into(self._map, (self.SLOTS + self._answered % self.SLOTS) * self.ENTRY, *values)
        self._answered += 1
        os.eventfd_write(self.back, 1)

    def close(self) -> None:
        """Close what this process holds of it."""
        self._map.close()
        for fd in self.fds:
            os.close(fd)
