"""One conformance test for every runner, and what ONNX Runtime alone must keep."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from onnx import TensorProto

from skerry.core.errors import Invalid, LoadFailed, RunFailed
from skerry.core.tensor import DType, Spec
from skerry.engine.runners.fake import FakeRunner
from skerry.engine.runners.onnx import OnnxRunner
from skerry.engine.runners.runner import Threads
from tests.engine.kit import graph, identity
from tests.models import adder_onnx

X, Y = Spec("x", DType.FP32, (-1, 3)), Spec("y", DType.FP32, (-1, 3))
SUM, DIFFERENCE = Spec("sum", DType.FP32, (-1, 3)), Spec("difference", DType.FP32, (-1, 3))


def add(feeds):
    if feeds["x"].shape != feeds["y"].shape:
        raise RunFailed("shapes differ")
    return {"sum": feeds["x"] + feeds["y"], "difference": feeds["x"] - feeds["y"]}


@pytest.fixture(params=["onnx", "fake"])
def runner(request, tmp_path):
    if request.param == "onnx":
        return OnnxRunner(adder_onnx(tmp_path / "a.onnx"), Threads())
    return FakeRunner((X, Y), (SUM, DIFFERENCE), add)


def test_every_runner_keeps_the_contract(runner):
    assert (runner.inputs, runner.outputs) == ((X, Y), (SUM, DIFFERENCE))
    x, y = np.float32([[1, 2, 3], [4, 5, 6]]), np.float32([[1, 1, 1], [2, 2, 2]])
    found = runner.run({"x": x, "y": y})
    assert list(found) == ["sum", "difference"]
    np.testing.assert_array_equal(found["sum"], x + y)
    np.testing.assert_array_equal(found["difference"], x - y)
    with pytest.raises(RunFailed):
        runner.run({"x": x, "y": np.zeros((3, 3), np.float32)})
    np.testing.assert_array_equal(runner.run({"x": x, "y": y})["sum"], x + y)  # a failed run leaves it usable
    runner.close()


def test_every_runner_runs_from_many_threads(runner):
    wrong = []

    def work(level):
        x = np.full((2, 3), level, np.float32)
        sums = [runner.run({"x": x, "y": x})["sum"] for _ in range(50)]
        wrong.extend(one for one in sums if not (one == 2 * level).all())

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("feeds", [{}, {"x": np.zeros((1, 3), np.float64)}, {"z": np.zeros(3)}])
def test_onnx_wrong_feeds_are_run_failed(tmp_path, feeds):
    with pytest.raises(RunFailed, match="ONNX Runtime"):
        OnnxRunner(adder_onnx(tmp_path / "a.onnx"), Threads()).run(feeds)


TYPES = [n for n in DType.__members__.values() if n is not DType.BYTES]
ONNX = {"BOOL": "BOOL", "FP16": "FLOAT16", "FP32": "FLOAT", "FP64": "DOUBLE"}


@pytest.mark.parametrize("kind", TYPES, ids=lambda k: k.value)
def test_onnx_every_number_type_passes(tmp_path, kind):
    model = identity(tmp_path / "i.onnx", getattr(TensorProto, ONNX.get(kind.value, kind.value)))
    runner = OnnxRunner(model, Threads())
    assert runner.inputs == (Spec("x", kind, (-1, 2)),)
    x = np.asarray([[0, 1]], kind.numpy)
    found = runner.run({"x": x})["y"]
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found, x)


def test_onnx_strings_are_text(tmp_path):
    runner = OnnxRunner(identity(tmp_path / "i.onnx", TensorProto.STRING, (-1,)), Threads())
    given = np.empty(3, object)
    given[:] = ["é".encode(), b"", b"a\nb"]
    assert runner.run({"x": given})["y"].tolist() == ["é", "", "a\nb"]
    given[:] = [b"\xff", b"", b""]
    with pytest.raises(Invalid, match="'x': expected UTF-8 text"):
        runner.run({"x": given})


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07" * 50], ids=["empty", "text", "noise"])
def test_onnx_bad_files_are_load_failed(tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(LoadFailed, match=r"cannot load m\.onnx"):
        OnnxRunner(tmp_path / "m.onnx", Threads())


def test_onnx_a_missing_or_truncated_file_is_load_failed(tmp_path):
    with pytest.raises(LoadFailed):
        OnnxRunner(tmp_path / "none.onnx", Threads())
    whole = adder_onnx(tmp_path / "a.onnx").read_bytes()
    for size in range(0, len(whole), 23):
        (tmp_path / "b.onnx").write_bytes(whole[:size])
        with pytest.raises(LoadFailed):
            OnnxRunner(tmp_path / "b.onnx", Threads())


def test_onnx_other_than_tensors_are_refused_by_name(tmp_path):
    from onnx import helper

    sequence = helper.make_value_info("s", helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [None])))
    made = helper.make_graph(
        [helper.make_node("SequenceLength", ["s"], ["n"])],
        "g",
        [sequence],
        [helper.make_tensor_value_info("n", TensorProto.INT64, [])],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "s.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(LoadFailed, match=r"'s' is a seq\(tensor\(float\)\)"):
        OnnxRunner(tmp_path / "s.onnx", Threads())


def test_onnx_telemetry_is_off_before_the_import():
    program = (
        "import sys, os, builtins\n"
        "real, seen = builtins.__import__, []\n"
        "def watch(name, *a, **k):\n"
        "    if name.split('.')[0] == 'onnxruntime' and 'onnxruntime' not in sys.modules:\n"
        "        seen.append(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "    return real(name, *a, **k)\n"
        "builtins.__import__ = watch\n"
        "import skerry.engine.runners.onnx\n"
        "print(seen[0])\n"
    )
    environ = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    found = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "1"


def test_onnx_an_idle_session_uses_no_processor(tmp_path):
    w = np.ones((256, 256), np.float32)
    nodes = [("MatMul", ["x", "w"], ["a"]), ("MatMul", ["a", "w"], ["y"])]
    shape = {"x": (1, [256, 256])}, {"y": (1, [256, 256])}
    runner = OnnxRunner(graph(tmp_path / "m.onnx", nodes, *shape, {"w": w}), Threads(intra=2))
    for _ in range(3):
        runner.run({"x": w})
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.1
