"""The models on disk: made once in the work folder, and made again when what makes them has changed."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from PIL import Image

from benchmarks import graphs
from benchmarks.names import CNN, INT8, PICTURES, TINY
from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.core.manifest import StepEntry
from skerry.core.names import ModelName
from skerry.engine.bundle import Bundle, open_bundle, write_bundle
from skerry.engine.make import Wishes, make_bundle
from skerry.engine.steps.image import DecodeImage
from skerry.host.files import Disk

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as every tutorial has them
CALIBRATION = 16  # random images: the ranges need not be good, the graph must be the real one
PHOTO = (640, 480)  # pixels
QUALITY = 75  # of the JPEG; makes the photo about 30 kB


@dataclass(frozen=True)
class Models:
    """Where they lie: a repository of plain tensors' models, and a bundle that classifies JPEGs."""

    repository: Path
    bundle: Bundle

    def file(self, name: str) -> Path:
        """Return the ONNX file of a model of the repository."""
        return self.repository / name / "1" / "model.onnx"


def prepare(work: Path) -> Models:
    """Return the models below `work`, made if they are not there."""
    source = Path(graphs.__file__).read_bytes() + Path(__file__).read_bytes()
    stamp = hashlib.sha256(source + f"{onnx.__version__} {ort.__version__}".encode()).hexdigest()[:12]
    repository = work / f"models-{stamp}"
    if not repository.exists():
        fresh = work / f"models-{stamp}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        for name in (TINY, CNN, INT8):
            (fresh / name / "1").mkdir(parents=True)
        graphs.mlp(fresh / TINY / "1" / "model.onnx")
        graphs.mobilenet(fresh / CNN / "1" / "model.onnx")
        quantise(fresh / CNN / "1" / "model.onnx", fresh / INT8 / "1" / "model.onnx")
        fresh.rename(repository)
    return Models(repository, pictures(repository / CNN / "1" / "model.onnx", work))


def quantise(source: Path, out: Path) -> None:
    """Write the static QDQ INT8 form of a model."""
    quantize_static(str(source), str(out), _Random(), quant_format=QuantFormat.QDQ)


class _Random(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Random images, each given once."""

    def __init__(self) -> None:
        self._left: Iterator[dict[str, np.ndarray]] = iter([{"image": image(n)} for n in range(CALIBRATION)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)


def image(seed: int) -> np.ndarray:
    """Return a random input of the convolutional network."""
    shape = (1, 3, graphs.SIDE, graphs.SIDE)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def pictures(model: Path, work: Path) -> Bundle:
    """Write the bundle that takes JPEGs; with scaled decoding, if this Skerry has it."""
    plain, out = work / "plain", work / PICTURES
    for folder in (plain, out):
        shutil.rmtree(folder, ignore_errors=True)
    labels = tuple(f"class {n}" for n in range(graphs.CLASSES))
    bundle = make_bundle(model, Wishes(ModelName(PICTURES), labels=labels, mean=MEAN, std=STD), plain, Disk())
    if not can_scale():
        plain.rename(out)
        return open_bundle(out)
    first, *rest = bundle.manifest.pre
    pre = (StepEntry(first.step, {**first.options, "scaled": True}), *rest)
    files = {name: (plain / name).read_bytes() for name in bundle.manifest.files}
    return write_bundle(out, replace(bundle.manifest, pre=pre), files, Disk())


def can_scale() -> bool:
    """Whether `decode_image` knows the option `scaled`."""
    fields = Fields({"scaled": True}, "")
    try:
        DecodeImage.read(fields)
    except Invalid:
        return False
    return not fields.rest()


def photo() -> bytes:
    """Return a JPEG with the busyness of a photo: soft shapes, edges and some noise; the same every time."""
    random = np.random.default_rng(graphs.SEED)
    width, height = PHOTO
    soft = Image.fromarray(random.integers(0, 256, (15, 20, 3), dtype=np.uint8)).resize(PHOTO, Image.Resampling.BICUBIC)
    rows, columns = np.mgrid[0:height, 0:width]
    edges = ((columns // 80 + rows // 60) % 2 * 40)[:, :, np.newaxis]
    pixels = np.asarray(soft) * 0.8 + edges + random.normal(0, 6, (height, width, 1))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
