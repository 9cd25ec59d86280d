"""`skerry forge look`, `card`, `measure` and `race`: data and bundles looked at, and measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from skerry.cli.say import emit, err, errors, out, watching

COLOURS = {"pass": "green", "fail": "red", "not_proven": "yellow"}
FEW = 12  # labels of a confusion matrix that fits a terminal
LISTED = 10  # problems and leaks that are named

Json = Annotated[bool, typer.Option("--json", help="One JSON line for machines.")]
Page = Annotated[Path | None, typer.Option("--html", help="Write the page here.")]
Data = Annotated[Path, typer.Argument(help="A folder per class, a CSV, a COCO file, or a .npz.")]
Labelled = Annotated[Path, typer.Option(help="Labelled examples: a folder per class, a CSV, COCO, or a .npz.")]
BundleFolder = Annotated[Path, typer.Argument(help="A bundle.")]


def look(
    data: Data,
    html: Page = None,
    val: Annotated[float, typer.Option(help="Share for validation.", min=0.0, max=0.9)] = 0.15,
    test: Annotated[float, typer.Option(help="Share for the test.", min=0.0, max=0.9)] = 0.2,
    seed: Annotated[int, typer.Option(help="Of the split.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Look at data before any long work: counts, balance, what is broken, doubled, or leaks between the splits."""
    with errors():
        from skerry.forge.data import Shares, leaks, split
        from skerry.forge.data import look as looked_at
        from skerry.forge.pages import data_page
        from skerry.forge.tabular.rows import data_of
        from skerry.host.files import Disk

        shares = Shares(val, test, seed)
        with watching(json) as watch:
            looked = looked_at(data_of(data), watch)
        whole = split(looked.data, shares)
        found = leaks(looked, whole)
        if html is not None:
            Disk().write(html, data_page(looked, whole, found).encode())
        told = _looked(looked, whole, found)
        if json:
            emit(told)
            return
        _say_looked(told)
        if html is not None:
            out.print(f"its page: {html}", markup=False)
        else:
            out.print(f"With pictures:  skerry forge look {data} --html page.html", markup=False)


def _looked(looked: Any, whole: Any, found: Any) -> dict[str, Any]:
    """Return what was found, for a machine."""
    from skerry.forge.data import data_digest

    digests = {example.digest for example in whole.examples}
    sizes = sorted(size for size in looked.sizes if size[0])
    pixels = {"least": sizes[0], "median": sizes[len(sizes) // 2], "most": sizes[-1]} if sizes else None
    return {
        "data": whole.name,
        "kind": whole.kind,
        "takes": whole.takes,
        "digest": data_digest(whole),
        "examples": len(whole.examples),
        "labels": whole.balance,
        "splits": {name: whole.part(name).balance for name in ("train", "val", "test")},
        "pixels": pixels,
        "doubled": len(whole.examples) - len(digests),
        "leaks": [str(leak) for leak in found],
        "contradictions": sum(leak.kind == "label" for leak in found),
        "broken": [f"{one.name}: {one.what}" for one in looked.broken],
        "doubtful": [f"{one.name}: {one.what}" for one in looked.odd],
    }


def _say_looked(told: dict[str, Any]) -> None:
    from rich.table import Table

    out.print(f"{told['data']}: {told['examples']} examples ({told['takes']}), {told['digest']}", markup=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("label")
    for title in ("count", "share", "train", "val", "test"):
        table.add_column(title, justify="right")
    total = max(1, sum(told["labels"].values()))
    for label, count in told["labels"].items():
        parts = (str(told["splits"][name].get(label, 0)) for name in ("train", "val", "test"))
        table.add_row(label, str(count), f"{count / total:.1%}", *parts)
    out.print(table)
    if told["pixels"]:
        least, middle, most = (f"{w} x {h}" for w, h in told["pixels"].values())
        out.print(f"pixels: {middle} in the middle, {least} to {most}")
    if told["doubled"]:
        out.print(f"doubled: {told['doubled']} examples are copies of others", markup=False)
    for what in ("leaks", "broken", "doubtful"):
        _say_list(what, told[what])


def _say_list(what: str, lines: list[str]) -> None:
    if not lines:
        out.print(f"{what}: none")
        return
    out.print(f"[yellow]{what}[/]: {len(lines)}")
    for line in lines[:LISTED]:
        out.print(f"  {line}", markup=False)
    if len(lines) > LISTED:
        out.print(f"  … and {len(lines) - LISTED} more (--json has all)")


def card(folder: BundleFolder, html: Page = None, json: Json = False) -> None:
    """Show a bundle's card: what was measured, on what, and what its gates say."""
    with errors():
        from skerry.engine.bundle import open_bundle, verify
        from skerry.forge.pages import card_page
        from skerry.forge.recipe.card import card_of
        from skerry.host.files import Disk

        bundle = open_bundle(folder)
        verify(bundle)
        found = card_of(bundle)
        if html is not None:
            Disk().write(html, card_page(str(bundle.manifest.name), found).encode())
        if json:
            emit(found.json())
            return
        manifest = bundle.manifest
        out.print(f"{manifest.name} {manifest.version}  {manifest.digest}  {manifest.size / 1e6:.3f} MB", markup=False)
        for name, text in _card_lines(found):
            out.print(f"[bold]{name}[/]", end="  ")
            out.print(text, markup=False)
        for verdict in found.gates:
            say_gate(verdict)
        if html is not None:
            out.print(f"its page: {html}", markup=False)


def _card_lines(found: Any) -> list[tuple[str, str]]:
    """Return the card's facts in words."""
    lines = [("recipe", f"{found.recipe or 'none'} {' '.join(f'{k}={v}' for k, v in found.options.items())}".strip())]
    lines += [("data", f"{one.use}: {one.files} of {one.name}, {one.split}, {one.manifest}") for one in found.data]
    lines += [("tools", ", ".join(f"{name} {version}" for name, version in found.tools.items()))] if found.tools else []
    one = found.measured
    if one.accuracy is not None:
        lines.append(("accuracy", _accuracy(one.accuracy)))
    lines += [("before", _accuracy(score)) for score in found.scores]
    if one.latency is not None:
        took = f"p50 {one.latency.p50_us:.0f} us, p99 {one.latency.p99_us:.0f} us"
        lines.append(("latency", f"{took}, n={one.latency.samples}, {one.latency.threads} threads"))
    lines += [
        ("parity", f"{one.against}: {one.greatest:.2g} at most, {one.mean:.2g} in the mean") for one in found.parity
    ]
    lines += [("kept" if one.kept else "left", f"{one.name}: {one.why}") for one in found.passes]
    return lines


def _accuracy(one: Any) -> str:
    """Return an accuracy with its interval in words."""
    span = f"{one.interval.low:.4f} to {one.interval.high:.4f}"
    return f"{one.kind} {one.value:.4f} ({one.interval.level:.0%} interval {span}, n={one.count}) {one.data}".rstrip()


def say_gate(verdict: Any) -> None:
    """Print what a gate says."""
    out.print(f"[{COLOURS[verdict.outcome.value]}]{verdict.outcome.value.replace('_', ' ')}[/]", end="  ")
    out.print(verdict.text, markup=False)


def measure(
    folder: BundleFolder,
    data: Labelled,
    split: Annotated[str, typer.Option(help="The part to measure on: test, val, train, or all.")] = "test",
    test: Annotated[float, typer.Option(help="Share for the test, of data that is not split.", max=0.95)] = 0.2,
    val: Annotated[float, typer.Option(help="Share for validation.", max=0.9)] = 0.15,
    seed: Annotated[int, typer.Option(help="Of the split.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Measure how right a bundle is, in the session that a node serves with: accuracy with its interval, confusion."""
    with errors():
        from skerry.engine.bundle import open_bundle, verify
        from skerry.forge.data import Shares
        from skerry.forge.recipe.meter import measured_on, part_of

        bundle = open_bundle(folder)
        verify(bundle)
        with watching(json) as watch:
            part = part_of(data, split, Shares(val, test, seed), watch)
            found = measured_on(bundle, part, watch)
        accuracy = found.accuracy()
        if json:
            confusion = found.confusion.tolist() if hasattr(found, "confusion") else None
            emit({"bundle": bundle.manifest.digest, "split": split, "labels": list(found.labels),
                  "accuracy": accuracy.json(), "confusion": confusion})  # fmt: skip
            return
        out.print(_accuracy(accuracy), markup=False)
        if hasattr(found, "confusion"):
            _say_confusion(found)


def _say_confusion(found: Any) -> None:
    """Print the confusion matrix of few labels, else the worst mistakes."""
    from rich.table import Table

    if len(found.labels) > FEW:
        for one in found.mistakes(LISTED):
            err.print(f"{one.name}: {one.truth} taken for {one.guess} ({one.sure:.2f})", markup=False)
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("true, below; given, right")
    for label in (*found.labels, "nothing"):
        table.add_column(label, justify="right")
    for label, row in zip(found.labels, found.confusion.tolist(), strict=True):
        table.add_row(label, *(str(count) for count in row))
    out.print(table)


def race(
    folders: Annotated[list[Path], typer.Argument(help="Bundles; the first is what the others are measured against.")],
    data: Labelled,
    seconds: Annotated[float, typer.Option(help="How long, for all.", min=0.1, max=3600)] = 20.0,
    threads: Annotated[int, typer.Option(help="Threads of a run.", min=1, max=256)] = 1,
    json: Json = False,
) -> None:
    """Race bundles in turns on this machine: what else it does meets all of them; the ratio is what counts."""
    with errors():
        from rich.table import Table

        from skerry.forge.recipe.meter import raced

        with watching(json) as watch:
            bundles, found = raced(folders, data, seconds, threads, watch)
        rows = list(zip(folders, bundles, found.latencies, found.ratios, strict=True))
        if json:
            emit({"race": [{"path": str(path), "bundle": bundle.manifest.digest, "latency": latency.json(),
                            "ratio": ratio.json()} for path, bundle, latency, ratio in rows]})  # fmt: skip
            return
        table = Table(box=None, pad_edge=False)
        for title in ("bundle", "p50 us", "p99 us", "runs", "time", "interval"):
            table.add_column(title, justify="left" if title == "bundle" else "right")
        for folder, _, latency, ratio in rows:
            table.add_row(str(folder), f"{latency.p50_us:.0f}", f"{latency.p99_us:.0f}", str(latency.samples),
                          f"{ratio.value:.3f}", f"{ratio.interval.low:.3f} to {ratio.interval.high:.3f}")  # fmt: skip
        out.print(table)
