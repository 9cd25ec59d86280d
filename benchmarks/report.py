"""A soak's report: one HTML page with nothing outside itself, its plots as SVG. Pure: samples in, text out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape

from benchmarks.soaking.sample import Sample
from benchmarks.soaking.verdict import Trend, Verdict

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 860, 240, 56, 24, 10, 12  # pixels
POINTS = 600  # of a line; more cannot be seen
TICKS = 4
COLOURS = ("#0b6e99", "#c2410c", "#15803d", "#7e22ce", "#a16207", "#be123c", "#0f766e", "#475569")
FOOT = (
    "Slopes are Theil and Sen's with 99 % intervals, after the warm-up. "
    "Latency is that of a client on the same machine, which shares its processors."
)
STYLE = """
:root { color-scheme: light; font: 15px/1.5 system-ui, sans-serif; color: #1b2733; background: #f6f8fa }
body { max-width: 940px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.05rem; margin: 1.8rem 0 .4rem }
.verdict { padding: 1rem 1.2rem; border-radius: 8px; color: #fff; margin: 1rem 0 }
.PASS { background: #166534 } .FAIL { background: #9f1239 }
.verdict strong { font-size: 1.5rem; letter-spacing: .05em } .verdict ul { margin: .4rem 0 0; padding-left: 1.2rem }
.card { background: #fff; border: 1px solid #d8dee4; border-radius: 8px; padding: .6rem .8rem; overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .2rem .6rem; border-bottom: 1px solid #e6eaee }
th:first-child, td:first-child { text-align: left } tr.bad td { color: #9f1239; font-weight: 600 }
svg { width: 100%; height: auto; display: block } svg text { font-size: 11px; fill: #57636e }
.key { display: inline-block; margin-right: 1rem } .key i { display: inline-block; width: .8rem; height: .8rem;
  border-radius: 2px; margin-right: .35rem; vertical-align: -1px }
footer { color: #57636e; margin-top: 2rem }
"""

Point = tuple[float, float]
Value = Callable[[Sample], float | None]


def page(samples: Sequence[Sample], verdict: Verdict, about: Mapping[str, str]) -> str:
    """Return the report; `about` is what else is to be said, as a name and a text."""
    word = "PASS" if verdict.passed else "FAIL"
    reasons = verdict.reasons or ("no wrong answer, no failure beyond “come again”, no leak",)
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>Soak: {word}</title><style>{STYLE}</style></head><body><h1>Soak of a Skerry node</h1>",
        f"<div class='verdict {word}'><strong>{word}</strong><ul>",
        *[f"<li>{escape(reason)}</li>" for reason in reasons],
        "</ul></div>",
        _about({**about, "answers": f"{verdict.done:,}", "looks": str(len(samples))}),
        "<h2>What grows</h2>",
        _trends(verdict.trends),
        "<h2>Lanes</h2>",
        _lanes(samples),
        *plots(samples),
        f"<footer>{FOOT}</footer></body></html>",
    ]
    return "\n".join(parts)


def plots(samples: Sequence[Sample]) -> Iterator[str]:
    """Yield the plots with their headings."""
    if len(samples) < 2:
        return
    for share in ("p50", "p99"):
        found = {name: _line(samples, _latency(name, share)) for name in samples[-1].lanes}
        yield _plot(f"Latency, {share} by lane", "ms", found)
    roles = list(dict.fromkeys(role for sample in samples for role in sample.pss))
    own = {role: _line(samples, _memory("own", role)) for role in roles}
    yield _plot("Memory of its own, by process", "MiB", {"all": _line(samples, lambda s: sum(s.own.values())), **own})
    yield _plot("Memory (PSS) by process", "MiB", {role: _line(samples, _memory("pss", role)) for role in roles})
    yield _plot("Memory (RSS) by process", "MiB", {role: _line(samples, _memory("rss", role)) for role in roles})
    kinds = list(dict.fromkeys(k for s in samples for ask in s.lanes.values() for k in ask.failures))
    yield _plot("Failures so far, by kind", "requests", {kind: _summed(samples, kind) for kind in kinds})
    yield _plot(
        "Open files and threads", "",
        {
            "files": _line(samples, lambda s: sum(s.files.values())),
            "threads": _line(samples, lambda s: sum(s.threads.values())),
        },
    )  # fmt: skip
    yield _plot("Processor", "cores", {"node": _line(samples, lambda s: s.processor)})
    yield _plot("Temperature", "°C", {"hottest zone": _line(samples, lambda s: s.heat)})
    yield _plot("Disk", "MiB", {"the node's folder": _line(samples, lambda s: s.disk)})


def _latency(lane: str, share: str) -> Value:
    return lambda sample: sample.lanes[lane].p50 if share == "p50" else sample.lanes[lane].p99


def _memory(kind: str, role: str) -> Value:
    return lambda sample: {"own": sample.own, "pss": sample.pss, "rss": sample.rss}[kind].get(role)


def _line(samples: Sequence[Sample], value: Value) -> list[Point]:
    return [(one.at, found) for one in samples if (found := value(one)) is not None]


def _summed(samples: Sequence[Sample], kind: str) -> list[Point]:
    found, total = [], 0
    for one in samples:
        total += sum(ask.failures.get(kind, 0) for ask in one.lanes.values())
        found.append((one.at, float(total)))
    return found


def thinned(points: Sequence[Point], most: int = POINTS) -> list[Point]:
    """Return at most so many points: of each stretch the greatest, for it is the peaks that matter."""
    step = -(-len(points) // most)
    return [max(points[n : n + step], key=lambda point: point[1]) for n in range(0, len(points), step)]


def _plot(title: str, unit: str, lines: Mapping[str, Sequence[Point]]) -> str:
    """Return a heading and a plot, or a sentence where there is nothing to draw."""
    drawn = {name: thinned(points) for name, points in lines.items() if points}
    heading = f"<h2>{escape(title)}{f', {unit}' if unit else ''}</h2>"
    if not drawn:
        return f"{heading}<div class='card'>Nothing to show: there was none, or this machine does not tell.</div>"
    last = max(points[-1][0] for points in drawn.values()) or 1.0
    top = nice(max(value for points in drawn.values() for _, value in points) or 1.0)
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    body = []
    for tick in range(TICKS + 1):
        y = TOP + high * (1 - tick / TICKS)
        x = LEFT + wide * tick / TICKS
        body.append(f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y:.1f}' y2='{y:.1f}' stroke='#e6eaee'/>")
        body.append(f"<text x='{LEFT - 6}' y='{y + 4:.1f}' text-anchor='end'>{top * tick / TICKS:g}</text>")
        body.append(f"<text x='{x:.1f}' y='{HEIGHT - 6}' text-anchor='middle'>{spoken(last * tick / TICKS)}</text>")
    for colour, points in zip(_colours(), drawn.values(), strict=False):
        places = " ".join(f"{LEFT + wide * at / last:.1f},{TOP + high * (1 - v / top):.1f}" for at, v in points)
        body.append(f"<polyline fill='none' stroke='{colour}' stroke-width='1.6' points='{places}'/>")
    keys = "".join(
        f"<span class='key'><i style='background:{colour}'></i>{escape(name)}</span>"
        for colour, name in zip(_colours(), drawn, strict=False)
    )
    box = f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{escape(title)}'>"
    return f"{heading}<div class='card'>{box}{''.join(body)}</svg>{keys}</div>"


def _colours() -> Iterator[str]:
    while True:
        yield from COLOURS


def nice(value: float) -> float:
    """Return the least round number that is not below a value: its quarters are good labels."""
    size = 1.0
    while size < value:
        size *= 10
    while size / 10 >= value:
        size /= 10
    return next(size * part for part in (0.12, 0.16, 0.2, 0.24, 0.32, 0.4, 0.6, 0.8, 1.0) if size * part >= value)


def spoken(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _about(about: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in about.items())
    return f"<div class='card'><table>{rows}</table></div>"


def _trends(found: Sequence[Trend]) -> str:
    if not found:
        return "<div class='card'>Too few looks for a slope.</div>"
    head = "<tr><th></th><th>level</th><th>slope a hour</th><th>99 % interval</th><th>grew at least</th>"
    rows = [
        f"<tr class='{'bad' if one.leaks else ''}'><td>{escape(one.name)}</td><td>{one.level:.4g} {one.unit}</td>"
        f"<td>{one.slope:+.3g}</td><td>{one.low:+.3g} to {one.high:+.3g}</td>"
        f"<td>{max(0.0, one.low * one.hours):.3g} of {one.allowed:.3g} allowed</td></tr>"
        for one in found
    ]
    return f"<div class='card'><table>{head}</tr>{''.join(rows)}</table></div>"


def _lanes(samples: Sequence[Sample]) -> str:
    head = (
        "<tr><th></th><th>answers</th><th>p50, first third</th><th>last third</th><th>worst p99</th><th>failures</th>"
    )
    rows = []
    for name in samples[-1].lanes if samples else ():
        asks = [sample.lanes[name] for sample in samples]
        failures: Counter[str] = Counter()
        for ask in asks:
            failures.update(ask.failures)
        third = max(1, len(asks) // 3)
        early, late = (_middle([ask.p50 for ask in part]) for part in (asks[:third], asks[-third:]))
        worst = max((ask.p99 for ask in asks if ask.p99 is not None), default=None)
        told = ", ".join(f"{kind} {count}" for kind, count in failures.items()) or "none"
        rows.append(
            f"<tr><td>{escape(name)}</td><td>{sum(ask.done for ask in asks):,}</td><td>{_ms(early)}</td>"
            f"<td>{_ms(late)}</td><td>{_ms(worst)}</td><td>{escape(told)}</td></tr>"
        )
    return f"<div class='card'><table>{head}</tr>{''.join(rows)}</table></div>"


def _middle(values: Sequence[float | None]) -> float | None:
    found = sorted(value for value in values if value is not None)
    return found[len(found) // 2] if found else None


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} ms"
