"""Plots as SVG: intervals in rows, a frontier, reliability. Each has a title and says its numbers in words too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from skerry.core.card import Accuracy
from skerry.core.gate import Interval
from skerry.forge.measure.classes import Bin
from skerry.forge.pages.page import text

Scale = Callable[[float], float]

WIDTH = 520  # of every plot, in its own units; it is scaled to the page
ROW = 26
LABEL = 150  # for the names of rows
NUMBER = 92  # for the numbers on the right
NAME = 22  # letters of a row's name
TICKS = 5
LETTER = 6.4  # width of a letter of 12 px, in the mean


@dataclass(frozen=True)
class Row:
    """A value with its interval."""

    label: str
    value: float
    interval: Interval
    told: str  # the value in words
    off: bool = False  # was rolled back


@dataclass(frozen=True)
class Point:
    """One variant of a model: how long it takes, how right it is, and whether it was chosen."""

    label: str
    p50_us: float
    accuracy: Accuracy
    size: int = 0
    chosen: bool = False


def whiskers(title: str, rows: Sequence[Row], unit: str, line: float | None = None) -> str:
    """Return rows of values with intervals on one scale; `line` is a limit, drawn through all of them."""
    if not rows:
        return ""
    ends = [end for row in rows for end in (row.interval.low, row.interval.high, row.value)]
    low, high = _around(min(ends + ([] if line is None else [line])), max(ends + ([] if line is None else [line])))
    height = ROW * len(rows) + 34

    def x(value: float) -> float:
        return LABEL + (value - low) / (high - low) * (WIDTH - LABEL - NUMBER)

    parts = [_ticks_across(low, high, x, height - 24, unit)]
    if line is not None:
        parts.append(f'<line class="amber" x1="{x(line):.1f}" x2="{x(line):.1f}" y1="0" y2="{height - 24}" '
                     f'stroke-dasharray="4 3"/>')  # fmt: skip
    for place, row in enumerate(rows):
        y = ROW * place + 15
        faint = ' opacity=".55"' if row.off else ""
        parts.append(
            f'<g{faint}><text x="{LABEL - 10}" y="{y + 4}" text-anchor="end">{text(_cut(row.label))}</text>'
            f'<line class="blue" stroke-width="2" x1="{x(row.interval.low):.1f}" x2="{x(row.interval.high):.1f}" '
            f'y1="{y}" y2="{y}"/><circle class="blue{" hollow" if row.off else ""}" stroke-width="2" '
            f'cx="{x(row.value):.1f}" cy="{y}" r="4"/>'
            f'<text x="{WIDTH - 4}" y="{y + 4}" text-anchor="end">{text(row.told)}</text></g>'
        )
    said = "; ".join(f"{row.label}: {row.told}, {_said(row.interval, unit)}" for row in rows)
    return _svg(title, said, WIDTH, height, "".join(parts))


def frontier(points: Sequence[Point]) -> str:
    """Return time against accuracy; those that no other beats in both are joined, and they and the chosen are named."""
    if not points:
        return ""
    height, left, bottom = 320, 52, 40
    lows, highs = [p.accuracy.interval.low for p in points], [p.accuracy.interval.high for p in points]
    base, top = _around(min(lows), max(highs))
    top = min(top, 1.0)
    slow = max(p.p50_us for p in points) / 1000 * 1.08

    def x(millis: float) -> float:
        return left + millis / slow * (WIDTH - left - 14)

    def y(value: float) -> float:
        return 8 + (top - value) / (top - base) * (height - bottom - 8)

    best = sorted(unbeaten(points), key=lambda p: p.p50_us)
    parts = [_ticks_across(0.0, slow, x, height - bottom, " ms"), _ticks_up(base, top, y, left)]
    path = " ".join(f"{x(p.p50_us / 1000):.1f},{y(p.accuracy.value):.1f}" for p in best)
    parts.append(f'<polyline class="blue hollow" stroke-width="1.5" points="{path}"/>')
    taken: list[tuple[float, float, float]] = []
    first = sorted(points, key=lambda p: (not p.chosen, p.p50_us))
    parts += [_dot(point, x(point.p50_us / 1000), y, point in best, taken) for point in first]
    parts.append(
        f'<text class="soft" x="{WIDTH - 14}" y="{height - 4}" text-anchor="end">time of one run, median</text>'
    )
    said = "; ".join(
        f"{p.label}: {p.p50_us / 1000:.3g} ms, {100 * p.accuracy.value:.2f} %{', chosen' if p.chosen else ''}"
        for p in points
    )
    return _svg("Time against accuracy", said, WIDTH, height, "".join(parts))


def unbeaten(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other equals or beats in both time and accuracy while being better in one."""

    def beaten(p: Point) -> bool:
        return any(
            q.p50_us <= p.p50_us
            and q.accuracy.value >= p.accuracy.value
            and (q.p50_us < p.p50_us or q.accuracy.value > p.accuracy.value)
            for q in points
        )

    return [point for point in points if not beaten(point)]


def reliability(bins: Sequence[Bin]) -> str:
    """Return how often the model was right against how sure it was; on the line, its numbers mean what they say."""
    if not bins:
        return ""
    side, left, bottom = 300, 52, 40
    most = max(one.count for one in bins)

    def x(value: float) -> float:
        return left + value * (WIDTH - left - 30)

    def y(value: float) -> float:
        return 8 + (1 - value) * (side - bottom - 8)

    parts = [_ticks_across(0.0, 1.0, x, side - bottom, " %", 100), _ticks_up(0.0, 1.0, y, left)]
    parts.append(f'<line class="axis" stroke-dasharray="4 3" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>')
    path = " ".join(f"{x(one.sure):.1f},{y(one.right):.1f}" for one in bins)
    parts.append(f'<polyline class="blue hollow" stroke-width="1.5" points="{path}"/>')
    for one in bins:
        tip = f"{one.count} examples: {100 * one.sure:.1f} % sure, {100 * one.right:.1f} % right"
        radius = 3 + 7 * math.sqrt(one.count / most)
        parts.append(
            f'<circle class="blue" fill-opacity=".6" cx="{x(one.sure):.1f}" cy="{y(one.right):.1f}" r="{radius:.1f}">'
            f"<title>{tip}</title></circle>"
        )
    parts.append(f'<text class="soft" x="{WIDTH - 30}" y="{side - 4}" text-anchor="end">how sure the model was</text>')
    said = "; ".join(f"{one.count} at {100 * one.sure:.0f} % sure: {100 * one.right:.0f} % right" for one in bins)
    return _svg("How often it was right, by how sure it was", said, WIDTH, side, "".join(parts))


def _dot(point: Point, x: float, y: Scale, on: bool, taken: list[tuple[float, float, float]]) -> str:
    """Return a point with its interval and its name, which goes below the names that are there."""
    place, low, high = y(point.accuracy.value), y(point.accuracy.interval.low), y(point.accuracy.interval.high)
    kind = "amber" if point.chosen else "blue"
    tip = f"{point.label}: {point.p50_us / 1000:.3g} ms, {100 * point.accuracy.value:.2f} %"
    name = _cut(point.label) if on or point.chosen else ""
    wide = LETTER * len(name)
    right = x + 10 + wide < WIDTH
    start = x + 9 if right else x - 9 - wide
    line = place - 7
    while any(abs(line - other) < 13 and start < end and start + wide > begin for begin, end, other in taken):
        line += 13
    if name:
        taken.append((start, start + wide, line))
    hollow = "" if on else " hollow"
    return (
        f'<g><line class="{kind}" opacity=".5" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
        f'<circle class="{kind}{hollow}" stroke-width="2" cx="{x:.1f}" cy="{place:.1f}" r="5">'
        f"<title>{text(tip)}</title></circle>"
        f'<text class="name" x="{start:.1f}" y="{line + 4:.1f}">{text(name)}</text></g>'
    )


def _ticks_across(low: float, high: float, x: Scale, y: float, unit: str, times: float = 1.0) -> str:
    """Return the scale below a plot."""
    found = [f'<line class="axis" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y}" y2="{y}"/>']
    marks, digits = _marks(low * times, high * times)
    for value in marks:
        at = x(value / times)
        found.append(
            f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{y}"/>'
            f'<text class="soft" x="{at:.1f}" y="{y + 16}" text-anchor="middle">{value:.{digits}f}{text(unit)}</text>'
        )
    return "".join(found)


def _ticks_up(low: float, high: float, y: Scale, x: float) -> str:
    """Return the scale to the left of a plot, in per cent."""
    marks, digits = _marks(100 * low, 100 * high)
    return "".join(
        f'<line class="grid" x1="{x}" x2="{WIDTH - 14}" y1="{y(value / 100):.1f}" y2="{y(value / 100):.1f}"/>'
        f'<text class="soft" x="{x - 6}" y="{y(value / 100) + 4:.1f}" text-anchor="end">{value:.{digits}f} %</text>'
        for value in marks
    )


def _marks(low: float, high: float) -> tuple[list[float], int]:
    """Return round numbers between two values, and how many decimals they need."""
    raw = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= raw)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [step * (first + n) for n in range(count)], max(0, -math.floor(math.log10(step) + 1e-9))


def _around(low: float, high: float) -> tuple[float, float]:
    """Return a range with a little room on both sides."""
    room = 0.06 * (high - low) or max(abs(high) * 0.05, 0.01)
    return low - room, high + room


def _said(one: Interval, unit: str) -> str:
    return f"{100 * one.level:.4g} % interval {one.low:.4g} to {one.high:.4g}{unit}"


def _cut(label: str) -> str:
    return label if len(label) <= NAME else label[: NAME - 1] + "…"


def _svg(title: str, said: str, width: float, height: float, inner: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img"><title>{text(title)}</title><desc>{text(said)}</desc>'
        f"{inner}</svg>"
    )
