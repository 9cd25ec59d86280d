"""One look at every example before any long work: its digest, its size, whether it can be read at all.

Pictures are decoded small (a JPEG at an eighth of its sides), which is enough to meet a file that breaks off and to
find near-equal ones; decoding runs outside Python's lock, so threads share the work.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from skerry.core.errors import Invalid, TooLarge
from skerry.engine.arrays import Array
from skerry.engine.steps.image import DAMAGED, FORMATS, MAX_PIXELS
from skerry.forge.data.example import ARRAYS, IMAGE, Data, Example, Problem, read_file

Watch = Callable[[int, int, str], None]  # done, of how many, what
Thumb = NDArray[np.uint8]

THUMB = (17, 16)  # pixels, width and height: 16 differences in each of 16 rows
WORKERS = 2  # a file more than is decoded waits; small boxes have 2 processors
AHEAD = 64  # files that may wait decoded, so that a million of them do not lie in memory
TURNED = (5, 6, 7, 8)  # EXIF orientations that lie on their side
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Looked:
    """The data as it was found: `data` holds the good examples alone; `broken` the others, `odd` what is doubtful."""

    data: Data
    broken: tuple[Problem, ...]
    odd: tuple[Problem, ...]
    thumbs: Thumb | None = None  # [n, 16, 17, 3], in the order of the examples; None for what is no picture

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of every picture."""
        return tuple((example.width, example.height) for example in self.data.examples)


@dataclass(frozen=True)
class _Seen:
    example: Example
    thumb: Thumb | None = None
    broken: str = ""


def quiet(done: int, total: int, what: str) -> None:
    """Say nothing."""


def look(data: Data, watch: Watch = quiet, workers: int = WORKERS) -> Looked:
    """Open every example once; `watch` hears how far it is. Examples that cannot be read are listed, never raised."""
    if data.takes == ARRAYS:
        return Looked(replace(data, examples=tuple(_rows(data, watch))), (), data.problems)
    total, good, broken, thumbs = len(data.examples), [], [], []
    with ThreadPoolExecutor(workers) as pool:
        for done, seen in enumerate(_ahead(pool, data), 1):
            if seen.broken:
                broken.append(Problem(seen.example.name, seen.broken))
            else:
                good.append(seen.example)
                if seen.thumb is not None:
                    thumbs.append(seen.thumb)
            watch(done, total, "looking")
    odd = [*data.problems, *_outside(good)]
    kept = replace(data, examples=tuple(good))
    return Looked(kept, tuple(broken), tuple(odd), np.stack(thumbs) if thumbs else None)


def _ahead(pool: ThreadPoolExecutor, data: Data) -> Iterator[_Seen]:
    """Give what was seen in order, with no more than AHEAD files begun."""
    todo = iter(data.examples)
    running = [pool.submit(_see, data, example) for example in islice(todo, AHEAD)]
    while running:
        first, *running = running
        running += [pool.submit(_see, data, example) for example in islice(todo, 1)]
        yield first.result()


def _see(data: Data, example: Example) -> _Seen:
    try:
        content = read_file(data.root, example.name)
    except (Invalid, TooLarge) as error:
        return _Seen(example, broken=str(error))
    named = replace(example, digest=hashlib.sha256(content).hexdigest())
    if not content:
        return _Seen(named, broken="empty file")
    if data.takes == IMAGE:
        return _picture(named, content)
    sound = content[:4] in (b"RIFF", b"RIFX") and content[8:12] == b"WAVE"
    return _Seen(named, broken="" if sound else "not a WAV file, whatever its name says")


def _picture(example: Example, content: bytes) -> _Seen:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                return _Seen(example, broken=f"{width} x {height} pixels; a node takes {MAX_PIXELS} at most")
            if image.getexif().get(ORIENTATION) in TURNED:
                width, height = height, width
            image.draft("RGB", (THUMB[0] * 4, THUMB[1] * 4))
            small = image.convert("RGB").resize(THUMB, Image.Resampling.BILINEAR)
    except DAMAGED as error:  # Pillow's UnidentifiedImageError is an OSError
        text = str(error).split(" <_io", maxsplit=1)[0]
        return _Seen(example, broken=f"cannot be decoded: {text}")
    return _Seen(replace(example, width=width, height=height), np.asarray(small))


def _rows(data: Data, watch: Watch) -> Iterator[Example]:
    total = len(data.examples)
    names: list[tuple[bytes, Array]] = [(f"{n} {a.dtype.str} ".encode(), a) for n, a in sorted(data.arrays.items())]
    for index, example in enumerate(data.examples):
        content = hashlib.sha256()
        for name, array in names:
            content.update(name)
            content.update(np.ascontiguousarray(array[data.rows[index]]).tobytes())
        yield replace(example, digest=content.hexdigest())
        if (index + 1) % 1000 == 0 or index + 1 == total:
            watch(index + 1, total, "looking")


def _outside(examples: Iterable[Example]) -> Iterator[Problem]:
    """Give the boxes that reach out of their picture by more than a pixel of rounding."""
    for example in examples:
        for place, box in enumerate(example.boxes):
            if min(box.x1, box.y1) < -1 or box.x2 > example.width + 1 or box.y2 > example.height + 1:
                size = f"{example.width} x {example.height}"
                yield Problem(example.name, f"box {place} ('{box.label}') reaches out of the picture of {size}")
