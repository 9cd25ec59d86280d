"""Third-party TFLite models with known answers, in LiteRT and, where it can, in OpenVINO; skipped without the data."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from skerry.core.errors import Invalid, LoadFailed
from skerry.core.names import ModelName
from skerry.core.tensor import DType
from skerry.engine.arrays import to_tensor
from skerry.engine.known import runtimes
from skerry.engine.runners.runner import Threads, Wish
from skerry.engine.runners.table import open_runner
from skerry.engine.session import open_bare
from skerry.engine.state import Sequence
from skerry.host.clock import Clock
from tests.engine.kit import data

pytestmark = pytest.mark.skipif("litert" not in runtimes(), reason="ai_edge_litert is not installed")
BOTH = pytest.mark.parametrize("runtime", [name for name in ("litert", "openvino") if name in runtimes()])


def bare(path, threads=None):
    return open_bare(data(path), ModelName("m"), 1, threads or Threads(), Clock())


def one(session, array, sequence=None):
    """Return the only output for the only input."""
    (found,) = session.infer([to_tensor(session.inputs[0].name, array)], sequence).values()
    return found


def pixels(path, size, filter_=Image.Resampling.LANCZOS):
    image = Image.open(data(path)).convert("RGB").resize((size, size), filter_)
    return np.asarray(image)[None]


@pytest.mark.parametrize(("kind", "error"), [("float", 0.06), ("int8", 0.13)])
def test_hello_world_is_a_sine(kind, error):
    session = bare(f"tflite_micro/hello_world_{kind}.tflite")
    assert session.inputs[0].shape == (-1, 1)
    x = np.linspace(0, 2 * np.pi, 100, dtype=np.float32)[:, None]
    if kind == "float":
        y = one(session, x)
    else:
        given = np.clip(np.round(x / 0.024480115622282028) - 128, -128, 127).astype(np.int8)
        y = (one(session, given).astype(np.float32) - 4) * 0.00829095672816038
    assert np.abs(y - np.sin(x)).max() < error


def digits():
    folder = data("tflite_micro/mnist_samples")
    return [np.asarray(Image.open(folder / f"sample{n}.png").convert("L"), np.float32)[None] / 255 for n in range(10)]


@pytest.mark.parametrize("kind", ["", "_int8"])
def test_an_lstm_reads_ten_digits_whatever_came_before(kind):
    session = bare(f"tflite_micro/trained_lstm{kind}.tflite", Threads(1, 2))
    assert session.remembers
    given = digits()
    if kind:
        given = [np.clip(np.round(x / 0.003921568859368563) - 128, -128, 127).astype(np.int8) for x in given]
    for order in (list(range(10)), list(range(9, -1, -1)), [9, 9, 3, 9]):
        assert [one(session, given[n]).argmax() for n in order] == order
    wrong = []

    def work(shift):
        for k in range(40):
            n = (k * 7 + shift) % 10
            if one(session, given[n]).argmax() != n:
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_lstm_goes_on_within_a_sequence_and_not_beyond():
    session, given = bare("tflite_micro/trained_lstm.tflite"), digits()
    alone = [one(session, x) for x in given[:3]]
    first = [one(session, given[0], Sequence(name, start=True)) for name in "ab"]
    np.testing.assert_array_equal(first[0], alone[0])
    second = one(session, given[1], Sequence("a"))
    assert not np.array_equal(second, alone[1])  # it remembers
    np.testing.assert_array_equal(one(session, given[1]), alone[1])  # nobody else does
    with pytest.raises(Invalid):
        session.infer([to_tensor("fixed_input", np.zeros((1, 28, 27), np.float32))], Sequence("b"))
    np.testing.assert_array_equal(one(session, given[1], Sequence("b")), second)  # the same past, the same answer
    np.testing.assert_array_equal(one(session, given[2], Sequence("a", start=True)), alone[2])


def stream(seed):
    """Return made-up features in which voice activity rises and falls."""
    random = np.random.default_rng(seed)
    floor = random.integers(-128, 60, (1, 1, 40))
    return [np.clip(floor + random.integers(-60, 60, (1, 3, 40)) - 20, -128, 127).astype(np.int8) for _ in range(40)]


@pytest.mark.parametrize("model", ["vad", "alexa", "hey_jarvis", "okay_nabu"])
def test_resource_variables_are_kept_for_a_sequence_and_never_leak(model):
    """No reset of the runtime clears them: what a stream gives must be what a new interpreter gives."""
    session = bare(f"micro_wake_word/{model}.tflite")
    assert session.remembers
    streams = {name: stream(seed) for seed, name in enumerate("abc")}
    want = {name: [] for name in streams}
    for name, frames in streams.items():
        want[name] = [int(one(session, x, Sequence(name, start=not k)).item()) for k, x in enumerate(frames)]
    first = {name: int(one(session, frames[0]).item()) for name, frames in streams.items()}
    assert first == {name: answers[0] for name, answers in want.items()}
    got = {name: [] for name in streams}
    for k in range(40):  # all at once, with strangers between
        for name, frames in streams.items():
            got[name].append(int(one(session, frames[k], Sequence(name, start=not k)).item()))
            assert int(one(session, streams["a"][0]).item()) == first["a"]
    assert got == want
    if model == "vad":
        assert len(set(got["a"] + got["b"] + got["c"])) > 5  # the streams do move it


@BOTH
@pytest.mark.parametrize(("kind", "right"), [("int8", 0.902), ("float32", 0.900)])
def test_keywords_of_mlperf_tiny(runtime, kind, right):
    runner = open_runner(runtime, data(f"mlperf_tiny/kws_ref_model_{kind}.tflite"), Threads())
    known = np.load(data("mlperf_tiny_kws01/kws01.npz"))
    x, y = known["x"], known["y"]
    if kind == "float32":
        x = (x.astype(np.float32) - 83) * np.float32(0.584703)
    name, out = runner.inputs[0].name, runner.outputs[0].name
    found = np.concatenate([runner.run({name: x[k : k + 40]})[out].argmax(1) for k in range(0, len(x), 40)])
    assert (found == y).mean() == pytest.approx(right, abs=0.002)


@BOTH
def test_coral_mobilenets_know_the_cat(runtime):
    golden = json.loads(data("coral/golden.json").read_text())
    for case in golden["classification"]:
        runner = open_runner(runtime, data(f"coral/{case['model']}"), Threads(2))
        size = runner.inputs[0].shape[1]
        (found,) = runner.run({runner.inputs[0].name: pixels(f"coral/{case['image']}", size)}).values()
        best = found[0].argsort()[::-1][: case.get("in_top", 1)]
        assert case["label"] in best
        assert found[0, case["label"]] / 256 > case["score_over"]


def test_coral_digit():
    session = bare("coral/keras_lstm_mnist_ptq.tflite")
    nine = np.asarray(Image.open(data("coral/mnist_nine.bmp")).convert("L"))[None]
    assert [one(session, nine).argmax() for _ in range(3)] == [9, 9, 9]


@BOTH
@pytest.mark.parametrize("model", ["mobilenet_v1_0.25_224_quant", "mobilenet_v1_0.25_224_1_default_1"])
def test_a_cheeseburger_is_one(runtime, model):
    runner = open_runner(runtime, data(f"tflite_support/{model}.tflite"), Threads())
    image = pixels("tflite_support/burger.jpg", 224)
    if "default" in model:
        image = (image.astype(np.float32) - 127.5) / 127.5
    (found,) = runner.run({"input": image}).values()
    assert found[0].argmax() == 934


def test_ssd_finds_cats_and_dogs():
    runner = open_runner("litert", data("tflite_support/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"), Threads(2))
    want = json.loads(data("tflite_support/golden.json").read_text())["ssd observed with PIL LANCZOS"]
    found = runner.run({runner.inputs[0].name: pixels("tflite_support/cats_and_dogs.jpg", 300)})
    boxes, labels, scores, count = found.values()
    assert count.tolist() == [10]
    for k, (label, score, (x, y, w, h)) in enumerate(want):
        assert labels[0, k] == label
        assert scores[0, k] == pytest.approx(score, abs=0.05)
        box = np.asarray([y / 600, x / 1200, (y + h) / 600, (x + w) / 1200])
        np.testing.assert_allclose(boxes[0, k], box, atol=0.02)


@BOTH
def test_half_plus_two(runtime):
    folder = "tf_serving_models/saved_model_half_plus_two_tflite"
    for path in (folder, f"{folder}_with_sigdef"):
        runner = open_runner(runtime, data(f"{path}/00000123/model.tflite"), Threads())
        name, out = runner.inputs[0].name, runner.outputs[0].name
        assert [float(runner.run({name: np.float32([[x]])})[out].item()) for x in (1, 2, 5)] == [2.5, 3, 4.5]


def test_ultraface_gives_the_same_boxes_as_onnx():
    lite = open_runner("litert", data("ultraface/version-RFB-320_without_postprocessing.tflite"), Threads(2))
    image = np.asarray(Image.open(data("coral/grace_hopper.png")).convert("RGB").resize((320, 240)), np.float32)
    image = ((image - 127) / 128)[None]
    found = lite.run({"input_1": image})
    onnx = open_runner("onnx", data("ultraface/version-RFB-320.onnx"), Threads(2))
    want = onnx.run({"input": np.ascontiguousarray(image.transpose(0, 3, 1, 2))})
    scores = next(v for v in found.values() if v.shape[-1] == 2)
    np.testing.assert_allclose(scores[0, :, 1], want["scores"][0, :, 1], atol=1e-3)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("person_detect.tflite", "quantized_dimension must be in range"),
        ("audio_preprocessor_int8.tflite", "unresolved custom op: SignalWindow"),
    ],
)
def test_bad_models_are_load_failed_with_the_runtimes_words(model, text):
    with pytest.raises(LoadFailed, match=f"LiteRT cannot load {model}: .*{text}"):
        open_runner("litert", data(f"tflite_micro/{model}"), Threads())


def test_a_model_that_kills_its_process_kills_no_other():
    program = (
        "import sys\nfrom pathlib import Path\nimport numpy as np\n"
        "from skerry.engine.runners.runner import Threads\nfrom skerry.engine.runners.table import open_runner\n"
        "runner = open_runner('litert', Path(sys.argv[1]), Threads())\n"
        "spec = runner.inputs[0]\n"
        "runner.run({spec.name: np.zeros(spec.shape, spec.dtype.numpy)})\n"
    )
    argv = [sys.executable, "-c", program, str(data("tflite_micro/keyword_scrambled_8bit.tflite"))]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ran.returncode < 0 or "LoadFailed" in ran.stderr


def test_micro_speech_takes_its_features():
    session = bare("tflite_micro/micro_speech_quantized.tflite")
    assert (session.inputs[0].dtype, session.inputs[0].shape) == (DType.INT8, (1, 1960))
    found = one(session, np.full((1, 1960), -128, np.int8))  # nothing to hear
    assert found[0].argmax() == 0


def test_a_delegate_that_is_not_here_is_named():
    path = data("coral/mobilenet_v1_0.25_128_quant.tflite")
    with pytest.raises(LoadFailed, match=r"delegate libedgetpu\.so\.1: libedgetpu\.so\.1: cannot open shared object"):
        open_runner("litert", path, Threads(), Wish(options={"delegate": "libedgetpu.so.1"}))
    with pytest.raises(LoadFailed, match="accelerator 'cuda' is not to be had"):
        open_runner("litert", path, Threads(), Wish("cuda"))


def test_without_xnnpack_the_answers_are_near():
    path = data("mlperf_tiny/ad01_fp32.tflite")
    x = np.random.default_rng(0).standard_normal((2, 640)).astype(np.float32)
    with_it, without = (open_runner("litert", path, Threads(), Wish(options={"xnnpack": v})) for v in (True, False))
    found, plain = with_it.run({"input_1": x})["Identity"], without.run({"input_1": x})["Identity"]
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-4)
