"""Third-party models with known answers, read in place from the test data; each test is skipped without it."""

from __future__ import annotations

import json
import wave
from dataclasses import replace

import numpy as np
import pytest

from skerry.core.names import ModelName
from skerry.core.tensor import DType, Tensor
from skerry.engine.arrays import to_tensor
from skerry.engine.bundle import Bundle
from skerry.engine.golden import check_goldens
from skerry.engine.make import Wishes, make_bundle
from skerry.engine.runners.runner import Threads
from skerry.engine.session import open_bare, open_session
from skerry.engine.state import Sequence
from skerry.host.clock import Clock
from skerry.host.files import Disk
from tests.engine.kit import HERE, data


def session_of(tmp_path, model, **wishes):
    bundle = make_bundle(data(model), Wishes(ModelName("m"), **wishes), tmp_path / "b", Disk())
    session = open_session(bundle, Threads(intra=2), HERE, Clock())
    check_goldens(session, bundle.path)
    return session


def test_ultraface_finds_the_faces(tmp_path):
    golden = json.loads(data("ultraface/golden.json").read_text())
    wishes = {"labels": ("face",), "scale": 1.0, "mean": (127.0,), "std": (128.0,), "threshold": 0.7}
    session = session_of(tmp_path, "ultraface/version-RFB-320.onnx", **wishes)
    assert session.manifest.post[0].options["unit"] == "share"
    for photo, faces in golden["observed faces"].items():
        sight = session.look(data(photo).read_bytes())
        assert [f.label for f in sight.findings] == ["face"] * faces, photo
        if photo == "coral/grace_hopper.png":
            size = [sight.width, sight.height] * 2
            want = np.multiply(golden["observed box RFB grace_hopper"], size)
            np.testing.assert_allclose(sight.findings[0].box, want, atol=0.03 * max(size))


def test_squeezenet_of_half_precision_knows_cat_and_fish(tmp_path):
    wishes = {"scale": 1.0, "colour": "bgr"}
    session = session_of(tmp_path, "winml_squeezenet_mnist/SqueezeNet_fp16.onnx", **wishes)
    assert session.inputs[0].dtype is DType.FP16
    golden = json.loads(data("winml_squeezenet_mnist/golden.json").read_text())["SqueezeNet_fp16.onnx"]["observed"]
    for photo, (label, score) in golden.items():
        best = session.look(data(f"winml_squeezenet_mnist/{photo}").read_bytes()).findings[0]
        assert best.index == label
        assert best.score == pytest.approx(score, abs=0.1)


def test_mnist_reads_the_digits(tmp_path):
    session = session_of(tmp_path, "winml_squeezenet_mnist/mnist.onnx", scale=1.0)
    assert session.manifest.pre[0].options["colour"] == "grey"
    golden = json.loads(data("winml_squeezenet_mnist/golden.json").read_text())["mnist.onnx"]["observed"]
    for photo, digit in golden.items():
        sight = session.look(data(f"winml_squeezenet_mnist/{photo}").read_bytes())
        assert sight.findings[0].index == digit, photo


def sound_of(name):
    with wave.open(str(data(f"silero_vad/{name}.wav"))) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


def windows(samples):
    """Return windows of 64 samples of context and 512 new ones."""
    padded = np.concatenate([np.zeros(64, np.float32), samples])
    return [padded[start : start + 576][None] for start in range(0, len(samples) - 511, 512)]


def silero(runtime, threads=1):
    """Return silero as a bundle that declares its state."""
    path = data("silero_vad/silero_vad_16k_op15.onnx")
    bare = open_bare(path, ModelName("vad"), 1, Threads(), Clock())
    hidden = replace(
        bare.manifest,
        runtime=replace(bare.manifest.runtime, extra={"state": [{"input": "state", "output": "stateN"}], **runtime}),
        inputs=tuple(spec for spec in bare.inputs if spec.name != "state"),
        outputs=tuple(spec for spec in bare.outputs if spec.name != "stateN"),
    )
    return open_session(Bundle(path.parent, hidden), Threads(1, threads), HERE, Clock())


def hear(session, window, sequence=None):
    found = session.infer([to_tensor("input", window), to_tensor("sr", np.asarray(16000, np.int64))], sequence)
    return float(found["output"].item())


@pytest.mark.parametrize("runtime", [{}, {"denormals_as_zero": True}], ids=["plain", "denormals"])
def test_silero_hears_speech_in_two_streams_at_once(runtime):
    golden = json.loads(data("silero_vad/golden.json").read_text())["observed"]
    session = silero(runtime)
    assert [spec.name for spec in session.inputs] == ["input", "sr"]
    heard = {name: [] for name in ("silence", "speech")}
    streams = {name: windows(sound_of(name)) for name in heard}
    for turn in range(golden["speech.wav"]["chunks"]):
        for name, chunks in streams.items():
            heard[name].append(hear(session, chunks[turn], Sequence(name, start=turn == 0)))
    for name, values in heard.items():
        assert max(values) == pytest.approx(golden[f"{name}.wav"]["max"], abs=0.002)
        np.testing.assert_allclose(values[:5], golden[f"{name}.wav"]["first5"], atol=2e-4)
    assert max(heard["silence"]) < 0.5 <= max(heard["speech"])
    loudest = int(np.argmax(heard["speech"]))
    alone = [hear(session, streams["speech"][loudest]) for _ in range(2)]
    assert alone[0] == alone[1] != heard["speech"][loudest]


def test_fastestdet_loads_and_gives_its_grid(tmp_path):
    session = session_of(tmp_path, "fastestdet/FastestDet.onnx", colour="bgr")
    assert [spec.shape for spec in session.outputs] == [(1, 85, 22, 22)]
    sight = session.look(data("coral/cat.png").read_bytes())
    (grid,) = sight.arrays.values()
    score = grid[0, 0] ** 0.6 * grid[0, 5:].max(axis=0) ** 0.4
    at = np.unravel_index(score.argmax(), score.shape)
    names = data("fastestdet/coco.names").read_text().split("\n")
    assert names[int(grid[0, 5:, *at].argmax())] == "cat"


@pytest.mark.parametrize(("name", "kind"), [("simple", DType.INT32), ("simple_int8", DType.INT8)])
def test_tritons_examples_add_and_subtract(name, kind):
    session = open_bare(data(f"triton_models/{name}/1/model.onnx"), ModelName(name), 1, Threads(), Clock())
    a, b = np.arange(16, dtype=kind.numpy)[None], np.ones((1, 16), kind.numpy)
    found = session.infer([to_tensor("INPUT0", a), to_tensor("INPUT1", b)])
    np.testing.assert_array_equal(found["OUTPUT0"], a + b)
    np.testing.assert_array_equal(found["OUTPUT1"], a - b)


def test_tritons_example_of_text():
    path = data("triton_models/simple_string/1/model.onnx")
    session = open_bare(path, ModelName("simple_string"), 1, Threads(), Clock())
    a = Tensor("INPUT0", DType.BYTES, (1, 16), tuple(b"%d" % n for n in range(16)))
    b = Tensor("INPUT1", DType.BYTES, (1, 16), (b"1",) * 16)
    found = session.infer([a, b])
    assert to_tensor("OUTPUT0", found["OUTPUT0"]).data == tuple(b"%d" % (n + 1) for n in range(16))
    assert to_tensor("OUTPUT1", found["OUTPUT1"]).data == tuple(b"%d" % (n - 1) for n in range(16))
