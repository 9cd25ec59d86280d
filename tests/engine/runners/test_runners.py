"""What ONNX Runtime alone must keep; what every runner must is in test_conformance.py."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from skerry.core.errors import Invalid, LoadFailed
from skerry.core.tensor import DType, Spec
from skerry.engine.arrays import dtype_of, numpy_of
from skerry.engine.runners.onnx import ACCELERATORS, CPU, OnnxRunner
from skerry.engine.runners.onnx_file import unranked
from skerry.engine.runners.runner import Threads, Wish
from skerry.engine.runners.table import open_runner
from skerry.host.settings import environment
from tests.engine.kit import graph, identity
from tests.models import adder_onnx

TYPES = [n for n in DType.__members__.values() if n is not DType.BYTES]
ONNX = {"BF16": "BFLOAT16", "FP16": "FLOAT16", "FP32": "FLOAT", "FP64": "DOUBLE"}


@pytest.mark.parametrize("kind", TYPES, ids=lambda k: k.value)
def test_onnx_every_number_type_passes(tmp_path, kind):
    model = identity(tmp_path / "i.onnx", getattr(TensorProto, ONNX.get(kind.value, kind.value)))
    runner = OnnxRunner(model, Threads())
    assert runner.inputs == (Spec("x", kind, (-1, 2)),)
    x = np.asarray([[0, 1]], kind.numpy).view(numpy_of(kind))
    found = runner.run({"x": x})["y"]
    assert dtype_of(found) is kind
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
    environ = {k: v for k, v in environment().items() if k != "ORT_DISABLE_TELEMETRY"}
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


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"spin": 1}, "runtime: unknown options spin"),
        ({"spinning": 1}, "runtime.spinning: expected true or false; got 1"),
        ({"optimisation": "most"}, "runtime.optimisation: expected one of none, basic"),
        ({"providers": ["Quantum"]}, "runtime onnx: needs Quantum; here are .*CPUExecutionProvider"),
        ({"providers": [{}]}, r"runtime.providers\[0\]: expected a provider's name"),
        ({"free_dimensions": {"n": 0}}, "runtime.free_dimensions.n: expected a whole number from 1"),
    ],
)
def test_onnx_options_that_are_wrong_are_named(tmp_path, options, text):
    with pytest.raises(LoadFailed, match=text):
        open_runner("onnx", adder_onnx(tmp_path / "a.onnx"), Threads(), Wish(options=options))


def test_onnx_options_are_obeyed(tmp_path):
    options = {
        "providers": [CPU], "spinning": True, "arena": True, "memory_pattern": False, "optimisation": "basic",
        "block_base": 4, "free_dimensions": {"n": 4},
    }  # fmt: skip
    runner = open_runner("onnx", adder_onnx(tmp_path / "a.onnx"), Threads(), Wish(options=options))
    assert runner.inputs[0].shape == (4, 3)
    x = np.ones((4, 3), np.float32)
    assert (runner.run({"x": x, "y": x})["sum"] == 2).all()


@pytest.mark.parametrize("flag", [True, False])
def test_onnx_denormals_are_zero_if_the_first_model_of_a_process_says_so(tmp_path, flag):
    program = (
        "import sys\nfrom pathlib import Path\nimport numpy as np\n"
        "from skerry.engine.runners.runner import Threads, Wish\n"
        "from skerry.engine.runners.table import open_runner\n"
        "wish = Wish(options={'denormals_as_zero': sys.argv[2] == 'True'})\n"
        "runner = open_runner('onnx', Path(sys.argv[1]), Threads(), wish)\n"
        "x = np.full((1, 3), 1 << 16, np.int32).view(np.float32)\n"
        "print(runner.run({'x': x, 'y': x})['sum'].view(np.int32).any())\n"
    )
    argv = [sys.executable, "-c", program, str(adder_onnx(tmp_path / "a.onnx")), str(flag)]
    found = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(not flag)


def test_onnx_an_accelerator_that_is_not_here_is_named(tmp_path):
    model = adder_onnx(tmp_path / "a.onnx")
    for name, provider in ACCELERATORS.items():
        if name != "xnnpack":
            with pytest.raises(LoadFailed, match=f"needs {provider}; here are"):
                open_runner("onnx", model, Threads(), Wish(name))
    with pytest.raises(LoadFailed, match="unknown accelerator 'abacus'; it knows cann"):
        open_runner("onnx", model, Threads(), Wish("abacus"))


def rank_model(path, shape):
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    ends = [helper.make_tensor_value_info(n, 1, shape) for n in ("x", "y")]
    weights = [helper.make_tensor("w", 1, [300], np.zeros(300, np.float32).tobytes(), raw=True)]
    made = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_onnx_an_input_of_unknown_rank_is_refused_by_name_and_a_scalar_is_not(tmp_path):
    with pytest.raises(LoadFailed, match="input 'x' says not how many dimensions it has"):
        OnnxRunner(rank_model(tmp_path / "u.onnx", None), Threads())
    scalar = OnnxRunner(rank_model(tmp_path / "s.onnx", []), Threads())
    assert scalar.inputs == (Spec("x", DType.FP32, ()),)
    assert scalar.run({"x": np.asarray(5, np.float32)})["y"].shape == ()


def test_onnx_ranks_are_read_from_any_bytes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    whole = rank_model(folder / "u.onnx", None).read_bytes()
    assert unranked(folder / "u.onnx") == {"x"}

    @given(st.binary(max_size=60), st.integers(0, len(whole)), st.integers(0, 255), st.integers(0, len(whole) - 1))
    def any_bytes(noise, size, byte, place):
        for data in (noise, whole[:size], whole[:place] + bytes([byte]) + whole[place + 1 :]):
            (folder / "f").write_bytes(data)
            assert unranked(folder / "f") <= {"x"} or data is not noise

    any_bytes()


def test_onnx_bfloat16_goes_both_ways(tmp_path):
    nodes = [("Cast", ["x"], ["f"], {"to": TensorProto.FLOAT}), ("Add", ["f", "f"], ["y"]), ("Identity", ["x"], ["z"])]
    ends = {"x": (TensorProto.BFLOAT16, [None])}, {"y": (1, [None]), "z": (TensorProto.BFLOAT16, [None])}
    runner = OnnxRunner(graph(tmp_path / "b.onnx", nodes, *ends), Threads())
    x = np.asarray([0x3F80, 0x4040], np.uint16).view(numpy_of(DType.BF16))  # 1 and 3
    found = runner.run({"x": x})
    assert found["y"].tolist() == [2, 6]
    assert dtype_of(found["z"]) is DType.BF16
    assert found["z"].tolist() == x.tolist()
