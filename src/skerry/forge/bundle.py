"""The PCB bundle: the trained model with the steps it was trained for, and goldens from rendered boards.

The steps name what the training assumed (grey pixels from 0 to 1, 640 x 640, a heat map of stride 4), so the
node prepares a picture exactly as the forge did.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skerry.core.errors import Invalid
from skerry.core.manifest import GoldenEntry, Manifest, Runtime, StepEntry
from skerry.core.names import ModelName
from skerry.engine.bundle import Bundle, open_bundle, write_bundle
from skerry.engine.golden import record
from skerry.engine.runners.onnx import OnnxRunner
from skerry.engine.runners.runner import Threads
from skerry.engine.session import Session
from skerry.engine.steps.image import encode_png
from skerry.forge.marks import LABELS
from skerry.forge.models.detector import STRIDE
from skerry.forge.score import Answer, Detect
from skerry.host.clock import Clock
from skerry.host.files import Disk

NAME = ModelName("pcb")
SIDE = 640  # pixels; what the detector was trained on
NMS_IOU = 0.4  # of two overlapping answers, of whatever label, the surer one stays: one place has one defect
LIMIT = 100  # boxes before suppression; the fullest board known has 14 defects
GOLDENS = 3  # boards; one would not hold all six labels
GOLDEN_TOLERANCE = 0.02  # of a score; other processors add in another order, which moved scores by up to 1e-5 here
DESCRIPTION = (
    "Finds six defects (open, short, mousebite, spur, spurious copper, pin-hole) on black-and-white pictures of "
    "bare boards. Trained on rendered boards only; it has never seen a real board."
)


def bundle_detector(folder: Path, floor: float) -> Detect:
    """Return a bundle as a callable from a 640x640 grey image to answers, through every step as a node runs them.

    `floor` stands in for the bundle's threshold, so that a precision-recall curve sees the weak answers too.
    """
    bundle = open_bundle(folder)
    post = tuple(
        StepEntry(entry.step, {**entry.options, "threshold": floor}) if "threshold" in entry.options else entry
        for entry in bundle.manifest.post
    )
    session = Session(replace(bundle.manifest, post=post), OnnxRunner(bundle.model_file, Threads()), Clock())

    def detect(image: NDArray[np.uint8]) -> list[Answer]:
        found = session.look(encode_png(image)).findings
        return [Answer(f.label, f.score, *f.box) for f in found if f.box is not None]

    return detect


def golden_boards(folder: Path) -> list[Path]:
    """Return the first boards of a rendered folder that have defects; Invalid if it is not such a folder."""
    try:
        truth = json.loads((folder / "truth.json").read_bytes())
    except (OSError, ValueError) as error:
        raise Invalid(f"{folder}: expected a folder made by 'skerry forge pcb render': {error}") from None
    return [folder / name for name, board in sorted(truth.items()) if board["defects"]][:GOLDENS]


def threshold_of(folder: Path) -> float:
    """Return the threshold that a bundle's steps set."""
    steps = open_bundle(folder).manifest.post
    return next(float(step.options["threshold"]) for step in steps if "threshold" in step.options)


def pcb_bundle(model: Path, boards: list[Path], threshold: float, version: int, out: Path) -> Bundle:
    """Write the bundle of a trained model; `boards` (PNG) become its goldens. Conflict if `out` exists."""
    data = model.read_bytes()
    runner = OnnxRunner(model, Threads())
    manifest = Manifest(
        name=NAME,
        version=version,
        runtime=Runtime("onnx", "model.onnx"),
        files={},
        inputs=runner.inputs,
        outputs=runner.outputs,
        pre=(
            StepEntry("decode_image", {"colour": "grey"}),
            StepEntry("letterbox", {"width": SIDE, "height": SIDE, "fill": 0}),
            StepEntry("normalise", {"scale": 1 / 255}),
            StepEntry("layout", {"to": "NCHW"}),
        ),
        post=(
            StepEntry("decode_heatmap", {"stride": STRIDE, "threshold": threshold, "limit": LIMIT}),
            StepEntry("nms", {"iou": NMS_IOU, "by_class": False}),
            StepEntry("map_back"),
        ),
        labels=LABELS,
        goldens=tuple(
            GoldenEntry(f"goldens/{n}.png", f"goldens/{n}.answer.json", GOLDEN_TOLERANCE) for n in range(len(boards))
        ),
        description=DESCRIPTION,
    )
    session = Session(manifest, runner, Clock())
    files = {"model.onnx": data}
    for n, board in enumerate(boards):
        files[f"goldens/{n}.png"] = board.read_bytes()
        files[f"goldens/{n}.answer.json"] = record(session, board.read_bytes())
    session.close()
    return write_bundle(out, replace(manifest, files={}), files, Disk())
