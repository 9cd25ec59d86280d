"""An open loop: requests leave when a Poisson clock says so, whatever the server does, and latency counts from then.

A closed loop waits for a slow server and so asks it less just when it is slow; this one does not (no coordinated
omission). asyncio over select(2), whose timeout is in microseconds: epoll's and uvloop's are whole milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np

from benchmarks.bodies import Request

T = TypeVar("T")

MAX_CONNECTIONS = 256  # select(2) takes 1,024 file descriptors
MAX_FAILURE = 160  # characters of how one failed
ANSWER_SECONDS = 10.0  # a request without an answer in that time has failed
LATE = (asyncio.TimeoutError, OSError, RuntimeError)  # how a request fails


@dataclass(frozen=True)
class Shot:
    """One request: when it was due (seconds of the loop's clock), how long it took, how it failed ("": not)."""

    due: float
    took: float
    failure: str


class Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._data = bytearray()
        self._answer: asyncio.Future[None] | None = None
        self.open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where requests go."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # TCP transports read and write

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that waits, if one does."""
        self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(RuntimeError(f"the server hung up: {exc}"))

    def data_received(self, data: bytes) -> None:
        """Collect the answer; it is whole when as much came as its header says."""
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0 or self._answer is None or self._answer.done():
            return
        lines = bytes(self._data[:end]).lower().split(b"\r\n")
        size = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
        if len(self._data) < end + 4 + size:
            return
        if b"connection: close" in lines:
            self.close()
        if lines[0].split()[1] == b"200":
            self._answer.set_result(None)
        else:
            self._answer.set_exception(RuntimeError(f"answered {lines[0].decode()}: {bytes(self._data[end + 4 :])!r}"))

    async def ask(self) -> None:
        """Send the request and wait for its answer; raise RuntimeError or TimeoutError."""
        self._data.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(self._raw)
        await asyncio.wait_for(self._answer, ANSWER_SECONDS)

    def close(self) -> None:
        """End it."""
        self.open = False
        self._transport.close()


class OpenLoop:
    """Poisson load of one request; `shots` grows while `run` goes on."""

    def __init__(self, request: Request, rate: float, seed: int = 0) -> None:
        parts = urlsplit(request.url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._raw = request.raw
        self._rate = rate
        self._random = np.random.default_rng(seed)
        self._idle: list[Connection] = []
        self._turn = asyncio.Semaphore(MAX_CONNECTIONS)
        self.shots: list[Shot] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Shoot until told to stop, then wait for the answers that are due."""
        loop = asyncio.get_running_loop()
        flying: set[asyncio.Task[None]] = set()
        due = loop.time()
        while not stop.is_set():
            due += self._random.exponential(1 / self._rate)
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            task = loop.create_task(self._shoot(due))
            flying.add(task)
            task.add_done_callback(flying.discard)
        await asyncio.gather(*flying)
        for connection in self._idle:
            connection.close()

    async def _shoot(self, due: float) -> None:
        loop, failure = asyncio.get_running_loop(), ""
        connection = None
        async with self._turn:
            try:
                connection = await self._connection()
                await connection.ask()
            except LATE as error:
                failure = f"{type(error).__name__}: {error}"[:MAX_FAILURE]
                if connection is not None:
                    connection.close()
            else:
                if connection.open:
                    self._idle.append(connection)
        self.shots.append(Shot(due, loop.time() - due, failure))

    async def _connection(self) -> Connection:
        while self._idle:
            found = self._idle.pop()
            if found.open:
                return found
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self._raw), self._host, self._port)
        return connection


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop whose timers are exact to some ten microseconds."""
    with contextlib.closing(asyncio.SelectorEventLoop(selectors.SelectSelector())) as loop:
        return loop.run_until_complete(work)
