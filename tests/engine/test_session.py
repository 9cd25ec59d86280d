from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto

from skerry.core.errors import Invalid, LoadFailed, RunFailed, TooLarge
from skerry.core.manifest import Runtime, StepEntry
from skerry.core.names import ModelName
from skerry.core.tensor import DType, Spec, Tensor
from skerry.engine.arrays import dtype_of, numpy_of, to_array, to_tensor
from skerry.engine.bundle import Bundle, check_needs
from skerry.engine.runners.fake import FakeRunner
from skerry.engine.runners.runner import Threads
from skerry.engine.session import Session, open_bare, open_session, plan_threads
from skerry.host.clock import Clock, FakeClock
from tests.engine.kit import HERE, IMAGE, PRE, identity, manifest, png, sees
from tests.models import adder_onnx, brightness_bundle, grey_png

BOXES = {"boxes": [[[0.0, 0, 4, 8], [4, 0, 8, 8]]], "scores": [[[0.9, 0.1], [0.2, 0.7]]]}
DETECT = [("decode_boxes", {"unit": "pixels"}), ("nms", {}), ("map_back", {})]


def tensor(name, shape=(1, 3), kind=np.float32):
    return to_tensor(name, np.ones(shape, kind))


@pytest.fixture
def adder(tmp_path):
    return open_bare(adder_onnx(tmp_path / "a.onnx"), ModelName("adder"), 1, Threads(), Clock())


def test_tensors_go_through(adder):
    found = adder.infer([tensor("y"), tensor("x")])
    assert found["sum"].tolist() == [[2, 2, 2]]
    assert not adder.takes_images
    assert adder.threshold == 0
    adder.close()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([], "inputs: expected x, y; got none"),
        ([tensor("x")], "inputs: expected x, y; got x"),
        ([tensor("x"), tensor("x")], "inputs: expected x, y; got x, x"),
        ([tensor("x"), tensor("y"), tensor("z")], "expected x, y; got x, y, z"),
        ([tensor("x"), tensor("y"), tensor("y")], "expected x, y; got x, y, y"),
        ([tensor("x"), tensor("y", kind=np.float64)], "input 'y': expected datatype FP32; got FP64"),
        ([tensor("x", (1, 2)), tensor("y")], r"input 'x': expected shape \[-1, 3\]; got \[1, 2\]"),
        ([tensor("x", (3,)), tensor("y")], r"input 'x': expected shape \[-1, 3\]; got \[3\]"),
        ([Tensor("x", DType.FP32, (1, 3), b"123"), tensor("y")], "input 'x': expected 12 bytes for shape"),
        ([Tensor("x", DType.FP32, (1, 3), (b"a",)), tensor("y")], "input 'x': expected 12 bytes"),
    ],
)
def test_wrong_inputs_are_named(adder, given, text):
    with pytest.raises(Invalid, match=text):
        adder.infer(given)


def test_a_free_dimension_may_be_nothing(adder):
    assert adder.infer([tensor("x", (0, 3)), tensor("y", (0, 3))])["sum"].shape == (0, 3)


@pytest.mark.parametrize("kind", list(DType), ids=lambda k: k.value)
def test_arrays_and_tensors_are_the_same(kind):
    array = np.asarray([[0, 1], [1, 0]]).astype(kind.numpy).view(numpy_of(kind))
    if kind is DType.BYTES:
        array = np.asarray([[b"a", b""], ["é".encode(), b"\xff"]], object)
    found = to_tensor("x", array)
    assert (found.dtype, found.shape, dtype_of(array)) == (kind, (2, 2), kind)
    np.testing.assert_array_equal(to_array(found), array)


def test_arrays_without_a_wire_type_are_named():
    with pytest.raises(Invalid, match="no wire type for numpy's complex128"):
        to_tensor("x", np.zeros(1, complex))
    with pytest.raises(Invalid, match="input 's': expected 2 byte strings; got 1"):
        to_array(Tensor("s", DType.BYTES, (2,), (b"a",)))
    assert to_tensor("t", np.asarray(["é"])).data == ("é".encode(),)


def test_an_image_gives_findings_in_its_own_pixels():
    session = sees(BOXES, DETECT, labels=("hole",))
    sight = session.look(grey_png(9, side=16))
    assert [(f.label, f.index, f.box) for f in sight.findings] == [
        ("hole", 0, (0, 0, 8, 16)),
        ("1", 1, (8, 0, 16, 16)),
    ]
    assert [f.score for f in sight.findings] == [0.9, 0.7]
    assert (sight.width, sight.height) == (16, 16)
    assert set(sight.millis) == {"decode", "prepare", "run", "finish", "total"}
    assert session.threshold == 0.5
    assert session.takes_images


def test_phases_add_up():
    assert sees(BOXES, DETECT).look(grey_png(1)).millis["total"] > 0
    session = Session(manifest(IMAGE, IMAGE, PRE), FakeRunner(IMAGE, IMAGE, dict), FakeClock())
    assert set(session.look(grey_png(1)).millis.values()) == {0}
    assert session.look(grey_png(1)).findings == ()


@pytest.mark.parametrize("bad", [np.nan])
@pytest.mark.parametrize(
    ("arrays", "post"),
    [
        ({"y": [[0.5, "bad"]]}, [("top_k", {"output": "y"})]),
        ({"boxes": [[[0, 0, 1, "bad"]]], "scores": [[[0.9]]]}, DETECT),
        ({"boxes": [[[0, 0, 1, 1]]], "scores": [[["bad"]]]}, DETECT),
        ({"heat": [[[["bad"]]]], "box": np.ones((1, 4, 1, 1))}, [("decode_heatmap", {"stride": 8})]),
        ({"heat": [[[[0.9]]]], "box": np.full((1, 4, 1, 1), "bad")}, [("decode_heatmap", {"stride": 8})]),
    ],
)
def test_scores_and_boxes_that_are_no_numbers_are_run_failed(arrays, post, bad):
    fill = {k: np.asarray(np.where(np.asarray(v) == "bad", str(bad), v), np.float32) for k, v in arrays.items()}
    with pytest.raises(RunFailed, match="not numbers"):
        sees(fill, post).look(grey_png(1))


@pytest.mark.parametrize(
    ("arrays", "post"),
    [
        ({"z": [1.0]}, [("top_k", {"output": "y"})]),
        ({"boxes": [[[0.0, 0, 1]]], "scores": [[[0.9]]]}, DETECT),
        ({"boxes": [[[0.0, 0, 1, 1]]], "scores": [[[0.9]]]}, [("decode_boxes", {"background": 3})]),
        ({"y": [[]]}, [("softmax", {"output": "y"})]),
        ({"y": np.float32(5)}, [("nms", {})]),
    ],
)
def test_steps_that_do_not_fit_the_model_are_run_failed(arrays, post):
    with pytest.raises(RunFailed, match="bundle m: "):
        sees(arrays, post).look(grey_png(1))


@pytest.mark.parametrize(
    ("pre", "text"),
    [
        ([("decode_image", {}), ("layout", {"to": "NCHW"})], r"the steps give the shape \[1, 3, 32, 32\]"),
        ([*PRE[:3], ("layout", {"to": "NHWC"})], r"the steps give the shape \[1, 8, 8, 3\], the model takes"),
    ],
)
def test_what_the_model_cannot_take_is_run_failed(pre, text):
    session = Session(manifest(IMAGE, IMAGE, pre), FakeRunner(IMAGE, IMAGE, dict), Clock())
    with pytest.raises(RunFailed, match=text):
        session.look(grey_png(1))


def test_floats_do_not_become_whole_numbers_unseen():
    inputs = (Spec("image", DType.UINT8, (1, 3, 8, 8)),)
    session = Session(manifest(inputs, inputs, PRE), FakeRunner(inputs, inputs, dict), Clock())
    with pytest.raises(RunFailed, match="the steps give float32, the model takes uint8"):
        session.look(grey_png(1))


def test_bad_images_are_the_callers_fault():
    session = sees(BOXES, DETECT)
    with pytest.raises(Invalid):
        session.look(b"GIF89a")
    with pytest.raises(Invalid):
        session.look(grey_png(1)[:60])
    with pytest.raises(TooLarge):
        session.look(png(np.zeros((8000, 5001), bool)))


@pytest.mark.parametrize(
    ("pre", "post", "text"),
    [
        ([("resize", {"width": 8, "height": 8})], [], "expected a step that decodes first, as 'decode_image'"),
        ([], [("top_k", {"output": "y"})], "expected steps before the model too"),
        ([("blur", {})], [], "unknown step 'blur'; this node can do: .*decode_image"),
        (PRE, [("blur", {})], "unknown step 'blur'; this node can do: decode_boxes"),
    ],
)
def test_steps_that_cannot_be_are_invalid(pre, post, text):
    with pytest.raises(Invalid, match=text):
        Session(manifest(IMAGE, IMAGE, pre, post), FakeRunner(IMAGE, IMAGE, dict), Clock())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: replace(m, inputs=(replace(m.inputs[0], shape=(1, 3, 9, 9)),)), "the manifest's are not the model"),
        (lambda m: replace(m, inputs=(replace(m.inputs[0], dtype=DType.FP16),)), "the manifest's are not the model"),
        (lambda m: replace(m, outputs=(replace(m.outputs[0], name="other"),)), "the manifest's are not the model"),
        (lambda m: replace(m, outputs=()), "the manifest's are not the model's"),
        (lambda m: replace(m, runtime=Runtime("tensorrt", "model.onnx")), "'tensorrt'; this node can do: .*onnx"),
        (
            lambda m: replace(m, pre=(StepEntry("warp"), *m.pre)),
            "unknown step 'warp'; this node can do: .*decode_image",
        ),
        (lambda m: replace(m, post=(StepEntry("top_k", {"output": "y", "j": 1}),)), "'top_k': unknown options j"),
        (lambda m: replace(m, pre=(StepEntry("decode_image", {"colour": 5}), *m.pre[1:])), "colour: expected one of"),
        (lambda m: replace(m, needs={"memory": 1 << 50}), f"needs {1 << 50} bytes of memory; here are"),
        (lambda m: replace(m, needs={"architectures": ["riscv64"]}), "needs one of .*riscv64.*; here is x86_64"),
        (lambda m: replace(m, needs={"npu": 1}), "unknown need 'npu'; this node knows memory, architectures"),
    ],
)
def test_a_bundle_that_cannot_run_here_is_load_failed_and_says_why(tmp_path, change, text):
    bundle = brightness_bundle(tmp_path / "b")
    with pytest.raises(LoadFailed, match=text):
        open_session(Bundle(bundle.path, change(bundle.manifest)), Threads(), HERE, Clock())


def test_needs_that_are_met():
    needs = {"memory": 1000, "architectures": ["x86_64", "aarch64"]}
    check_needs(replace(manifest(IMAGE, IMAGE), needs=needs), HERE)


def test_eight_threads_get_the_same_answers(tmp_path):
    bundle = brightness_bundle(tmp_path / "b")
    session = open_session(bundle, Threads(intra=1, runs=2), HERE, Clock())
    images = [grey_png(level, side) for level, side in ((0, 8), (90, 40), (200, 25), (255, 100))]
    want = [session.look(image).findings for image in images]
    wrong = []

    def work():
        for _ in range(15):
            for image, findings in zip(images, want, strict=True):
                if session.look(image).findings != findings:
                    wrong.append(findings)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert want[0][0].label == "dark"
    assert want[3][0].label == "bright"


def test_threads_are_planned():
    assert plan_threads(HERE) == Threads(2, 1)
    assert plan_threads(replace(HERE, cpus=64)) == Threads(4, 1)
    assert plan_threads(HERE, 7) == Threads(7, 1)


def test_text_goes_through(tmp_path):
    model = identity(tmp_path / "t.onnx", TensorProto.STRING, (-1,))
    session = open_bare(model, ModelName("t"), 1, Threads(), Clock())
    found = session.infer([Tensor("x", DType.BYTES, (2,), ("é".encode(), b"b"))])
    assert to_tensor("y", found["y"]).data == ("é".encode(), b"b")
