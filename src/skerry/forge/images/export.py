"""From a trained net to a bundle: calibrated by its temperature, written as ONNX, proven equal on real pictures."""

from __future__ import annotations

import math
import tempfile
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from skerry.core.manifest import Manifest, Runtime, StepEntry
from skerry.core.names import ModelName
from skerry.engine.bundle import Bundle, write_bundle
from skerry.engine.runners.onnx import OnnxRunner
from skerry.engine.runners.runner import Threads
from skerry.forge.data import Data
from skerry.forge.images.pixels import Decoder, steps
from skerry.forge.importers.torch_source import TorchModel, quiet, read_weights
from skerry.forge.models.mobilenet import MobileNet, Served, Shape
from skerry.forge.parity import Feeds, Parity, prove
from skerry.host.files import Disk

MODEL = "model.onnx"
PROVEN = 8  # pictures on which the ONNX file is compared with the net
BEST = 5  # classes in an answer
COLDEST, HOTTEST, TRIES = 0.25, 4.0, 97  # temperatures that are tried: steps of 3 %
HEAD = "head."


def program(net: MobileNet, shape: Shape, temperature: float = 1.0) -> TorchModel:
    """Return the net as a program: `image` [1,channels,side,side] -> `logits`."""
    served = Served(net, temperature).eval()
    with quiet():
        made = torch.export.export(served, (torch.zeros(1, shape.channels, shape.side, shape.side),), strict=False)
        return TorchModel(made, "images")


def bundle_of(data: bytes, name: ModelName, shape: Shape, labels: tuple[str, ...], path: Path) -> Bundle:
    """Write a bundle of an ONNX file of this recipe, without goldens."""
    with tempfile.TemporaryDirectory(prefix="skerry-images-") as folder:
        probe = Path(folder, MODEL)
        probe.write_bytes(data)
        with closing(OnnxRunner(probe, Threads())) as runner:
            inputs, outputs = runner.inputs, runner.outputs
    manifest = Manifest(
        name=name,
        version=1,
        runtime=Runtime("onnx", MODEL),
        files={},
        inputs=inputs,
        outputs=outputs,
        pre=steps(shape.side, shape.channels),
        post=(
            StepEntry("softmax", {"output": "logits"}),
            StepEntry("top_k", {"output": "logits", "k": min(BEST, len(labels))}),
        ),
        labels=labels,
    )
    return write_bundle(path, manifest, {MODEL: data}, Disk())


def proven(model: TorchModel, bundle: Bundle, data: Data, shape: Shape) -> Parity:
    """Return how far the bundle's model lies from the net, on pictures as the steps make them; raise ParityLost."""
    decoder = Decoder(steps(shape.side, shape.channels))
    stride = max(1, len(data.examples) // PROVEN)
    feeds: list[Feeds] = [
        {"image": decoder(data.encoded(index))} for index in range(0, len(data.examples), stride)[:PROVEN]
    ]
    named = [{model.inputs[0]: one["image"]} for one in feeds]
    with closing(OnnxRunner(bundle.model_file, Threads())) as runner:
        return prove(model.answer, runner, named)


def temperature_of(logits: Tensor, labels: Tensor) -> float:
    """Return what logits are divided by so that the probabilities are as sure as they are right (least loss)."""
    tried = torch.logspace(math.log10(COLDEST), math.log10(HOTTEST), TRIES)
    losses = [float(functional.cross_entropy(logits / one, labels)) for one in tried]
    return float(tried[min(range(TRIES), key=losses.__getitem__)])


def started(path: Path, shape: Shape, classes: int) -> dict[str, Tensor]:
    """Return weights to start from: a file's trunk, and its head too if that is for as many classes.

    Raise NotFound, Invalid, LoadFailed for a file that is none, or of another net.
    """
    net = MobileNet(shape, classes)
    there = _classes(path)
    if there in (0, classes):
        return read_weights(path, net)
    found = read_weights(path, MobileNet(shape, there))
    return found | {name: value for name, value in net.state_dict().items() if name.startswith(HEAD)}


def _classes(path: Path) -> int:
    """Return for how many classes the weights in a file are, 0 if that cannot be told."""
    try:
        return len(torch.load(path, weights_only=True, map_location="cpu")[f"{HEAD}bias"])
    except Exception:  # boundary: read_weights tells what is wrong with it
        return 0
