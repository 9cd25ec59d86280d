"""The access log: what is written of a request, when, and what never is."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from skerry.core.errors import Conflict, NotFound
from skerry.host.clock import Clock
from skerry.node.metrics.series import Series
from skerry.node.serve.access import MAX_WAITING, AccessLog
from tests.node.kit import until

ASKED = ("127.0.0.1:5", "POST", b"/v2/models/m/infer")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_request_is_one_line(tmp_path: Path) -> None:
    clock = Clock()
    log = AccessLog(str(tmp_path / "log"), clock)
    log.start()
    about = (Series("m", "3", clock), (1000, 2000, 0, 3_000_000, 0, 4000))
    log.note(ASKED, 200, (10, 20), clock.monotonic() - 0.5, about)
    log.note(("local", "GET", '/ready\n"x"'), 503, (0, 5), clock.monotonic(), None)
    log.stop()
    one, two = lines(tmp_path / "log")
    assert one.pop("time").endswith("Z")
    assert 500 <= one.pop("ms") < 1000
    assert one == {
        "client": "127.0.0.1:5",
        "method": "POST",
        "path": "/v2/models/m/infer",
        "status": 200,
        "bytes_in": 10,
        "bytes_out": 20,
        "model": "m",
        "version": "3",
        "phases_us": {"parse": 1, "queue": 2, "preprocess": 0, "infer": 3000, "postprocess": 0, "encode": 4},
    }
    assert (two["path"], two["status"], "model" in two) == ('/ready\n"x"', 503, False)
    assert oct((tmp_path / "log").stat().st_mode & 0o777) in ("0o640", "0o600")


def test_it_is_written_by_itself_and_goes_on_in_a_new_file(tmp_path: Path) -> None:
    path, clock = tmp_path / "log", Clock()
    log = AccessLog(str(path), clock)
    log.start()
    log.note(ASKED, 1, (0, 0), 0.0, None)
    until("the line", path.read_text)
    path.rename(tmp_path / "old")
    log.reopen()
    log.note(ASKED, 2, (0, 0), 0.0, None)
    until("the new file", lambda: path.exists() and path.read_text())
    log.stop()
    assert [line["status"] for line in (*lines(tmp_path / "old"), *lines(path))] == [1, 2]


def test_what_cannot_be_kept_is_counted(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"), Clock())
    for _ in range(MAX_WAITING + 7):
        log.note(ASKED, 200, (0, 0), 0.0, None)
    log.start()
    log.stop()
    found = lines(tmp_path / "log")
    assert len(found) == MAX_WAITING + 1
    assert [line["dropped"] for line in found if "dropped" in line] == [7]


def test_a_file_that_cannot_be_written_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match=r"access_log: .*none.log: No such file or directory"):
        AccessLog(str(tmp_path / "none" / "log"), Clock())
    with pytest.raises(Conflict, match="Is a directory"):
        AccessLog(str(tmp_path), Clock())


def test_a_reader_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(str(path), Clock())
    log.start()
    for _ in range(2000):  # a pipe holds 64 KiB
        log.note(ASKED, 200, (0, 0), 0.0, None)
    time.sleep(1.2)
    began = time.monotonic()
    log.stop()
    assert time.monotonic() - began < 5
    os.close(reader)


def test_what_found_no_room_is_counted_once_there_is_room_again(tmp_path: Path) -> None:
    path, count = tmp_path / "pipe", 2000
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(str(path), Clock())
    for _ in range(count):  # a pipe holds 64 KiB, as a full disk holds what it holds
        log.note(ASKED, 200, (0, 0), 0.0, None)
    while log._rows or log._dropped == log._told:
        log._write_all()
    found = os.read(reader, 1 << 20)
    log._write_all()
    found += os.read(reader, 1 << 20)
    os.close(reader)
    told, torn = [], 0
    for line in found.splitlines():
        try:
            told.append(json.loads(line))
        except ValueError:
            torn += 1
    dropped = sum(line.get("dropped", 0) for line in told)
    assert torn <= 1
    assert dropped > 100
    assert dropped + sum("path" in line for line in told) == count
    assert found.endswith(b"\n")


def test_the_last_lines_are_there_however_it_ends(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"), Clock())
    log.start()
    for _ in range(1000):
        log.note(ASKED, 200, (0, 0), 0.0, None)
    log.stop()
    assert len(lines(tmp_path / "log")) == 1000


async def good(data: bytes, _: Any) -> bytes:
    return data * 2


async def bad(_: bytes, __: Any) -> bytes:
    raise NotFound("no")


class Caller:
    def peer(self) -> str:
        return "ipv4:1.2.3.4:5"


def test_a_grpc_call_is_told_with_its_code(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"), Clock())

    def drive(call: Any) -> Any:
        made = log.noted("/service/Call", call, lambda error: type(error).__name__)(b"abc", Caller())
        try:
            made.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError

    assert drive(good) == b"abcabc"
    with pytest.raises(NotFound):
        drive(bad)
    log.start()
    log.stop()
    one, two = lines(tmp_path / "log")
    assert (one["method"], one["path"], one["status"], one["bytes_in"], one["bytes_out"], one["client"]) == (
        "gRPC",
        "/service/Call",
        "OK",
        3,
        6,
        "ipv4:1.2.3.4:5",
    )
    assert (two["status"], two["bytes_out"]) == ("NotFound", 0)
