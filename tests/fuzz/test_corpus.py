"""What fuzzing found worth keeping, run again: each input of the corpus and each seed, without the fuzzing engine."""

from __future__ import annotations

import asyncio
import logging
import struct

import pytest

from fuzz.__main__ import CORPUS
from fuzz.connections import FAULTS, Node, cuts, http, said
from fuzz.seeds import SEEDS
from fuzz.sessions import quick
from fuzz.targets import TARGETS

MAX_FILES, MAX_BYTES = 200, 300_000  # of the whole corpus, which is part of every clone


@pytest.fixture(autouse=True, scope="module")
def _listening():
    """Faults that the node logs are kept for the targets, not shown."""
    log = logging.getLogger("skerry")
    log.addHandler(FAULTS)
    log.propagate = False
    yield
    log.removeHandler(FAULTS)
    log.propagate = True


def test_the_corpus_is_small():
    files = [file for file in CORPUS.rglob("*") if file.is_file()]
    assert {file.parent.name for file in files} == set(TARGETS) == set(SEEDS)
    assert len(files) <= MAX_FILES
    assert sum(file.stat().st_size for file in files) <= MAX_BYTES


@pytest.mark.parametrize("target", TARGETS)
def test_what_was_found_before_is_not_found_again(target):
    for file in sorted((CORPUS / target).iterdir()):
        TARGETS[target].run(file.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_are_good(target):
    for seed in SEEDS[target]():
        TARGETS[target].run(seed)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("data", [b"", b"\0", b"\xff" * 40], ids=["nothing", "a zero", "ones"])
def test_nonsense_is_survived(target, data):
    TARGETS[target].run(data)


def test_the_targets_would_tell():
    """The checks see what is wrong: an answer that is cut off, one too many, and one that a fault of ours gave."""
    good = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    last = good.replace(b"content", b"connection: close\r\ncontent")
    assert said(good * 2 + last) == [200, 200, 200]
    for bad in (good[:20], b"junk" + good, last + good, good.replace(b"200 OK", b"500 No")):
        with pytest.raises(AssertionError):
            said(bad)


def test_http_reads_its_plan():
    stream = b"GET /health HTTP/1.1\r\n\r\n"
    http(b"\0" + cuts([(0, 3), (7, 200)]) + stream * 3)


def test_quick_reads_its_change():
    quick(struct.pack("<BHBB", 0, 1, 1, 1) + b"x" + b'{"inputs": []}')


@pytest.mark.parametrize("end", ["eof", "finish"])
def test_an_answer_that_waits_to_be_sent_with_others_goes_before_the_end(end):
    """Two clients asked together; the second says that it sends no more, or the node stops."""
    stream = b"GET /health HTTP/1.1\r\n\r\n"

    async def run() -> list[bytes]:
        node = Node(lane=False)
        lines = [node.line(), node.line()]
        for line in lines:
            line.feed(stream, patient=True)
        lines[1].step(end)
        await asyncio.sleep(0)
        told = [line.close() for line in lines]
        node.close()
        return told

    assert [said(told) for told in asyncio.run(run())] == [[200], [200]]
