"""Normalisation moved into the model: the node feeds the bytes of the pixels, and `normalise` is no step any more.

(x * scale - mean) / std = (x - mean / scale) * (scale / std). The factor goes into the first convolution's weights,
which is exact with zero padding, since 0 stays 0. What is taken away cannot go into its bias where it pads, and is one
subtraction before it; of a mean of 0 nothing is left but the factor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.core.manifest import StepEntry
from skerry.engine.steps.image import Normalise
from skerry.forge.optimise.rewrites.fold import scale_inputs
from skerry.forge.optimise.rewrites.net import Net
from skerry.forge.optimise.work import Work

KEEPS_BYTES = {"decode_image", "decode_raw", "resize", "letterbox", "layout"}  # steps that take and give uint8 pixels


@dataclass(frozen=True)
class Raw:
    """A model that takes pixels as uint8, and the steps before it, `normalise` not among them."""

    model: onnx.ModelProto
    steps: tuple[StepEntry, ...]


def take_pixels(model: onnx.ModelProto, steps: Sequence[StepEntry], work: Work) -> Raw | None:
    """Move `normalise` into the model; None, with the reason said, where the steps or the model do not let it."""
    names = [entry.step for entry in steps]
    if names.count("normalise") != 1 or not KEEPS_BYTES.issuperset(set(names) - {"normalise"}):
        work.say(f"pixels: expected image steps with one 'normalise'; got {', '.join(names) or 'none'}")
        return None
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        work.say("pixels: expected one input of float32")
        return None
    entry = steps[names.index("normalise")]
    normalise = Normalise.read(Fields(dict(entry.options), "pre.normalise"))
    shape = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim]
    last = _layout(steps) == "NHWC"
    if len(shape) != 4 or shape[3 if last else 1] not in (1, 3, 4):
        work.say(f"pixels: expected an input of four dimensions with 1, 3 or 4 channels; got {shape}")
        return None
    changed = _taking_bytes(model, inputs[0].name, normalise, shape[3 if last else 1], last)
    return Raw(changed, tuple(step for step in steps if step is not entry))


def as_pixels(feeds: Mapping[str, NDArray[Any]], normalise: Normalise, last: bool) -> dict[str, NDArray[Any]]:
    """Turn what `normalise` made back into bytes, for calibration data that was kept as floats."""
    found = {}
    for name, value in feeds.items():
        gains, shifts = normalise.factors(value.shape[3 if last else 1])
        across = (1, 1, 1, -1) if last else (1, -1, 1, 1)
        moved = value if shifts is None else value + shifts.reshape(across)
        pixels = np.rint(moved / gains.reshape(across))
        if pixels.min(initial=0) < 0 or pixels.max(initial=0) > 255:
            raise Invalid(f"input '{name}': expected what 'normalise' makes of bytes; got values outside")
        found[name] = pixels.astype(np.uint8)
    return found


def _layout(steps: Sequence[StepEntry]) -> str:
    return next((str(entry.options.get("to")) for entry in steps if entry.step == "layout"), "NCHW")


def _taking_bytes(
    model: onnx.ModelProto, name: str, normalise: Normalise, channels: int, last: bool
) -> onnx.ModelProto:
    net = Net(model)
    gains, shifts = normalise.factors(channels)
    across = (1, 1, 1, channels) if last else (1, channels, 1, 1)
    gain = np.asarray(gains, np.float64)
    real = net.fresh(f"{name}_real")
    nodes = [helper.make_node("Cast", [name], [real], name=f"{name}_cast", to=TensorProto.FLOAT)]
    if shifts is not None:
        taken = net.add_weight(f"{name}_mean", (shifts / gain).astype(np.float32).reshape(across))
        centred = net.fresh(f"{name}_centred")
        nodes.append(helper.make_node("Sub", [real, taken], [centred], name=f"{name}_centre"))
        real = centred
    if last or not scale_inputs(net, name, gain):
        factor = net.add_weight(f"{name}_gain", gain.astype(np.float32).reshape(across))
        scaled = net.fresh(f"{name}_scaled")
        nodes.append(helper.make_node("Mul", [real, factor], [scaled], name=f"{name}_scale"))
        real = scaled
    net.redirect(name, real)
    net.graph.node.extend(nodes)
    for value in net.graph.input:
        if value.name == name:
            value.type.tensor_type.elem_type = TensorProto.UINT8
    return net.finish()
