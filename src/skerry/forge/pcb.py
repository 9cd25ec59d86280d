"""The board recipe from end to end, as the command line calls it: render, train, score.

Here the parts of the forge are put in a row and what they did is written down. Never here: a layout rule,
a loss, a matching rule, a decoder: those that the node serves with come from the engine.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import PIL
import torch
from PIL import Image, ImageDraw
from rich.console import Console
from rich.progress import Progress

from skerry.forge.boards import Board, render_board
from skerry.forge.export import check_parity, export_onnx
from skerry.forge.score import Detect, Verdicts, judge, read_deeppcb, thin
from skerry.forge.train import Step, TrainPlan
from skerry.forge.train import train as run_training
from skerry.host.clock import Clock
from skerry.host.files import Disk

PLAIN_EVERY = 250  # steps between two lines where there is no terminal to draw a bar on
FLOOR = 0.05  # heat below which an answer is not even kept for the precision-recall curve
SOUND_EVERY = 4  # one board in so many is left without a defect
COLOURS = {
    "open": "#d33682",
    "short": "#dc322f",
    "mousebite": "#268bd2",
    "spur": "#859900",
    "copper": "#b58900",
    "pin-hole": "#6c71c4",
}

Watch = Callable[[int, str], None]


@contextmanager
def progress(title: str, total: int, every: int = PLAIN_EVERY) -> Iterator[Watch]:
    """Give a callback (done, note): a bar on a terminal, else a line now and then."""
    console = Console(stderr=True)  # standard output is for what was asked for
    if console.is_terminal:
        with Progress(console=console) as bars:
            task = bars.add_task(title, total=total)
            yield lambda done, note: bars.update(task, completed=done, description=f"{title} {note}")
    else:

        def line(done: int, note: str) -> None:
            if done % every == 0 or done == total:
                console.print(f"{title} {done}/{total} {note}", highlight=False, soft_wrap=True)

        yield line


def sample_boards(count: int, seed: int) -> Iterator[Board]:
    """Render the boards that are shown and shipped; every fourth has no defect."""
    for n in range(count):
        yield render_board(seed + n, 0 if n % SOUND_EVERY == SOUND_EVERY - 1 else None)


def render_samples(out: Path, count: int, seed: int) -> Path:
    """Write `board-NN.png` (1 bit) and `truth.json` (file -> boxes) into a folder; give the path of the truth."""
    disk = Disk()
    truth: dict[str, object] = {}
    with progress("rendering", count, every=10) as watch:
        for n, board in enumerate(sample_boards(count, seed)):
            name = f"board-{n:02d}.png"
            disk.write(out / name, _png(Image.fromarray(board.image).convert("1", dither=Image.Dither.NONE)))
            truth[name] = {"seed": seed + n, "defects": [asdict(d) for d in board.defects]}
            watch(n + 1, name)
    path = out / "truth.json"
    disk.write(path, (json.dumps(truth, indent=1) + "\n").encode())
    return path


def render_preview(out: Path, seed: int, columns: int = 4, rows: int = 2) -> None:
    """Write one picture of several boards with their true boxes, for the documentation."""
    cell = 320
    sheet = Image.new("RGB", (columns * cell, rows * cell), "white")
    for n, board in enumerate(sample_boards(columns * rows, seed)):
        picture = Image.fromarray(board.image).convert("RGB")
        draw = ImageDraw.Draw(picture)
        for d in board.defects:
            draw.rectangle((d.x1, d.y1, d.x2, d.y2), outline=COLOURS[d.label], width=4)
        small = picture.resize((cell - 6, cell - 6), Image.Resampling.BOX)
        sheet.paste(small, (n % columns * cell + 3, n // columns * cell + 3))
    Disk().write(out, _png(sheet))


def train(out: Path, plan: TrainPlan, command: str) -> dict[str, object]:
    """Train into a folder (`checkpoint.pt`, `pcb.onnx`, `training.json`) and give what training.json says.

    A folder with a checkpoint of the same seed and steps is gone on with. `command` is what
    the user typed, for the record.
    """
    clock, curve, sums = Clock(), [], np.zeros(2)
    began = clock.monotonic()
    with progress("training", plan.steps) as watch:

        def note(step: Step) -> None:
            nonlocal sums
            sums = sums + np.array([step.heat_loss, step.box_loss])
            if step.step % PLAIN_EVERY == 0:
                curve.append([step.step, *(sums / PLAIN_EVERY).round(4).tolist()])
                sums = np.zeros(2)
            watch(step.step, f"heat {step.heat_loss:.3f} box {step.box_loss:.3f}")

        net = run_training(plan, out / "checkpoint.pt", note)
    wall = clock.monotonic() - began
    path = out / "pcb.onnx"
    export_onnx(net, path)
    parity = check_parity(net, path, [board.image for board in sample_boards(3, plan.seed)])
    record: dict[str, object] = {
        "command": command,
        "seed": plan.seed,
        "steps": plan.steps,
        "batch": plan.crops.batch,
        "crop": plan.crops.side,
        "wall_minutes": round(wall / 60, 2),
        "cpu_minutes": round(cpu_seconds() / 60, 2),
        "threads": torch.get_num_threads(),
        "rendering_processes": plan.processes,
        "machine": platform.platform(),
        "losses": {"columns": ["step", "heat", "box"], "mean_over_steps": PLAIN_EVERY, "rows": curve},
        "parity_max_abs": parity,
        "onnx_bytes": path.stat().st_size,
        "onnx_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "parameters": sum(p.numel() for p in net.parameters()),
        "tools": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "numpy": np.__version__,
            "pillow": PIL.__version__,
        },
    }
    Disk().write(out / "training.json", (json.dumps(record, indent=1) + "\n").encode())
    return record


def score(detect: Detect, folder: Path, split: str, count: int | None = None) -> Verdicts:
    """Judge a detector on a split of a DeepPCB copy (ask `.at(threshold)`); `count` takes about so many boards."""
    pairs = list(read_deeppcb(folder, split))
    chosen = pairs if count is None else list(thin(pairs, count, len(pairs)))
    with progress("scoring", len(chosen), every=50) as watch:
        return judge(detect, chosen, lambda done: watch(done, ""))


def cpu_seconds() -> float:
    """Give the CPU time of this process and of the ended processes it started."""
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in spent)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
