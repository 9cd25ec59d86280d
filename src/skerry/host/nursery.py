"""A process that forks others: it has imported what they need, so that each is born in milliseconds.

The nursery has one thread and no model; every child is a fork of it. A child ends when its parent's end of their
socket closes, so that no child outlives the program that asked for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import logging
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from skerry.core.errors import BrokenReply, PeerError, Unreachable

log = logging.getLogger(__name__)

WORKERS = "skerry.node.worker.work"  # the module whose process gives birth to a node's workers
BIRTH_SECONDS = 20.0  # to import the runtimes on a slow board and fork; then the nursery is thought dead
MAX_MESSAGE = 64 << 20  # bytes; a manifest may be 4 MiB, an order carries paths
MAX_FDS = 8
CAP_SYS_NICE = 23  # linux/capability.h
# One thread outside the runtimes' own, and no fork with threads; few heaps; blocks of up to 32 MiB (glibc's most) come
# from the heap and stay there: pictures were else mapped and given back each time, 600 page faults a request.
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "33554432",
}
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Born:
    """A child: the socket to it, and the handle of its process."""

    socket: socket.socket
    pidfd: int
    pid: int

    def kill(self) -> None:
        """End it at once; one that has ended already is no error."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Let go of it; it ends by itself."""
        self.socket.close()
        os.close(self.pidfd)


class Nursery:
    """The parent's side: starts the process when it is first needed, and again if it died."""

    def __init__(self, module: str, environ: Mapping[str, str]) -> None:
        self._argv = [sys.executable, "-m", module]
        self._environ = {**ENVIRONMENT, **environ}
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Start the process, without waiting for it."""
        with self._lock:
            self._start()

    def bear(self, fds: Sequence[int]) -> Born:
        """Return a new child that has been given these file descriptors; raise Unreachable if none is born."""
        with self._lock:
            for last in (False, True):
                self._start()
                try:
                    return self._bear(fds)
                except OSError as error:
                    self._end()
                    if last:
                        raise Unreachable(f"the process that starts workers does not answer: {error}") from error
                    log.warning("the process that starts workers is gone (%s): it is started again", error)
        raise AssertionError

    def close(self) -> None:
        """End the process; its children live on until they are let go of."""
        with self._lock:
            self._end()

    def _start(self) -> None:
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        with theirs:
            argv = [*self._argv, str(theirs.fileno())]
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, env=self._environ, pass_fds=(theirs.fileno(),), start_new_session=True
            )
        ours.settimeout(BIRTH_SECONDS)
        self._socket = ours

    def _bear(self, fds: Sequence[int]) -> Born:
        assert self._socket is not None
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._socket, [b"+"], [theirs.fileno(), *fds])
            ours.settimeout(BIRTH_SECONDS)
            data, found, _, _ = socket.recv_fds(ours, 8, 1)
            if len(data) != 8 or len(found) != 1:
                raise ConnectionResetError("no process was born")
            ours.settimeout(None)
            return Born(ours, found[0], int.from_bytes(data, "little"))
        except OSError:
            ours.close()
            raise

    def _end(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._socket = self._process = None


def serve_births(
    fd: int, live: Callable[[socket.socket, list[int]], None], died: Callable[[int, int], None]
) -> NoReturn:
    """Fork a child for every message on the socket `fd`, until it closes. `live(socket, fds)` is the child's life.

    `died(pid, status)` is told of every child that ended.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they reach the parent too, which ends its children in order
    signal.signal(signal.SIGCHLD, lambda *_: _reap(died))
    with socket.socket(fileno=fd) as door:
        while True:
            data, fds, _, _ = socket.recv_fds(door, 1, MAX_FDS)
            if not data:
                os._exit(0)
            if os.fork() == 0:
                door.close()
                _be_born(fds, live)
            for one in fds:
                os.close(one)


def _be_born(fds: list[int], live: Callable[[socket.socket, list[int]], None]) -> NoReturn:
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        mine = socket.socket(fileno=fds[0])
        me = os.pidfd_open(os.getpid())
        socket.send_fds(mine, [os.getpid().to_bytes(8, "little")], [me])
        os.close(me)
        live(mine, fds[1:])
        status = 0
    except BaseException:  # boundary: a fork must never return into its parent's code
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def _reap(died: Callable[[int, int], None]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        died(pid, os.waitstatus_to_exitcode(status))


def end_with(other: socket.socket) -> None:
    """Have the kernel end this process when the other end closes or says anything, even if it hangs or is stopped.

    What was sent must have fitted the socket's buffer: if it had to wait for room, the reading of it is a signal too.
    """
    fcntl.fcntl(other, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(other, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(other, fcntl.F_SETFL, fcntl.fcntl(other, fcntl.F_GETFL) | os.O_ASYNC)


def send_message(to: socket.socket, data: bytes) -> None:
    """Send one message whole; OSError if the other side is gone."""
    to.sendall(_LENGTH.pack(len(data)) + data)


def read_message(source: socket.socket) -> bytes:
    """Return the next message; raise PeerError if the other side is gone."""
    (size,) = _LENGTH.unpack(_exactly(source, _LENGTH.size))
    if size > MAX_MESSAGE:
        raise BrokenReply(f"message: expected at most {MAX_MESSAGE} bytes; got {size}")
    return _exactly(source, size)


def _exactly(source: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        try:
            piece = source.recv(min(size - len(found), 1 << 20))
        except OSError as error:
            raise PeerError(f"the process is gone: {error}") from error
        if not piece:
            raise PeerError("the process is gone")
        found += piece
    return bytes(found)


def may_rise() -> bool:
    """Whether this process may take back a lower priority: it needs CAP_SYS_NICE, or RLIMIT_NICE of 20."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NICE)
    if soft >= 20 or soft == resource.RLIM_INFINITY:
        return True
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    line = next((line for line in status.splitlines() if line.startswith("CapEff:")), "CapEff: 0")
    return bool(int(line.split()[1], 16) >> CAP_SYS_NICE & 1)


def sink() -> None:
    """Let this thread, and threads that it starts, run only when nothing else wants the processor."""
    with contextlib.suppress(OSError):  # a container may forbid it; then it loads at the usual priority
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def rise() -> None:
    """Give every thread of this process its usual priority; only where `may_rise`."""
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))


def wants_cpu(pid: int) -> bool:
    """Whether a thread of a process runs, waits for a processor, or waits for the disk."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return False
    for thread in threads:
        with contextlib.suppress(OSError):  # a thread that has just ended
            if (thread / "stat").read_text().rpartition(")")[2].split()[0] in "RD":
                return True
    return False


def name_process(name: str) -> None:
    """Set the name that `ps` and `top` show, at most 15 bytes."""
    ctypes.CDLL(None).prctl(15, name.encode()[:15], 0, 0, 0)  # PR_SET_NAME
