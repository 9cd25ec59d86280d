"""The card's page: the gates and whether they are proven, the passes, plots, mistakes, and how it was all made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from skerry.core.card import Card, Effect, Pass
from skerry.core.gate import Interval, Outcome
from skerry.forge.measure.boxes import Detected
from skerry.forge.measure.classes import Classified
from skerry.forge.pages.page import figure, fold, mark, numbers, page, section, table, text
from skerry.forge.pages.pictures import MOST, gallery, marked, small
from skerry.forge.pages.plot import Point, Row, frontier, reliability, whiskers

MOST_LABELS = 40  # of a confusion matrix; beyond, the worst pairs are listed


@dataclass(frozen=True)
class Shown:
    """What the page shows beside the card: the measured answers, the pictures of its mistakes by name, the variants."""

    measured: Classified | Detected | None = None
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    points: Sequence[Point] = ()
    threshold: float = 0.5  # of a detector's answers


LEGEND = "Whole boxes: missed, or called otherwise. Dashed boxes: answers that fit nothing of their label there."
NOTHING = Shown()


def card_page(name: str, card: Card, shown: Shown = NOTHING) -> str:
    """Return the page of a card; `name` is the model's."""
    return page(
        f"{name}: card",
        [
            _head(name, card),
            numbers(_figures(card.measured)),
            section("Gates", _gates(card)),
            section("Scores", _scores(card)),
            section("Passes", _passes(card.passes), _plots(card)),
            section("Variants", *_variants(shown.points)),
            section("Answers", *_answers(shown)),
            section("Mistakes", _mistakes(shown)),
            section("Not executed here", _not_executed(card)),
            section("How it was made", *_made(card)),
        ],
    )


def _head(name: str, card: Card) -> str:
    if not card.gates:
        said = "No gate was set."
    elif card.proven:
        what = "The gate is" if len(card.gates) == 1 else f"All {len(card.gates)} gates are"
        said = f"{mark(Outcome.PASS)} {what} proven."
    else:
        worst = Outcome.FAIL if any(v.outcome is Outcome.FAIL for v in card.gates) else Outcome.NOT_PROVEN
        count = sum(not verdict.passed for verdict in card.gates)
        said = f"{mark(worst)} {count} of {len(card.gates)} gates are not proven."
    where = f" Measured on {text(card.target.name)}." if card.target.name else ""
    return f"<header><h1>{text(name)}</h1><p>{said}{where}</p></header>"


def _figures(effect: Effect) -> list[tuple[str, str, str]]:
    found = []
    if effect.accuracy is not None:
        one = effect.accuracy
        found.append((one.kind, _share(one.value), f"{_range(one.interval)}, n={one.count}"))
    if effect.latency is not None:
        fast = effect.latency
        threads = f"{fast.threads} thread{'s' if fast.threads > 1 else ''}"
        small_print = f"p99 {_time(fast.p99_us)}, {fast.samples:,} runs, {threads}"
        found.append(("time of one run, p50", _time(fast.p50_us), small_print))
    if effect.ratio is not None:
        small_print = (
            f"{effect.ratio.interval.low:.3g} to {effect.ratio.interval.high:.3g}, {effect.ratio.rounds} rounds"
        )
        found.append(("time against the first", f"{effect.ratio.value:.3g} ×", small_print))
    if effect.size is not None:
        found.append(("size", _bytes(effect.size), f"{effect.size:,} bytes"))
    if effect.coverage is not None:
        found.append(("in INT8 kernels", _share(effect.coverage), "of the multiplications"))
    if effect.difference is not None:
        away = effect.difference
        found.append(("greatest difference", f"{away.greatest:.3g}", f"mean {away.mean:.2g}, {away.inputs} inputs"))
    return found


def _gates(card: Card) -> str:
    rows = [[text(one.gate), mark(one.outcome), text(one.text)] for one in card.gates]
    return table(("gate", "verdict", "what it stands on"), rows)


def _scores(card: Card) -> str:
    rows = [
        [text(one.kind), text(one.data), _share(one.value), _range(one.interval), f"{one.count:,}"]
        for one in card.scores
    ]
    return table(("score", "data", "value#", "interval#", "n#"), rows)


def _passes(passes: Sequence[Pass]) -> str:
    heads = ("pass", "", "accuracy#", "size#", "p50#", "time ×#", "INT8#", "max diff#", "why")
    rows = []
    if passes:
        rows.append([text("before"), "", *_effect(passes[0].before), ""])
    for one in passes:
        kept = '<span class="mark good">✓ kept</span>' if one.kept else '<span class="mark open">↺ rolled back</span>'
        if not one.kept and one.after == one.before:
            kept = "nothing done"
        rows.append([text(one.name), kept, *_effect(one.after), text(one.why)])
    return table(heads, rows, off=[False, *(not one.kept for one in passes)])


def _effect(one: Effect) -> list[str]:
    told = (
        None if one.accuracy is None else _share(one.accuracy.value),
        None if one.size is None else _bytes(one.size),
        None if one.latency is None else _time(one.latency.p50_us),
        None if one.ratio is None else f"{one.ratio.value:.3g}",
        None if one.coverage is None else _share(one.coverage),
        None if one.difference is None else f"{one.difference.greatest:.3g}",
    )
    return ["–" if cell is None else text(cell) for cell in told]


def _plots(card: Card) -> str:
    right, fast = [], []
    moments = [("before", card.passes[0].before, False)] if card.passes else []
    moments += [(one.name, one.after, not one.kept) for one in card.passes]
    for label, effect, off in moments:
        if effect.accuracy is not None:
            one = effect.accuracy
            wide = Interval(100 * one.interval.low, 100 * one.interval.high, one.interval.level)
            right.append(Row(label, 100 * one.value, wide, _share(one.value), off))
        if effect.ratio is not None:
            ratio = effect.ratio
            fast.append(Row(label, ratio.value, ratio.interval, f"{ratio.value:.3g} ×", off))
    plots = figure(
        whiskers("Accuracy after each pass", right, " %"),
        "Accuracy after each pass, with its interval; hollow: rolled back.",
    )
    plots += figure(
        whiskers("Time against the first", fast, " ×", 1.0), "Time of one run against the model that came in."
    )
    return f'<div class="plots">{plots}</div>' if plots else ""


def _variants(points: Sequence[Point]) -> list[str]:
    heads = ("variant", "", "p50#", "accuracy#", "interval#", "size#")
    rows = [
        [
            text(one.label),
            '<span class="mark">chosen</span>' if one.chosen else "",
            text(_time(one.p50_us)),
            _share(one.accuracy.value),
            _range(one.accuracy.interval),
            _bytes(one.size) if one.size else "–",
        ]
        for one in sorted(points, key=lambda point: point.p50_us)
    ]
    caption = "Joined: no other is both faster and more accurate."
    return (
        [figure(frontier(points), caption), fold(f"All {len(points)} variants", table(heads, rows))] if points else []
    )


def _answers(shown: Shown) -> list[str]:
    found = shown.measured
    if isinstance(found, Classified):
        caption = f"Mean distance from the line (ECE): {100 * found.calibration_error:.1f} pt."
        return [_confusion(found), f'<div class="plots">{figure(reliability(found.reliability), caption)}</div>']
    if isinstance(found, Detected):
        score = found.at(shown.threshold)
        rows = [
            [text(one.label), str(one.truths), *map(_share, (one.precision, one.recall, one.f, one.ap))]
            for one in (*score.labels, score.total)
        ]
        caption = f"{score.boards} pictures, threshold {score.threshold:g}, overlap over 0.33"
        return [table(("label", "boxes#", "precision#", "recall#", "F#", "AP#"), rows, caption)]
    return []


def _confusion(found: Classified) -> str:
    """Return the matrix, or for many labels the pairs that are taken for one another most."""
    counts = found.confusion
    if len(found.labels) > MOST_LABELS:
        pairs = [
            (int(counts[row, column]), row, column)
            for row, column in zip(*counts.nonzero(), strict=True)
            if row != column
        ]
        rows = [
            [text(found.label(row)), text(_column(found, column)), str(count)]
            for count, row, column in sorted(pairs, reverse=True)[:MOST_LABELS]
        ]
        return table(("is", "was taken for", "times#"), rows, "What was confused most")
    last = len(found.labels) + bool(counts[:, -1].any())
    heads = "".join(f'<th scope="col" class="n">{text(_column(found, column))}</th>' for column in range(last))
    rows_html = []
    for row, label in enumerate(found.labels):
        total = max(1, int(counts[row].sum()))
        cells = "".join(_cell(int(counts[row, column]), total) for column in range(last))
        rows_html.append(f'<tr><th scope="row">{text(label)}</th>{cells}</tr>')
    caption = "Confusion: each row is what it is, each column what the model took it for"
    return (
        f'<div class="wide matrix" tabindex="0"><table><caption>{caption}</caption>'
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{''.join(rows_html)}</tbody></table></div>"
    )


def _cell(count: int, total: int) -> str:
    """Return a cell, the darker the greater its share of the row."""
    return f'<td style="background:rgba(var(--wash),{0.5 * count / total:.2f})">{count or "·"}</td>'


def _column(found: Classified, column: int) -> str:
    return found.labels[column] if column < len(found.labels) else "nothing"


def _mistakes(shown: Shown) -> str:
    found = shown.measured
    items = []
    if isinstance(found, Classified):
        for one in found.mistakes(MOST):
            caption = f"{one.truth}, taken for {one.guess} ({100 * one.sure:.0f} % sure): {one.name}"
            items.append((small(shown.pictures.get(one.name, b"")), caption))
    elif isinstance(found, Detected):
        for place in found.worst(shown.threshold, MOST):
            missed, false = found.wrong(place, shown.threshold)
            picture = marked(shown.pictures.get(found.names[place], b""), missed, false)
            items.append((picture, f"{len(missed)} missed, {len(false)} false: {found.names[place]}"))
        return gallery(items, LEGEND)
    return gallery(items)


def _not_executed(card: Card) -> str:
    rows = [[text(one.target), f"<code>{text(one.file)}</code>", text(one.why)] for one in card.not_executed]
    return table(("target", "file", "why"), rows)


def _made(card: Card) -> list[str]:
    data = [
        [
            text(one.name),
            text(one.use),
            f"{one.files:,}",
            text(one.split),
            text(one.licence),
            f"<code>{text(one.manifest)}</code>",
        ]
        for one in card.data
    ]
    parity = [
        [text(one.against), f"{one.greatest:.3g}", f"{one.mean:.3g}", f"{one.tolerance:.3g}", str(one.inputs)]
        for one in card.parity
    ]
    options = {"recipe": card.recipe, "options": dict(card.options), "seeds": dict(card.seeds)}
    return [
        table(("data", "use", "files#", "split", "licence", "manifest"), data),
        table(("parity with", "max diff#", "mean diff#", "tolerance#", "inputs#"), parity),
        "".join(f"<p>{text(note)}</p>" for note in card.notes),
        fold("Recipe and seeds", f"<pre><code>{text(json.dumps(options, indent=1, sort_keys=True))}</code></pre>")
        if card.recipe or card.seeds
        else "",
        fold("Tools", table(("tool", "version"), [[text(k), text(v)] for k, v in sorted(card.tools.items())])),
        fold("Target", table(("fact", "value"), [[text(k), text(v)] for k, v in sorted(card.target.facts.items())])),
    ]


def _share(value: float) -> str:
    return f"{100 * value:.2f} %"


def _range(one: Interval) -> str:
    return f"{100 * one.low:.2f} to {100 * one.high:.2f} %"


def _time(micros: float) -> str:
    return f"{micros / 1000:.3g} ms" if micros >= 1000 else f"{micros:.3g} µs"


def _bytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB" if size >= 1_000_000 else f"{size / 1e3:.1f} KB" if size >= 1000 else f"{size} B"
