"""From files to pixels: decoded and resized once, by the very steps that the bundle will declare, and kept on disk.

What is trained on is a little larger than what the net takes, so that zooming and shifting have something to take from;
what is judged on is exactly what a node will feed. Never here: augmentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from skerry.core.errors import Invalid, SkerryError
from skerry.core.manifest import StepEntry
from skerry.engine.steps.plan import plan
from skerry.engine.steps.step import PreStep, Trace, read_step
from skerry.engine.steps.table import PRE
from skerry.forge.data import Data, data_digest
from skerry.forge.data.look import WORKERS, Watch

MEAN, STD = 0.5, 0.25  # of every channel; the first batch norm learns the rest
ROOM = 8 / 7  # side of what is kept for training, over the net's own: 256 for 224
AHEAD = 64  # pictures decoded at once

Pixels = NDArray[np.uint8]


def steps(side: int, channels: int) -> tuple[StepEntry, ...]:
    """Return the steps before the model, as the manifest declares them."""
    return (
        *geometry(side, channels),
        StepEntry("normalise", {"mean": [MEAN], "std": [STD]}),
        StepEntry("layout", {"to": "NCHW"}),
    )


def geometry(side: int, channels: int) -> tuple[StepEntry, ...]:
    """Return those of the steps that make pixels of a size."""
    colour = "grey" if channels == 1 else "rgb"
    return (
        StepEntry("decode_image", {"colour": colour, "scaled": True}),
        StepEntry("resize", {"width": side, "height": side, "filter": "bilinear"}),
    )


def roomy(side: int) -> int:
    """Return the side of the pixels kept for training."""
    return round(side * ROOM)


class Decoder:
    """The steps of a bundle, or some of them, on one file's bytes."""

    def __init__(self, entries: tuple[StepEntry, ...]) -> None:
        self._steps = plan([cast("PreStep", read_step(entry, PRE, "pre")) for entry in entries])

    def __call__(self, encoded: bytes) -> NDArray[Any]:
        """Return what the steps make of it; raise Invalid or TooLarge."""
        value: NDArray[Any] = np.frombuffer(encoded, dtype=np.uint8)
        trace = Trace()
        for step in self._steps:
            value = step(value, trace)
        return value


def kept(data: Data, side: int, channels: int, folder: Path, watch: Watch) -> Pixels:
    """Return pixels [n, side, side, channels] of every example, kept in `folder` from one call to the next.

    They lie in a file that is mapped: pictures may be more than there is memory. Raise Invalid naming a bad example.
    """
    shape = (len(data.examples), side, side, channels)
    path = folder / f"{data_digest(data)[-16:]}-{side}.npy"
    if path.is_file():
        found = np.load(path, mmap_mode="r")
        if found.shape == shape and found.dtype == np.uint8:
            return cast("Pixels", found)
    new = path.with_name(f".{path.name}.new")
    made = open_memmap(new, "w+", np.uint8, shape)
    for place, pixels in enumerate(_decoded(data, Decoder(geometry(side, channels)))):
        made[place] = pixels
        watch(place + 1, shape[0], "decoding")
    made.flush()
    new.rename(path)  # a cut leaves none, or a whole one
    return cast("Pixels", np.load(path, mmap_mode="r"))


def _decoded(data: Data, decoder: Decoder) -> Iterator[NDArray[Any]]:
    def one(index: int) -> NDArray[Any]:
        try:
            return decoder(data.encoded(index))
        except SkerryError as error:
            raise Invalid(f"{data.examples[index].name}: {error}") from None

    with ThreadPoolExecutor(WORKERS) as pool:
        for start in range(0, len(data.examples), AHEAD):
            yield from pool.map(one, range(start, min(start + AHEAD, len(data.examples))))
