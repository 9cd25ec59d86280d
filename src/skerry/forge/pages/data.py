"""The data's page: how many of what, how large, what is broken, doubled or leaking, with pictures of each."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from skerry.core.errors import RequestError
from skerry.forge.data.example import BOXES, IMAGE, Data, Example, Problem, read_file
from skerry.forge.data.look import Looked
from skerry.forge.data.near import Leak
from skerry.forge.pages.page import numbers, page, section, table, text
from skerry.forge.pages.pictures import MOST, gallery, small

LISTED = 50  # problems that are written out
EACH = 4  # pictures of each label
MOST_LABELS = 12  # that have pictures on the page
UNEVEN = 10.0  # times as many of one label as of another is worth saying


def data_page(looked: Looked, data: Data, leaks: Sequence[Leak]) -> str:
    """Return the page of data that was looked at; `data` is the same after it was split."""
    return page(
        f"{data.name}: data",
        [
            f"<header><h1>{text(data.name)}</h1><p>{_said(looked, data, leaks)}</p></header>",
            numbers(_figures(looked, data)),
            section("Labels and splits", _labels(data)),
            section("A few of each", _few(data)),
            section("Near or equal, and in two splits or under two labels", _leaking(data, leaks)),
            section("Cannot be read", _problems(looked.broken)),
            section("Doubtful", _problems(looked.odd)),
        ],
    )


def _said(looked: Looked, data: Data, leaks: Sequence[Leak]) -> str:
    counts = data.balance
    told = [f"{len(data.examples):,} examples, {len(counts)} labels."]
    if counts and max(counts.values()) > UNEVEN * min(counts.values()):
        rare, common = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        told.append(f"Uneven: {counts[common]} of '{text(common)}', {counts[rare]} of '{text(rare)}'.")
    if looked.broken:
        told.append(f"{len(looked.broken)} cannot be read and were left out.")
    certain = sum(leak.kind != "near" for leak in leaks)
    if leaks:
        told.append(f"{len(leaks)} pairs leak or contradict, {certain} of them for certain.")
    return " ".join(told)


def _figures(looked: Looked, data: Data) -> list[tuple[str, str, str]]:
    found = [("examples", f"{len(data.examples):,}", f"{len(looked.broken)} more cannot be read")]
    if data.kind == BOXES:
        found.append(("boxes", f"{sum(data.balance.values()):,}", f"{len(data.labels)} labels"))
    sizes = [size for size in looked.sizes if size[0]]
    if sizes:
        wide, high = [w for w, _ in sizes], [h for _, h in sizes]
        middle = f"{statistics.median_low(wide)} × {statistics.median_low(high)}"
        found.append(("pixels, median", middle, f"{min(wide)} × {min(high)} to {max(wide)} × {max(high)}"))
    return found


def _labels(data: Data) -> str:
    splits = sorted({example.split for example in data.examples})
    parts = {name: data.part(name).balance for name in splits} if splits != [""] else {}
    total = max(1, sum(data.balance.values()))
    rows = [
        [text(label), str(count), f"{100 * count / total:.1f} %", *(str(parts[name].get(label, 0)) for name in parts)]
        for label, count in data.balance.items()
    ]
    return table(("label", "count#", "share#", *(f"{name or 'none'}#" for name in parts)), rows)


def _few(data: Data) -> str:
    if data.takes != IMAGE:
        return ""
    items = []
    for label in data.labels[:MOST_LABELS]:
        mine = [e for e in data.examples if e.label == label or any(box.label == label for box in e.boxes)]
        step = max(1, len(mine) // EACH)
        items += [(_picture(data, example), f"{label}: {example.name}") for example in mine[::step][:EACH]]
    cells = [gallery(items[start : start + MOST]) for start in range(0, len(items), MOST)]
    return "".join(cells)


def _leaking(data: Data, leaks: Sequence[Leak]) -> str:
    certain_first = sorted(leaks, key=lambda leak: (leak.kind == "near", leak.bits))
    listed = table(("pair",), [[text(leak)] for leak in certain_first[:LISTED]], _more(len(leaks)))
    if data.takes != IMAGE:
        return listed
    items = [
        (_picture(data, one), f"{one.split or one.label}: {one.name}")
        for leak in certain_first[: MOST // 2]
        for one in (leak.one, leak.other)
    ]
    return gallery(items) + listed


def _problems(problems: Sequence[Problem]) -> str:
    rows = [[text(one.name), text(one.what)] for one in problems[:LISTED]]
    return table(("file", "what"), rows, _more(len(problems)))


def _more(count: int) -> str:
    return f"The first {LISTED} of {count:,}" if count > LISTED else ""


def _picture(data: Data, example: Example) -> str:
    try:
        return small(read_file(data.root, example.name))
    except RequestError:  # it was there a moment ago
        return small(b"")
