"""The node's site: from method and path to what answers. Inference goes to the queues, the rest is called."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from skerry.core.errors import NotFound
from skerry.host.clock import Clock
from skerry.node.models import Models
from skerry.node.serve.access import AccessLog
from skerry.node.serve.cold import Call, Cold
from skerry.node.serve.errors import WrongMethod
from skerry.node.serve.http.connection import SCRATCH, SWEEP_SECONDS, Connection, Known
from skerry.node.serve.http.exchange import Exchange, Sink, date_line
from skerry.node.serve.inference import Finish, Inference, Target
from skerry.node.worker.order import MAX_BODY

MAX_KNOWN = 4096  # paths, and heads of requests, remembered with what they meant
TOGETHER_SECONDS = 0.001  # between answers to different clients that ask together
GRACE_SECONDS = 5.0  # for requests in flight when the node is told to stop
BACKLOG = 4096  # connections that may wait to be accepted

Parts = Mapping[str, str]


@dataclass(frozen=True)
class Route:
    """A method and a form of path, and what answers: a call, or the target of an inference."""

    method: str
    path: str  # "{name}" stands for one part, "{name...}" for all the rest
    call: Call | None = None
    target: Callable[[Exchange, Parts], Target] | None = None

    def regex(self) -> re.Pattern[str]:
        """Return what matches the path."""
        form = re.sub(r"\\{(\w+)\\.\\.\\.\\}", r"(?P<\1>.*)", re.escape(self.path))
        return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", form))


class Site:
    """Everything that connections share."""

    def __init__(self, routes: Iterable[Route], models: Models, clock: Clock, finish: Finish | None = None) -> None:
        self.scratch = memoryview(bytearray(SCRATCH))
        self.connections: set[Connection] = set()
        self.limit = MAX_BODY
        self.access: AccessLog | None = None
        self.date = date_line(clock.now())
        self._routes = [(route, route.regex()) for route in routes]
        self._models = models
        self._clock = clock
        self._finish = finish
        self.inference: Callable[[Models, Target, Exchange, Clock, Finish | None], Inference] = Inference
        self.known: dict[bytes, Known] = {}
        self._found: dict[tuple[str, bytes], tuple[Route, Parts]] = {}
        self._outbox: list[tuple[asyncio.Transport, bytes]] = []
        self._sender: asyncio.Transport | None = None  # of the last answer
        self._sent = 0.0  # when
        self._servers: list[asyncio.Server] = []
        self._sweeping: asyncio.TimerHandle | None = None

    @property
    def table(self) -> list[Route]:
        """What is answered."""
        return [route for route, _ in self._routes]

    def route(self, exchange: Exchange) -> Sink:
        """Return what takes the request's body; raise NotFound, WrongMethod, or what the target's model raises."""
        method = "GET" if exchange.method == "HEAD" else exchange.method
        key = (method, exchange.path)
        found = self._found.get(key)
        if found is None:
            found = self._find(method, exchange.path)
            if len(self._found) >= MAX_KNOWN:
                self._found.clear()
            self._found[key] = found
        route, parts = found
        if route.target is not None:
            return self.inference(self._models, route.target(exchange, parts), exchange, self._clock, self._finish)
        assert route.call is not None
        return Cold(route.call, unquote(exchange.path.decode("latin-1")), parts)

    def send(self, transport: asyncio.Transport, data: bytes, now: float) -> None:
        """Send an answer: at once, or where several clients ask together, with the others of this turn of the loop.

        Each send wakes a client that sleeps, and that takes longer than many an answer. Eight clients of a tiny model
        got 18 k answers a second one by one, 26 k together.
        """
        if self._outbox:
            self._outbox.append((transport, data))
        elif self._sender is not transport and now - self._sent < TOGETHER_SECONDS:
            self._outbox.append((transport, data))
            asyncio.get_running_loop().call_soon(self.send_all)
        else:
            transport.write(data)
        self._sender, self._sent = transport, now

    def send_all(self) -> None:
        """Send what waits to be sent together."""
        outbox, self._outbox = self._outbox, []
        for transport, data in outbox:
            if not transport.is_closing():
                transport.write(data)

    def remember(self, head: bytes, exchange: Exchange, size: int) -> None:
        """Keep what the head of a request of inference meant."""
        sink = exchange.sink
        if exchange.method != "POST" or not isinstance(sink, Inference) or not sink.lasting:
            return
        if len(self.known) >= MAX_KNOWN:
            self.known.clear()
        target = exchange.path + (b"?" + exchange.query if exchange.query else b"")
        self.known[head] = Known(target, exchange.headers, exchange.keep, size, sink.again, sink.at_once)

    async def start(self, *listeners: socket.socket) -> None:
        """Take connections, over TCP or UNIX sockets."""
        loop = asyncio.get_running_loop()
        for one in listeners:
            create = loop.create_unix_server if one.family == socket.AF_UNIX else loop.create_server
            found = await create(
                lambda: Connection(self, self._clock), sock=one, backlog=BACKLOG, start_serving=True
            )  # fmt: skip
            self._servers.append(found)
        self._sweep()

    async def stop(self) -> None:
        """Take no more connections; give requests in flight GRACE_SECONDS."""
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.finish()
        until = self._clock.monotonic() + GRACE_SECONDS
        while self.connections and self._clock.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.abort()
        if self._sweeping is not None:
            self._sweeping.cancel()

    def _find(self, method: str, path: bytes) -> tuple[Route, Parts]:
        text = path.decode("latin-1")
        allowed = []
        for route, regex in self._routes:
            match = regex.fullmatch(text)
            if match is None:
                continue
            if route.method in (method, "*"):
                return route, {name: unquote(value) for name, value in match.groupdict().items()}
            allowed.append(route.method)
        if allowed:
            also = ["HEAD"] if "GET" in allowed else []
            raise WrongMethod(f"Method Not Allowed: {method} {unquote(text)}", ", ".join(sorted({*allowed, *also})))
        raise NotFound(f"Not Found: {method} {unquote(text)}")

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        self.date = date_line(self._clock.now())
        for connection in list(self.connections):
            connection.sweep(now)
        self._sweeping = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)
