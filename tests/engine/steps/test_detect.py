from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skerry.core.errors import Invalid
from skerry.core.manifest import StepEntry
from skerry.engine.steps.detect import decode_heatmap, overlaps, suppress
from skerry.engine.steps.step import Trace, read_step
from skerry.engine.steps.table import POST

shapes = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))
levels = st.sampled_from([np.float32(v) for v in (0, 0.1, 0.29, 0.3, 0.31, 0.5, 0.5001, 0.9, 1)])


@st.composite
def maps(draw):
    shape = draw(shapes)
    heat = draw(hnp.arrays(np.float32, shape, elements=levels, fill=st.nothing()))
    box = draw(hnp.arrays(np.float32, (4, *shape[1:]), elements=st.floats(0, 50, width=16)))
    return heat, box


@given(maps(), st.sampled_from([1, 4, 8]), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.sampled_from([1, 3, 100]))
def test_a_heat_map_is_decoded_as_slowly_by_hand(given_maps, stride, threshold, limit):
    heat, box = given_maps
    found = decode_heatmap(heat, box, stride, threshold, limit)
    want = []
    classes, rows, columns = heat.shape
    for c in range(classes):
        for y in range(rows):
            for x in range(columns):
                near = heat[c, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
                if heat[c, y, x] >= threshold and heat[c, y, x] >= near.max():
                    left, top, right, bottom = box[:, y, x]
                    cx, cy = (x + 0.5) * stride, (y + 0.5) * stride
                    want.append((heat[c, y, x], c, (cx - left, cy - top, cx + right, cy + bottom)))
    want.sort(key=lambda w: -w[0])
    want = want[:limit]
    assert found["scores"].tolist() == [w[0] for w in want]
    assert found["classes"].tolist() == [w[1] for w in want]
    np.testing.assert_allclose(found["boxes"].reshape(-1, 4), np.reshape([w[2] for w in want], (-1, 4)), atol=1e-3)
    assert found["boxes"].dtype == found["scores"].dtype == np.float32
    assert found["classes"].dtype == np.int64


def iou(a, b):
    """Return the overlap of two boxes, the slow way."""
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [max(0.0, r - l) * max(0.0, d - t) for l, t, r, d in (a, b)]  # noqa: E741
    union = sum(areas) - wide * high
    return wide * high / union if union > 0 else 0.0


box_arrays = st.integers(0, 12).flatmap(lambda n: hnp.arrays(np.float32, (n, 4), elements=st.integers(-5, 20)))


@given(box_arrays, st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.data())
def test_suppression_is_the_slow_one(boxes, most, data):
    classes = np.asarray(data.draw(st.lists(st.integers(0, 2), min_size=len(boxes), max_size=len(boxes))), np.int64)
    kept = []
    for i in range(len(boxes)):
        if all(classes[i] != classes[k] or np.float32(iou(boxes[i], boxes[k])) <= most for k in kept):
            kept.append(i)
    assert suppress(boxes, classes, most).tolist() == kept


@given(box_arrays)
def test_overlaps_are_the_slow_ones(boxes):
    found = overlaps(boxes, boxes)
    assert found.shape == (len(boxes), len(boxes))
    for i, j in np.ndindex(found.shape):
        assert found[i, j] == pytest.approx(iou(boxes[i].tolist(), boxes[j].tolist()), abs=1e-6)


def decode(boxes, scores, size=(100, 50), **options):
    step = read_step(StepEntry("decode_boxes", options), POST, "post")
    values = {"boxes": np.float32(boxes)[None], "scores": np.float32(scores)[None]}
    return step(values, Trace(width=200, height=100, size=size))


BOXES = [[0.1, 0.2, 0.5, 0.6], [0.5, 0.5, 0.25, 0.5]]


def test_corners_and_centres_in_pixels_and_shares():
    scores = [[0.9], [0.8]]
    np.testing.assert_allclose(decode(BOXES, scores)["boxes"], BOXES)
    np.testing.assert_allclose(decode(BOXES, scores, unit="share")["boxes"], np.multiply(BOXES, [100, 50, 100, 50]))
    centred = decode(BOXES, scores, form="centre", unit="share")["boxes"]
    np.testing.assert_allclose(centred, [[-15, -5, 35, 25], [37.5, 12.5, 62.5, 37.5]], atol=1e-5)


def test_a_background_is_no_class():
    scores = [[0.9, 0.6, 0.1], [0.1, 0.2, 0.7]]
    found = decode(BOXES, scores, background=0)
    assert (found["classes"].tolist(), found["scores"].tolist()) == ([1, 0], [np.float32(0.7), np.float32(0.6)])
    found = decode(BOXES, scores, background=2)
    assert found["classes"].tolist() == [0]
    assert decode(BOXES, scores, background=-1)["classes"].tolist() == [0, 2]


def test_threshold_and_limit_hold():
    boxes, scores = [[0, 0, 1, 1]] * 5, [[0.1], [0.5], [0.9], [0.7], [0.5]]
    assert decode(boxes, scores, threshold=0.5)["scores"].tolist() == [np.float32(v) for v in (0.9, 0.7, 0.5, 0.5)]
    assert decode(boxes, scores, threshold=0.5, limit=2)["scores"].tolist() == [np.float32(0.9), np.float32(0.7)]
    assert len(decode(boxes, scores, threshold=1.0)["scores"]) == 0


def test_what_does_not_fit_is_told():
    with pytest.raises(Invalid, match=r"expected boxes \[1, n, 4\]; got a last dimension of 3"):
        decode([[1, 2, 3]], [[1]])
    with pytest.raises(Invalid, match="no array 'boxes'; there are x"):
        read_step(StepEntry("nms"), POST, "post")({"x": np.zeros(1)}, Trace())
    heat = read_step(StepEntry("decode_heatmap", {"stride": 4}), POST, "post")
    with pytest.raises(Invalid, match=r"expected \[1, classes, h, w\]"):
        heat({"heat": np.zeros((1, 2, 3)), "box": np.zeros((1, 4, 3, 3))}, Trace())


def test_scores_that_are_no_numbers_are_not_nothing_found():
    with pytest.raises(Invalid, match="not numbers"):
        decode(BOXES, [[0.1, np.nan], [0.2, 0.3]])
    step = read_step(StepEntry("decode_heatmap", {"stride": 4}), POST, "post")
    with pytest.raises(Invalid, match="not numbers"):
        step({"heat": np.full((1, 1, 2, 2), np.nan, np.float32), "box": np.zeros((1, 4, 2, 2))}, Trace())


def test_nms_over_all_classes_or_by_class():
    values = {"boxes": np.float32([[0, 0, 10, 10]] * 2), "scores": np.float32([0.9, 0.8]), "classes": np.int64([0, 1])}
    by_class = read_step(StepEntry("nms"), POST, "post")(values, Trace())
    over_all = read_step(StepEntry("nms", {"by_class": False}), POST, "post")(values, Trace())
    assert (len(by_class["boxes"]), len(over_all["boxes"])) == (2, 1)
