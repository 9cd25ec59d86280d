"""The PCB bundle: the trained model with the steps it was trained for, and goldens from rendered boards.

The steps name what the training assumed (grey pixels from 0 to 1, 640 x 640, a heat map of stride 4), so the
node prepares a picture exactly as the forge did.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from skerry.core.manifest import GoldenEntry, Manifest, Runtime, StepEntry
from skerry.core.names import ModelName
from skerry.engine.bundle import Bundle, write_bundle
from skerry.engine.golden import record
from skerry.engine.runners.onnx import OnnxRunner
from skerry.engine.runners.runner import Threads
from skerry.engine.session import Session
from skerry.forge.marks import LABELS
from skerry.forge.models.detector import STRIDE
from skerry.host.clock import Clock
from skerry.host.files import Disk

NAME = ModelName("pcb")
SIDE = 640  # pixels; what the detector was trained on
NMS_IOU = 0.4  # of two overlapping answers, of whatever label, the surer one stays: one place has one defect
LIMIT = 100  # boxes before suppression; the fullest board known has 14 defects
GOLDEN_TOLERANCE = 0.02  # of a score; other processors add in another order, which moved scores by up to 1e-5 here
DESCRIPTION = (
    "Finds six defects (open, short, mousebite, spur, spurious copper, pin-hole) on black-and-white pictures of "
    "bare boards. Trained on rendered boards only; it has never seen a real board."
)


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
