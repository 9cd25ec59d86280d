"""TensorFlow, Keras and litert-torch for real, in environments of their own (SKERRY_TEST_TOOLS)."""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from skerry.core.errors import Invalid, LoadFailed
from skerry.forge.importers.bring import bring
from skerry.forge.importers.tools import TENSORFLOW, python_of
from skerry.forge.importers.what import Import
from tests.data import DATA, needs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NETS = str(Path(__file__).with_name("nets.py"))
MAKE = """
import sys, os
os.environ["CUDA_VISIBLE_DEVICES"], os.environ["TF_CPP_MIN_LOG_LEVEL"] = "-1", "3"
import keras, tensorflow as tf
from keras import layers as l
keras.utils.set_random_seed(3)
os.chdir(sys.argv[1])
m = keras.Sequential([l.Input((8, 8, 3), name="picture"), l.Conv2D(4, 3), l.BatchNormalization(), l.ReLU(),
                      l.GlobalAveragePooling2D(), l.Dense(5, activation="softmax", name="scores")])
m.save("m.keras"); m.save("m.h5"); m.export("saved", verbose=False)
i = keras.Input((6, 4), name="x"); keras.Model(i, l.GRU(8)(i)).save("gru.keras")
i = keras.Input((4,)); keras.Model(i, l.Lambda(lambda x: x * 2)(i)).save("lambda.h5")
m.save_weights("only.weights.h5")
class M(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def f(self, x): return {"y": tf.linalg.expm(tf.einsum("ni,nj->nij", x, x))}
mod = M(); tf.saved_model.save(mod, "odd", signatures={"serving_default": mod.f})
"""


def quiet(_: str) -> None:
    pass


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("SKERRY_TEST_TOOLS")
    return Path(given) if given else tmp_path_factory.mktemp("tools")


@pytest.fixture(scope="session")
def made(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models that Keras itself has written."""
    folder = tmp_path_factory.mktemp("made")
    python = python_of(TENSORFLOW, tools, print)
    subprocess.run([python, "-c", MAKE, str(folder)], check=True, capture_output=True)
    return folder


def pictures(count: int, name: str, shape: tuple[int, ...]) -> tuple[dict[str, np.ndarray], ...]:
    random = np.random.default_rng(4)
    return tuple({name: random.random((1, *shape)).astype(np.float32)} for _ in range(count))


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "saved", "gru.keras"])
def test_keras_and_saved_models_become_onnx(made: Path, tools: Path, name: str) -> None:
    found = bring(made / name, Import(tools=tools), quiet)
    assert found.runtime == "onnx"
    assert found.inputs[0].name == ("x" if name == "gru.keras" else "picture")
    assert found.inputs[0].shape[0] == -1
    assert found.parity.inputs == 6
    assert max(d.maximum for d in found.parity.outputs) < 1e-5
    assert set(found.provenance.versions) == {"tensorflow", "keras", "tf2onnx"}
    assert str(made).encode() not in found.data


def test_the_same_file_gives_the_same_bytes_and_takes_a_shape(made: Path, tools: Path) -> None:
    wishes = Import(tools=tools, shapes={"picture": (1, 8, 8, 3)})
    one, other = (bring(made / "saved", wishes, quiet) for _ in range(2))
    assert one.data == other.data
    assert one.inputs[0].shape == (1, 8, 8, 3)
    with pytest.raises(Invalid, match="input 'picture' is"):
        bring(made / "saved", Import(tools=tools, shapes={"picture": (1, 9, 8, 3)}), quiet)
    with pytest.raises(Invalid, match="no 'other'; it has"):
        bring(made / "saved", Import(tools=tools, signature="other"), quiet)


@needs("mlperf_tiny")
@pytest.mark.parametrize(
    "name", ["mlperf_tiny/kws_ref_saved_model", "tf_serving_models/saved_model_half_plus_two_cpu/00000123"]
)
def test_what_only_the_loader_of_tensorflow_1_reads(tools: Path, name: str) -> None:
    found = bring(DATA / name, Import(tools=tools), quiet)
    assert max(d.maximum for d in found.parity.outputs) < 1e-5


def test_bad_files_are_named(made: Path, tools: Path, tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="'Lambda' holds code"):
        bring(made / "lambda.h5", Import(tools=tools), quiet)
    with pytest.raises(LoadFailed, match="weights alone"):
        bring(made / "only.weights.h5", Import(tools=tools), quiet)
    whole = (made / "m.h5").read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LoadFailed, match="broken or truncated HDF5"):
        bring(tmp_path / "half.h5", Import(tools=tools), quiet)
    with zipfile.ZipFile(made / "m.keras") as old, zipfile.ZipFile(tmp_path / "bad.keras", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name)[:500] if name.endswith(".h5") else old.read(name))
    with pytest.raises(LoadFailed, match="cannot read it"):
        bring(tmp_path / "bad.keras", Import(tools=tools), quiet)
    with pytest.raises(LoadFailed, match="MatrixSolve"):
        bring(made / "odd", Import(tools=tools), quiet)


@pytest.mark.parametrize("lite", ["float", "dynamic", "int8"])
def test_keras_becomes_tflite(made: Path, tools: Path, lite: str) -> None:
    calibration = pictures(50, "picture", (8, 8, 3)) if lite == "int8" else ()
    found = bring(made / "m.keras", Import(tools=tools, lite=lite, calibration=calibration), quiet)  # type: ignore[arg-type]
    assert found.runtime == "litert"
    assert max(d.maximum for d in found.parity.outputs) < (0.05 if lite != "float" else 1e-5)


@pytest.mark.parametrize("lite", ["float", "dynamic", "int8"])
def test_pytorch_becomes_tflite(tools: Path, lite: str) -> None:
    calibration = pictures(50, "image", (3, 8, 8)) if lite == "int8" else ()
    wishes = Import(tools=tools, lite=lite, calibration=calibration, shapes={"image": (1, 3, 8, 8)})  # type: ignore[arg-type]
    found = bring(f"{NETS}:pictures", wishes, quiet)
    assert found.runtime == "litert"
    assert found.inputs[0].dtype.value == "FP32"
    assert {d.output for d in found.parity.outputs} == {"scores", "best"}


def test_a_gru_of_pytorch_becomes_tflite(tools: Path) -> None:
    wishes = Import(tools=tools, lite="float", shapes={"x": (1, 6, 4), "state": (1, 1, 8)})
    found = bring(f"{NETS}:memory", wishes, quiet)
    assert max(d.maximum for d in found.parity.outputs) < 1e-5


def test_int8_asks_for_real_inputs(tools: Path, made: Path) -> None:
    with pytest.raises(Invalid, match="int8 needs real inputs"):
        bring(made / "m.keras", Import(tools=tools, lite="int8"), quiet)


def test_the_onnx_of_a_gru_from_keras_is_onnx_alone(made: Path, tools: Path) -> None:
    model = onnx.load_model_from_string(bring(made / "gru.keras", Import(tools=tools), quiet).data)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}


def test_a_free_batch_of_a_program_becomes_one(tools: Path) -> None:
    wishes = Import(tools=tools, lite="float", shapes={"image": (-1, 3, 8, 8)})
    assert bring(f"{NETS}:pictures", wishes, quiet).inputs[0].shape == (1, 3, 8, 8)
