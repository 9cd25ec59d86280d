"""From findings to what is drawn over a picture: boxes and tags in the pixels of the original. Numbers out, no HTML.

A box comes from a node and may lie anywhere; what is drawn lies inside the picture.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from skerry.core.finding import Box, Finding
from skerry.hub.console.words import score
from skerry.hub.store.results import ResultRow

HUES = 7  # as many as skerry.css has; seven of Okabe and Ito's, told apart by colour-blind eyes
MAX_DRAWN = 200  # boxes; more would be a carpet, and a page of megabytes
MAX_TAG = 28  # characters of one tag
CROWD = 3  # boxes in a small picture that still have tags
SMALL, LARGE = 12, 28  # how many lines of tag text a picture is high
WIDE = 0.62  # a monospaced character's width by its height


@dataclass(frozen=True)
class Tag:
    """A label beside a box."""

    text: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Mark:
    """One box and its tag, if it has one."""

    x: float
    y: float
    width: float
    height: float
    hue: int
    tag: Tag | None


@dataclass(frozen=True)
class Overlay:
    """All that is drawn over one picture."""

    width: int
    height: int
    line: float  # height of a line of text; also the measure of strokes
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Key:
    """What was found, by label: how often, how sure at best, and in which colour."""

    label: str
    count: int
    best: float
    hue: int

    @property
    def score(self) -> str:
        """How sure the model was at best."""
        return score(self.best)


def hue(found: Finding) -> int:
    """Return the colour of a finding's class: the same in every picture."""
    return (found.index if found.index >= 0 else zlib.crc32(found.label.encode())) % HUES


def keys(findings: Sequence[Finding]) -> tuple[Key, ...]:
    """Return what was found, most frequent first."""
    counts, first = Counter(f.label for f in findings), {f.label: hue(f) for f in reversed(findings)}
    best: dict[str, float] = {}
    for found in findings:
        best[found.label] = max(found.score, best.get(found.label, found.score))
    return tuple(Key(label, number, best[label], first[label]) for label, number in counts.most_common())


def small(row: ResultRow) -> Overlay | None:
    """Return the overlay of a card; a crowd of boxes has no tags there."""
    boxes = [f for f in row.findings if f.box is not None]
    return _overlay(row, boxes, SMALL, tags=len(boxes) <= CROWD)


def large(row: ResultRow) -> Overlay | None:
    """Return the overlay of a page of its own."""
    return _overlay(row, [f for f in row.findings if f.box is not None], LARGE, tags=True)


def _overlay(row: ResultRow, boxes: Sequence[Finding], lines: int, tags: bool) -> Overlay | None:
    if row.picture is None or row.width < 1 or row.height < 1:
        return None
    line = max(row.width / 1.5, row.height) / lines
    marks: list[Mark] = []
    taken: list[Tag] = []
    for found in boxes[:MAX_DRAWN]:
        assert found.box is not None  # only such are given
        left, right = (_inside(value, row.width) for value in (found.box[0], found.box[2]))
        top, bottom = (_inside(value, row.height) for value in (found.box[1], found.box[3]))
        place = (left, top, right, bottom)
        tag = _tag(found, place, (row.width, row.height), line, taken) if tags else None
        taken += [tag] if tag else []
        marks.append(Mark(left, top, max(0.0, right - left), max(0.0, bottom - top), hue(found), tag))
    return Overlay(row.width, row.height, line, tuple(marks))


def _tag(found: Finding, box: Box, space: tuple[int, int], line: float, taken: Sequence[Tag]) -> Tag | None:
    """Return a tag above, below or beside the box, where none is yet; None if there is no room."""
    text = f"{found.label[: MAX_TAG - 6]} {score(found.score)}"
    width, height = len(text) * WIDE * line * 0.8 + 0.5 * line, line * 1.1
    left, top, right, bottom = box
    above = top - height
    for x, y in ((left, above), (left, bottom), (right, top), (left - width, top), (right - width, above)):
        tag = Tag(text, round(max(0.0, min(x, space[0] - width)), 2), round(y, 2), round(width, 2), round(height, 2))
        if 0 <= y <= space[1] - height and not any(_overlap(tag, other) for other in taken):
            return tag
    return None


def _overlap(one: Tag, other: Tag) -> bool:
    apart = one.x + one.width <= other.x or other.x + other.width <= one.x
    return not (apart or one.y + one.height <= other.y or other.y + other.height <= one.y)


def _inside(value: float, edge: int) -> float:
    return round(min(max(value, 0.0), float(edge)), 2)
