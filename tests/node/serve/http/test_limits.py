"""HTTP/1.1 from those who mean no good, or who are only slow: what is refused, and what is waited for how long."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import resource
import socket
import threading
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.host.clock import FakeClock
from skerry.host.process import raise_file_limit
from skerry.node.serve.http.connection import (
    HEAD_SECONDS,
    IDLE_SECONDS,
    LINGER_SECONDS,
    MAX_HEAD,
    MAX_PIPELINED,
    PACE,
    SCRATCH,
    SILENCE_SECONDS,
)
from skerry.node.worker.order import MAX_BODY
from tests.node.kit import SECONDS, Held, place, steady, until
from tests.node.serve.line import ASK, HEALTH, INFER, Line, chunked, ids, post, with_id

# --- limits ---


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * MAX_HEAD + b" HTTP/1.1\r\nHost: x\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nA: " + b"a" * MAX_HEAD + b"\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * (MAX_HEAD // 5),
    ],
)
def test_a_head_without_an_end_is_431(site, head):
    with Line(site) as line:
        line.send(head, b"B: " + b"b" * MAX_HEAD)
        (answer,) = line.all()
        assert answer[0] == 431
        assert f"at most {MAX_HEAD} bytes of headers" in json.loads(answer[2])["error"]


def test_a_whole_head_that_comes_at_once_is_held_to_the_same(site):
    with Line(site) as line:
        line.send(b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * (MAX_HEAD // 5) + b"\r\n")
        assert line.all()[0][0] == 431


def test_trailers_without_an_end_cost_no_memory_and_no_answer(site):
    with Line(site) as line:
        line.send(chunked(ASK, end=b"0\r\n") + b"A: b\r\n" * 100_000 + b"\r\n")
        assert line.answer()[0] == 200


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
SHAPES = {
    "both lengths": "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, turned": "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
    "two lengths": "Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello",
    "two same lengths": "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": "Content-Length: 5, 0\r\n\r\nhello",
    "a length with a sign": "Content-Length: +5\r\n\r\nhello",
    "a length below zero": "Content-Length: -5\r\n\r\nhello",
    "a length in hex": "Content-Length: 0x5\r\n\r\nhello",
    "a length that overflows": "Content-Length: 18446744073709551621\r\n\r\nhello",
    "no length": "Content-Length: \r\n\r\n",
    "a space before the colon": "Content-Length : 5\r\n\r\nhello",
    "a space in a name": "Content Length: 5\r\n\r\nhello",
    "a line that goes on": "A: b\r\n Content-Length: 5\r\n\r\nhello",
    "a bare line feed": "A: b\nContent-Length: 5\r\n\r\nhello",
    "bare line feeds at the end": "Content-Length: 5\n\nhello",
    "a bare return": "A: b\rContent-Length: 5\r\n\r\nhello",
    "a zero byte": "A: b\x00\r\nContent-Length: 5\r\n\r\nhello",
    "another coding last": "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "another coding": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a chunk in nonsense": "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "a chunk with a sign": "Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    "a chunk that overflows": "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    "a chunk with a bare line feed": "Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
    "a chunk longer than it says": "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("path", [INFER, "/health"])
def test_a_request_with_two_readings_is_refused_and_nothing_after_it_is_read(site, shape, path):
    request = f"POST {path} HTTP/1.1\r\nHost: x\r\n{SHAPES[shape]}".encode("latin-1")
    with Line(site) as line:
        line.send(request + SMUGGLED)
        answers = line.all()
        assert [status for status, _, _ in answers][-1] == 400
        assert not any(b"smuggled" in body for _, _, body in answers)
        assert len(answers) == 1 or (path == "/health" and answers[0][0] == 405 and len(answers) == 2), answers


@pytest.mark.parametrize(
    "text",
    [
        b"\x16\x03\x01\x02\x00\x01\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n", b"GE\x00T / HTTP/1.1\r\n\r\n",
        b"get /health HTTP/1.1\r\n\r\n", b"BREW / HTTP/1.1\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_not_http_is_400(site, text):
    with Line(site) as line:
        line.send(text)
        line.socket.shutdown(socket.SHUT_WR)
        answers = line.all()
        assert [status for status, _, _ in answers] == [400] or (answers == [] and text.startswith(b"\x16"))


@settings(max_examples=100)
@given(
    st.lists(
        st.sampled_from([HEALTH, post(), chunked(ASK), b"\r\n", b"\x00", b"POST ", b" ", b":"])
        | st.binary(max_size=20),
        max_size=6,
    )
)
def test_noise_breaks_nothing(site, pieces):
    with Line(site) as line:
        line.send(b"".join(pieces))
        line.socket.shutdown(socket.SHUT_WR)
        for status, _, _ in line.all():
            assert status in (200, 400, 404, 405, 503)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "x-gzip", "GZIP", "identity"])
def test_bodies_may_be_packed(site, coding):
    packed = {"deflate": zlib.compress, "identity": bytes}.get(coding, gzip.compress)(with_id(3))
    with Line(site) as line:
        line.send(post(packed, INFER, f"Content-Encoding: {coding}"))
        assert ids([line.answer()]) == [3]


@pytest.mark.parametrize(
    ("body", "coding", "status", "text"),
    [
        (gzip.compress(bytes(MAX_BODY + 1)), "gzip", 413, f"at most {MAX_BODY} bytes after gzip"),
        (zlib.compress(bytes(MAX_BODY * 2)), "deflate", 413, f"at most {MAX_BODY} bytes after deflate"),
        (gzip.compress(ASK)[:-5], "gzip", 400, "cut off"),
        (b"not packed", "gzip", 400, "it is not gzip"),
        (b"", "gzip", 400, "cut off"),
        (ASK, "br", 400, "expected gzip"),
        (ASK, "gzip, gzip", 400, "expected gzip"),
    ],
)
def test_packed_bodies_that_are_none_or_too_much(site, body, coding, status, text):
    with Line(site) as line:
        line.send(post(body, INFER, f"Content-Encoding: {coding}"))
        found, _, answer = line.answer()
        assert (found, text in json.loads(answer)["error"]) == (status, True), answer


# --- clients that keep us waiting ---


@pytest.fixture
def slow():
    """A node whose clock the test moves."""
    with place(FakeClock(1000.0)) as found:
        found.put(steady(), depth=4)
        yield found
        found.quiet()


def wait(node, seconds):
    """Let time pass, once what was sent has come, and have the node look at its connections."""

    def look():
        node.clock.time += seconds
        for connection in list(node.site.connections):
            connection.sweep(node.clock.time)

    time.sleep(0.03)
    node.running.do(look)


def test_a_head_that_never_ends_is_408(slow):
    with Line(slow) as line:
        line.send(b"GET /health HTTP/1.1\r\nHost: x\r\nA")
        for _ in range(12):
            wait(slow, HEAD_SECONDS / 10)
            line.send(b"a")  # a byte now and then does not help
        (answer,) = line.all()
        assert (answer[0], answer[1]["connection"]) == (408, "close")


@pytest.mark.parametrize("body", ["length", "chunks"])
def test_a_body_that_stops_is_given_up(slow, body):
    with Line(slow) as line:
        line.send(post(bytes(SCRATCH * 4))[: SCRATCH * 2] if body == "length" else chunked(ASK, end=b""))
        wait(slow, SILENCE_SECONDS + 1)
        (answer,) = line.all()
        assert answer[0] == 400
        assert "it is incomplete" in json.loads(answer[2])["error"]


def test_a_body_that_trickles_is_given_up(slow):
    with Line(slow) as line:
        line.send(post(bytes(SCRATCH))[:200])
        for _ in range(4):
            wait(slow, SILENCE_SECONDS / 3)
            line.send(b"a" * 10)
        wait(slow, 1)
        (answer,) = line.all()
        assert f"expected {PACE} a second" in json.loads(answer[2])["error"]


def test_a_slow_body_that_keeps_its_pace_is_taken(slow):
    body = with_id(1, 200_000)
    with Line(slow) as line:
        request = post(body)
        line.send(request[:100])
        for start in range(100, len(request), 20_000):
            line.send(request[start : start + 20_000])
            wait(slow, 10)
        assert ids([line.answer()]) == [1]


def test_an_idle_connection_is_kept_for_a_while_and_then_closed(slow):
    with Line(slow) as line:
        line.send(HEALTH)
        line.answer()
        wait(slow, IDLE_SECONDS - 1)
        line.send(HEALTH)
        assert line.answer()[0] == 200
        wait(slow, IDLE_SECONDS + 1)
        assert line.closed()


def test_a_connection_that_waits_for_its_answer_is_not_idle():
    held = Held()
    with place(FakeClock(1000.0)) as node, Line(node) as line:
        node.put(held.session)
        line.send(post(with_id(1)))
        assert held.entered.acquire(timeout=SECONDS)
        wait(node, IDLE_SECONDS * 2)
        held.gate.set()
        assert ids([line.answer()]) == [1]


def test_a_refused_client_that_goes_on_sending_is_cut_off(slow):
    with Line(slow) as line:
        line.send(b"nonsense\r\n\r\n")
        assert line.answer()[0] == 400
        wait(slow, LINGER_SECONDS + 1)
        until("it to be closed", lambda: not slow.site.connections)


class Notes:
    """An access log that counts."""

    count = 0

    def note(self, *_):
        self.count += 1


@pytest.mark.parametrize("form", ["plain", "chunked", "after a body"])
def test_one_that_asks_thousands_of_times_at_once_is_answered_in_order_and_leaves_others_their_turn(site, form):
    asked = {"plain": b"", "chunked": chunked(ASK), "after a body": post()}[form]
    count, notes, most, stop = 5_000, Notes(), 0, False

    async def watch():
        nonlocal most
        while not stop:
            before = notes.count
            await asyncio.sleep(0)
            most = max(most, notes.count - before)

    site.site.access = notes
    with Line(site) as line:
        watching = asyncio.run_coroutine_threadsafe(watch(), site.running.loop)
        data = b"".join(b"GET /v2/models/m%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(count))
        writer = threading.Thread(target=line.send, args=(asked + data,))
        writer.start()
        if asked:
            assert line.answer()[0] == 200
        for number in range(count):
            status, _, body = line.answer()
            assert (status, json.loads(body)["error"].split(";")[0]) == (404, f"unknown model: m{number}")
        writer.join(SECONDS)
        stop = True
        watching.result(SECONDS)
    site.site.access = None
    assert 0 < most < 400, "one read of 64 KiB has some 1,500 of them"


def test_what_is_put_off_is_answered_to_a_client_that_sends_no_more(site):
    with Line(site) as line:
        line.send(*[HEALTH * 500] * 4)
        line.socket.shutdown(socket.SHUT_WR)
        assert [status for status, _, _ in line.all()] == [200] * 2000


def test_a_client_that_never_reads_costs_a_bounded_amount(site):
    with Line(site) as line:
        line.socket.setblocking(False)
        request, sent = b"GET /metrics?" + b"a" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 0
        with contextlib.suppress(BlockingIOError):
            while sent < 64 << 20:
                sent += line.socket.send(request * 40)
        time.sleep(0.1)

        def buffered():
            return max(one._transport.get_write_buffer_size() for one in site.site.connections)

        page = len(site.client.get("/metrics").content)
        assert site.running.do(buffered) < (SCRATCH // len(request) + MAX_PIPELINED) * (page + 200) * 2
        assert site.get("/health")[0] == 200


# --- many ---


def test_ten_thousand_idle_connections(site):
    raise_file_limit()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_000, (soft - 300) // 2)
    lines = []
    try:
        lines.extend(site.line() for _ in range(count))
        until("all to be accepted", lambda: len(site.site.connections) >= count)
        began = time.monotonic()
        assert site.post(INFER, ASK)[0] == 200
        assert time.monotonic() - began < 2
        for line in lines[:: count // 10]:
            line.sendall(HEALTH)
            assert b"alive" in line.recv(1000)
    finally:
        for line in lines:
            line.close()
    until("all to be gone", lambda: len(site.site.connections) < 10)


def test_the_end_of_a_node_waits_for_what_runs():
    held = Held()
    with place() as node:
        node.put(held.session)
        with Line(node) as line, Line(node) as idle:
            line.send(post(with_id(1)))
            assert held.entered.acquire(timeout=SECONDS)
            future = asyncio.run_coroutine_threadsafe(node.site.stop(), node.running.loop)
            assert idle.closed()
            with pytest.raises(ConnectionRefusedError):
                node.line()
            held.gate.set()
            assert [(status, headers["connection"]) for status, headers, _ in line.all()] == [(200, "close")]
            line.socket.close()
            future.result(SECONDS)
