"""Plain sockets as the load client, where wrk is not: one thread, a closed loop on each connection.

Slower than wrk by some 10 us a request, which flatters every ratio to an echo; the table says which client was used.
"""

from __future__ import annotations

import selectors
import socket
import time
from urllib.parse import urlsplit

from benchmarks.bodies import Request
from benchmarks.stats import Round, counted

CHUNK = 1 << 16  # bytes of one read
SECONDS = 30.0  # for one answer


class Connection:
    """One connection: sends the request, reads the answer, and opens again if the server closed."""

    def __init__(self, request: Request) -> None:
        parts = urlsplit(request.url)
        assert parts.hostname is not None
        self._address = (parts.hostname, parts.port or 80)
        self._raw = request.raw
        self.socket = self._open()

    def send(self) -> int:
        """Send the request; return when, in nanoseconds."""
        now = time.perf_counter_ns()
        self.socket.sendall(self._raw)
        return now

    def answer(self) -> bool:
        """Read the answer to its end; raise RuntimeError unless it is a 200. Return whether the connection closes."""
        data = bytearray()
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._read(data)
        head = bytes(data[:end]).lower()
        if not head.startswith((b"http/1.1 200", b"http/1.0 200")):
            raise RuntimeError(f"answered {bytes(data[:300])!r}")
        size = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        while len(data) < end + 4 + size:
            data += self._read(data)
        return b"connection: close" in head

    def reopen(self) -> None:
        """Replace the socket."""
        self.socket.close()
        self.socket = self._open()

    def _open(self) -> socket.socket:
        found = socket.create_connection(self._address, timeout=SECONDS)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return found

    def _read(self, so_far: bytearray) -> bytes:
        data = self.socket.recv(CHUNK)
        if not data:
            raise RuntimeError(f"the server hung up after {bytes(so_far[:300])!r}")
        return data


def load(request: Request, connections: int, seconds: float) -> Round:
    """Load a server; raise RuntimeError if any answer failed."""
    spent: list[int] = []
    every = [Connection(request) for _ in range(connections)]
    with selectors.DefaultSelector() as ready:
        started = time.perf_counter_ns()
        end = started + int(seconds * 1e9)
        for one in every:
            ready.register(one.socket, selectors.EVENT_READ, (one, one.send()))
        while ready.get_map():
            found = ready.select(SECONDS)
            if not found:
                raise RuntimeError(f"{request.url}: no answer in {SECONDS:.0f} s")
            for key, _ in found:
                one, sent = key.data
                closes = one.answer()
                spent.append(time.perf_counter_ns() - sent)
                ready.unregister(one.socket)
                if time.perf_counter_ns() < end:
                    if closes:
                        one.reopen()
                    ready.register(one.socket, selectors.EVENT_READ, (one, one.send()))
        finished = time.perf_counter_ns()
    for one in every:
        one.socket.close()
    return Round((finished - started) / 1e9, len(spent), counted(spent))
