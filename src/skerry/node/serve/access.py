"""The access log: one line of JSON for each request, written by a thread of its own.

The event loop only puts a tuple into a bounded buffer. Never logged: bodies, headers, and queries, where some clients
put their tokens.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from skerry.core.errors import Conflict, SkerryError
from skerry.host.clock import Clock
from skerry.node.metrics.series import PHASES, Series
from skerry.node.worker.ticket import Ticket
from skerry.wire.access import MAX_PATH, Line, Lost, encode_lines

log = logging.getLogger(__name__)

C = TypeVar("C")

EVERY_SECONDS = 0.5  # between two writings
MAX_WAITING = 32_768  # requests, some 12 MB; more than a node answers in EVERY_SECONDS
PIECE = 32  # lines made at a time: 0.1 ms, for which the event loop may have to wait
STOP_SECONDS = 2.0  # that the last lines may take; a reader of standard error that has stopped must not keep the node
MODE = 0o640
STDERR = 2

About = tuple[Series, Sequence[int]]  # of a model's version; nanoseconds by phase
Asked = tuple[str, str, bytes | str]  # client, method, path
Row = tuple[Asked, int | str, tuple[int, int], float, float, "About | None"]

TICKETS: ContextVar[list[Ticket] | None] = ContextVar("tickets", default=None)  # of the gRPC call that is told


class AccessLog:
    """Where requests are told. `target` is "-" for standard error, or a file's path."""

    def __init__(self, target: str, clock: Clock) -> None:
        """Raise Conflict if the file cannot be written."""
        self._target = target
        self._clock = clock
        self._rows: deque[Row] = deque()
        self._dropped = 0
        self._told = 0  # of the dropped
        self._stale = False  # another file has the name, or will have
        self._ailing = False  # the last try to write has failed
        self._torn = False  # and has left the beginning of a line
        self._stopping = threading.Event()
        self._fd = self._open()
        self._thread = threading.Thread(target=self._run, name="access", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def reopen(self) -> None:
        """Go on in a new file of the same name: the old one has been moved away."""
        self._stale = True

    def note(self, asked: Asked, status: int | str, sizes: tuple[int, int], began: float, about: About | None) -> None:
        """Keep a request that began at `began` (monotonic seconds) and is answered now; `sizes`: bytes in and out."""
        if len(self._rows) >= MAX_WAITING:
            self._dropped += 1
            return
        clock = self._clock
        self._rows.append((asked, status, sizes, clock.now(), clock.monotonic() - began, about))

    def noted(
        self, path: str, call: Callable[[bytes, C], Awaitable[bytes]], code: Callable[[SkerryError], str]
    ) -> Callable[[bytes, C], Awaitable[bytes]]:
        """Return a gRPC call that is told here; `code` names an error as gRPC does."""

        async def answer(data: bytes, caller: Any) -> bytes:
            tickets: list[Ticket] = []
            TICKETS.set(tickets)
            began, status, sent = self._clock.monotonic(), "CANCELLED", 0
            try:
                found = await call(data, caller)
                status, sent = "OK", len(found)
                return found
            except SkerryError as error:
                status = code(error)
                raise
            finally:
                about = of(tickets[-1]) if tickets else None
                self.note((caller.peer(), "gRPC", path), status, (len(data), sent), began, about)

        return answer

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_SECONDS):
            self._write_all()
        self._write_all()
        self._close()

    def _write_all(self) -> None:
        try:
            if self._stale:
                self._stale = False
                self._close()
                self._fd = self._open()
            for _ in range(len(self._rows) // PIECE + 1):
                self._write_piece()
            self._ailing = False
        except (OSError, Conflict) as error:
            if not self._ailing:
                log.warning("access log: %s; requests are not written down until that is mended", error)
            self._ailing = self._stale = True  # a new try, with the file opened again

    def _write_piece(self) -> None:
        rows = [self._rows.popleft() for _ in range(min(PIECE, len(self._rows)))]
        lines: list[Line | Lost] = [_line(row) for row in rows]
        dropped, told = self._dropped, self._told
        if dropped > told:
            lines.append(Lost(_time(self._clock.now()), dropped - told))
        data = whole = b"\n" * self._torn + encode_lines(lines)
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            self._dropped += max(0, min(len(rows), data.count(b"\n") - (dropped > told)))
            if done := whole[: len(whole) - len(data)]:
                self._torn = not done.endswith(b"\n")
            raise
        self._told, self._torn = dropped, False

    def _open(self) -> int:
        if self._target == "-":
            return STDERR
        try:
            return os.open(self._target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, MODE)
        except (OSError, ValueError) as error:
            raise Conflict(f"access_log: {Path(self._target)}: {getattr(error, 'strerror', error)}") from None

    def _close(self) -> None:
        if self._fd > STDERR:
            os.close(self._fd)
            self._fd = -1


def of(ticket: Ticket) -> About | None:
    """Return what is told of an inference."""
    return None if ticket.queue is None else (ticket.queue.series, ticket.times)


def _line(row: Row) -> Line:
    (client, method, path), status, (size, sent), now, seconds, about = row
    text = path if isinstance(path, str) else path.decode("latin-1")
    line = Line(_time(now), client, method, text[:MAX_PATH], status, size, sent, round(seconds * 1000, 3))
    if about is not None:
        series, times = about
        line.model, line.version = series.model, series.version
        line.phases_us = {name: nanos // 1000 for name, nanos in zip(PHASES, times, strict=False)}
    return line


def _time(now: float) -> str:
    second = int(now)
    return f"{_date(second)}.{int((now - second) * 1000):03d}Z"


@lru_cache(8)
def _date(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat().removesuffix("+00:00")
