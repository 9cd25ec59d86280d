"""What OpenVINO alone must keep; what every runner must is in test_conformance.py."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from skerry.core.errors import LoadFailed
from skerry.core.tensor import DType
from skerry.engine.arrays import dtype_of, numpy_of
from skerry.engine.known import runtimes
from skerry.engine.runners.runner import Threads, Wish
from skerry.engine.runners.table import open_runner
from tests.engine.kit import graph, identity
from tests.models import adder_onnx

pytestmark = pytest.mark.skipif("openvino" not in runtimes(), reason="openvino is not installed")
TYPES = {"BOOL": "BOOL", "BF16": "BFLOAT16", "FP16": "FLOAT16", "FP32": "FLOAT", "FP64": "DOUBLE"}


@pytest.mark.parametrize("kind", [d for d in DType if d is not DType.BYTES], ids=lambda k: k.value)
def test_every_number_type_passes(tmp_path, kind):
    model = identity(tmp_path / "i.onnx", getattr(TensorProto, TYPES.get(kind.value, kind.value)))
    runner = open_runner("openvino", model, Threads())
    x = np.asarray([[0, 1]], kind.numpy).view(numpy_of(kind))
    found = runner.run({"x": x})["y"]
    assert dtype_of(found) is kind
    np.testing.assert_array_equal(found, x)


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        (Wish("npu"), "runtime openvino: needs the device NPU; here are .*CPU"),
        (Wish("cuda"), "unknown accelerator 'cuda'; it knows gpu, npu"),
        (Wish(options={"device": "TPU"}), "needs the device TPU"),
        (Wish(options={"precision": "f8"}), "runtime.precision: expected one of f32, f16, bf16"),
        (Wish(options={"cores": 1}), "unknown options cores"),
    ],
)
def test_wishes_that_cannot_be_are_named(tmp_path, wish, text):
    with pytest.raises(LoadFailed, match=text):
        open_runner("openvino", adder_onnx(tmp_path / "a.onnx"), Threads(), wish)


@pytest.mark.parametrize(
    ("kind", "shape", "text"),
    [(TensorProto.FLOAT, None, "'x' says not how many dimensions"), (TensorProto.STRING, [2], "type string")],
)
def test_what_cannot_be_served_is_refused_by_name(tmp_path, kind, shape, text):
    ends = [helper.make_tensor_value_info(name, kind, shape) for name in ("x", "y")]
    made = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ends[:1], ends[1:])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(LoadFailed, match=text):
        open_runner("openvino", tmp_path / "m.onnx", Threads())


def test_floats_are_computed_as_float32(tmp_path):
    w = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    ends = {"x": (1, [None, 64])}, {"y": (1, [None, 64])}
    model = graph(tmp_path / "m.onnx", [("MatMul", ["x", "w"], ["y"])], *ends, {"w": w})
    found = open_runner("openvino", model, Threads()).run({"x": w})["y"]
    np.testing.assert_allclose(found, w @ w, atol=1e-4)  # bfloat16 is off by 0.1
