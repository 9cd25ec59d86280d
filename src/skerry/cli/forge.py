"""`skerry forge`: make and measure models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skerry.cli.forging import dataset, look, recipes
from skerry.cli.forging.images import images
from skerry.cli.say import emit, errors, out
from skerry.cli.shrink import bring_in, optimise

app = typer.Typer(help="Make and measure models.", no_args_is_help=True)
pcb = typer.Typer(
    help="PCB inspection: render boards, train the detector, make its bundle, score it.", no_args_is_help=True
)
app.add_typer(pcb, name="pcb")
app.add_typer(dataset.app, name="dataset")
app.command("import", epilog="Example:  skerry forge import model.keras --shape x=1,96,96,3 -o parts/")(bring_in)
app.command("optimise", epilog="Example:  skerry forge optimise parts/ --data photos/ --max-loss 0.5pt -o parts-8/")(
    optimise
)

for _made, _example in (
    (images, "images photos/ -o parts/   (15 minutes of training)"),
    (look.look, "look photos/ --html photos.html"),
    (look.card, "card parts-8/ --html card.html"),
    (look.measure, "measure parts-8/ --data photos/ --split test"),
    (look.race, "race parts/ parts-8/ --data photos/ --seconds 20"),
    (recipes.tabular, "tabular readings.csv --label state -o states/"),
    (recipes.train, "train my_recipe.py:RECIPE --data readings.csv -o states/"),
    (recipes.rebuild, "rebuild states/ --data readings.csv -o states-again/"),
):
    app.command(_made.__name__, epilog=f"Example:  skerry forge {_example}")(_made)

SPLIT = "test_seen_board"


@pcb.command("render", epilog="Example:  skerry forge pcb render --out boards/ --count 12 --seed 640000")
def render(
    out_folder: Annotated[Path, typer.Option("--out", "-o", help="The folder for PNG files and truth.json.")],
    count: Annotated[int, typer.Option(help="How many boards.", min=1)] = 12,
    seed: Annotated[int, typer.Option(help="The first board's seed; the same seed gives the same board.")] = 640_000,
) -> None:
    """Render boards with known defects. Every fourth of them has none."""
    with errors():
        from skerry.forge.pcb import render_samples

        truth = render_samples(out_folder, count, seed)
        out.print(f"{count} boards in {out_folder}, their defects in {truth}")


@pcb.command("train", epilog="Example:  skerry forge pcb train --out pcb-run/   (about 20 minutes on 2 cores)")
def train(
    out_folder: Annotated[
        Path, typer.Option("--out", "-o", help="Checkpoint, model and record; goes on where it stopped.")
    ],
    steps: Annotated[int, typer.Option(help="The one dial: more steps, better model.", min=1)] = 8000,
    seed: Annotated[int, typer.Option(help="Of the boards and the weights.")] = 0,
) -> None:
    """Train the detector on rendered boards and export it to ONNX, with a parity check."""
    with errors():
        from skerry.forge.pcb import train as run
        from skerry.forge.train import TrainPlan

        record = run(
            out_folder, TrainPlan(steps=steps, seed=seed), f"skerry forge pcb train --steps {steps} --seed {seed}"
        )
        out.print(f"{out_folder}/pcb.onnx  {record['onnx_bytes']} bytes  in {record['wall_minutes']} minutes")


@pcb.command("bundle", epilog="Example:  skerry forge pcb bundle pcb-run/pcb.onnx --boards boards/ -o pcb/")
def bundle(
    model: Annotated[Path, typer.Argument(help="The trained ONNX file.")],
    boards: Annotated[
        Path, typer.Option(help="A folder of rendered boards; the first three defective ones become goldens.")
    ],
    out_folder: Annotated[Path, typer.Option("--out", "-o", help="The bundle's new folder.")],
    threshold: Annotated[float, typer.Option(help="Least score of a finding.", min=0.01, max=0.99)] = 0.45,
    version: Annotated[int, typer.Option(help="The version, 1 or more.", min=1)] = 1,
) -> None:
    """Make the bundle: model, steps, labels and goldens."""
    with errors():
        from skerry.forge.bundle import golden_boards, pcb_bundle

        made = pcb_bundle(model, golden_boards(boards), threshold, version, out_folder)
        out.print(f"{out_folder}: {made.manifest.digest}, {made.manifest.size / 1e6:.2f} MB")


@pcb.command("score", epilog="Example:  skerry forge pcb score pcb/ --data DeepPCB/ --json")
def score(
    folder: Annotated[Path, typer.Argument(help="A PCB bundle.")],
    data: Annotated[Path, typer.Option(help="A copy of DeepPCB: images.csv, boxes.csv, images/.")],
    split: Annotated[str, typer.Option(help="The split to score on.")] = SPLIT,
    count: Annotated[
        int | None, typer.Option(help="About so many boards, spread over the split. [default: all]")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON for machines.")] = False,
) -> None:
    """Score a bundle on labelled boards: precision, recall, F at its threshold, and mAP (IoU > 0.33)."""
    with errors():
        from skerry.forge.bundle import bundle_detector, threshold_of
        from skerry.forge.pcb import FLOOR
        from skerry.forge.pcb import score as judge

        found = judge(bundle_detector(folder, FLOOR), data, split, count).at(threshold_of(folder))
        if json:
            emit(found.as_json())
        else:
            out.print(found.as_table(), markup=False)
