"""Child processes: started so that they end with their parent, watched for one ready line, stopped in order."""

from __future__ import annotations

import contextlib
import ctypes
import json
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from skerry.core.errors import Conflict, Invalid, PeerError
from skerry.core.names import shown

M_ARENA_MAX = -8  # malloc.h
PR_SET_PDEATHSIG = 1  # linux/prctl.h
STOP_SECONDS = 10.0  # a clean stop waits for requests in flight (5 s at most) and closes a database
MAX_LINE = 64 << 10  # bytes of a ready line
TAIL = 20  # lines of a child's log that an error quotes


class Child:
    """One process whose first line on standard output is JSON and says that it is ready."""

    def __init__(self, name: str, argv: list[str], log: Path, environ: Mapping[str, str]) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                env=dict(environ),
                start_new_session=True,  # Ctrl-C reaches the parent alone, which stops its children in order
                preexec_fn=_die_with_parent,
            )

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def ready(self, seconds: float) -> dict[str, Any]:
        """Return its ready line; raise PeerError with the end of its log if none comes in time."""
        lines: list[bytes] = []
        assert self._process.stdout is not None
        reader = threading.Thread(target=lambda: lines.append(self._readline()), daemon=True)
        reader.start()
        reader.join(seconds)
        try:
            found = json.loads(lines[0]) if lines else None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            how = f"did not become ready in {seconds:.0f} s"
            if lines == [b""]:  # its output is closed, so it is ending
                with contextlib.suppress(subprocess.TimeoutExpired):
                    how = f"ended with status {self._process.wait(1.0)} before it was ready"
            raise PeerError(f"{self.name} {how}. Its log ends:\n{self.tail()}")
        return found

    def _readline(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline(MAX_LINE)

    def tail(self) -> str:
        """Return the last lines of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-TAIL:])

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """End it: SIGTERM, then SIGKILL after `seconds`; return its exit status."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._process.kill()
        self.stop()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket; port 0 picks a free one. A busy port is a Conflict that names it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(1024)
    except (OSError, OverflowError) as error:  # OverflowError: a port above 65,535
        found.close()
        why = getattr(error, "strerror", None) or error
        raise Conflict(f"port {port} on {host}: {why}; stop what uses it, or choose another") from None
    return found


def url_of(listener: socket.socket) -> str:
    """Return the http:// URL of a listening socket, with its real port."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def split_address(text: str) -> tuple[str, int]:
    """Return host and port of "HOST:PORT" (IPv6 as "[::1]:80"); raise Invalid if it is not that."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    digits = port.isascii() and port.isdigit() and len(port) <= 5  # '²' is a digit too, but no number
    if not colon or not host or "/" in host or not digits or int(port) > 65_535:
        raise Invalid(f"address: expected HOST:PORT with a port from 0 to 65535; got {shown(text)}")
    return host, int(port)


def raise_file_limit() -> None:
    """Allow this process as many open files, and so connections, as the system lets it have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems name a limit that they do not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def few_heaps() -> None:
    """Let all threads of this process share one heap: what one frees another can use, and it does not grow for ever."""
    with contextlib.suppress(AttributeError):  # a C library without glibc's mallopt
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def trim_heap() -> None:
    """Give memory that is free in this process's heap back to the machine."""
    with contextlib.suppress(AttributeError):  # as above
        ctypes.CDLL(None).malloc_trim(0)


def on_stop(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM and SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
