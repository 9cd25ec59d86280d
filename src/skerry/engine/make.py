"""A bundle from a bare model file: the steps are guessed from the model's own shapes, and said plainly.

The guess is a start that its owner checks, not a truth: what can be seen (shapes, whether the scores add up
to 1) is looked at, what cannot (how the training scaled its pixels) has an option. The manifest that comes
out is plain JSON to be edited.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from skerry.core.errors import Invalid, LoadFailed, TooLarge
from skerry.core.manifest import FileEntry, GoldenEntry, Manifest, Runtime, StepEntry, digest_of
from skerry.core.names import ModelName
from skerry.core.tensor import DType, Spec, Tensor
from skerry.engine.arrays import Array, to_tensor
from skerry.engine.bundle import Bundle, write_bundle
from skerry.engine.free import FREE, filled
from skerry.engine.golden import read_inputs, record, tensors_file
from skerry.engine.known import SUFFIXES
from skerry.engine.runners.runner import Runner, Threads
from skerry.engine.runners.table import open_runner
from skerry.engine.session import Session
from skerry.engine.steps.image import encode_png
from skerry.host.clock import Clock
from skerry.host.files import Disk

MAX_MODEL = 2 << 30  # bytes; the most that one ONNX file can be
MAX_RANDOM = 1 << 16  # elements of a made-up golden input; as JSON they take about 1 MB
SEED = 20260101  # of made-up golden inputs: fixed, so that the same model gives the same bundle


@dataclass(frozen=True)
class Wishes:
    """What the owner of a model says about it; everything has a default."""

    name: ModelName
    version: int = 1
    labels: tuple[str, ...] = ()
    size: tuple[int, int] | None = None  # width and height in pixels, for a model that takes any
    colour: str = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    letterbox: bool = False
    threshold: float = 0.5
    goldens: tuple[Path, ...] = ()  # images, or .json files of tensors; made-up input if there is none
    description: str = ""


def make_bundle(
    model: Path, wishes: Wishes, out: Path, disk: Disk, beside: Mapping[str, bytes] = MappingProxyType({})
) -> Bundle:
    """Write a bundle of an ONNX or TFLite file; raise LoadFailed, RunFailed, Invalid or Conflict if there can be none.

    `beside` are more files for it, such as a card.
    """
    if model.stat().st_size > MAX_MODEL:
        raise TooLarge(f"{model}: expected at most {MAX_MODEL} bytes")
    data = model.read_bytes()
    kind = SUFFIXES.get(model.suffix, "onnx")
    file = "model.tflite" if kind == "litert" else "model.onnx"
    runner = open_runner(kind, model, Threads())
    try:
        manifest = Manifest(
            name=wishes.name,
            version=wishes.version,
            runtime=Runtime(kind, file),
            files={file: FileEntry(digest_of(data), len(data))},
            inputs=runner.inputs,
            outputs=runner.outputs,
            labels=wishes.labels,
            description=wishes.description,
        )
        pre = guess_pre(runner.inputs, wishes)
        post = guess_post(runner, pre, wishes) if pre else ()
        manifest = replace(manifest, pre=pre, post=post)
        files = {**beside, file: data, **_goldens(Session(manifest, runner, Clock()), wishes.goldens)}
        entries = tuple(
            GoldenEntry(name, f"{Path(name).with_suffix('')}.answer.json", tolerance=1e-3)
            for name in sorted(files)
            if name.startswith("goldens/") and not name.endswith(".answer.json")
        )
        bundle = write_bundle(out, replace(manifest, goldens=entries), files, disk)
    finally:
        runner.close()
    try:  # as a node will: what lies beside the model here (external data) does not lie in the bundle
        open_runner(kind, bundle.model_file, Threads()).close()
    except LoadFailed as error:
        disk.remove(out)
        raise LoadFailed(f"{error}; a model must be one file: save it without external data") from None
    return bundle


def guess_pre(inputs: Sequence[Spec], wishes: Wishes) -> tuple[StepEntry, ...]:
    """Return the steps before a model of one image input; none for any other model."""
    shaped = _image_shape(inputs)
    if shaped is None:
        return ()
    layout, channels, height, width = shaped
    if wishes.size is not None:
        width, height = wishes.size
    if width < 1 or height < 1:
        raise Invalid(f"input '{inputs[0].name}' takes images of any size; choose one with --size WIDTHxHEIGHT")
    steps = [
        StepEntry("decode_image", {"colour": "grey" if channels == 1 else wishes.colour}),
        StepEntry("letterbox" if wishes.letterbox else "resize", {"width": width, "height": height}),
    ]
    if inputs[0].dtype is not DType.UINT8:
        options: dict[str, Any] = {"scale": wishes.scale, "mean": list(wishes.mean), "std": list(wishes.std)}
        steps.append(StepEntry("normalise", options))
    return (*steps, StepEntry("layout", {"to": layout}))


def guess_post(runner: Runner, pre: Sequence[StepEntry], wishes: Wishes) -> tuple[StepEntry, ...]:
    """Return the steps after the model, told from what it gives for a made-up image; none if it is not known."""
    found = runner.run({runner.inputs[0].name: _image_input(runner.inputs[0], pre)})
    back = (StepEntry("nms"), StepEntry("map_back"))
    width, height = pre[1].options["width"], pre[1].options["height"]
    boxes = [n for n, a in found.items() if a.ndim == 3 and a.shape[0] == 1 and a.shape[2] == 4]
    scores = [n for n, a in found.items() if a.ndim == 3 and n not in boxes[:1]]
    if len(found) == 2 and boxes and scores and found[boxes[0]].shape[1] == found[scores[0]].shape[1]:
        classes = found[scores[0]].shape[2]
        options = {
            "boxes": boxes[0],
            "scores": scores[0],
            "unit": "share" if np.abs(found[boxes[0]]).max() <= 4 else "pixels",  # shares stray a little over 1
            "background": 0 if classes == len(wishes.labels) + 1 else -1,
            "threshold": wishes.threshold,
        }
        return (StepEntry("decode_boxes", options), *back)
    if set(found) == {"heat", "box"} and found["heat"].ndim == 4:
        stride = height // found["heat"].shape[2]
        if stride * found["heat"].shape[3] == width:
            options = {"heat": "heat", "box": "box", "stride": stride, "threshold": wishes.threshold}
            return (StepEntry("decode_heatmap", options), *back)
    name, array = next(iter(found.items()))
    if len(found) == 1 and array.ndim >= 2 and array.size == max(array.shape) and array.dtype.kind == "f":
        top = StepEntry("top_k", {"output": name, "k": min(5, array.size)})
        likely = bool((array >= 0).all()) and abs(float(array.sum()) - 1) < 1e-2
        return (top,) if likely else (StepEntry("softmax", {"output": name}), top)
    return ()


def _image_shape(inputs: Sequence[Spec]) -> tuple[str, int, int, int] | None:
    """Return layout, channels, height and width of a model of one image input; -1 for a free side."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[0] not in (-1, 1):
        return None
    if inputs[0].dtype not in (DType.FP32, DType.FP16, DType.UINT8):
        return None
    _, one, two, three = inputs[0].shape
    if one in (1, 3):
        return "NCHW", one, two, three
    if three in (1, 3):
        return "NHWC", three, one, two
    return None


def _image_input(spec: Spec, pre: Sequence[StepEntry]) -> Array:
    width, height = pre[1].options["width"], pre[1].options["height"]
    nchw = pre[-1].options["to"] == "NCHW"
    channels = spec.shape[1] if nchw else spec.shape[3]
    shape = (1, channels, height, width) if nchw else (1, height, width, channels)
    values = np.random.default_rng(SEED).random(shape)
    return (values * 255).astype(np.uint8) if spec.dtype is DType.UINT8 else values.astype(spec.dtype.numpy)


def _goldens(session: Session, given: Sequence[Path]) -> dict[str, bytes]:
    """Return the goldens' files by their path in the bundle; none if nothing was given and nothing made up runs."""
    inputs = [(p.suffix.lower(), p.read_bytes()) for p in given]
    if not inputs:
        inputs = [(".png", _made_up_picture())] if session.takes_images else _made_up_inputs(session)
    files: dict[str, bytes] = {}
    for index, (suffix, data) in enumerate(inputs):
        if suffix != ".json" and not session.takes_images:
            raise Invalid(f"golden {given[index]}: this model takes tensors; give a .json file of inputs")
        asked = read_inputs(data, str(index)) if suffix == ".json" else data
        files[f"goldens/{index}{suffix}"] = data
        files[f"goldens/{index}.answer.json"] = record(session, asked)
    return files


def _made_up_inputs(session: Session) -> list[tuple[str, bytes]]:
    """Return a golden of made-up tensors, with the first size for free dimensions that the model runs on."""
    for free in FREE:
        tensors = [_made_up(spec) for spec in filled(session.inputs, free)]
        given = [tensor for tensor in tensors if tensor is not None]
        if len(given) < len(tensors):
            break
        with contextlib.suppress(Invalid):
            session.infer(given)
            return [(".json", tensors_file(given))]
    return []


def _made_up_picture() -> bytes:
    """Return a PNG with edges, ramps and noise, the same every time."""
    rows, columns = np.mgrid[0:240, 0:320]
    noise = np.random.default_rng(SEED).integers(0, 64, (240, 320, 3))
    ramps = np.stack([columns * 0.6, rows * 0.8, (columns // 40 + rows // 40) % 2 * 190], axis=2)
    return encode_png((ramps + noise).clip(0, 255).astype(np.uint8))


def _made_up(spec: Spec) -> Tensor | None:
    """Return made-up values for an input, or None for one that is too large to keep as JSON."""
    shape = spec.shape
    if np.prod(shape) > MAX_RANDOM:
        return None
    random = np.random.default_rng(SEED)
    if spec.dtype is DType.BYTES:
        return Tensor(spec.name, spec.dtype, shape, tuple(b"%d" % i for i in range(int(np.prod(shape)))))
    kind = np.dtype(spec.dtype.numpy)
    values = random.standard_normal(shape) if kind.kind == "f" else random.integers(0, 2, shape)
    return to_tensor(spec.name, np.asarray(values).astype(kind))
