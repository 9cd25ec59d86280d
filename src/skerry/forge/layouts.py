"""Bare-board copper drawn from a random generator: families of layouts, nothing else.

Here live the shapes of a sound board (traces, pads, vias, ground areas). Never here: defects, files,
clocks, pixels of any real board. Copper is 255 on a black canvas; `boards.py` turns that into a scan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from skerry.forge.bodies import Mask, bodies, grow

COPPER, BARE = 255, 0
ISLAND = 150  # cells of 2x2 px; smaller bodies must look designed to stay
SPECK = 15  # cells; still smaller ones never stay
MARGIN = 64  # px drawn around the board, so that a turned board has no empty corner up to about 6 degrees

# Turns of 45 degrees, the eight directions a router may take.
COMPASS = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))


class Spot(NamedTuple):
    x: float
    y: float


@dataclass(frozen=True)
class Pen:
    """A canvas, the random generator that moves over it, and the few strokes a board is made of."""

    draw: ImageDraw.ImageDraw
    rng: np.random.Generator
    size: int

    def pick(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def spread(self, low: float, high: float) -> float:
        """Draw log-uniformly: as many boards with fine traces as with coarse ones."""
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def spot(self) -> Spot:
        return Spot(self.pick(0, self.size), self.pick(0, self.size))

    def trace(self, points: list[Spot], width: float, ink: int = COPPER) -> None:
        flat = [(round(p.x), round(p.y)) for p in points]
        self.draw.line(flat, fill=ink, width=max(4, round(width)), joint="curve")

    def disc(self, at: Spot, radius: float, ink: int = COPPER) -> None:
        radius = max(radius, 1.0)
        self.draw.ellipse((at.x - radius, at.y - radius, at.x + radius, at.y + radius), fill=ink)

    def block(self, at: Spot, half: Spot, corner: float = 0.0, ink: int = COPPER) -> None:
        half = Spot(max(half.x, 1.0), max(half.y, 1.0))
        box = (round(at.x - half.x), round(at.y - half.y), round(at.x + half.x), round(at.y + half.y))
        if corner >= 2:
            self.draw.rounded_rectangle(box, radius=min(corner, half.x, half.y), fill=ink)
        else:
            self.draw.rectangle(box, fill=ink)

    def chamfered(self, at: Spot, half: Spot, cut: float, ink: int = COPPER) -> None:
        cut = min(cut, half.x, half.y)
        x1, y1, x2, y2 = at.x - half.x, at.y - half.y, at.x + half.x, at.y + half.y
        self.draw.polygon(
            [
                (x1 + cut, y1),
                (x2 - cut, y1),
                (x2, y1 + cut),
                (x2, y2 - cut),
                (x2 - cut, y2),
                (x1 + cut, y2),
                (x1, y2 - cut),
                (x1, y1 + cut),
            ],
            fill=ink,
        )

    def pad(self, at: Spot, radius: float, hole: float = 0.0) -> None:
        """Draw one pad of a random shape; `hole` is its drill radius, off centre as real drills are."""
        kind = int(self.rng.integers(4))
        if kind == 0:
            self.block(at, Spot(radius, radius * self.pick(0.7, 1.0)))
        elif kind == 1:
            self.chamfered(at, Spot(radius, radius), radius * 0.55)
        else:
            self.disc(at, radius)
        if hole >= 2:
            off = radius * (0.45 if self.chance(0.1) else 0.25) * float(self.rng.random() ** 2)
            turn = self.pick(0, 2 * np.pi)
            self.disc(Spot(at.x + off * np.cos(turn), at.y + off * np.sin(turn)), hole, BARE)


def bus(pen: Pen) -> None:
    """Parallel lanes from top to bottom with common 45-degree jogs: fine buses and coarse power bars."""
    width, gap = pen.spread(5, 60), pen.spread(7, 50)
    mixed = pen.chance(0.5)
    jogs: list[Spot] = [Spot(0, -20)]  # x is the sideways shift reached at height y
    while jogs[-1].y < pen.size + 20:
        shift = pen.pick(-1, 1) * pen.spread(10, 120) if pen.chance(0.6) else 0.0
        low = Spot(jogs[-1].x, jogs[-1].y + pen.pick(30, 400))
        jogs += [low, Spot(low.x + shift, low.y + abs(shift))]
    x = -150.0
    while x < pen.size + 150:
        lane = width * (pen.spread(0.4, 2.5) if mixed else 1.0)
        lane = max(lane, 4.5)
        x += lane / 2
        if not pen.chance(0.08):
            line = [Spot(j.x + x, j.y) for j in jogs]
            if pen.chance(0.2):  # a lane that ends on the board, with or without a pad
                keep = int(pen.rng.integers(1, len(line)))
                line = line[: keep + 1] if pen.chance(0.5) else line[keep:]
                line = line if len(line) > 1 else [line[0], Spot(line[0].x, line[0].y + 60)]
                if pen.chance(0.6):
                    radius = min(lane / 2 + gap * 0.4, lane * 1.6)
                    pen.pad(line[0], radius, radius * pen.pick(0.2, 0.6) if pen.chance(0.6) else 0)
            pen.trace(line, lane)
        x += lane / 2 + gap * (pen.spread(0.6, 2.5) if mixed else 1.0)


def _walk(pen: Pen, cells: int, taken: set[tuple[int, int]], crossed: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Walk one net over free grid nodes; two diagonals never cross in one grid cell."""
    node = (int(pen.rng.integers(cells)), int(pen.rng.integers(cells)))
    path: list[tuple[int, int]] = []
    heading, steps = int(pen.rng.integers(8)), int(pen.spread(2, 30))
    while len(path) < steps and node not in taken and 0 <= node[0] < cells and 0 <= node[1] < cells:
        path.append(node)
        taken.add(node)
        if pen.chance(0.25):
            heading = (heading + (1 if pen.chance(0.5) else -1)) % 8
        dx, dy = COMPASS[heading]
        if dx and dy:
            cell = (min(node[0], node[0] + dx), min(node[1], node[1] + dy))
            if cell in crossed:
                break
            crossed.add(cell)
        node = (node[0] + dx, node[1] + dy)
    return path


def routed(pen: Pen) -> None:
    """Nets on a grid, as an autorouter leaves them: short links, long runs, pads at the ends."""
    pitch = pen.spread(17, 80)
    width = max(4.5, pitch * pen.pick(0.18, 0.55))
    drilled, pad_chance = pen.chance(0.5), pen.pick(0.3, 1.0)
    cells = int(pen.size / pitch) + 2
    taken: set[tuple[int, int]] = set()
    crossed: set[tuple[int, int]] = set()
    nets = [_walk(pen, cells, taken, crossed) for _ in range(int(cells * cells * pen.pick(0.08, 0.6)))]
    for net in (n for n in nets if len(n) > 2):
        pen.trace([Spot(x * pitch, y * pitch) for x, y in net], width * (1.5 if pen.chance(0.15) else 1.0))
        for x, y in net[1:-1] if pen.chance(0.3) else ():
            if pen.chance(0.3):  # a via on the way, a little wider than its trace
                pen.disc(Spot(x * pitch, y * pitch), width * pen.pick(0.6, 1.2))
    lonely = pen.chance(0.5)
    for net in nets:
        if len(net) < 3 and not lonely:
            continue
        for x, y in net[:: max(1, len(net) - 1)] if len(net) > 2 else net[:1]:
            if pen.chance(pad_chance):
                radius = max(width * pen.pick(0.7, 1.1), pitch * pen.pick(0.25, 0.42))
                pen.pad(Spot(x * pitch, y * pitch), radius, radius * pen.pick(0.25, 0.6) if drilled else 0)
            elif len(net) > 2:
                pen.disc(Spot(x * pitch, y * pitch), width / 2)


def packages(pen: Pen) -> None:
    """Rows of surface-mount pads with traces fanning out of them."""
    for _ in range(int(pen.rng.integers(2, 9))):
        at, pitch = pen.spot(), pen.spread(13, 70)
        half = Spot(pitch * pen.pick(0.22, 0.38), pen.spread(8, 50))
        rows, across = int(pen.rng.integers(1, 3)), half.y * 2 + pen.spread(30, 200)
        trace, corner, upright = max(4.5, half.x * pen.pick(0.4, 1.0)), pen.pick(-4, 8), pen.chance(0.5)
        for row in range(rows):
            outward = -1 if row == 0 else 1
            for n in range(int(pen.rng.integers(2, 15))):
                along, off = at.x + n * pitch, at.y + row * across
                line = [Spot(along, off)]
                if pen.chance(0.6):
                    run, side = pen.spread(20, 160), pen.pick(-1, 1) * pen.spread(5, 60)
                    line += [Spot(along, off + outward * run), Spot(along + side, off + outward * (run + abs(side)))]
                if not upright:
                    line = [Spot(p.y, p.x) for p in line]
                pen.block(line[0], half if upright else Spot(half.y, half.x), corner)
                if len(line) > 1:
                    pen.trace(line, trace)
                    if pen.chance(0.3):
                        pen.pad(line[-1], trace * 1.2, trace * 0.5 if pen.chance(0.5) else 0)


def drilled(pen: Pen) -> None:
    """A field of through-hole pads, some of them joined by fat traces."""
    pitch = pen.spread(45, 150)
    radius = pitch * pen.pick(0.2, 0.42)
    hole = radius * pen.pick(0.15, 0.82)
    trace, linked = radius * pen.pick(0.2, 1.3), pen.pick(0.05, 0.5)
    shift = pen.spot()
    cells = int(pen.size / pitch) + 2
    sites = [(x, y) for x in range(-1, cells) for y in range(-1, cells) if pen.chance(0.75)]
    place = {s: Spot(s[0] * pitch + shift.x % pitch, s[1] * pitch + shift.y % pitch) for s in sites}
    for (x, y), at in place.items():
        for dx, dy in ((1, 0), (0, 1), (1, 1)):
            there = place.get((x + dx, y + dy))
            if there and pen.chance(linked if dx != dy else linked / 4):
                pen.trace([at, there], trace)
        if pen.chance(0.08):
            dx, dy = COMPASS[int(pen.rng.integers(8))]
            pen.trace([at, Spot(at.x + dx * pitch * 0.55, at.y + dy * pitch * 0.55)], trace)
    solid = pen.chance(0.25)
    for at in place.values():
        pen.pad(at, radius, 0 if solid else hole)


def _gap_line(pen: Pen, width: float) -> None:
    """Cut copper along a polyline of right or half-right angles."""
    at, heading = pen.spot(), int(pen.rng.integers(8))
    line = [at]
    stepped = pen.chance(0.4)  # many short right-angled steps instead of a few long runs
    for _ in range(int(pen.rng.integers(4, 14) if stepped else pen.rng.integers(1, 6))):
        run = pen.spread(15, 150) if stepped else pen.spread(40, 500)
        dx, dy = COMPASS[heading]
        line.append(Spot(line[-1].x + dx * run, line[-1].y + dy * run))
        heading = (heading + int(pen.rng.choice([-2, 2] if stepped else [-2, -1, 1, 2]))) % 8
    pen.trace(line, width, BARE)
    if pen.chance(0.4):  # a wider stretch
        pen.trace(line[-2:], width * pen.pick(1.2, 2.0), BARE)


def ground(pen: Pen) -> None:
    """Large copper areas kept apart by gaps, with drill holes, slots and square notches."""
    gap = pen.spread(7, 40)
    for _ in range(int(pen.rng.integers(2, 9))):
        at, half = pen.spot(), Spot(pen.spread(40, 300), pen.spread(40, 300))
        corner = pen.spread(4, 80)
        shape = pen.chamfered if pen.chance(0.5) else pen.block
        shape(at, Spot(half.x + gap, half.y + gap), corner + gap * 0.5, BARE)
        shape(at, half, corner)
        for _ in range(int(pen.rng.integers(0, 4))):  # drills sit on a short row, never at random like pin-holes
            hole = pen.spread(5, 28)
            first = Spot(at.x + half.x * pen.pick(-0.6, 0.6), at.y + half.y * pen.pick(-0.6, 0.6))
            for n in range(int(pen.rng.integers(1, 4))):
                spot = Spot(first.x + n * hole * 5, first.y)
                if pen.chance(0.2):
                    pen.block(spot, Spot(hole * 1.5, hole), hole, BARE)
                else:
                    pen.disc(spot, hole, BARE)
        if pen.chance(0.3):
            notch = pen.spread(10, 40)
            pen.block(Spot(at.x + half.x * pen.pick(-0.7, 0.7), at.y - half.y), Spot(notch, notch), 0, BARE)
    for _ in range(int(pen.rng.integers(0, 4))):
        _gap_line(pen, gap)


def rounds(pen: Pen) -> None:
    """Big discs and rings, cut by straight gaps, with drills on the copper."""
    for _ in range(int(pen.rng.integers(1, 4))):
        at, radius, gap = pen.spot(), pen.spread(60, 500), pen.spread(8, 40)
        pen.disc(at, radius + gap, BARE)
        pen.disc(at, radius)
        inner = radius * pen.pick(0.2, 0.9)
        if pen.chance(0.6):
            pen.disc(at, inner, BARE)
            if pen.chance(0.5):
                pen.disc(at, inner - gap)
        for _ in range(int(pen.rng.integers(0, 4))):
            turn, far = pen.pick(0, 2 * np.pi), radius * pen.pick(0.7, 1.0)
            pen.disc(Spot(at.x + far * np.cos(turn), at.y + far * np.sin(turn)), pen.spread(8, 60), BARE)
        for _ in range(int(pen.rng.integers(0, 3))):
            _gap_line(pen, gap)


def nested(pen: Pen) -> None:
    """Frames within frames: rounded rectangles with copper and gap in turn."""
    for _ in range(int(pen.rng.integers(1, 4))):
        at, half = pen.spot(), Spot(pen.spread(80, 400), pen.spread(80, 400))
        copper, gap, corner = pen.spread(6, 60), pen.spread(7, 35), pen.spread(2, 80)
        ink, inset = COPPER, 0.0
        pen.block(at, Spot(half.x + gap, half.y + gap), corner, BARE)
        while min(half.x, half.y) - inset > 4 and (ink == BARE or not pen.chance(0.12)):
            pen.block(at, Spot(half.x - inset, half.y - inset), max(corner - inset, 0), ink)
            inset += (copper if ink == COPPER else gap) * pen.spread(0.6, 1.6)
            ink = BARE if ink == COPPER else COPPER
        if pen.chance(0.4):
            _gap_line(pen, gap)


def fan(pen: Pen) -> None:
    """Bundles that run diagonally into a square chip ground, as around a fine-pitch package."""
    at, pitch = Spot(pen.size * pen.pick(0.3, 0.7), pen.size * pen.pick(0.3, 0.7)), pen.spread(13, 50)
    core, width = pen.spread(40, 160), pitch * pen.pick(0.3, 0.6)
    lanes = int(core * 1.7 / pitch)
    for side in range(4):
        for n in range(lanes):
            along = (n - (lanes - 1) / 2) * pitch
            reach, bend = core + pitch * pen.pick(0.8, 1.2), core + pen.spread(20, 120)
            sway = np.sign(along) * 200 if pen.chance(0.95) else 0.0
            line = [(along, reach), (along, bend + abs(along)), (along + sway, bend + abs(along) + 200)]
            turned = [[(a, r), (r, a), (a, -r), (-r, a)][side] for a, r in line]
            pen.trace([Spot(at.x + x, at.y + y) for x, y in turned], width)
            if pen.chance(0.5):
                pen.block(Spot(at.x + turned[0][0], at.y + turned[0][1]), Spot(width * 0.6, width * 0.6))
    if pen.chance(0.7):
        pen.block(at, Spot(core - 8, core - 8), pen.pick(0, 20))
        if pen.chance(0.5):
            pen.disc(at, pen.spread(5, 30), BARE)


def sparse(pen: Pen) -> None:
    """A nearly empty corner of a board: a few dots, one or two traces."""
    for _ in range(int(pen.rng.integers(0, 6))):
        radius = pen.spread(7, 30)
        pen.pad(pen.spot(), radius, radius * pen.pick(0.3, 0.7) if pen.chance(0.4) else 0)
    for _ in range(int(pen.rng.integers(0, 3))):
        start, dx, dy = pen.spot(), *COMPASS[int(pen.rng.integers(8))]
        run, width = pen.spread(80, 700), pen.spread(4.5, 50)
        end = Spot(start.x + dx * run, start.y + dy * run)
        pen.trace([start, end], width)
        if pen.chance(0.7):
            pen.pad(start, width * pen.pick(0.7, 1.6))
            pen.disc(end, width * pen.pick(0.5, 1.4))


FAMILIES: tuple[tuple[Callable[[Pen], None], float], ...] = (
    (bus, 0.2),
    (routed, 0.26),
    (packages, 0.1),
    (drilled, 0.1),
    (ground, 0.12),
    (rounds, 0.06),
    (nested, 0.06),
    (fan, 0.06),
    (sparse, 0.04),
)


def _regions(rng: np.random.Generator, size: int) -> list[tuple[int, int, int, int]]:
    """Cut the canvas into one to four rectangles: a board changes its character over its length."""
    regions = [(0, 0, size, size)]
    for _ in range(int(rng.choice([0, 0, 1, 1, 2, 3]))):
        x1, y1, x2, y2 = regions.pop(int(rng.integers(len(regions))))
        cut = rng.uniform(0.3, 0.7)
        if rng.random() < 0.5:
            middle = round(x1 + (x2 - x1) * cut)
            regions += [(x1, y1, middle, y2), (middle, y1, x2, y2)]
        else:
            middle = round(y1 + (y2 - y1) * cut)
            regions += [(x1, y1, x2, middle), (x1, middle, x2, y2)]
    return regions


def _sprinkle(pen: Pen, canvas: Image.Image, ink: int) -> None:
    """Set dots of one size where there is room, alone or in rows: vias on bare board, drills in copper.

    They are the sound twins of `copper` and `pin-hole`: round, of one size on a board, and often in rows.
    """
    radius, stretch = pen.spread(4.5, 15), 1 + abs(pen.rng.normal(0, 0.12))
    half = Spot(radius, radius * stretch) if pen.chance(0.5) else Spot(radius * stretch, radius)
    room = radius * stretch + 4
    for _ in range(int(pen.spread(3, 60))):
        first, (dx, dy) = pen.spot(), COMPASS[int(pen.rng.integers(8))]
        pitch = radius * pen.pick(2.6, 9)
        for n in range(int(pen.rng.choice([1, 1, 1, 2, 3, 5]))):
            x, y = first.x + n * dx * pitch, first.y + n * dy * pitch
            around = (int(x - room), int(y - room), int(x + room), int(y + room))
            low, high = canvas.crop(around).getextrema()
            if low == high != ink:
                pen.draw.ellipse((x - half.x, y - half.y, x + half.x, y + half.y), fill=ink)


def _swept(canvas: Image.Image) -> Image.Image:
    """Remove small islands that no designer draws: what the border of two regions cut off pads and traces.

    Left in, they are copper and pin-holes without a label, and taught the detector to be shy of both (recall of
    copper 0.70). Blocks and discs stay: islands that fill their box, or pi/4 of it. Seen at half the resolution.
    """
    pixels = np.array(canvas)
    for ink in (COPPER, BARE):
        numbers = bodies(pixels[::2, ::2] == ink)
        area = np.bincount(numbers.ravel())
        gone = np.zeros(len(area), bool)
        for n in range(1, len(area)):
            if not 0 < area[n] < ISLAND:
                continue
            ys, xs = np.nonzero(numbers == n)
            high, wide = np.ptp(ys) + 1, np.ptp(xs) + 1
            fill = len(ys) / (high * wide)
            round_or_square = fill > 0.93 or (0.7 < fill < 0.84 and 0.75 < high / wide < 1.33)
            gone[n] = len(ys) < SPECK or not round_or_square
        gone[0] = False
        island = grow(gone[numbers].repeat(2, 0).repeat(2, 1), 1)
        pixels[island & (pixels == ink)] = BARE if ink == COPPER else COPPER
    return Image.fromarray(pixels)


def draw_layout(rng: np.random.Generator, size: int) -> Mask:
    """Draw the copper of one sound board of `size` x `size` pixels; True is copper."""
    full = size + 2 * MARGIN
    canvas = Image.new("L", (full, full), BARE)
    weights = np.array([w for _, w in FAMILIES])
    for region in _regions(rng, full):
        layer = Image.new("L", (full, full), BARE)
        pen = Pen(ImageDraw.Draw(layer), rng, full)
        FAMILIES[int(rng.choice(len(FAMILIES), p=weights / weights.sum()))][0](pen)
        if rng.random() < 0.5:
            layer = layer.transpose(Image.Transpose.TRANSPOSE)
        strip = int(rng.integers(0, 16))  # px of bare board between two regions
        box = (region[0] + strip, region[1] + strip, region[2] - strip, region[3] - strip)
        canvas.paste(layer.crop(box), box[:2])
    canvas = _swept(canvas)
    pen = Pen(ImageDraw.Draw(canvas), rng, full)
    for ink in (COPPER, BARE):
        if pen.chance(0.55):
            _sprinkle(pen, canvas, ink)
    roll = rng.random()
    angle = rng.normal(0, 0.6) if roll < 0.4 else float(rng.uniform(0, 360)) if roll > 0.95 else 0.0
    turned = canvas.rotate(angle, resample=Image.Resampling.BILINEAR) if angle else canvas
    copper = np.asarray(turned.crop((MARGIN, MARGIN, MARGIN + size, MARGIN + size))) > 127
    return ~copper if rng.random() < 0.15 else copper  # the negative: gaps where traces were
