"""`skerry forge dataset`: samples from the field as a new version of the data, and the suite that is never forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skerry.cli.forging.look import say_gate
from skerry.cli.say import emit, errors, out, watching

LISTED = 10  # samples that are named

app = typer.Typer(help="Data that grow: new versions from samples, and what no model may forget.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="One JSON line for machines.")]


@app.command("pull", epilog="Example:  skerry forge dataset pull --hub samples/ --from data-1/ -o data-2/")
def pull(
    hub: Annotated[str, typer.Option(help="Where the samples are: a folder with samples.jsonl.")],
    out_folder: Annotated[Path, typer.Option("--out", "-o", help="The new version's folder.")],
    before: Annotated[Path | None, typer.Option("--from", help="The version before, or a table to begin with.")] = None,
    suite: Annotated[Path | None, typer.Option(help="A suite whose rows are never taken for training.")] = None,
    json: Json = False,
) -> None:
    """Write a new version of a data set: the one before, and the labelled samples that it has not."""
    with errors():
        from skerry.forge.dataset.pull import ROWS
        from skerry.forge.dataset.pull import pull as take
        from skerry.forge.dataset.source import source_at

        with watching(json) as watch:
            version = take(source_at(hub), before, out_folder, watch, suite)
        if json:
            emit({"path": str(version.path), **version.json()})
            return
        for line in version.refused[:LISTED]:
            out.print(f"not taken: {line}", markup=False)
        counts = ", ".join(f"{count} {name}" for name, count in version.counts.items())
        out.print(f"{version.path}: round {version.round}, {counts}, {len(version.refused)} refused", markup=False)
        out.print(f"{version.digest}, after {version.parent or 'none'}", markup=False)
        out.print(f"Next:  skerry forge tabular {version.path / ROWS} -o …", markup=False)


@app.command("check", epilog="Example:  skerry forge dataset check states-2/ --before states/ --data never-forget.csv")
def check(
    folder: Annotated[Path, typer.Argument(help="The candidate's bundle.")],
    before: Annotated[Path, typer.Option(help="The bundle of the model before.")],
    data: Annotated[Path, typer.Option(help="The suite: labelled examples in any form that the forge reads.")],
    max_loss: Annotated[str, typer.Option(help="What may be lost: 1pt is a point of accuracy.")] = "1pt",
    json: Json = False,
) -> None:
    """Ask whether a candidate still knows what no model may forget. Exit status 1 if it is proven that it does not."""
    with errors():
        from skerry.engine.bundle import open_bundle, verify
        from skerry.forge.dataset.remember import remember
        from skerry.forge.shrink.prepare import loss_of
        from skerry.forge.tabular.rows import data_of

        most, bundles = loss_of(max_loss), [open_bundle(path) for path in (before, folder)]
        for bundle in bundles:
            verify(bundle)
        with watching(json) as watch:
            found = remember(bundles[0], bundles[1], data_of(data), most, watch)
        if json:
            emit({"before": found.before.json(), "after": found.after.json(), "gate": found.verdict.json(),
                  "forgotten": list(found.forgotten)})  # fmt: skip
        else:
            for name in found.forgotten[:LISTED]:
                out.print(f"forgotten: {name}", markup=False)
            say_gate(found.verdict)
        if found.verdict.outcome.value == "fail":
            raise typer.Exit(1)
