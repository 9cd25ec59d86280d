from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import TensorProto

from skerry.core.errors import Conflict, GoldenFailed, Invalid, LoadFailed
from skerry.core.names import ModelName
from skerry.engine.bundle import open_bundle, verify
from skerry.engine.golden import check_goldens
from skerry.engine.make import Wishes, make_bundle
from skerry.engine.runners.runner import Threads
from skerry.engine.session import open_session
from skerry.host.clock import Clock
from skerry.host.files import Disk
from tests.engine.kit import HERE, F, detector, graph, identity, mean_model, png
from tests.models import adder_onnx, brightness_onnx

U8, F16 = TensorProto.UINT8, TensorProto.FLOAT16


def made(tmp_path, model, **wishes):
    """Make a bundle, check that it is whole and gives its goldens, and return its session."""
    make_bundle(model, Wishes(ModelName("m"), **wishes), tmp_path / "bundle", Disk())
    bundle = open_bundle(tmp_path / "bundle")
    verify(bundle)
    session = open_session(bundle, Threads(), HERE, Clock())
    assert check_goldens(session, bundle.path) == len(bundle.manifest.goldens) >= 1
    return session


def steps(session):
    m = session.manifest
    return [s.step for s in m.pre], [s.step for s in m.post]


@pytest.mark.parametrize(
    ("shape", "kind", "nhwc"),
    [
        ([1, 3, 8, 12], F, False),
        (["n", 3, 8, 12], F, False),
        ([1, 8, 12, 3], F, True),
        ([1, 1, 8, 12], F, False),
        ([1, 8, 12, 1], F, True),
        ([1, 3, 8, 12], U8, False),
        ([1, 8, 12, 3], U8, True),
        ([1, 3, 8, 12], F16, False),
    ],
)
def test_one_image_input_gets_its_steps(tmp_path, shape, kind, nhwc):
    session = made(tmp_path, mean_model(tmp_path / "m.onnx", shape, kind, nhwc))
    pre = {s.step: s.options for s in session.manifest.pre}
    channels = shape[3] if nhwc else shape[1]
    assert pre["decode_image"]["colour"] == ("grey" if channels == 1 else "rgb")
    assert pre["resize"] == {"width": 12, "height": 8}
    assert pre["layout"]["to"] == ("NHWC" if nhwc else "NCHW")
    assert ("normalise" in pre) is (kind != U8)
    white = session.look(png(np.full((30, 40, 3), 255, np.uint8)))
    assert len(white.findings) == channels
    assert (white.width, white.height) == (40, 30)


def test_channel_order_and_scaling_are_the_owners(tmp_path):
    model = mean_model(tmp_path / "m.onnx", [1, 3, 4, 4])
    wishes = {"scale": 1.0, "mean": (10.0, 20.0, 30.0), "std": (2.0, 4.0, 5.0), "colour": "bgr", "letterbox": True}
    session = made(tmp_path, model, labels=("b", "g", "r"), **wishes)
    sight = session.look(png(np.full((4, 4, 3), (30, 60, 90), np.uint8)))
    logits = np.float64([(90 - 10) / 2, (60 - 20) / 4, (30 - 30) / 5])
    assert [f.label for f in sight.findings] == ["b", "g", "r"]
    np.testing.assert_allclose(sight.findings[0].score, np.exp(logits).max() / np.exp(logits).sum(), rtol=1e-5)
    assert steps(session)[0] == ["decode_image", "letterbox", "normalise", "layout"]


def test_probabilities_get_no_second_softmax(tmp_path):
    assert steps(made(tmp_path, brightness_onnx(tmp_path / "m.onnx")))[1] == ["top_k"]


def test_logits_get_a_softmax(tmp_path):
    assert steps(made(tmp_path, mean_model(tmp_path / "m.onnx", [1, 3, 4, 4])))[1] == ["softmax", "top_k"]


def test_a_free_size_has_to_be_chosen(tmp_path):
    model = mean_model(tmp_path / "m.onnx", [1, 3, "h", "w"])
    with pytest.raises(Invalid, match="takes images of any size; choose one with --size"):
        made(tmp_path, model)
    assert not (tmp_path / "bundle").exists()
    session = made(tmp_path, model, size=(20, 10))
    assert session.manifest.pre[1].options == {"width": 20, "height": 10}


@pytest.mark.parametrize(
    ("boxes", "unit"), [([[0.1, 0.1, 0.5, 1.01]], "share"), ([[1.0, 2, 12, 9]], "pixels")], ids=["share", "pixels"]
)
def test_two_outputs_are_a_detector(tmp_path, boxes, unit):
    session = made(tmp_path, detector(tmp_path / "m.onnx", boxes, [[0.1, 0.9]]), labels=("hole",))
    assert steps(session)[1] == ["decode_boxes", "nms", "map_back"]
    options = session.manifest.post[0].options
    assert (options["unit"], options["background"]) == (unit, 0)
    (finding,) = session.look(png(np.zeros((32, 32, 3), np.uint8))).findings
    assert finding.label == "hole"
    scale = 32 if unit == "share" else 2
    np.testing.assert_allclose(finding.box, np.clip(np.multiply(boxes[0], scale), 0, 32), atol=1e-3)


def test_a_detector_without_background(tmp_path):
    session = made(tmp_path, detector(tmp_path / "m.onnx", [[1, 1, 9, 9]], [[0.2, 0.9]]), labels=("a", "b"))
    assert session.manifest.post[0].options["background"] == -1
    assert session.look(png(np.zeros((16, 16, 3), np.uint8))).findings[0].label == "b"


def test_a_heat_map_is_told_by_its_names(tmp_path):
    nodes = [("AveragePool", ["image"], ["heat"], {"kernel_shape": [4, 4], "strides": [4, 4]})]
    nodes.append(("Concat", ["heat", "heat"], ["two"], {"axis": 1}))
    nodes.append(("Slice", ["two", "start", "end", "axes"], ["box"]))
    shapes = {"heat": (F, [1, 3, 4, 6]), "box": (F, [1, 4, 4, 6])}
    consts = {"start": np.int64([0]), "end": np.int64([4]), "axes": np.int64([1])}
    model = graph(tmp_path / "m.onnx", nodes, {"image": (F, [1, 3, 16, 24])}, shapes, consts)
    session = made(tmp_path, model, labels=("a", "b", "c"))
    assert steps(session)[1] == ["decode_heatmap", "nms", "map_back"]
    assert session.manifest.post[0].options["stride"] == 4


@pytest.mark.parametrize(
    "make",
    [
        adder_onnx,
        lambda p: identity(p, TensorProto.STRING, (-1, 2)),
        lambda p: identity(p, TensorProto.BOOL, (2,)),
        lambda p: identity(p, TensorProto.INT64, ()),
        lambda p: identity(p, F, (1, 2, 8, 8)),
        lambda p: identity(p, F, (4, 3, 8, 8)),
        lambda p: identity(p, TensorProto.DOUBLE, (1, 3, 8, 8)),
    ],
)
def test_any_other_model_takes_plain_tensors(tmp_path, make):
    session = made(tmp_path, make(tmp_path / "m.onnx"))
    assert steps(session) == ([], [])
    assert not session.takes_images


def test_goldens_can_be_given(tmp_path):
    pictures = []
    for name, level in (("a.PNG", 0), ("b.png", 250)):
        pictures.append(tmp_path / name)
        pictures[-1].write_bytes(png(np.full((9, 9, 3), level, np.uint8)))
    session = made(tmp_path, brightness_onnx(tmp_path / "m.onnx"), goldens=tuple(pictures), labels=("dark", "bright"))
    assert [g.input for g in session.manifest.goldens] == ["goldens/0.png", "goldens/1.png"]
    with pytest.raises(Invalid, match="takes tensors; give a"):
        make_bundle(adder_onnx(tmp_path / "a.onnx"), Wishes(ModelName("m"), goldens=tuple(pictures)), tmp_path / "x",
                    Disk())  # fmt: skip


def test_tensors_can_be_given_as_goldens(tmp_path):
    given = tmp_path / "given.json"
    data = [{"name": n, "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]} for n in ("x", "y")]
    given.write_text(json.dumps({"inputs": data}))
    session = made(tmp_path, adder_onnx(tmp_path / "a.onnx"), goldens=(given,))
    assert [g.input for g in session.manifest.goldens] == ["goldens/0.json"]
    answer = json.loads((tmp_path / "bundle" / "goldens" / "0.answer.json").read_text())
    assert {o["name"]: o["data"] for o in answer["outputs"]} == {"sum": [2, 4, 6], "difference": [0, 0, 0]}


def test_an_image_model_without_steps_after_it_has_its_tensors_as_golden(tmp_path):
    session = made(tmp_path, identity(tmp_path / "m.onnx", F, (1, 3, 4, 4)))
    assert session.manifest.pre
    assert not session.manifest.post
    assert check_goldens(session, tmp_path / "bundle") == 1
    path = tmp_path / "bundle" / "goldens" / "0.answer.json"
    answer = json.loads(path.read_text())
    assert answer["outputs"][0]["shape"] == [1, 3, 4, 4]
    answer["outputs"][0]["data"][5] += 0.5
    path.write_text(json.dumps(answer))
    with pytest.raises(GoldenFailed, match=r"off by up to 0\.5"):
        check_goldens(session, tmp_path / "bundle")


def test_a_model_too_large_for_made_up_input_has_no_golden(tmp_path):
    model = identity(tmp_path / "m.onnx", F, (1 << 11, 1 << 10))
    make_bundle(model, Wishes(ModelName("m")), tmp_path / "b", Disk())
    assert open_bundle(tmp_path / "b").manifest.goldens == ()


def test_what_is_no_model_makes_no_bundle(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"hello")
    with pytest.raises(LoadFailed, match=r"m\.onnx"):
        make_bundle(tmp_path / "m.onnx", Wishes(ModelName("m")), tmp_path / "b", Disk())
    assert not (tmp_path / "b").exists()
    (tmp_path / "b").mkdir()
    with pytest.raises(Conflict):
        make_bundle(adder_onnx(tmp_path / "a.onnx"), Wishes(ModelName("m")), tmp_path / "b", Disk())
