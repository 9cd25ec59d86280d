"""A trained network as an ONNX file: the same weights give the same bytes, and the answers are proven equal.

The proof runs on the engine's own runner, which is what a node runs. Never here: training, thresholds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from skerry.engine.runners.onnx import OnnxRunner
from skerry.engine.runners.runner import Threads
from skerry.forge.boards import SIZE
from skerry.forge.importers.onnx_source import clean
from skerry.forge.importers.torch_source import quiet
from skerry.forge.models.detector import Detector, Served
from skerry.forge.parity import ParityLost
from skerry.host.files import Disk

OPSET = 18  # the exporter's own; another number adds a conversion pass
CLOSE = 1e-4  # of heat (0..1); of boxes in units of REACH. Two float32 runtimes differ by about 1e-6
RELATIVE = 1e-3


def export_onnx(net: Detector, path: Path, size: int = SIZE) -> None:
    """Write the served form of the network: `image` [1,1,size,size] -> `heat`, `box`."""
    served = Served(net).eval()
    with quiet():
        program = torch.onnx.export(
            served,
            (torch.zeros(1, 1, size, size),),
            input_names=["image"],
            output_names=["heat", "box"],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise ParityLost("the exporter gave no program")
    model = program.model_proto
    clean(model, "detector")
    onnx.checker.check_model(model, full_check=True)
    Disk().write(path, model.SerializeToString(deterministic=True))


def check_parity(net: Detector, path: Path, images: list[NDArray[np.uint8]]) -> dict[str, float]:
    """Give the largest absolute difference per output between torch and the runtime; too large is an error."""
    served, runner, worst = Served(net).eval(), OnnxRunner(path, Threads()), {"heat": 0.0, "box": 0.0}
    for image in images:
        x = image[None, None].astype(np.float32) / 255
        with torch.no_grad():
            heat, box = served(torch.from_numpy(x))
        answers = runner.run({"image": x})
        for name, want in (("heat", heat.numpy()), ("box", box.numpy())):
            got = answers[name]
            worst[name] = max(worst[name], float(np.abs(got - want).max()))
            if not np.allclose(got, want, rtol=RELATIVE, atol=CLOSE if name == "heat" else CLOSE * 64):
                raise ParityLost(f"{name} differs by {worst[name]:.2e}")
    runner.close()
    return worst
