from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skerry.core.errors import Invalid
from skerry.core.manifest import StepEntry
from skerry.engine.runners.litert import LiteRunner
from skerry.engine.runners.onnx import OnnxRunner
from skerry.engine.runners.runner import Threads
from skerry.engine.steps.detect import overlaps
from skerry.engine.steps.grid import best_scores, priors_of
from skerry.engine.steps.plan import plan
from skerry.engine.steps.step import Trace, read_step
from skerry.engine.steps.table import POST, PRE
from tests.engine.kit import data


def post(name, values, size=(64, 32), **options):
    return read_step(StepEntry(name, options), POST, "post")(values, Trace(width=640, height=320, size=size))


levels = st.sampled_from([np.float32(v) for v in (0, 0.1, 0.3, 0.5, 0.9, 1)])


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(0, 8)), elements=levels), st.booleans(),
       st.sampled_from([0.0, 0.3, 0.5]), st.integers(1, 9), st.data())  # fmt: skip
def test_the_best_scores_are_the_slow_ones(scores, with_sure, threshold, limit, given_data):
    classes, count = scores.shape
    sure = given_data.draw(hnp.arrays(np.float32, count, elements=levels)) if with_sure else None
    want = []
    for box in range(count):
        best = max(range(classes), key=lambda c: (scores[c, box], -c))
        score = scores[best, box] * (sure[box] if with_sure else np.float32(1))
        if score >= threshold:
            want.append((-score, box, best))
    want = sorted(want)[:limit]
    order, found, chosen = best_scores(scores, sure, threshold, limit)
    assert order.tolist() == [w[1] for w in want]
    assert found.tolist() == [-w[0] for w in want]
    assert chosen.tolist() == [w[2] for w in want]


# Boxes that the model has chosen itself


def found(boxes, classes, scores, count=None, **options):
    arrays = {"b": boxes, "c": classes, "s": scores} | ({} if count is None else {"n": [count]})
    values = {name: np.float32(a)[None] for name, a in arrays.items()}
    names = {"boxes": "b", "classes": "c", "scores": "s"} | ({} if count is None else {"count": "n"})
    return post("decode_found", values, **names, **options)


BOXES = [[0.1, 0.25, 0.5, 0.75], [0, 0, 1, 1], [0.5, 0.5, 0.6, 0.6]]


def test_boxes_that_are_found_are_put_in_order():
    got = found(BOXES, [3, 1, 2], [0.6, 0.9, 0.4], threshold=0.5)
    np.testing.assert_allclose(got["boxes"], [[0, 0, 64, 32], [16, 3.2, 48, 16]], rtol=1e-6)
    assert (got["classes"].tolist(), got["scores"].tolist()) == ([1, 3], [np.float32(0.9), np.float32(0.6)])
    assert (got["classes"].dtype, got["boxes"].dtype) == (np.int64, np.float32)
    got = found(BOXES, [3, 1, 2], [0.6, 0.9, 0.4], threshold=0, count=1, order="xyxy", unit="pixels")
    np.testing.assert_allclose(got["boxes"], BOXES[:1])


@pytest.mark.parametrize(
    ("given_arrays", "told"),
    [
        (
            (BOXES, [1, 2], [0.6, 0.9, 0.4]),
            r"as many boxes of 4 numbers as classes and scores; got \[1, 3, 4\], 2 and 3",
        ),
        (([[1, 2, 3]], [1], [0.6]), "boxes of 4 numbers"),
        ((BOXES, [1, 2, 3], [0.6, 0.9, 0.4], 4), "a count of 0 to 3"),
        ((BOXES, [1, 2, 3], [0.6, 0.9, 0.4], np.nan), "a count of 0 to 3"),
        ((BOXES, [1, 2, 3], [0.6, np.nan, 0.4]), "not numbers"),
        ((BOXES, [1, np.nan, 3], [0.6, 0.5, 0.4]), "not numbers"),
    ],
)
def test_what_does_not_fit_is_told(given_arrays, told):
    with pytest.raises(Invalid, match=told):
        found(*given_arrays)


# Rows of the YOLO family


@given(st.booleans(), st.booleans(), st.booleans(), st.data())
def test_rows_are_decoded_as_slowly_by_hand(by_grid, objectness, columns, given_data):
    size, strides = (64, 32), (8, 16)
    cells = [(x, y, s) for s in strides for y in range(size[1] // s) for x in range(size[0] // s)]
    first = 5 if objectness else 4
    seed = given_data.draw(st.integers(0, 99))
    rows = np.random.default_rng(seed).uniform(0, 1, (len(cells), first + 3)).astype(np.float32)
    want = []
    for row, (cx, cy, stride) in zip(rows, cells, strict=True):
        x, y, w, h = (float(v) for v in row[:4])
        if by_grid:
            x, y, w, h = (cx + x) * stride, (cy + y) * stride, np.exp(w) * stride, np.exp(h) * stride
        score = row[first:].max() * (row[4] if objectness else np.float32(1))
        if score >= 0.5:
            want.append((-score, [x - w / 2, y - h / 2, x + w / 2, y + h / 2], int(row[first:].argmax())))
    want.sort(key=lambda w: w[0])
    options = {"objectness": objectness, "strides": list(strides) if by_grid else [], "threshold": 0.5}
    values = {"y": rows.T[None] if columns else rows[None]}
    got = post("decode_rows", values, output="y", layout="columns" if columns else "rows", **options)
    assert got["scores"].tolist() == [-w[0] for w in want]
    assert got["classes"].tolist() == [w[2] for w in want]
    np.testing.assert_allclose(
        got["boxes"].reshape(-1, 4), np.reshape([w[1] for w in want], (-1, 4)), rtol=1e-4, atol=1e-3
    )


def test_rows_that_do_not_fit_are_told():
    with pytest.raises(Invalid, match=r"expected \[1, n, numbers\]; got \[2, 5, 6\]"):
        post("decode_rows", {"y": np.zeros((2, 5, 6))}, output="y")
    with pytest.raises(Invalid, match="more than 5 numbers for a box; got 5"):
        post("decode_rows", {"y": np.zeros((1, 9, 5))}, output="y")
    with pytest.raises(Invalid, match=r"expected 8 x 4 \+ 4 x 2 rows for the strides; got 9"):
        post("decode_rows", {"y": np.zeros((1, 9, 6))}, output="y", strides=[8, 16])
    with pytest.raises(Invalid, match="not numbers"):
        post("decode_rows", {"y": np.full((1, 9, 6), np.nan)}, output="y")
    shares = post("decode_rows", {"y": np.float32([[[0.5, 0.5, 0.5, 0.5, 1, 1]]])}, output="y", unit="share")
    np.testing.assert_allclose(shares["boxes"], [[16, 8, 48, 24]])


# Priors


def test_priors_are_as_by_hand():
    got = priors_of((20, 9), (8, 16), ((4, 6), (10,)))
    want = [[(x + 0.5) * 8, (y + 0.5) * 8, s, s] for y in range(2) for x in range(3) for s in (4, 6)]
    want += [[(x + 0.5) * 16, 8, 10, 10] for x in range(2)]
    np.testing.assert_allclose(got, want)


def test_boxes_are_told_from_priors():
    boxes, scores = np.zeros((1, 14, 4), np.float32), np.zeros((1, 14, 3), np.float32)
    scores[0, 3], boxes[0, 3] = [0.1, 0.2, 0.7], [1, -1, np.log(2) / 0.2, 0]  # the prior at 12, 4 of 6 x 6
    options = {"strides": [8, 16], "sizes": [[4, 6], [10]], "boxes": "b", "scores": "s"}
    got = post("decode_priors", {"b": boxes, "s": scores}, size=(20, 9), **options)
    np.testing.assert_allclose(got["boxes"], [[12.6 - 6, 3.4 - 3, 12.6 + 6, 3.4 + 3]], atol=1e-5)
    assert (got["classes"].tolist(), got["scores"].tolist()) == ([1], [np.float32(0.7)])
    with pytest.raises(Invalid, match=r"expected \[1, 14, 4\] and \[1, 14, classes\]; got \[1, 13, 4\]"):
        post("decode_priors", {"b": boxes[:, 1:], "s": scores[:, 1:]}, size=(20, 9), **options)
    with pytest.raises(Invalid, match="a class beside the background"):
        post("decode_priors", {"b": boxes, "s": scores[:, :, :1]}, size=(20, 9), **options)
    for bad, told in (({"sizes": [[4]]}, "one list for each of 2 strides"), ({"variances": [1]}, "two numbers; got 1")):
        with pytest.raises(Invalid, match=told):
            read_step(StepEntry("decode_priors", {**options, **bad}), POST, "post")


# The grid of FastestDet


def test_a_grid_that_does_not_fit_is_told():
    with pytest.raises(Invalid, match=r"expected \[1, 5 \+ classes, h, w\]; got \[1, 5, 2, 2\]"):
        post("decode_grid", {"y": np.zeros((1, 5, 2, 2))}, output="y")
    with pytest.raises(Invalid, match="scores of 0 or more; got -1"):
        post("decode_grid", {"y": np.full((1, 7, 2, 2), -1.0)}, output="y")
    with pytest.raises(Invalid, match="not numbers"):
        post("decode_grid", {"y": np.full((1, 7, 2, 2), np.nan)}, output="y")


def test_a_cell_is_decoded_as_by_hand():
    grid = np.zeros((1, 7, 2, 4), np.float32)
    grid[0, :, 1, 2] = [0.81, 0.5, -0.5, 1.0, -1.0, 0.2, 0.64]
    got = post("decode_grid", {"y": grid}, output="y", weight=0.5, threshold=0.6)
    x, y = (2 + np.tanh(0.5)) / 4 * 64, (1 + np.tanh(-0.5)) / 2 * 32
    wide, high = 64 / (1 + np.exp(-1.0)), 32 / (1 + np.exp(1.0))
    np.testing.assert_allclose(got["boxes"], [[x - wide / 2, y - high / 2, x + wide / 2, y + high / 2]], rtol=1e-5)
    assert got["scores"][0] == pytest.approx(0.9 * 0.8)
    assert got["classes"].tolist() == [1]


# Published detectors on real photos


def seen(runner, photo, pre, after):
    """Run declared steps and a model on a photo; return what is left as (class, score, box of the photo)."""
    trace, value = Trace(), np.frombuffer(data(photo).read_bytes(), np.uint8)
    for step in plan([read_step(StepEntry(n, o), PRE, "pre") for n, o in pre]):
        value = step(value, trace)
    arrays = runner.run({runner.inputs[0].name: value})
    for name, options in after:
        arrays = read_step(StepEntry(name, options), POST, "post")(arrays, trace)
    return [(int(c), float(s), b) for c, s, b in zip(*(arrays[n] for n in ("classes", "scores", "boxes")), strict=True)]


BACK = [("nms", {"iou": 0.45}), ("map_back", {})]


@pytest.mark.parametrize("scaled", [False, True])
def test_fastestdet_finds_what_it_found(scaled):
    golden = json.loads(data("fastestdet/golden.json").read_text())["observed at 0.65"]
    names = data("fastestdet/coco.names").read_text().split("\n")
    runner = OnnxRunner(data("fastestdet/FastestDet.onnx"), Threads())
    pre = [("decode_image", {"colour": "bgr", "scaled": scaled}), ("resize", {"width": 352, "height": 352}),
           ("normalise", {}), ("layout", {"to": "NCHW"})]  # fmt: skip
    output = runner.outputs[0].name
    for photo, want in golden.items():
        got = seen(runner, photo, pre, [("decode_grid", {"output": output, "threshold": 0.6}), *BACK])
        sure = [(names[c], s) for c, s, _ in got]
        assert [name for name, _ in sure[: len(want)]] == [name for name, _ in want], photo
        np.testing.assert_allclose([s for _, s in sure[: len(want)]], [s for _, s in want], atol=0.07)  # another resize
        assert len([s for _, s in sure if s >= 0.7]) == len([s for _, s in want if s >= 0.7])
        for _, _, box in got:
            assert box[2] - box[0] > 40
            assert box[3] - box[1] > 40


def test_ssd_finds_cats_and_dogs_where_they_are():
    golden = json.loads(data("tflite_support/golden.json").read_text())
    want = golden["ssd on cats_and_dogs.jpg (1200x600), x,y,w,h"]
    names = data("tflite_support/coco_labelmap.txt").read_text().split("\n")
    runner = LiteRunner(data("tflite_support/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"), Threads())
    boxes, classes, scores, count = (spec.name for spec in runner.outputs)
    pre = [("decode_image", {}), ("resize", {"width": 300, "height": 300, "filter": "lanczos"}),
           ("layout", {"to": "NHWC"})]  # fmt: skip
    options = {"boxes": boxes, "classes": classes, "scores": scores, "count": count, "threshold": 0.48}
    got = seen(runner, "tflite_support/cats_and_dogs.jpg", pre, [("decode_found", options), ("map_back", {})])
    assert [names[c] for c, _, _ in got[:4]] == [name for name, *_ in want]
    for (_, score, box), (_, told, left, top, wide, high) in zip(got, want, strict=False):
        assert score == pytest.approx(told, abs=0.05)
        assert overlaps(box[None], np.float32([[left, top, left + wide, top + high]]))[0, 0] > 0.85


def test_ultraface_without_its_post_processing_finds_the_faces():
    golden = json.loads(data("ultraface/golden.json").read_text())
    runner = LiteRunner(data("ultraface/version-RFB-320_without_postprocessing.tflite"), Threads())
    pre = [("decode_image", {}), ("resize", {"width": 320, "height": 240}),
           ("normalise", {"scale": 1.0, "mean": [127], "std": [128]}), ("layout", {"to": "NHWC"})]  # fmt: skip
    boxes, scores = (spec.name for spec in runner.outputs)
    options = {"boxes": boxes, "scores": scores, "strides": [8, 16, 32, 64], "threshold": 0.7,
               "sizes": [[10, 16, 24], [32, 48], [64, 96], [128, 192, 256]]}  # fmt: skip
    for photo, faces in golden["observed faces"].items():
        after = [("decode_priors", options), ("nms", {"iou": 0.3}), ("map_back", {})]
        got = seen(runner, photo, pre, after)
        assert len(got) == faces, photo
        if photo == "coral/grace_hopper.png":
            want = np.multiply(golden["observed box RFB grace_hopper"], [512, 600, 512, 600])
            assert overlaps(got[0][2][None], np.float32(want)[None])[0, 0] > 0.8


CATS = [("mobilenet_v1_0.25_128_quant", 128, 283, 0.266), ("mobilenet_v2_1.0_224_quant", 224, 286, 0.746)]


@pytest.mark.parametrize(("model", "side", "label", "score"), CATS)
def test_a_quantised_classifier_knows_the_cat(model, side, label, score):
    runner = LiteRunner(data(f"coral/{model}.tflite"), Threads())
    trace, value = Trace(), np.frombuffer(data("coral/cat.png").read_bytes(), np.uint8)
    pre = [
        ("decode_image", {}),
        ("resize", {"width": side, "height": side, "filter": "lanczos"}),
        ("layout", {"to": "NHWC"}),
    ]
    for step in plan([read_step(StepEntry(n, o), PRE, "pre") for n, o in pre]):
        value = step(value, trace)
    arrays = runner.run({runner.inputs[0].name: value})
    output = runner.outputs[0].name
    for name, options in (("dequantise", {"output": output, "scale": 1 / 256}), ("top_k", {"output": output, "k": 3})):
        arrays = read_step(StepEntry(name, options), POST, "post")(arrays, trace)
    assert label in arrays["classes"].tolist()
    assert arrays["scores"][arrays["classes"].tolist().index(label)] == pytest.approx(score, abs=0.05)
