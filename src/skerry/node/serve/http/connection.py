"""HTTP/1.1 on asyncio: connections, requests, answers in order. What a path means is the site's to say.

The parser is llhttp (httptools). A body of known length is received straight into where the site wants it, past
the parser: for a request of inference that is the shared memory of the model's worker, so that it is copied once.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import httptools

from skerry.core.errors import Invalid, SkerryError, TooLarge
from skerry.core.names import shown
from skerry.host.clock import Clock
from skerry.node.serve.access import About, AccessLog
from skerry.node.serve.http.exchange import LINES, NOWHERE, Dropped, Exchange, Sink

log = logging.getLogger(__name__)

SCRATCH = 64 << 10  # bytes read at once; one buffer for all connections, since each read is handled before the next
MAX_HEAD = 64 << 10  # bytes of a request line and headers
MAX_KNOWN_HEAD = 1024  # bytes; longer heads are parsed each time
UNLIKE = {b"expect", b"upgrade", b"traceparent"}  # headers of requests that are not like the next
MAX_PIPELINED = 16  # requests of one connection that may wait for their answers; then it is not read
TURN_SECONDS = 0.0005  # of one connection that sends many requests at once, before others have their turn
BLANK = b"\r\n\r\n"  # the end of a head
HEAD_SECONDS = 10.0  # for a request line and headers to come
SILENCE_SECONDS = 30.0  # after which a client that stopped in the middle of its body is given up
PACE = 1000  # bytes a second that a body must come at least, over SILENCE_SECONDS
IDLE_SECONDS = 75.0  # that a silent connection is kept; a camera that asks once a minute keeps its own
LINGER_SECONDS = 2.0  # a refused body is read on and dropped, or the refusal would be lost with the connection
SWEEP_SECONDS = 1.0


@dataclass(frozen=True)
class Known:
    """A head that came before, byte for byte, and what it meant: a client sends the same one again and again."""

    target: bytes
    headers: dict[bytes, bytes]
    keep: bool
    size: int  # of the body
    again: Callable[[Exchange], Sink]
    at_once: Callable[
        [memoryview], tuple[bytes, bytes, bytes, About] | None
    ]  # kind, extra, body of an answer made here


class Routes(Protocol):
    """What the connection asks the site."""

    access: AccessLog | None
    known: dict[bytes, Known]

    date: bytes  # the Date header's line
    scratch: memoryview
    limit: int  # bytes of a body
    connections: set[Connection]

    def route(self, exchange: Exchange) -> Sink:
        """Return where the body of this request goes; raise SkerryError to refuse it."""
        ...

    def send(self, transport: asyncio.Transport, data: bytes, now: float) -> None:
        """Send an answer, now or together with others."""
        ...

    def send_all(self) -> None:
        """Send what waits to be sent together."""
        ...

    def remember(self, head: bytes, exchange: Exchange, size: int) -> None:
        """Keep what a head meant, if it is worth it."""
        ...


class Connection(asyncio.BufferedProtocol):
    """One client's connection."""

    def __init__(self, site: Routes, clock: Clock) -> None:
        self.site = site
        self._clock = clock
        self._parser = httptools.HttpRequestParser(self)
        self._pending: deque[Exchange] = deque()
        self._exchange: Exchange | None = None  # whose body is being received
        self._direct: memoryview | None = None  # what is left to fill of a body that goes straight to its place
        self._left = 0  # bytes of the body still to come, where its length is known
        self._reserved: memoryview | None = None
        self._filled = 0
        self._head = 0  # bytes of the head so far, 0 between requests
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self.since = self._moved = clock.monotonic()  # of the state it is in; when a piece of a body came last
        self._closing = False
        self._ended = False  # the last answer has been sent
        self._size = 0  # of the body
        self._raw = b""  # the head, if it came in one piece and nothing stood before it
        self._begun = False  # the parser is inside a request
        self._full = False  # too many requests wait for their answers
        self._choked = False  # the client does not read
        self._rest = b""  # what was read and is put off: another turn of the loop, or too many answers are waited for
        self._later: asyncio.Handle | None = None  # of that turn

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class
        self.site.connections.add(self)
        self.client = _client(transport) if self.site.access is not None else ""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The client is gone: whatever waits for it is not run."""
        self.site.connections.discard(self)
        for exchange in [*self._pending, *([self._exchange] if self._exchange else [])]:
            if self.site.access is not None and not exchange.answered:
                exchange.tell(self.site.access, 499, 0)
            exchange.answered = True
            exchange.sink.gone()
        self._pending.clear()
        self._exchange = self._direct = self._reserved = None
        self._rest = b""

    def eof_received(self) -> bool:
        """The client sends no more. It may still read: answers under way are sent, then the connection is closed."""
        self._closing = True
        if self._exchange is not None:
            self._exchange.sink.gone()
            self._exchange = self._direct = self._reserved = None
        for exchange in list(self._pending):
            exchange.sink.left()
        if self._pending:
            return True
        self.site.send_all()  # its answer may wait there for others
        return False

    def pause_writing(self) -> None:
        """The client does not read its answers: take no more requests."""
        self._choked = True
        self._moved = self._clock.monotonic()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._choked = False
        self._go_on()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Return where the next bytes go."""
        return self.site.scratch if self._direct is None else self._direct

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come."""
        if self._direct is not None:
            self._came(nbytes)
            return
        if self._closing:
            return
        data = self.site.scratch[:nbytes]
        self._raw = b""
        if not self._begun:
            start = bytes(data[:MAX_KNOWN_HEAD])
            end = start.find(BLANK) + 4
            self._raw = start[:end] if end > 3 and start.startswith(b"POST ") else b""
            known = self.site.known.get(self._raw)
            if known is not None:
                if nbytes == end + known.size and self._at_once(known, data[end:]):
                    return
                data = self._take(known, data, end)
        if data:
            self._read(bytes(data))

    # httptools calls these

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begun = True
        self._target, self._headers = b"", {}
        self.since = self._clock.monotonic()

    def on_url(self, url: bytes) -> None:
        """Take the request's target, which may come in pieces."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; what follows a body in chunks is dropped."""
        if self._exchange is not None:
            return
        name = name.lower()
        if name in self._headers and name != b"set-cookie":
            value = self._headers[name] + b", " + value
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        """The head is whole: ask the site where the body goes."""
        if self._closing:  # the last answer has been given: what came with its request is not looked at
            return
        parser, headers = self._parser, self._headers
        self._head = 0
        keep = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        exchange = Exchange(self, parser.get_method().decode("latin-1"), self._target, headers, keep)
        self._exchange = exchange
        length = int(headers.get(b"content-length", b"0") or b"0")
        self._filled, self._size = 0, length
        coding = headers.get(b"transfer-encoding", b"").lower()
        waits = headers.get(b"expect", b"").lower() == b"100-continue" and bool(length or coding)
        odd = coding not in (b"", b"chunked")
        try:
            if odd:
                raise Invalid(f"Transfer-Encoding: expected chunked; got {shown(coding.decode('latin-1'))}")
            if length > self.site.limit:
                raise TooLarge(f"body: expected at most {self.site.limit} bytes; got {length}")
            exchange.sink = self.site.route(exchange)
            self._reserved = exchange.sink.reserve(length) if length and not coding else None
            if self._reserved is not None and self._raw and not UNLIKE & headers.keys():
                self.site.remember(self._raw, exchange, length)
        except SkerryError as error:
            self._refuse(exchange, error, waits or odd or length > self.site.limit)
            return
        if waits:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body that came with the head, or in chunks."""
        if self._exchange is None:
            return
        end = self._filled + len(body)
        if self._reserved is not None:
            self._reserved[self._filled : end] = body
        else:
            try:
                if end > self.site.limit:
                    raise TooLarge(f"body: expected at most {self.site.limit} bytes")
                self._exchange.sink.add(memoryview(body))
            except SkerryError as error:
                self._exchange.sink.gone()
                self._refuse(self._exchange, error, isinstance(error, TooLarge))
        self._filled = end
        self._moved = self._clock.monotonic()

    def on_message_complete(self) -> None:
        """The request is whole; one that offers an upgrade only seems so, its body is still to come."""
        self._begun = False
        if self._exchange is None:
            return
        body = self._size or b"transfer-encoding" in self._exchange.headers
        if not (body and self._parser.should_upgrade()):
            self._body_whole()

    # the rest is ours

    def flush(self) -> None:
        """Send the answers that are ready, in the order of their requests."""
        pending, transport = self._pending, self._transport
        if transport.is_closing() or self._ended:
            return
        now = self._clock.monotonic()
        while pending and (reply := pending[0].reply) is not None:
            exchange = pending.popleft()
            exchange.sink = NOWHERE  # it knows the exchange: only a look of the garbage collector would free the two
            self.site.send(transport, reply, now)
            if not exchange.keep:
                self.site.send_all()
                self._end()
                return
        if not pending:
            self.since = now
            if self._closing:
                self.site.send_all()
                transport.close()
        if self._full and len(pending) < MAX_PIPELINED:
            self._full = False
            self._go_on()

    def sweep(self, now: float) -> None:
        """Close the connection if it keeps us waiting for too long."""
        waited = now - self.since
        if self._choked and now - self._moved > SILENCE_SECONDS:
            self._transport.abort()  # a client that does not read its answers
        elif self._closing:
            if waited > LINGER_SECONDS and (self._ended or not self._pending):
                self._transport.close()
        elif self._exchange is not None:
            self._judge_body(waited, now - self._moved)
        elif self._head:
            if waited > HEAD_SECONDS:
                self._broken(408, f"request: its head did not come within {HEAD_SECONDS:.0f} s")
        elif waited > IDLE_SECONDS and not self._pending:
            self._transport.close()

    def finish(self) -> None:
        """The node stops: answer what is under way, also what is still being received, then close."""
        last = self._exchange or (self._pending[-1] if self._pending else None)
        if last is None:
            self._closing = True
            self.site.send_all()
            self._transport.close()
        else:
            last.keep = False

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _judge_body(self, waited: float, silent: float) -> None:
        assert self._exchange is not None
        came = self._size - self._left if self._direct is not None else self._filled
        if silent > SILENCE_SECONDS:
            error = Invalid(f"body: nothing came for {silent:.0f} s; it is incomplete")
        elif waited > SILENCE_SECONDS and came < PACE * waited:
            error = Invalid(f"body: {came} bytes came in {waited:.0f} s; expected {PACE} a second")
        else:
            return
        self._exchange.sink.gone()
        self._refuse(self._exchange, error, at_once=True)

    def _at_once(self, known: Known, body: memoryview) -> bool:
        """Answer a whole request whose head is known without queueing it; false if it must go the usual way."""
        if self._pending or not known.keep:
            return False
        made = known.at_once(body)
        if made is None:
            return False
        kind, extra, answer, about = made
        self.since = now = self._clock.monotonic()
        if self.site.access is not None:
            asked = (self.client, "POST", known.target.partition(b"?")[0])
            self.site.access.note(asked, 200, (known.size, len(answer)), now - sum(about[1]) / 1e9, about)
        head = b"%b%bcontent-type: %b\r\ncontent-length: %d\r\n%b\r\n" % (
            LINES[200], self.site.date, kind, len(answer), extra,
        )  # fmt: skip
        self.site.send(self._transport, head + answer, now)
        return True

    def _take(self, known: Known, data: memoryview, end: int) -> memoryview:
        """Take a request whose head is known, past the parser; return what follows it."""
        self.since = self._moved = self._clock.monotonic()
        exchange = self._exchange = Exchange(self, "POST", known.target, known.headers, known.keep)
        size = self._size = known.size
        piece = data[end : end + size]
        self._filled = len(piece)
        try:
            exchange.sink = known.again(exchange)
            reserved = exchange.sink.reserve(size)
        except SkerryError:
            self._exchange = None
            return data  # the parser gives the refusal, and reads past the body without keeping it
        assert reserved is not None
        reserved[: len(piece)] = piece
        self._reserved = reserved
        if len(piece) == size:
            self._body_whole()
            return data[end + size :]
        self._left = size - len(piece)
        self._direct = reserved[len(piece) :]
        return data[:0]

    def _came(self, nbytes: int) -> None:
        """Bytes of a body have come straight to their place."""
        assert self._direct is not None
        self._left -= nbytes
        self._moved = self._clock.monotonic()
        self._direct = self._direct[nbytes:] if self._left else None
        if self._direct is None:
            self._body_whole()

    def _read(self, data: bytes) -> None:
        """Take requests one by one, for as long as a turn may last and few enough answers are waited for."""
        at = self._feed(data, 0)
        until = 0.0 if at == len(data) else self._clock.monotonic() + TURN_SECONDS
        while at < len(data) and not self._closing:
            if self._full or self._choked or self._clock.monotonic() > until:
                self._rest = data[at:]
                self._transport.pause_reading()
                self._go_on()
                return
            at = self._feed(data, at)

    def _go_on(self) -> None:
        """Go on with what was put off, in the next turn of the loop, or read what comes, if nothing is in the way."""
        if self._full or self._choked or self._later is not None:
            return
        if self._rest:
            self._later = asyncio.get_running_loop().call_soon(self._turn)
        else:
            self._transport.resume_reading()

    def _turn(self) -> None:
        self._later = None
        rest, self._rest = self._rest, b""
        if rest and not self._transport.is_closing():
            self._read(rest)
            self._go_on()

    def _feed(self, data: bytes, at: int) -> int:
        """Have the parser take a head, or a body what is its; return where the rest begins."""
        if self._direct is not None:
            end = min(len(data), at + self._left)
            self._direct[: end - at] = data[at:end]
            self._came(end - at)
            return end
        end = data.find(BLANK, at) + 4
        end = end if end > 3 else len(data)
        if self._exchange is None and self._head + end - at > MAX_HEAD:
            self._broken(431, f"request: expected at most {MAX_HEAD} bytes of headers")
            return end
        try:
            self._parser.feed_data(data[at:end])
        except httptools.HttpParserUpgrade as upgrade:
            # `Upgrade: h2c`, as curl --http2 has it, is not taken; llhttp stops there, a body of known length is ours
            self._parser = httptools.HttpRequestParser(self)
            end = at + upgrade.args[0]
            if self._exchange is not None and self._reserved is None:
                self._broken(501, "request: Upgrade is not supported with this body")
        except httptools.HttpParserError as error:
            if isinstance(error, httptools.HttpParserCallbackError) and error.__context__ is not None:
                log.error("a fault of Skerry's own", exc_info=error.__context__)
                self._broken(500, "internal error; the node's log has the details")
            else:
                self._broken(400, f"request: not HTTP/1.1: {error}")
            return end
        if self._exchange is not None:
            if self._reserved is not None:  # the rest of the body goes straight to its place
                self._direct = self._reserved[self._filled :]
                self._left = self._size - self._filled
        elif not self._closing and (self._headers or self._target):
            self._head += end - at
        return end

    def _body_whole(self) -> None:
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        if self._direct is None and self._filled < self._size and self._reserved is not None:
            self._parser = httptools.HttpRequestParser(self)  # it still waits for the body that it never saw
        self._reserved = None
        self._target, self._headers = b"", {}
        self._raw, self._begun = b"", False  # what follows is another request
        exchange.size = self._size or self._filled
        self._pending.append(exchange)
        if len(self._pending) >= MAX_PIPELINED and not self._full:
            self._full = True
            self._transport.pause_reading()
        try:
            exchange.sink.complete(exchange)
        except SkerryError as error:
            exchange.fail(error)
        except Exception as error:  # boundary: a fault of ours in one request must not end the connection unanswered
            exchange.fail(error)

    def _refuse(self, exchange: Exchange, error: SkerryError, at_once: bool) -> None:
        """Answer an error: after the body has been read, or at once where that would take too long."""
        exchange.sink = Dropped(error)
        self._reserved = None
        if at_once:
            exchange.keep, self._closing = False, True
            self._exchange = self._direct = None
            self._pending.append(exchange)
            exchange.fail(error)

    def _broken(self, status: int, text: str) -> None:
        """Answer what cannot be read on from, and close."""
        if self._exchange is not None:
            self._exchange.sink.gone()
        exchange = Exchange(self, "GET", b"", {}, False)
        self._closing = True  # whatever comes now is not HTTP any more
        self._exchange = self._direct = self._reserved = None
        self._pending.append(exchange)
        exchange.answer(status, json.dumps({"error": text}).encode())

    def _end(self) -> None:
        """Close once the client has what we sent; what it still sends is read and dropped for a while."""
        self._closing = self._ended = True
        self.since = self._clock.monotonic()
        self._direct = None
        if self._transport.can_write_eof():
            self._transport.write_eof()


def _client(transport: asyncio.BaseTransport) -> str:
    """Return who is at the other end; "local" over a UNIX socket."""
    peer = transport.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "local"
