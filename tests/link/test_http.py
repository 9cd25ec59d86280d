from __future__ import annotations

import json
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import (
    BrokenReply,
    BusyError,
    Conflict,
    DeadlinePassed,
    Invalid,
    NotAllowed,
    NotFound,
    NotReady,
    PeerError,
    QueueFull,
    SkerryError,
    TooLarge,
    Unreachable,
)
from skerry.link.http import CONNECT_SECONDS, FakeFetcher, Fetcher, Reply, bearer, check, post_json
from tests.link.server import serving

DATA = bytes(range(256)) * 40


def ask(url, limit=1 << 20, seconds=5.0, **more):
    return Fetcher().request("GET", url, limit=limit, seconds=seconds, **more)


def pull(url, start=0, limit=1 << 20, seconds=5.0):
    return b"".join(Fetcher().download(url, start=start, limit=limit, seconds=seconds))


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_request_arrives_and_its_answer_comes_back():
    seen = []

    def act(asked):
        seen.append((asked.method, asked.path, asked.body, asked.headers["X-Mine"]))
        asked.answer(201, b'{"a": 1}', X_Theirs="yes")

    with serving(act) as url:
        reply = Fetcher().request("PUT", url + "/a?b=c", body=b"hi", headers={"X-Mine": "1"}, limit=100, seconds=5)
    assert seen == [("PUT", "/a?b=c", b"hi", "1")]
    assert (reply.status, reply.json(), reply.headers["x-theirs"]) == (201, {"a": 1}, "yes")


def test_connections_are_kept():
    ports = set()

    def act(asked):
        ports.add(asked.handler.client_address)
        asked.answer(200, b"x")

    with serving(act) as url:
        fetcher = Fetcher()
        for _ in range(5):
            fetcher.request("GET", url, limit=10, seconds=5)
        assert len(ports) == 1


@pytest.mark.parametrize("status", [200, 404, 500])
def test_any_status_is_an_answer(status):
    with serving(lambda asked: asked.answer(status, b"body")) as url:
        assert ask(url) == Reply(status, b"body", ask(url).headers)


def test_a_redirect_is_not_followed():
    with serving(lambda asked: asked.answer(302, b"", Location="http://127.0.0.1:1/")) as url:
        assert ask(url).status == 302
        with pytest.raises(BrokenReply, match="answered 302"):
            check(ask(url), url)
        with pytest.raises(BrokenReply, match="answered 302"):
            pull(url)


@pytest.mark.parametrize("size", [0, 9, 10])
def test_an_answer_within_the_limit(size):
    with serving(lambda asked: asked.answer(200, b"x" * size)) as url:
        assert len(ask(url, limit=10).body) == size
        assert len(pull(url, limit=10)) == size


def test_an_answer_over_the_limit_is_cut_off():
    with serving(lambda asked: asked.answer(200, b"x" * 11)) as url:
        with pytest.raises(BrokenReply, match="the answer is over 10 bytes"):
            ask(url, limit=10)
        with pytest.raises(BrokenReply, match="more than the 10 bytes that were promised"):
            pull(url, limit=10)
        with pytest.raises(BrokenReply, match="more than the 10 bytes"):
            pull(url, limit=10, start=0)


def test_an_endless_answer_costs_no_more_than_its_limit():
    sent = []

    def endless(asked):
        asked.handler.send_response(200)
        asked.handler.send_header("Connection", "close")
        asked.handler.end_headers()
        for _ in range(4000):
            asked.handler.wfile.write(bytes(1 << 16))
            sent.append(1)

    with serving(endless) as url:
        with pytest.raises(BrokenReply):
            ask(url, limit=100_000)
        with pytest.raises(BrokenReply):
            pull(url, limit=100_000)
    assert len(sent) < 4000


def slow(asked):
    asked.handler.send_response(200)
    asked.handler.send_header("Content-Length", "100")
    asked.handler.end_headers()
    asked.handler.wfile.write(b"x" * 50)
    asked.handler.wfile.flush()
    time.sleep(1.5)


def short(asked):
    asked.handler.send_response(200)
    asked.handler.send_header("Content-Length", "100")
    asked.handler.end_headers()
    asked.handler.wfile.write(b"x" * 50)
    asked.handler.close_connection = True


def garbage(asked):
    asked.handler.wfile.write(b"\0\1\2 no HTTP\r\n\r\n")
    asked.handler.close_connection = True


def nothing(asked):
    asked.handler.close_connection = True


def bad_chunk(asked):
    asked.handler.send_response(200)
    asked.handler.send_header("Transfer-Encoding", "chunked")
    asked.handler.end_headers()
    asked.handler.wfile.write(b"5\r\nhello\r\nZZ\r\nbroken")
    asked.handler.close_connection = True


def bad_gzip(asked):
    asked.answer(200, b"this is no gzip", Content_Encoding="gzip")


@pytest.mark.parametrize("act", [slow, short, garbage, nothing, bad_chunk, bad_gzip])
def test_what_the_network_does_is_unreachable(act):
    with serving(act) as url:
        started = time.monotonic()
        with pytest.raises(Unreachable, match=f"GET {url}"):
            ask(url, seconds=0.3)
        with pytest.raises(Unreachable, match=f"GET {url}"):
            pull(url, seconds=0.3)
        assert time.monotonic() - started < 1.4


def test_a_broken_download_gives_what_came_first():
    got = []
    with serving(short) as url, pytest.raises(Unreachable):
        got.extend(Fetcher().download(url, start=0, limit=100, seconds=1))
    assert b"".join(got) in (b"", b"x" * 50)


NOWHERE = [
    closed_port() + "/", "http://127.0.0.1:99999/", "http://", "nonsense://x", "http://a b/", "http://[::1"
]  # fmt: skip


@pytest.mark.parametrize("url", NOWHERE)
def test_nobody_there_is_unreachable_without_the_librarys_object_names(url):
    with pytest.raises(Unreachable, match="GET ") as caught:
        ask(url, seconds=1)
    assert "object at 0x" not in str(caught.value)
    with pytest.raises(Unreachable):
        pull(url, seconds=1)


def ranged(asked):
    wanted = asked.headers.get("Range", "")
    start = int(wanted.removeprefix("bytes=").removesuffix("-") or 0)
    asked.answer(206 if wanted else 200, DATA[start:])


@pytest.mark.parametrize("start", [0, 1, 5000, len(DATA) - 1])
def test_a_download_goes_on_where_it_stopped(start):
    seen = []

    def act(asked):
        seen.append(asked.headers.get("Range"))
        ranged(asked)

    with serving(act) as url:
        assert pull(url, start=start) == DATA[start:]
    assert seen == [f"bytes={start}-" if start else None]


def test_a_server_that_ignores_ranges_is_noticed():
    with (
        serving(lambda asked: asked.answer(200, DATA)) as url,
        pytest.raises(BrokenReply, match="expected the bytes from 7; got status 200"),
    ):
        pull(url, start=7)


MEANT = [
    (400, Invalid), (401, NotAllowed), (403, NotAllowed), (404, NotFound), (409, Conflict), (413, TooLarge),
    (415, Invalid), (422, Invalid), (429, QueueFull), (503, NotReady), (500, BrokenReply), (502, Unreachable),
    (504, DeadlinePassed), (302, BrokenReply), (418, BrokenReply),
]  # fmt: skip


@pytest.mark.parametrize(("status", "kind"), MEANT)
@pytest.mark.parametrize(("body", "text"), [(b'{"error": "why so"}', "why so"), (b"<html>\xff", "<html>"), (b"", "")])
def test_a_status_is_the_error_that_the_peer_meant(status, kind, body, text):
    with serving(lambda asked: asked.answer(status, body)) as url:
        for call in (lambda: check(ask(url), url), lambda: pull(url)):
            with pytest.raises(kind, match=f"answered {status}: {text}") as caught:
                call()
            assert type(caught.value) is kind


@pytest.mark.parametrize(("header", "after"), [("7", 7.0), ("0", 0.0), ("soon", 1.0), ("-3", 1.0), ("\u00b2", 1.0)])
def test_retry_after_is_kept(header, after):
    with serving(lambda asked: asked.answer(503, b"", Retry_After=header)) as url:
        for call in (lambda: check(ask(url), url), lambda: pull(url)):
            with pytest.raises(BusyError) as caught:
                call()
            assert caught.value.after == after


@given(st.integers(100, 599), st.binary(max_size=50), st.dictionaries(st.sampled_from(["retry-after"]), st.text()))
def test_any_reply_is_good_or_one_of_our_errors(status, body, headers):
    reply = Reply(status, body, headers)
    try:
        assert check(reply, "http://x") is reply
    except SkerryError as error:
        refused = error
    else:
        refused = None
    assert (refused is None) is (200 <= status < 300)


def test_json_that_is_none_is_a_broken_reply():
    with pytest.raises(BrokenReply, match="JSON Parse error"):
        Reply(200, b"<html>").json()


def test_post_json_carries_the_token():
    seen = []

    def act(asked):
        seen.append((asked.headers["Authorization"], json.loads(asked.body)))
        asked.answer(200, b'{"good": true}')

    with serving(act) as url:
        assert post_json(Fetcher(), url, {"a": 1}, token="t", limit=100, seconds=5) == {"good": True}
    assert seen == [("Bearer t", {"a": 1})]
    assert bearer("") == {}


# --- the fake is as the real one ---


@pytest.fixture(params=["real", "fake"])
def both(request):
    """Return (fetcher, URL) of a world that answers ranges, errors and too much, real or fake."""

    def answer(method, url, body, headers):
        start = int(headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if url.endswith("/gone"):
            return Reply(404, b'{"error": "gone"}')
        if url.endswith("/busy"):
            return Reply(503, b"", {"retry-after": "3"})
        return Reply(206 if start else 200, (method.encode() + body + DATA)[start:])

    def act(asked):
        found = answer(asked.method, asked.path, asked.body, dict(asked.headers))
        asked.answer(found.status, found.body, **{k.replace("-", "_"): v for k, v in found.headers.items()})

    if request.param == "fake":
        yield FakeFetcher(answer), "http://there"
        return
    with serving(act) as url:
        yield Fetcher(), url


def test_the_fake_is_as_the_real_one(both):
    fetcher, url = both
    assert fetcher.request("POST", url + "/x", body=b"hi", limit=1 << 20, seconds=5).body == b"POSThi" + DATA
    with pytest.raises(BrokenReply, match="the answer is over 5 bytes"):
        fetcher.request("GET", url + "/x", limit=5, seconds=5)
    for start in (0, 3, 700):
        got = b"".join(fetcher.download(url + "/x", start=start, limit=1 << 20, seconds=5))
        assert got == (b"GET" + DATA)[start:]
    with pytest.raises(BrokenReply, match="more than the 100 bytes"):
        list(fetcher.download(url + "/x", start=0, limit=100, seconds=5))
    with pytest.raises(BrokenReply, match="more than the 710 bytes"):
        list(fetcher.download(url + "/x", start=700, limit=710, seconds=5))
    for call in (
        lambda where: check(fetcher.request("GET", where, limit=100, seconds=5), where),
        lambda where: list(fetcher.download(where, start=5, limit=100, seconds=5)),
    ):
        with pytest.raises(NotFound, match="gone"):
            call(url + "/gone")
        with pytest.raises(BusyError) as caught:
            call(url + "/busy")
        assert caught.value.after == 3


def test_what_the_fakes_function_raises_comes_through():
    def broken(*_):
        raise Unreachable("the line is cut")

    with pytest.raises(PeerError, match="the line is cut"):
        FakeFetcher(broken).request("GET", "http://x", limit=1, seconds=1)


def test_a_body_may_take_its_time_as_long_as_it_moves():
    """A reader slower than the 5 s that a connection may take: 3 MiB in about 6 s."""
    body = bytes(3 << 20)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15)

        def read() -> None:
            peer, _ = listener.accept()
            with peer:
                got = b""
                while not got.endswith(body[-1:]) or len(got) < len(body):
                    got += peer.recv(1 << 15)
                    time.sleep(6 / (len(body) / (1 << 15)))
                peer.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        reader = threading.Thread(target=read)
        reader.start()
        started = time.monotonic()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        assert Fetcher().request("POST", url, body=body, limit=10, seconds=30).status == 204
        assert time.monotonic() - started > CONNECT_SECONDS
        reader.join()
