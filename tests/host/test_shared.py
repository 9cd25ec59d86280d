"""The arena and the channel: what two processes share."""

from __future__ import annotations

import mmap
import os
import select
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.errors import QueueFull
from skerry.host.shared import PAGE, TRIM, Arena, Channel, map_arena

MIB = 1 << 20
BUDGET = 16 * MIB


@pytest.fixture
def arena():
    found = Arena(64 * MIB, BUDGET)
    yield found
    found.close()


def held(arena):
    """Bytes of memory that the arena really has."""
    return os.fstat(arena.fd).st_blocks * 512


def test_another_process_sees_what_is_written(arena):
    block = arena.cut(10)
    arena.view[block.at : block.at + 3] = b"abc"
    seen = map_arena(os.dup(arena.fd))
    assert bytes(seen[block.at : block.at + 3]) == b"abc"
    seen[block.at] = ord("x")
    assert arena.view[block.at] == ord("x")


def test_blocks_are_whole_pages_and_used_again(arena):
    one, two = arena.cut(1), arena.cut(PAGE + 1)
    assert (one.size, two.size, arena.used) == (PAGE, 2 * PAGE, 3 * PAGE)
    arena.free(one)
    assert arena.cut(PAGE) == one
    arena.free(two)
    assert arena.cut(2 * PAGE) == two


def test_the_budget_is_kept_and_named(arena):
    blocks = [arena.cut(4 * MIB) for _ in range(4)]
    with pytest.raises(QueueFull, match=f"requests: {BUDGET} bytes of them are waiting, and {BUDGET} may; try later"):
        arena.cut(1)
    arena.free(blocks.pop())
    arena.free(arena.cut(4 * MIB))
    with pytest.raises(QueueFull):
        arena.cut(4 * MIB + 1)


def test_an_arena_without_room_in_one_piece_says_so():
    arena = Arena(4 * MIB, BUDGET)
    arena.cut(2 * MIB)
    arena.cut(1 * MIB)
    with pytest.raises(QueueFull, match=f"no {2 * MIB} bytes in one piece are free"):
        arena.cut(2 * MIB)
    arena.close()


def test_untouched_memory_costs_nothing_and_trim_gives_back_the_rest(arena):
    block = arena.cut(8 * MIB)
    assert held(arena) == 0
    arena.view[block.at : block.at + 8 * MIB] = bytes(8 * MIB)
    assert held(arena) == 8 * MIB
    arena.free(block)
    assert held(arena) == 8 * MIB  # soon used again, as a rule
    arena.trim()
    assert held(arena) == 0
    assert bytes(arena.view[block.at : block.at + 3]) == bytes(3)


def test_trim_beside_blocks_in_use_gives_back_the_large_ones_and_touches_no_other(arena):
    keep, large, small = arena.cut(100), arena.cut(4 * MIB), arena.cut(TRIM // 2)
    for block in (keep, large, small):
        arena.view[block.at : block.at + block.size] = b"k" * block.size
    arena.free(large)
    arena.free(small)
    arena.trim()
    assert held(arena) == keep.size + small.size
    assert bytes(arena.view[keep.at : keep.at + keep.size]) == b"k" * keep.size
    assert arena.cut(4 * MIB) == large


def test_when_all_is_free_any_size_fits_again():
    arena = Arena(4 * MIB, BUDGET)
    arena.free(arena.cut(4 * MIB))
    with pytest.raises(QueueFull, match="in one piece"):
        arena.cut(1)
    arena.trim()
    arena.cut(1)
    arena.close()


def test_blocks_can_be_given_back_to_the_machine_page_by_page():
    assert PAGE % mmap.PAGESIZE == 0  # 16 KiB on some ARM boards


def test_close_while_something_still_looks_into_it():
    arena = Arena(MIB, BUDGET)
    block = arena.cut(10)
    piece = arena.view[block.at : block.at + 10]
    arena.close()
    assert bytes(piece) == bytes(10)
    piece.release()


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("cut"), st.integers(1, 6 * MIB)),
        st.tuples(st.just("cut"), st.integers(1, 4 * PAGE)),
        st.tuples(st.just("free"), st.integers(0, 20)),
        st.tuples(st.just("trim"), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=100)
@given(ACTS)
def test_blocks_never_overlap_and_keep_their_bytes(acts):
    arena, blocks, mark = Arena(32 * MIB, BUDGET), [], 0
    for what, value in acts:
        if what == "cut":
            try:
                block = arena.cut(value)
            except QueueFull:
                continue
            assert block.size >= value
            assert block.at % PAGE == 0
            assert block.at + block.size <= arena.size
            assert all(block.at + block.size <= b.at or b.at + b.size <= block.at for b, _ in blocks)
            mark = mark % 255 + 1
            arena.view[block.at] = arena.view[block.at + block.size - 1] = mark
            blocks.append((block, mark))
        elif what == "free" and value < len(blocks):
            arena.free(blocks.pop(value)[0])
        elif what == "trim":
            arena.trim()
        assert arena.used == sum(b.size for b, _ in blocks) <= BUDGET
        assert all(arena.view[b.at] == arena.view[b.at + b.size - 1] == m for b, m in blocks)
    for block, _ in blocks:
        arena.free(block)
    arena.trim()
    assert held(arena) == arena.used == 0
    arena.close()


# --- the channel ---

CALL, ANSWER = struct.Struct("<QQ"), struct.Struct("<QQH")
THREADS = 4
CHILD = f"""
import struct, sys, threading
from skerry.host.shared import Channel
channel = Channel(struct.Struct("<QQ"), struct.Struct("<QQH"), tuple(map(int, sys.argv[1:])))
lock = threading.Lock()
def work(number):
    while True:
        channel.wait()
        with lock:
            one, two = channel.take()
        if not two:
            return
        with lock:
            channel.answer(one, one * two, number)
threads = [threading.Thread(target=work, args=(n,)) for n in range({THREADS})]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_every_call_is_answered_once_whichever_thread_takes_it(source):
    channel = Channel(CALL, ANSWER)
    child = subprocess.Popen([sys.executable, "-c", CHILD, *map(str, channel.fds)], env=source, pass_fds=channel.fds)
    count, sent, found, by = 20_000, 0, {}, set()
    while len(found) < count:
        while sent < count and sent - len(found) < Channel.SLOTS:
            channel.send(sent, sent + 1)
            sent += 1
        assert select.select([channel.back], [], [], 20)[0]
        for number, product, thread in channel.receive():
            assert number not in found
            found[number] = product
            by.add(thread)
    assert all(product == number * (number + 1) for number, product in found.items())
    assert len(by) > 1
    for _ in range(THREADS):
        channel.send(0, 0)
    assert child.wait(20) == 0
    assert channel.receive() == []
    channel.close()


def test_a_channel_that_is_full_is_emptied_whole():
    channel = Channel(CALL, ANSWER)
    for round_number in range(3):
        for number in range(Channel.SLOTS):
            channel.send(number, round_number)
        for _ in range(Channel.SLOTS):
            channel.wait()
            number, two = channel.take()
            channel.answer(number, two, 1)
        assert channel.receive() == [(number, round_number, 1) for number in range(Channel.SLOTS)]
    channel.close()


def test_a_taker_waits_until_there_is_something():
    channel = Channel(CALL, ANSWER)
    taken = []
    thread = threading.Thread(target=lambda: (channel.wait(), taken.append(channel.take())))
    thread.start()
    thread.join(0.05)
    assert taken == []
    channel.send(7, 8)
    thread.join(10)
    assert taken == [(7, 8)]
    channel.close()


def test_closing_leaves_no_file_descriptor():
    before = len(list(Path("/proc/self/fd").iterdir()))
    channel, arena = Channel(CALL, ANSWER), Arena(MIB, MIB)
    channel.close()
    arena.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
