"""Shared memory of others: what is opened, what is refused, and what happens when it changes under one's hands."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Conflict, Invalid, NotAllowed, NotFound, RequestError
from skerry.host.regions import (
    MAX_BOARD,
    MAX_MAPPED,
    SEALS,
    Board,
    Memory,
    Place,
    Regions,
    check_size,
    open_named,
    sealed,
)

ME = {os.geteuid()}


def memory(size: int, seals: int = SEALS) -> int:
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


@pytest.fixture
def board() -> Iterator[Board]:
    found = Board()
    yield found
    found.close()


@pytest.fixture
def held() -> Iterator[Memory]:
    found = sealed(memory(4096))
    os.pwrite(found.fd, bytes(range(256)) * 16, 0)
    yield found
    found.close()


def test_named_memory_is_opened(tmp_path: Path) -> None:
    (tmp_path / "frames").write_bytes(b"0123456789")
    for key in ("frames", "/frames"):
        found = open_named(key, ME, tmp_path)
        assert found.writable
        assert os.pread(found.fd, 3, 2) == b"234"
        assert not os.get_inheritable(found.fd)
        found.close()


@pytest.mark.parametrize(
    "key", ["", "/", ".", "..", "/..", "a/b", "//a", "../x", "a\0b", "\ud800", "é" * 128, "x" * 256]
)
def test_a_key_that_could_lead_elsewhere_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(Invalid, match="expected the name of POSIX shared memory"):
        open_named(key, ME, tmp_path)


@given(st.text(max_size=40) | st.text("./ahere", max_size=8))
def test_no_key_leads_out_of_the_folder(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "inside" / "shm"
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / "secret").write_bytes(b"x")
    (folder / "here").write_bytes(b"x")
    try:
        found = open_named(key, ME, folder)
    except RequestError:
        return
    assert found.inode == (folder / "here").stat().st_ino
    found.close()


def test_what_is_no_memory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for key in ("link", "folder", "fifo"):
        with pytest.raises(Invalid, match="is not shared memory"):
            open_named(key, ME, tmp_path)
    with pytest.raises(NotFound, match="no shared memory is called 'none'"):
        open_named("none", ME, tmp_path)
    with pytest.raises(NotAllowed, match=f"belongs to user {os.geteuid()}, who may share none"):
        open_named("real", {12345}, tmp_path)


def test_only_memory_that_can_never_shrink_is_taken() -> None:
    for seals, missing in (
        (0, "F_SEAL_SHRINK and F_SEAL_SEAL"),
        (fcntl.F_SEAL_SHRINK, "lacks F_SEAL_SEAL"),
        (fcntl.F_SEAL_SEAL, "lacks F_SEAL_SHRINK"),
    ):
        fd = memory(10, seals)
        with pytest.raises(Invalid, match=missing):
            sealed(fd)
        os.close(fd)
    reading, writing = os.pipe()
    with pytest.raises(Invalid, match="expected one of memfd_create"):
        sealed(reading)
    os.close(reading)
    os.close(writing)
    assert sealed(memory(10, SEALS | fcntl.F_SEAL_GROW)).writable


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, 0), (0, 4097), (4096, 1), (1, 4096), (1 << 62, 1 << 62)])
def test_a_region_lies_inside_its_memory(held: Memory, offset: int, size: int) -> None:
    check_size(Place(held, 0, 4096))
    with pytest.raises(Invalid, match="expected a part of the 4096 bytes"):
        check_size(Place(held, offset, size))


def test_regions_are_read_and_written(board: Board, held: Memory) -> None:
    board.write({"a": Place(held, 256, 100)})
    regions = Regions(board.path)
    assert regions.read("a", 10, 3) == bytes([10, 11, 12])
    regions.write("a", 97, memoryview(b"xyz"))
    assert os.pread(held.fd, 5, 256 + 96) == bytes([96]) + b"xyz" + bytes([100])
    assert regions.read("a", 100, 0) == b""
    for offset, size in ((97, 4), (101, 0), (0, 101), (1 << 63, 1)):
        with pytest.raises(Invalid, match="expected at most 100 bytes"):
            regions.read("a", offset, size)
    with pytest.raises(Invalid, match="expected at most 100 bytes"):
        regions.write("a", 98, b"xyz")
    with pytest.raises(NotFound, match="Unable to find shared memory region: 'b'"):
        regions.read("b", 0, 1)


def test_another_process_reads_what_the_board_says(board: Board, held: Memory) -> None:
    board.write({"a": Place(held, 0, 100)})
    code = "import sys; from skerry.host.regions import Regions; print(Regions(sys.argv[1]).read('a', 65, 3).decode())"
    found = subprocess.run([sys.executable, "-c", code, board.path], capture_output=True, check=True)
    assert found.stdout == b"ABC\n"


def test_without_a_board_there_are_no_regions() -> None:
    regions = Regions()
    regions.refresh()
    with pytest.raises(Invalid, match="this node shares no memory; see 'shared_memory'"):
        regions.read("a", 0, 1)
    with pytest.raises(Invalid):
        regions.write("a", 0, b"x")


def test_what_is_not_registered_any_more_is_let_go(board: Board, held: Memory) -> None:
    board.write({"a": Place(held, 0, 100)})
    regions, before = Regions(board.path), opened()
    regions.read("a", 0, 1)
    assert opened() > before
    board.write({})
    regions.refresh()
    assert opened() == before
    with pytest.raises(NotFound):
        regions.read("a", 0, 1)


def test_a_number_that_is_used_again_is_not_taken_for_the_region(board: Board, held: Memory) -> None:
    board.write({"a": Place(replace(held, inode=held.inode + 1), 0, 100)})
    with pytest.raises(NotFound):
        Regions(board.path).read("a", 0, 1)
    board.write({"a": Place(replace(held, fd=12345), 0, 100)})
    with pytest.raises(NotFound):
        Regions(board.path).read("a", 0, 1)


def test_a_region_of_the_same_name_is_another_one(board: Board, held: Memory) -> None:
    other = sealed(memory(4096))
    regions = Regions(board.path)
    board.write({"a": Place(held, 1, 1)})
    assert regions.read("a", 0, 1) == b"\x01"
    board.write({"a": Place(other, 1, 1)})
    assert regions.read("a", 0, 1) == b"\0"
    other.close()


def test_memory_that_has_shrunk_is_an_error_and_does_not_grow(board: Board, tmp_path: Path) -> None:
    path = tmp_path / "frames"
    path.write_bytes(b"x" * 100)
    found = open_named("frames", ME, tmp_path)
    board.write({"a": Place(found, 0, 100)})
    regions = Regions(board.path)
    assert regions.read("a", 0, 100) == b"x" * 100
    os.truncate(path, 50)
    assert regions.read("a", 0, 50) == b"x" * 50
    with pytest.raises(Invalid, match="has become shorter than it was registered"):
        regions.read("a", 0, 100)
    with pytest.raises(Invalid, match="has become shorter than it was registered"):
        regions.write("a", 90, b"0123456789")
    assert path.stat().st_size == 50
    path.unlink()
    assert regions.read("a", 0, 50) == b"x" * 50
    found.close()


def test_memory_that_may_not_be_written_says_so(board: Board) -> None:
    fd = memory(100, SEALS | fcntl.F_SEAL_WRITE)
    found = sealed(fd)
    board.write({"a": Place(found, 0, 100)})
    regions = Regions(board.path)
    assert regions.read("a", 0, 2) == b"\0\0"
    with pytest.raises(Invalid, match="it cannot be written"):
        regions.write("a", 0, b"x")
    found.close()


@pytest.mark.parametrize("offset", [0, 1, 4095, 4096, 5000])
@pytest.mark.parametrize("steady", [True, False])
def test_mapped_or_not_it_is_the_same(board: Board, offset: int, steady: bool) -> None:
    found = replace(sealed(memory(20_000)), steady=steady)
    os.pwrite(found.fd, bytes(range(256)) * 70, 0)
    board.write({"a": Place(found, offset, 10_000)})
    regions = Regions(board.path)
    assert regions.read("a", 7, 3) == bytes(((offset + 7 + number) % 256) for number in range(3))
    assert (regions._opened["a"].map is not None) == steady
    regions.write("a", 9_998, b"xy")
    assert os.pread(found.fd, 2, offset + 9_998) == b"xy"
    regions.write("a", 0, memoryview(array("i", [1, 2])))
    assert regions.read("a", 0, 8) == array("i", [1, 2]).tobytes()
    data = regions.read("a", 0, 8)
    os.pwrite(found.fd, bytes(8), offset)
    assert data == array("i", [1, 2]).tobytes(), "it is a copy"
    found.close()


def test_only_so_much_is_mapped(board: Board) -> None:
    found = [sealed(memory(MAX_MAPPED // 2)) for _ in range(3)]
    board.write({str(number): Place(one, 0, MAX_MAPPED // 2) for number, one in enumerate(found)})
    regions = Regions(board.path)
    for number in range(3):
        assert regions.read(str(number), MAX_MAPPED // 2 - 1, 1) == b"\0"
    assert [regions._opened[str(number)].map is not None for number in range(3)] == [True, True, False]
    board.write({"2": Place(found[2], 0, MAX_MAPPED // 2 - 1)})
    assert regions.read("2", 0, 1) == b"\0"
    assert regions._opened["2"].map is not None
    for one in found:
        one.close()


def test_huge_pages_are_not_mapped() -> None:
    try:
        fd = os.memfd_create("test", os.MFD_ALLOW_SEALING | os.MFD_HUGETLB)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except OSError:
        pytest.skip("this kernel has no huge pages, or none that can be sealed")
    found = sealed(fd)
    assert not found.steady
    found.close()


def test_too_much_for_the_board_is_refused(board: Board, held: Memory) -> None:
    places = {f"{number}-{'x' * 200}": Place(held, 0, 1) for number in range(MAX_BOARD // 200)}
    with pytest.raises(Conflict, match="too many are registered"):
        board.write(places)


def test_a_half_written_board_is_never_believed(board: Board, held: Memory) -> None:
    board.write({"a": Place(held, 0, 100)})
    fd = os.open(board.path, os.O_RDWR)
    os.pwrite(fd, b"}", 30)
    with pytest.raises(NotFound, match="they are being changed; try again"):
        Regions(board.path).read("a", 0, 1)
    os.close(fd)


def test_threads_read_while_regions_come_and_go(board: Board, held: Memory) -> None:
    board.write({"a": Place(held, 7, 1)})
    regions, wrong, stop = Regions(board.path), [], threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                data = regions.read("a", 0, 1)
            except NotFound:
                continue
            if data != b"\x07":
                wrong.append(data)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(300):
        places = {f"other{number}": Place(held, 9, 1)} if number % 2 else {"a": Place(held, 7, 1)}
        board.write(places)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


def opened() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208
