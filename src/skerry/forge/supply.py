"""Boards for training, rendered ahead of the loop by other processes.

Which boards a step may draw from depends on the seed and the step alone, never on how fast rendering was.
Never here: torch (a rendering process starts in 0.2 s instead of 2), crops, targets.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from types import TracebackType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skerry.forge.boards import render_board
from skerry.forge.marks import LABELS

CHUNK = 16  # boards per task of a rendering process, about 1 s
AHEAD = 2  # chunks asked for before they are needed
KEPT = 1024  # boards in memory, 0.4 GB
FIRST = 256  # boards before the first step
FRESH = 4  # steps per new board: 16 crops a step, so a board is seen about 64 times and then forgotten
TRAIN_SEEDS = 10_000_000  # boards of run seed s have seeds from (s + 1) * this; samples and tests stay below it


class Example(NamedTuple):
    """A board as training needs it: pixels, and boxes [n,5] of x1 y1 x2 y2 label."""

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]


def make_example(seed: int) -> Example:
    """Render one training board; 4 to 22 defects, three times the density of real pairs, to learn more per step."""
    count = int(np.random.default_rng([seed, 1]).integers(4, 23))
    board = render_board(seed, count)
    rows = [(d.x1, d.y1, d.x2, d.y2, LABELS.index(d.label)) for d in board.defects]
    return Example(board.image, np.array(rows, np.float32).reshape(-1, 5))


def make_chunk(seed: int) -> list[Example]:
    return [make_example(seed + n) for n in range(CHUNK)]


class Boards:
    """The moving window of rendered boards; rendering runs in other processes, always a little ahead."""

    def __init__(self, seed: int, processes: int, first: int = FIRST) -> None:
        self._seed = (seed + 1) * TRAIN_SEEDS
        self._first = first
        self._pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
        self._asked: deque[Future[list[Example]]] = deque()
        self._chunks = 0
        self._window: deque[Example] = deque(maxlen=KEPT)
        self._arrived = 0

    def __enter__(self) -> Boards:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def skip_to(self, step: int) -> None:
        """Before a resumed run: leave out the boards that have fallen out of the window by `step`."""
        self._chunks = max(0, self._needed(step) - KEPT) // CHUNK
        self._arrived = self._chunks * CHUNK

    def _needed(self, step: int) -> int:
        boards = self._first + step // FRESH
        return (boards + CHUNK - 1) // CHUNK * CHUNK

    def at(self, step: int, last: int) -> deque[Example]:
        """Give the boards for one step of a run that ends with step `last`; wait where rendering is behind."""
        needed = self._needed(step)
        while self._chunks * CHUNK < min(needed + AHEAD * CHUNK, self._needed(last)):
            self._asked.append(self._pool.submit(make_chunk, self._seed + self._chunks * CHUNK))
            self._chunks += 1
        while self._arrived < needed:
            chunk = self._asked.popleft().result()
            self._window.extend(chunk)
            self._arrived += len(chunk)
        return self._window
