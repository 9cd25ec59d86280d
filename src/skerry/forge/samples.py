"""From rendered boards to training batches: which crops, which targets.

Everything here is a function of (seed, step): a run that stops and goes on draws the same samples as one
that never stopped. Never here: the network, the loss, files, processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skerry.forge.marks import LABELS
from skerry.forge.models.detector import STRIDE
from skerry.forge.supply import Boards, Example

TWIN = np.array([LABELS.index(n) for n in ("short", "open", "spur", "mousebite", "pin-hole", "copper")])


class Batch(NamedTuple):
    image: NDArray[np.float32]  # [N,1,C,C]
    heat: NDArray[np.float32]  # [N,6,c,c] gaussians, exactly 1 in the cell of a centre
    box: NDArray[np.float32]  # [N,4,c,c] distances in px, where `weight` is above 0
    weight: NDArray[np.float32]  # [N,c,c] of the box loss
    judged: NDArray[np.float32]  # [N,1,c,c] 0 where a defect is cut by the edge of the crop


@dataclass(frozen=True)
class Crops:
    """How a batch is cut from boards."""

    batch: int = 16
    side: int = 256  # px; a multiple of 16, the deepest stride of the detector


def _crop(rng: np.random.Generator, example: Example, side: int) -> Example:
    """Cut a square: half of the time around a defect, else anywhere; then turn, mirror, perhaps negate."""
    image, boxes = example
    limit = len(image) - side
    x, y = rng.integers(0, limit + 1, 2).tolist()
    if len(boxes) and rng.random() < 0.5:
        x1, y1, x2, y2, _ = boxes[rng.integers(len(boxes))].tolist()
        x = int(np.clip((x1 + x2) / 2 - rng.uniform(0.1, 0.9) * side, 0, limit))
        y = int(np.clip((y1 + y2) / 2 - rng.uniform(0.1, 0.9) * side, 0, limit))
    image, boxes = image[y : y + side, x : x + side], boxes - np.array([x, y, x, y, 0], np.float32)
    if rng.random() < 0.5:
        image, boxes = (
            image[:, ::-1],
            np.stack([side - 1 - boxes[:, 2], boxes[:, 1], side - 1 - boxes[:, 0], boxes[:, 3], boxes[:, 4]], 1),
        )
    if rng.random() < 0.5:
        image, boxes = (
            image[::-1],
            np.stack([boxes[:, 0], side - 1 - boxes[:, 3], boxes[:, 2], side - 1 - boxes[:, 1], boxes[:, 4]], 1),
        )
    if rng.random() < 0.5:
        image, boxes = image.T, boxes[:, [1, 0, 3, 2, 4]]
    if rng.random() < 0.2:  # the negative of a short is an open, of a spur a mousebite, of copper a pin-hole
        image = 255 - image
        boxes = np.concatenate([boxes[:, :4], TWIN[boxes[:, 4].astype(int)][:, None].astype(np.float32)], 1)
    return Example(image, boxes)


def _soften(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blur 3x3: the grey edges of an image that was resized or came as JPEG."""
    padded = np.pad(image, 1, mode="edge")
    rows = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    return np.asarray((rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 4, np.float32)


def _paint(batch: Batch, n: int, boxes: NDArray[np.float32], side: int) -> None:
    """Write the targets of one crop into row `n` of a batch."""
    cells = side // STRIDE
    middles = (np.arange(cells, dtype=np.float32) + 0.5) * STRIDE
    for x1, y1, x2, y2, label in boxes.tolist():
        cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
        left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, side - 1), min(y2, side - 1)
        if right - left < 4 or bottom - top < 4:
            continue
        cut = (right - left) * (bottom - top) / ((x2 - x1) * (y2 - y1))
        if cut < 0.9:
            rows = slice(int(top // STRIDE), int(bottom // STRIDE) + 1)
            batch.judged[n, 0, rows, int(left // STRIDE) : int(right // STRIDE) + 1] = 0
            continue
        cx, cy = (left + right) / 2, (top + bottom) / 2
        spread = np.maximum(0.6, 0.14 * np.array([right - left, bottom - top]) / STRIDE) * STRIDE
        bump = np.exp(-(((middles[None] - cx) / spread[0]) ** 2 + ((middles[:, None] - cy) / spread[1]) ** 2) / 2)
        row, column = min(int(cy / STRIDE), cells - 1), min(int(cx / STRIDE), cells - 1)
        bump[row, column] = 1.0
        batch.heat[n, int(label)] = np.maximum(batch.heat[n, int(label)], bump)
        mine = (bump > 0.3) & (bump > batch.weight[n])
        batch.weight[n][mine] = bump[mine]
        sides = (middles[None] - left, middles[:, None] - top, right - middles[None], bottom - middles[:, None])
        for k, distance in enumerate(sides):
            batch.box[n, k][mine] = np.maximum(np.broadcast_to(distance, bump.shape)[mine], 0)


def make_batch(boards: deque[Example], crops: Crops, seed: int, step: int) -> Batch:
    """Cut and paint the batch of one step."""
    rng = np.random.default_rng([seed, step])
    size, cells = crops.batch, crops.side // STRIDE
    batch = Batch(
        image=np.empty((size, 1, crops.side, crops.side), np.float32),
        heat=np.zeros((size, len(LABELS), cells, cells), np.float32),
        box=np.zeros((size, 4, cells, cells), np.float32),
        weight=np.zeros((size, cells, cells), np.float32),
        judged=np.ones((size, 1, cells, cells), np.float32),
    )
    for n in range(size):
        image, boxes = _crop(rng, boards[int(rng.integers(len(boards)))], crops.side)
        grey = np.asarray(image, np.float32) / np.float32(255)
        batch.image[n, 0] = _soften(grey) if rng.random() < 0.25 else grey
        _paint(batch, n, boxes, crops.side)
    return batch


def batches(boards: Boards, crops: Crops, seed: int, steps: range) -> Iterator[Batch]:
    """Yield the batches of a range of steps."""
    boards.skip_to(steps.start)
    for step in steps:
        yield make_batch(boards.at(step, steps.stop - 1), crops, seed, step)
