"""What tests of the engine share: third-party data that may be absent, odd ONNX models, and a machine."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from skerry.core.manifest import FileEntry, Manifest, Runtime, StepEntry
from skerry.core.names import Digest, ModelName
from skerry.core.tensor import DType, Spec
from skerry.engine.runners.fake import FakeRunner
from skerry.engine.session import Session
from skerry.host.clock import Clock
from skerry.host.machine import Machine
from tests.core.values import DIGEST

HERE = Machine(cpus=2, memory=1 << 33, architecture="x86_64", system="Linux", host="here")
FOLDER = Path(os.environ.get("SKERRY_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
F = TensorProto.FLOAT


def data(path: str) -> Path:
    """Return a file or folder of the third-party test data; skip the test if it is not on this machine."""
    if not (FOLDER / path).exists():
        pytest.skip(f"no third-party data at {FOLDER / path} (see SKERRY_TEST_DATA)")
    return FOLDER / path


def png(image: Image.Image | Any, kind: str = "PNG", **options: Any) -> bytes:
    """Return an image or an array of pixels as a file."""
    file = io.BytesIO()
    found = image if isinstance(image, Image.Image) else Image.fromarray(image)
    found.save(file, kind, **options)
    return file.getvalue()


def graph(path: Path, nodes: list[Any], takes: dict[str, Any], gives: dict[str, Any], consts: Any = None) -> Path:
    """Write an ONNX model; `takes` and `gives` are name -> (type, shape), `consts` name -> array."""
    made = helper.make_graph(
        [helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "g",
        [helper.make_tensor_value_info(name, *spec) for name, spec in takes.items()],
        [helper.make_tensor_value_info(name, *spec) for name, spec in gives.items()],
        [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in (consts or {}).items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def identity(path: Path, kind: int = F, shape: Any = (-1, 2)) -> Path:
    """Write a model that gives back what it takes."""
    free = [None if size == -1 else size for size in shape]
    return graph(path, [("Identity", ["x"], ["y"])], {"x": (kind, free)}, {"y": (kind, free)})


def mean_model(path: Path, shape: list[Any], kind: int = F, nhwc: bool = False) -> Path:
    """Write a classifier of one image input: logits are the mean of each channel."""
    nodes = [("Cast", ["x"], ["f"], {"to": F})]
    nodes.append(("ReduceMean", ["f"], ["y"], {"axes": [1, 2] if nhwc else [2, 3], "keepdims": 0}))
    return graph(path, nodes, {"x": (kind, shape)}, {"y": (F, [1, shape[3] if nhwc else shape[1]])})


def detector(path: Path, boxes: list[list[float]], scores: list[list[float]], side: int = 16) -> Path:
    """Write a model that finds these boxes and scores in every image."""
    nodes = [
        ("ReduceMean", ["x"], ["m"], {"keepdims": 0}),
        ("Mul", ["m", "zero"], ["z"]),
        ("Add", ["b", "z"], ["boxes"]),
        ("Add", ["s", "z"], ["scores"]),
    ]
    b, s = np.float32([boxes]), np.float32([scores])
    return graph(
        path, nodes, {"x": (F, [1, 3, side, side])}, {"boxes": (F, b.shape), "scores": (F, s.shape)},
        {"b": b, "s": s, "zero": np.float32(0)},
    )  # fmt: skip


def manifest(
    inputs: tuple[Spec, ...], outputs: tuple[Spec, ...], pre: Any = (), post: Any = (), **more: Any
) -> Manifest:
    """Return a manifest with these steps, each (name, options)."""
    return Manifest(
        name=ModelName("m"),
        version=1,
        runtime=Runtime("onnx", "model.onnx"),
        files={"model.onnx": FileEntry(Digest(DIGEST), 1)},
        inputs=inputs,
        outputs=outputs,
        pre=tuple(StepEntry(name, options) for name, options in pre),
        post=tuple(StepEntry(name, options) for name, options in post),
        **more,
    )


IMAGE = (Spec("image", DType.FP32, (1, 3, 8, 8)),)
PRE = [("decode_image", {}), ("resize", {"width": 8, "height": 8}), ("normalise", {}), ("layout", {"to": "NCHW"})]


def sees(arrays: dict[str, Any], post: Any, labels: tuple[str, ...] = ()) -> Session:
    """Return a session of 8 x 8 images whose model gives these arrays, whatever it sees."""
    outputs = tuple(Spec(name, DType.FP32, np.shape(a)) for name, a in arrays.items())
    runner = FakeRunner(IMAGE, outputs, lambda _: {name: np.asarray(a) for name, a in arrays.items()})
    return Session(manifest(IMAGE, outputs, PRE, post, labels=labels), runner, Clock())
