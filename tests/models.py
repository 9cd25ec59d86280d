"""Tiny ONNX models and bundles for tests: made here, so that nothing third-party is needed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

from skerry.core.names import ModelName
from skerry.engine.bundle import Bundle, sign
from skerry.engine.make import Wishes, make_bundle
from skerry.host.ed25519 import PrivateKey
from skerry.host.files import Disk

SIDE = 8  # pixels


def brightness_onnx(path: Path, gain: float = 10.0) -> Path:
    """Write a classifier of two classes, dark and bright: softmax of -g(m - 0.5) and g(m - 0.5), m the mean."""
    weights = np.array([[-gain] * 3, [gain] * 3], dtype=np.float32).T / 3
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 2])],
        [
            onnx.numpy_helper.from_array(weights, "w"),
            onnx.numpy_helper.from_array(np.array([gain / 2, -gain / 2], dtype=np.float32), "b"),
        ],
    )
    return _save(graph, path)


def adder_onnx(path: Path) -> Path:
    """Write a model of two inputs, x and y FP32 [-1, 3], and two outputs, their sum and their difference."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "y"], ["sum"]), helper.make_node("Sub", ["x", "y"], ["difference"])],
        "adder",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("x", "y")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("sum", "difference")],
    )
    return _save(graph, path)


def brightness_bundle(folder: Path, version: int = 1, key: PrivateKey | None = None) -> Bundle:
    """Write the bundle of the brightness model, signed if a key is given; versions differ a little in their weights."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    model = brightness_onnx(folder.parent / f"brightness-{version}.onnx", gain=10.0 + version)
    wishes = Wishes(ModelName("brightness"), version=version, labels=("dark", "bright"))
    bundle = make_bundle(model, wishes, folder, Disk())
    if key is not None:
        sign(bundle, key, Disk())
    return bundle


def grey_png(level: int, side: int = 32) -> bytes:
    """Return a PNG of one grey level, 0 to 255."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (level, level, level)).save(file, "PNG")
    return file.getvalue()


def _save(graph: onnx.GraphProto, path: Path) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
