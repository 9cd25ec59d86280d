"""A stand-alone node as a process, with small models of every kind, for the clients that others wrote."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from skerry.core.manifest import FileEntry, Manifest, Runtime
from skerry.core.names import ModelName
from skerry.core.tensor import DType, Spec
from skerry.host.files import digest_file
from tests.data import DATA
from tests.engine.kit import graph, identity
from tests.models import adder_onnx, brightness_bundle
from tests.system.world import World

SECONDS = 60.0  # to start
# Open Inference's name of a type -> ONNX's, and numpy's
KINDS = {
    "BOOL": ("BOOL", np.bool_),
    "UINT8": ("UINT8", np.uint8),
    "UINT16": ("UINT16", np.uint16),
    "UINT32": ("UINT32", np.uint32),
    "UINT64": ("UINT64", np.uint64),
    "INT8": ("INT8", np.int8),
    "INT16": ("INT16", np.int16),
    "INT32": ("INT32", np.int32),
    "INT64": ("INT64", np.int64),
    "FP16": ("FLOAT16", np.float16),
    "FP32": ("FLOAT", np.float32),
    "FP64": ("DOUBLE", np.float64),
    "BYTES": ("STRING", np.object_),
}
F = TensorProto.FLOAT


@dataclass(frozen=True)
class Place:
    """Where a node is."""

    http: str  # HOST:PORT
    grpc: str  # HOST:PORT
    folder: Path  # of its models

    @property
    def url(self) -> str:
        """The node's URL."""
        return f"http://{self.http}"


def same(kind: str) -> str:
    """Return the name of the model that gives back what it takes, of that type."""
    return f"same_{kind.lower()}"


def put_version(repository: Path, name: str, version: int) -> Path:
    """Return where a version's model file goes."""
    path = repository / name / str(version) / "model.onnx"
    path.parent.mkdir(parents=True)
    return path


def sum_bundle(folder: Path) -> None:
    """Write a model that remembers: y is the sum of all the x of its sequence."""
    folder.mkdir(parents=True)
    one = (F, [1])
    nodes = [("Add", ["x", "state"], ["y"]), ("Identity", ["y"], ["after"])]
    path = graph(folder / "model.onnx", nodes, {"x": one, "state": one}, {"y": one, "after": one})
    size, sha256 = digest_file(path)
    manifest = Manifest(
        name=ModelName("total"),
        version=1,
        runtime=Runtime("onnx", "model.onnx", {"state": [{"input": "state", "output": "after"}]}),
        files={"model.onnx": FileEntry(sha256, size)},
        inputs=(Spec("x", DType.FP32, (1,)),),
        outputs=(Spec("y", DType.FP32, (1,)),),
    )
    (folder / "manifest.json").write_bytes(manifest.canonical)


def slow_onnx(path: Path) -> None:
    """Write a model that works for long on 1 number: a loop of n matrix products."""
    weights = np.eye(96, dtype=np.float32)
    body = helper.make_graph(
        [helper.make_node("MatMul", ["v", "w"], ["v2"]), helper.make_node("Identity", ["go"], ["go2"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", F, [96, 96]),
        ],
        [
            helper.make_tensor_value_info("go2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v2", F, [96, 96]),
        ],
    )
    consts = {"w": weights, "yes": np.array(True), "axis": np.array([0, 1])}
    found = helper.make_graph(
        [
            helper.make_node("Squeeze", ["n"], ["times"]),
            helper.make_node("Loop", ["times", "yes", "w"], ["last"], body=body),
            helper.make_node("ReduceSum", ["last"], ["total"], keepdims=0),
            helper.make_node("Unsqueeze", ["total", "first"], ["y"]),
        ],
        "slow",
        [helper.make_tensor_value_info("n", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", F, [1])],
        [onnx.numpy_helper.from_array(v, k) for k, v in {**consts, "first": np.array([0])}.items()],
    )
    model = helper.make_model(found, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def put_models(folder: Path, without: Collection[str] = ()) -> None:
    """Write a repository: brightness (images), adder in two versions, total (it remembers), slow, one of each type."""
    brightness_bundle(folder / "brightness", 3)
    sum_bundle(folder / "total")
    adder_onnx(put_version(folder, "adder", 6))
    adder_onnx(put_version(folder, "adder", 7))
    (folder / "adder" / "config.pbtxt").write_text("version_policy { all { } }\n")
    slow_onnx(put_version(folder, "slow", 1))
    for kind, (name, _) in KINDS.items():
        identity(put_version(folder, same(kind), 1), getattr(TensorProto, name))
    identity(put_version(folder, same("BF16"), 1), TensorProto.BFLOAT16)
    for name in without:
        shutil.rmtree(folder / name)


@contextmanager
def serving(folder: Path, *paths: Path, without: Collection[str] = ()) -> Iterator[Place]:
    """Serve the repository of `put_models` and what else is given; Triton's own examples where they are."""
    put_models(folder / "models", without)
    triton = DATA / "triton_models"
    given = [folder / "models", *([triton] if triton.is_dir() else []), *paths]
    world = World(folder / "world")
    try:
        argv = ["-m", "skerry", "serve", *map(str, given), "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--json"]
        ready = world._child("serve", argv).ready(SECONDS)
        yield Place(ready["http"].removeprefix("http://"), ready["grpc"], folder / "models")
    finally:
        world.close()
