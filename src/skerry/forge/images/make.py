"""The whole way from a folder of pictures to a bundle, and the folder beside it from which a cut training goes on.

`OUT.run` holds the plan, the pixels and the checkpoint until the bundle is there, and then the weights alone.
"""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from skerry.core.card import Card
from skerry.core.errors import Conflict
from skerry.core.names import ModelName
from skerry.engine.bundle import Bundle
from skerry.forge.images.export import bundle_of, program, proven, started, temperature_of
from skerry.forge.images.finish import Asked, Ended, Made, Told, ended, write
from skerry.forge.images.pixels import kept
from skerry.forge.images.plan import CHECKPOINT, PLAN, Ears, Wanted, learned, planned
from skerry.forge.images.prepare import Pictures, pictures_of
from skerry.forge.images.train import Part, Plan, Run, logits_of, train
from skerry.forge.importers.torch_source import to_onnx
from skerry.forge.pages import data_page
from skerry.host.files import Disk, lock
from skerry.host.machine import Machine

WEIGHTS = "weights.pt"


@dataclass(frozen=True)
class Result:
    """What came of it."""

    bundle: Bundle
    card: Card
    ended: Ended


def make(path: Path, name: ModelName, out: Path, wanted: Wanted, asked: Asked, machine: Machine, ears: Ears) -> Result:
    """Return the bundle at `out`; raise what is wrong with pictures or wishes before any long work.

    The data's page lies at `out`.data.html, the card's at `out`.html. What was cut goes on when called again.
    """
    if out.exists():
        raise Conflict(f"{out}: there is something already; remove it or choose another folder")
    folder = out.with_name(f"{out.name}.run")
    pictures = pictures_of(path, wanted.shares, wanted.group, ears.watch)
    Disk().folder(folder)
    with lock(folder / "lock"):
        page = data_page(pictures.looked, pictures.data, pictures.found)
        Disk().write(out.with_name(f"{out.name}.data.html"), page.encode())
        plan = planned(folder, pictures, wanted, asked.budget, machine, ears)
        run, proof = _trained(folder, plan, pictures, wanted.weights, ears)
        temperature = temperature_of(logits_of(run.average, proof), torch.from_numpy(proof.labels))
        model = program(run.average, plan.shape, temperature)
        with tempfile.TemporaryDirectory(prefix="skerry-images-") as scratch:
            source = bundle_of(to_onnx(model), name, plan.shape, pictures.labels, Path(scratch, "float"))
            parity = proven(model, source, pictures.data.part("val"), plan.shape)
            found = ended(source, pictures, Path(scratch), asked, machine, Told(ears.watch, ears.done))
            made = Made(_options(plan, run, temperature, asked), plan.seed, parity, _notes(pictures))
            bundle, card = write(found, made, pictures, asked, out, machine)
        _tidied(folder, run)
    return Result(bundle, card, found)


def _trained(folder: Path, plan: Plan, pictures: Pictures, weights: Path | None, ears: Ears) -> tuple[Run, Part]:
    """Return the trained net, its best weights in `average`, and the validation part."""
    shape, data = plan.shape, pictures.data.part("val")
    pixels = kept(data, shape.side, shape.channels, folder, ears.watch)
    prove = Part(pixels, pictures.numbers("val"))
    start = None if weights is None else started(weights, shape, plan.classes)
    run = train(plan, learned(folder, shape, pictures, ears.watch), prove, folder / CHECKPOINT, ears.heard, start)
    run.average.load_state_dict(run.best)
    return run, prove


def _options(plan: Plan, run: Run, temperature: float, asked: Asked) -> dict[str, Any]:
    """Return what the card says of the training."""
    loss, accuracy = run.history[run.best_round - 1][1:] if run.best_round else (0.0, 0.0)
    return {
        "net": {"width": plan.shape.width, "side": plan.shape.side, "channels": plan.shape.channels,
                "swish": plan.shape.swish, "gates": plan.shape.gates},
        "steps": plan.steps,
        "steps_done": run.done,
        "batch": plan.batch,
        "threads": plan.threads,
        "rate": plan.rate,
        "flips": plan.flips,
        "temperature": round(temperature, 4),
        "validation": {"loss": round(loss, 6), "accuracy": round(accuracy, 6)},
        "max_loss": asked.most_loss,
    }  # fmt: skip


def _notes(pictures: Pictures) -> tuple[str, ...]:
    """Return what a reader of the card must know of the data."""
    notes = []
    if pictures.looked.broken:
        notes.append(f"{len(pictures.looked.broken)} files could not be read and were left out")
    if pictures.near:
        notes.append(f"{pictures.near} pairs of near-equal pictures lie in different parts: if they show one thing "
                     f"twice, the test is too easy; give groups")  # fmt: skip
    return tuple(notes)


def _tidied(folder: Path, run: Run) -> None:
    """Leave the weights, from which another training can start, and nothing else."""
    buffer = io.BytesIO()
    torch.save(run.average.state_dict(), buffer)
    disk = Disk()
    disk.write(folder / WEIGHTS, buffer.getvalue())
    for path in (folder / CHECKPOINT, folder / PLAN, folder / "lock", *folder.glob("*.npy")):
        disk.remove(path)
