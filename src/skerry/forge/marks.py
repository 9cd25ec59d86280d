"""The six defects of a bare board: strokes of copper or of nothing, named by what they touch.

The law: a stroke of copper that touches no copper is `copper`, one body is a `spur`, two bodies a `short`;
a stroke of nothing that touches no bare area is a `pin-hole`, one a `mousebite`, two an `open`. The second
row is the first on the negative image, so one rule decides all six. Never here: layouts, scans, files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from skerry.forge.bodies import Mask, bodies, grow

LABELS = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
# label -> (does it add copper, how many bodies of its own kind does it touch)
NATURE = {
    "copper": (True, 0),
    "spur": (True, 1),
    "short": (True, 2),
    "pin-hole": (False, 0),
    "mousebite": (False, 1),
    "open": (False, 2),
}

BOX_MARGIN = 10  # px around the changed pixels: the annotators of DeepPCB left 10 px, measured on trainval
LOOK_AROUND = 12  # px around a stroke in which bodies are told apart; a trace that joins further off counts as two
CLEAR = 3  # px of distance that `copper` and `pin-hole` keep from any edge, so that a label is never a matter of taste
FEWEST = 22  # changed px; smaller is scanning noise
TRIES = 30  # strokes tried for one defect before it is given up

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Defect:
    """One true defect: its label and its box in pixels, right and bottom side included."""

    label: str
    x1: int
    y1: int
    x2: int
    y2: int


@dataclass(frozen=True)
class Ground:
    """What a stroke is put on: the copper as it is now, and the outlines where strokes may start."""

    copper: Mask
    edges: NDArray[np.int64]  # [n, 2] y, x of copper pixels next to bare board
    slope_y: NDArray[np.float32]  # points into the copper
    slope_x: NDArray[np.float32]

    @classmethod
    def of(cls, copper: Mask) -> Ground:
        soft = np.asarray(Image.fromarray(copper.astype(np.uint8) * 255).filter(ImageFilter.BoxBlur(4)), np.float32)
        inner = copper.copy()
        inner[1:-1, 1:-1] &= copper[:-2, 1:-1] & copper[2:, 1:-1] & copper[1:-1, :-2] & copper[1:-1, 2:]
        slopes = np.asarray(np.gradient(soft), np.float32)
        return cls(copper, np.argwhere(copper & ~inner), slopes[0], slopes[1])


def _wander(rng: np.random.Generator, start: Points, heading: float, length: float) -> Points:
    """Lay a path as a hand draws it: straight, bent once, curved, or a scribble."""
    kind = rng.random()
    steps = max(2, int(length))
    if kind > 0.93:  # a cross or a tangle: two strokes from the same place
        half = max(1.0, length / 2)
        there = _wander(rng, start, heading, half)
        return np.concatenate([there, _wander(rng, there[len(there) // 2], heading + rng.uniform(0.8, 2.3), half)])
    if kind < 0.4:
        turns = np.zeros(steps)
    elif kind < 0.6:
        turns = np.zeros(steps)
        turns[rng.integers(steps)] = rng.uniform(-1.8, 1.8)
    elif kind < 0.85:
        turns = np.full(steps, rng.normal(0, 2.0) / steps)
    else:
        turns = rng.normal(0, 0.5, steps)
    angles = heading + np.cumsum(turns) + rng.normal(0, 0.08, steps)
    return np.asarray(start + np.cumsum(np.stack([np.sin(angles), np.cos(angles)], 1), 0))


def _bridge(rng: np.random.Generator, start: Points, heading: float, span: float) -> Points:
    """Lay a path over a gap of `span` pixels, anchored a little on both sides, with a slight bow."""
    before, after = rng.uniform(0, 5), rng.uniform(1, 6)
    steps = max(3, int(span + before + after))
    along = np.linspace(-before, span + after, steps)
    bow = rng.normal(0, 0.08) * span * np.sin(np.linspace(0, np.pi, steps)) + np.cumsum(rng.normal(0, 0.15, steps))
    ahead, aside = np.array([np.sin(heading), np.cos(heading)]), np.array([np.cos(heading), -np.sin(heading)])
    return np.asarray(start + along[:, None] * ahead + bow[:, None] * aside)


def _ink(rng: np.random.Generator, path: Points, radius: float, shape: tuple[int, int]) -> Mask:
    """Stamp a brush along a path; the radius may taper or tremble."""
    image = Image.new("1", (shape[1], shape[0]))
    draw = ImageDraw.Draw(image)
    taper = np.linspace(1.0, rng.uniform(0.3, 1.6) if rng.random() < 0.35 else 1.0, len(path))
    tremble = 1 + rng.normal(0, 0.25 if rng.random() < 0.4 else 0.03, len(path))
    if rng.random() < 0.07:  # dots in a chain
        path, taper, tremble = (a[:: max(2, int(radius * 1.5))] for a in (path, taper, tremble))
        radius *= 0.7
    for (y, x), r in zip(path.tolist(), np.maximum(1.0, radius * taper * tremble).tolist(), strict=True):
        draw.ellipse((x - r, y - r, x + r, y + r), fill=1)
    return np.asarray(image)


def _lone_stroke(rng: np.random.Generator, ground: Ground, adds: bool) -> Mask | None:
    """Draw a stroke away from edges; half of them not far from one, so that pads and narrow gaps get theirs."""
    size = ground.copper.shape
    at = rng.uniform(0, [size[0] - 1, size[1] - 1])
    if len(ground.edges) and rng.random() < 0.5:
        y, x = ground.edges[rng.integers(len(ground.edges))].tolist()
        slope = np.array([ground.slope_y[y, x], ground.slope_x[y, x]])
        at = np.array([y, x]) + (-1 if adds else 1) * slope / (np.hypot(*slope) + 1e-6) * rng.uniform(6, 25)
        at = at.clip(0, [size[0] - 1, size[1] - 1])
    if ground.copper[int(at[0]), int(at[1])] == adds:
        return None
    heading = rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.12:  # a crumb; round dots of more than 4 px are vias and drills, not defects
        return _ink(rng, _wander(rng, at, heading, rng.uniform(1, 5)), rng.uniform(2, 4), size)
    radius, length = np.clip(rng.lognormal(1.1, 0.5), 1.6, 10), min(rng.lognormal(2.8, 0.65), 75)
    return _ink(rng, _wander(rng, at, heading, max(length, 1.2 * radius)), float(radius), size)


def _stroke(rng: np.random.Generator, ground: Ground, label: str) -> Mask | None:
    """Draw one candidate stroke where a defect of this label could be; None where there is no room."""
    adds, touches = NATURE[label]
    size = ground.copper.shape
    if touches == 0:
        return _lone_stroke(rng, ground, adds)
    if not len(ground.edges):
        return None
    y, x = ground.edges[rng.integers(len(ground.edges))].tolist()
    sign = -1.0 if adds else 1.0  # copper grows outwards, a bite goes inwards
    heading = float(np.arctan2(sign * ground.slope_y[y, x], sign * ground.slope_x[y, x]))
    start = np.array([y, x], np.float64)
    if touches == 1:
        if rng.random() < 0.08:  # a low bump or dent, wider than deep
            return _ink(rng, start[None], rng.uniform(6, 16), size)
        heading += rng.normal(0, 0.5) if rng.random() < 0.8 else rng.choice([-1.2, 1.2])
        length, radius = np.clip(rng.lognormal(2.65, 0.7), 4, 80), np.clip(rng.lognormal(1.05, 0.5), 1.4, 13)
        return _ink(rng, _wander(rng, start, heading, float(length)), float(radius), size)
    heading += rng.normal(0, 0.25)
    reach = np.arange(3, 90)
    ys, xs = (start[0] + reach * np.sin(heading)).astype(int), (start[1] + reach * np.cos(heading)).astype(int)
    inside = (ys >= 0) & (ys < size[0]) & (xs >= 0) & (xs < size[1])
    across = np.flatnonzero(ground.copper[ys[inside], xs[inside]] == adds)
    if not len(across) or rng.random() > 26.0 / (across[0] + 3):  # short gaps are bridged more often than wide ones
        return None
    span = float(across[0] + 3)
    if rng.random() < (0.08 if adds else 0.25) and span < 30:  # a blot over the whole gap
        middle = start + span / 2 * np.array([np.sin(heading), np.cos(heading)])
        return _ink(rng, middle[None], span * rng.uniform(0.55, 0.75), size)
    return _ink(rng, _bridge(rng, start, heading, span), float(np.clip(rng.lognormal(1.0, 0.5), 1.3, 10)), size)


def _speckle(rng: np.random.Generator, changed: Mask, adds: bool) -> Mask:
    """Leave crumbs behind, as a half-etched place does after binarising."""
    if rng.random() > (0.05 if adds else 0.25):
        return changed
    high, wide = rng.integers(1, 3), rng.integers(1, 5)  # px of a crumb; flat ones, as a scanner's rows make them
    coarse = rng.random((len(changed) // high + 1, len(changed[0]) // wide + 1)) < rng.uniform(0.4, 0.85)
    keep = coarse.repeat(high, 0).repeat(wide, 1)[: len(changed), : len(changed[0])]
    if rng.random() < 0.6:  # whole in the middle, crumbs at the rim
        core = ~grow(~changed, int(rng.integers(1, 3)))
        keep |= core & (rng.random(changed.shape) < 0.93)
    crumbs = np.asarray(changed & keep)
    return crumbs if crumbs.sum() >= FEWEST else changed


def _touched(own: Mask, stroke: Mask) -> int:
    """Count the bodies of the stroke's own kind that it touches, seen in its neighbourhood."""
    numbers = bodies(own)
    counts = np.bincount(numbers[grow(stroke, 1)], minlength=1)[1:]
    return int((counts > 2).sum())  # a crumb of one or two pixels on a ragged edge is not a body


def add_defect(rng: np.random.Generator, copper: Mask, ground: Ground, label: str, taken: Mask) -> Defect | None:
    """Try to put one defect on the board in place; `taken` keeps defects apart. None if there was no room."""
    adds, touches = NATURE[label]
    for _ in range(TRIES):
        stroke = _stroke(rng, ground, label)
        if stroke is None:
            continue
        changed = stroke & (copper != adds)
        if changed.sum() < FEWEST or (changed & taken).any():
            continue
        ys, xs = np.nonzero(stroke.any(1))[0], np.nonzero(stroke.any(0))[0]
        y1, y2 = max(0, ys[0] - LOOK_AROUND), min(len(copper), ys[-1] + LOOK_AROUND + 1)
        x1, x2 = max(0, xs[0] - LOOK_AROUND), min(len(copper[0]), xs[-1] + LOOK_AROUND + 1)
        here, part = copper[y1:y2, x1:x2], stroke[y1:y2, x1:x2]
        if touches == 0 and (grow(part, CLEAR) & (here == adds)).any():
            continue
        if touches and min(_touched(here == adds, part), 2) != touches:
            continue
        if touches and not _touched((here == adds) & ~part, part):
            continue  # it swallowed what it touched: a bigger dot, not a spur
        if touches == 1 and (part & ~grow(here == adds, 3)).sum() < 8:
            continue  # it must stand out by more than 3 px, or it is only a ragged edge
        changed[y1:y2, x1:x2] = _speckle(rng, changed[y1:y2, x1:x2], adds)
        copper[changed] = adds
        return _boxed(label, changed, taken)
    return None


def _boxed(label: str, changed: Mask, taken: Mask) -> Defect:
    ys, xs = np.nonzero(changed.any(1))[0], np.nonzero(changed.any(0))[0]
    height, width = changed.shape
    box = Defect(
        label,
        max(0, int(xs[0]) - BOX_MARGIN),
        max(0, int(ys[0]) - BOX_MARGIN),
        min(width - 1, int(xs[-1]) + BOX_MARGIN),
        min(height - 1, int(ys[-1]) + BOX_MARGIN),
    )
    taken[box.y1 : box.y2 + 1, box.x1 : box.x2 + 1] = True
    return box
