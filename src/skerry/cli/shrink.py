"""`skerry forge import` and `optimise`: a model brought in, and made smaller and faster, with proof."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from skerry.cli.say import emit, err, errors, out, watching

Json = Annotated[bool, typer.Option("--json", help="One JSON line for machines.")]
COLOURS = {"pass": "green", "fail": "red", "not_proven": "yellow"}


def bring_in(
    source: Annotated[str, typer.Argument(help="A model: file, SavedModel folder, or module:function.")],
    out_folder: Annotated[Path, typer.Option("--out", "-o", help="The bundle's new folder.")],
    name: Annotated[str, typer.Option(help="The model's name. [default: the source's]")] = "",
    inputs: Annotated[Path | None, typer.Option(help="A .npz of inputs for the proof. [default: made up]")] = None,
    shape: Annotated[list[str] | None, typer.Option(help="NAME=1,3,224,224; -1 is free. May be repeated.")] = None,
    weights: Annotated[Path | None, typer.Option(help="The state dict for module:function.")] = None,
    signature: Annotated[str, typer.Option(help="Of a SavedModel.")] = "serving_default",
    tflite: Annotated[str, typer.Option(help="Give TFLite in place of ONNX: float, dynamic or int8.")] = "",
    data: Annotated[list[Path] | None, typer.Option(help="A .npz of real inputs, for int8. May be repeated.")] = None,
    tools: Annotated[
        Path | None, typer.Option(help="Where heavy frameworks are installed. [default: ~/.cache/skerry/tools]")
    ] = None,
    json: Json = False,
) -> None:
    """Bring a model in, prove that it answers as its source does, and make a bundle of it.

    ONNX, PyTorch (torch.export program, or module:function), Keras 3, TensorFlow SavedModel, TFLite (kept as it is).
    """
    with errors():
        from skerry.core.names import model_name
        from skerry.engine.make import Wishes
        from skerry.forge.brought import TOOLS, arrays_of, bundle_of, lite_of
        from skerry.forge.importers.bring import bring
        from skerry.forge.importers.what import Import, read_shapes

        wishes = Import(
            inputs=None if inputs is None else arrays_of(inputs),
            shapes=read_shapes(tuple(shape or ())),
            weights=weights,
            signature=signature,
            lite=lite_of(tflite),
            calibration=tuple(map(arrays_of, data or ())),
            tools=(tools or TOOLS).expanduser(),
        )
        named = model_name(name or Path(source).stem.partition(":")[0])
        with err.status("") as shown:
            brought = bring(source, wishes, lambda text: None if json else shown.update(text))
        bundle = bundle_of(brought, Wishes(named), out_folder)
        if json:
            told = {"parity": brought.parity.document(), "source": brought.provenance.document()}
            emit({"bundle": str(bundle.path), "digest": bundle.manifest.digest, "runtime": brought.runtime, **told})
            return
        for one in brought.parity.outputs:
            line = f"{one.output}: {one.maximum:.2g} at most, {one.mean:.2g} in the mean, from {brought.parity.inputs} inputs"
            out.print(f"[green]same answers[/]  {line}", markup=True)
        out.print(f"{bundle.path}: {bundle.manifest.digest}, {bundle.manifest.size / 1e6:.2f} MB", markup=False)
        out.print(f"Next:  skerry serve {bundle.path}", markup=False)


def optimise(
    folder: Annotated[Path, typer.Argument(help="A bundle of an ONNX model.")],
    data: Annotated[Path, typer.Option(help="Labelled examples: a folder per class, a CSV, COCO, or a .npz.")],
    out_folder: Annotated[Path, typer.Option("--out", "-o", help="The new bundle; its card's page lies beside it.")],
    target: Annotated[str, typer.Option(help="cpu-N: N threads of this machine.")] = "cpu-1",
    max_loss: Annotated[str, typer.Option(help="What may be lost: 0.5pt is half a point of accuracy.")] = "0.5pt",
    minutes: Annotated[float, typer.Option(help="How long it may take.", min=0.1)] = 10.0,
    test: Annotated[
        float, typer.Option(help="Share for the test, of data that is not split.", min=0.05, max=0.95)
    ] = 0.5,
    seed: Annotated[int, typer.Option(help="Of the split.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Make a model smaller and faster, and prove on the real runner that it is not worse.

    Each pass is measured and rolled back if it does not pay. Exit status 1 if more is lost than may be.
    """
    with errors():
        from skerry.forge.data import Shares
        from skerry.forge.shrink.drive import Drive, Wishes
        from skerry.forge.shrink.judge import Judge
        from skerry.forge.shrink.prepare import loss_of, parts_of, source_of, threads_of
        from skerry.forge.shrink.write import write
        from skerry.host import machine

        here = machine.look()
        threads, wishes = threads_of(target, here.cpus), Wishes(loss_of(max_loss), minutes, seed)
        source = source_of(folder, out_folder)
        with watching(json) as watch, tempfile.TemporaryDirectory(prefix="skerry-forge-") as scratch:
            parts = parts_of(data, source, Shares(0.0, test, seed), watch)
            judge = Judge(Path(scratch), parts.calibration, parts.test, threads, here)
            found = Drive(judge, wishes, watch, (lambda _: None) if json else _told).run(source)
            bundle, card = write(source, found, parts, wishes, out_folder, threads, here)
        if json:
            emit({"bundle": str(bundle.path), "digest": bundle.manifest.digest, "card": card.json()})
        else:
            _ended(found, bundle)
        if found.verdict.outcome.value == "fail":
            raise typer.Exit(1)


def _told(done: Any) -> None:
    colour, word = ("green", "kept") if done.kept else ("yellow", "left")
    err.print(f"[{colour}]{word}[/]  [bold]{done.name}[/]", end="  ")
    err.print(done.why, markup=False)


def _ended(found: Any, bundle: Any) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("", "size KB", "accuracy", "interval", "p50 us", "p99 us", "time", "INT8"):
        table.add_column(title, justify="right")
    for what, one in (("before", found.first.effect), ("after", found.last.effect)):
        table.add_row(
            what, f"{one.size / 1000:.0f}", f"{one.accuracy.value:.4f}",
            f"{one.accuracy.interval.low:.4f} to {one.accuracy.interval.high:.4f}",
            f"{one.latency.p50_us:.0f}", f"{one.latency.p99_us:.0f}", f"{one.ratio.value:.2f}", f"{one.coverage:.0%}",
        )  # fmt: skip
    out.print(table)
    verdict = found.verdict
    out.print(f"[{COLOURS[verdict.outcome.value]}]{verdict.outcome.value.replace('_', ' ')}[/]", end="  ")
    out.print(verdict.text, markup=False)
    out.print(f"{bundle.path}: {bundle.manifest.digest}; its card: {bundle.path}.html", markup=False)
