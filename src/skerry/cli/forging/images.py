"""`skerry forge images`: anyone's pictures, a folder for each class, to a served bundle in one command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from skerry.cli.say import emit, err, errors, out, watching
from skerry.cli.shrink import COLOURS, Json

EVERY = 0.1  # of a training: how often a log, which is no terminal, hears of it


def images(
    folder: Annotated[Path, typer.Argument(help="A folder for each class, with its pictures in it.")],
    out_folder: Annotated[Path, typer.Option("--out", "-o", help="The new bundle; pages lie beside it.")],
    name: Annotated[str, typer.Option(help="The model's name. [default: the folder's]")] = "",
    minutes: Annotated[float, typer.Option(help="The one dial: how long it trains.", min=0.05)] = 15.0,
    target: Annotated[str, typer.Option(help="cpu-N: N threads of this machine.")] = "cpu-1",
    p99: Annotated[str, typer.Option(help="What a picture may take, file to answer: 10ms.")] = "",
    size: Annotated[str, typer.Option(help="What the model may take on disk: 1MB.")] = "",
    least: Annotated[float, typer.Option(help="Accuracy to prove on the test: 0.95.", min=0.0, max=1.0)] = 0.0,
    max_loss: Annotated[str, typer.Option(help="What INT8 may lose: 0.5pt is half a point of accuracy.")] = "0.5pt",
    optimise: Annotated[bool, typer.Option(help="Make it smaller and faster after the training.")] = True,
    group: Annotated[
        str, typer.Option(help="Pattern whose one group names what belongs together: 'board(\\d+)_'.")
    ] = "",
    flips: Annotated[str, typer.Option(help="Allowed in training: none, sides or all.")] = "sides",
    width: Annotated[float, typer.Option(help="Of the net. [default: by budget, or 0.75]", min=0.0, max=2.0)] = 0.0,
    side: Annotated[int, typer.Option(help="Pixels of its input. [default: by budget and pictures]", min=0)] = 0,
    swish: Annotated[bool, typer.Option(help="Hard-swish as in MobileNetV3; slower in INT8.")] = False,
    gates: Annotated[bool, typer.Option(help="Squeeze and excite as in MobileNetV3; larger and slower.")] = False,
    weights: Annotated[Path | None, typer.Option(help="Weights to start from: OUT.run/weights.pt of another.")] = None,
    val: Annotated[float, typer.Option(help="Share for validation.", min=0.05, max=0.5)] = 0.15,
    test: Annotated[float, typer.Option(help="Share for the test.", min=0.05, max=0.5)] = 0.2,
    seed: Annotated[int, typer.Option(help="Of split, weights and batches.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Train a classifier on your pictures and make a bundle of it: looked at, trained, made INT8, judged on a test.

    Ctrl-C keeps what was learned; the same command goes on. Exit status 1 if a gate fails.
    """
    with errors():
        from skerry.core.names import model_name
        from skerry.forge.data import Shares
        from skerry.forge.images.finish import Asked
        from skerry.forge.images.make import make
        from skerry.forge.images.plan import Ears, Wanted
        from skerry.forge.images.size import Budget, size_of, time_of
        from skerry.forge.shrink.prepare import loss_of, threads_of
        from skerry.host import machine

        here = machine.look()
        budget = Budget(time_of(p99), size_of(size), threads_of(target, here.cpus), optimise)
        asked = Asked(loss_of(max_loss), least, budget, optimise)
        wanted = Wanted(minutes, seed, Shares(val, test, seed), group, flips, width, side, swish, gates, weights)
        named = model_name(name or folder.resolve().name)
        try:
            with watching(json) as watch, _training(json) as heard:
                ears = Ears(watch, heard, (lambda _: None) if json else _told, (lambda _: None) if json else _said)
                made = make(folder, named, out_folder, wanted, asked, here, ears)
        except KeyboardInterrupt:
            if (out_folder.with_name(f"{out_folder.name}.run") / "checkpoint.pt").exists():
                err.print(f"stopped; what was learned lies in {out_folder}.run: the same command goes on", markup=False)
            raise
        if json:
            emit({"bundle": str(made.bundle.path), "digest": made.bundle.manifest.digest, "card": made.card.json()})
        else:
            _ended(made)
        if any(gate.outcome.value == "fail" for gate in made.card.gates):
            raise typer.Exit(1)


@contextmanager
def _training(quiet: bool) -> Iterator[Callable[[Any], None]]:
    """Show how the training goes: a bar on a terminal, lines elsewhere."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    shown = err.is_terminal and not quiet
    with Progress(*columns, console=err, transient=True, disable=not shown) as bar:
        task = bar.add_task("", total=None, visible=False)
        told = [0.0]

        def heard(now: Any) -> None:
            text = f"training  loss {now.loss:.3f}  accuracy {now.accuracy:.1%}"
            bar.update(task, completed=now.step, total=now.steps, description=text, visible=True)
            if not shown and not quiet and now.step >= told[0]:
                told[0] = now.step + EVERY * now.steps
                err.print(f"{text}  step {now.step} of {now.steps}", markup=False)

        yield heard


def _said(text: str) -> None:
    err.print(text, markup=False)


def _told(done: Any) -> None:
    colour, word = ("green", "kept") if done.kept else ("yellow", "left")
    err.print(f"[{colour}]{word}[/]  [bold]{done.name}[/]", end="  ")
    err.print(done.why, markup=False)


def _ended(made: Any) -> None:
    effect, path = made.card.measured, made.bundle.path
    for note in made.card.notes:
        out.print("[yellow]note[/]", end="  ")
        out.print(note, markup=False)
    found = effect.accuracy
    out.print(f"accuracy {found.value:.1%} of {found.count} pictures of the test, {found.interval.low:.1%} to "
              f"{found.interval.high:.1%}; {effect.size / 1000:.0f} KB; {made.ended.whole.p50_us / 1000:.2f} ms "
              f"from file to answer")  # fmt: skip
    for verdict in made.card.gates:
        out.print(f"[{COLOURS[verdict.outcome.value]}]{verdict.outcome.value.replace('_', ' ')}[/]", end="  ")
        out.print(verdict.text, markup=False)
    out.print(f"{path}: {made.bundle.manifest.digest}; its card: {path}.html; its data: {path}.data.html", markup=False)
    out.print(f"Next:  skerry serve {path}", markup=False)
