from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from skerry.core.errors import GoldenFailed
from skerry.core.finding import Finding
from skerry.core.manifest import GoldenEntry
from skerry.core.tensor import DType, Spec, Tensor
from skerry.engine.bundle import open_bundle
from skerry.engine.golden import BOX_TOLERANCE, check_goldens, compare, record, tensors_file
from skerry.engine.runners.fake import FakeRunner
from skerry.engine.runners.runner import Threads
from skerry.engine.session import Session, open_session
from skerry.host.clock import Clock
from tests.engine.kit import HERE, manifest, sees
from tests.models import brightness_bundle, grey_png

GOLDEN = GoldenEntry("goldens/0.png", "goldens/0.answer.json", tolerance=0.01)
CUT = 0.5
clear = st.floats(0.52, 1.0)
sides = st.integers(0, 50).map(lambda n: n * 10.0)
found_boxes = st.lists(
    st.builds(
        lambda label, score, x, y: Finding(label, score, 0, (x, y, x + 40, y + 40)),
        st.sampled_from("abc"), clear, sides, sides,
    ),
    min_size=1, max_size=6, unique_by=lambda f: (f.label, f.box),
)  # fmt: skip
found_classes = st.lists(st.floats(0, 1), min_size=2, max_size=6).map(
    lambda scores: [Finding(f"c{n}", s, n) for n, s in enumerate(sorted(scores, reverse=True))]
)


def off(want, got, classes=0):
    """Whether the comparison fails."""
    try:
        compare(want, got, CUT, classes, GOLDEN)
    except GoldenFailed as error:
        assert str(error).startswith("golden goldens/0.png: ")  # noqa: PT017 (a property of every failure)
        return True
    return False


@given(found_boxes | found_classes)
def test_the_same_again_passes(findings):
    assert not off(findings, findings, classes=len(findings))
    assert not off([], [])


@given(found_boxes, st.data())
def test_the_order_of_boxes_does_not_matter(findings, data):
    assert not off(findings, data.draw(st.permutations(findings)))


@given(found_boxes, st.data())
def test_small_differences_pass_and_large_ones_do_not(findings, data):
    place = data.draw(st.integers(0, len(findings) - 1))
    one = findings[place]

    def changed(**change):
        return [*findings[:place], replace(one, **change), *findings[place + 1 :]]

    left, top, right, bottom = one.box
    nudge = BOX_TOLERANCE - 0.01
    assert not off(findings, changed(box=(left + nudge, top - nudge, right + nudge, bottom), score=one.score - 0.009))
    assert off(findings, changed(score=one.score + 0.03))
    assert off(findings, changed(label="d"))
    assert off(findings, changed(box=(left + BOX_TOLERANCE + 0.1, top, right, bottom)))
    assert off(findings, [*findings[:place], *findings[place + 1 :]])
    assert off([*findings[:place], *findings[place + 1 :]], findings)


@given(found_boxes, st.floats(CUT, CUT + 0.01))
def test_a_box_near_the_cut_may_be_there_or_not(findings, score):
    near = Finding("a", score, 0, (1000.0, 0.0, 1010.0, 10.0))
    assert not off(findings, [*findings, near])
    assert not off([*findings, near], findings)


def test_shrunken_boxes_of_right_classes_are_found():  # as a full-INT8 export of YOLOX-Nano gave them
    want = [Finding("cat", 0.741, 15, (30.0, 40.0, 316.0, 258.0))]
    assert off(want, [replace(want[0], score=0.742, box=(150.0, 120.0, 195.0, 170.0))])


@given(found_classes, st.data())
def test_classes_agree_place_by_place(findings, data):
    place = data.draw(st.integers(0, len(findings) - 1))
    one = findings[place]
    assert not off(findings, [*findings[:place], replace(one, score=one.score + 0.009), *findings[place + 1 :]])
    assert off(findings, [*findings[:place], replace(one, score=one.score + 0.02), *findings[place + 1 :]])
    assert off(findings, findings[:-1])
    assert off(findings, [*findings[:place], replace(one, label="x"), *findings[place + 1 :]], classes=len(findings))


@given(found_classes, st.integers(0, 4))
def test_near_ties_may_change_places(findings, place):
    assume(place + 1 < len(findings))
    a, b = findings[place], findings[place + 1]
    swapped = [*findings[:place], replace(b, score=a.score), replace(a, score=b.score), *findings[place + 2 :]]
    far = a.score - b.score > 0.0201
    near = a.score - b.score < 0.0199
    if near:
        assert not off(findings, swapped, classes=len(findings))
    if far:
        assert off(findings, swapped, classes=len(findings))


def test_the_last_of_the_best_few_may_be_another_class():
    want = [Finding("a", 0.6, 0), Finding("b", 0.2, 1)]
    assert not off(want, [want[0], Finding("c", 0.195, 2)], classes=1000)
    assert off(want, [want[0], Finding("c", 0.195, 2)], classes=2)
    assert off(want[:1], [Finding("c", 0.6, 2)], classes=1000)


def test_a_bundles_goldens_pass_on_the_machine_that_made_them(tmp_path):
    bundle = brightness_bundle(tmp_path / "b")
    assert check_goldens(open_session(bundle, Threads(), HERE, Clock()), bundle.path) == 1


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (b"bright", b"purple", "expected purple, found bright"),
        (b'"score": 0.9', b'"score": 0.1', "expected score"),
        (b"{", b"[", "goldens/0.answer.json: JSON Parse error"),
        (b'"findings"', b'"finding"', "findings: expected this field"),
    ],
)
def test_a_wrong_answer_fails(tmp_path, before, after, text):
    bundle = brightness_bundle(tmp_path / "b")
    answer = bundle.path / "goldens/0.answer.json"
    text_before = answer.read_bytes()
    if before == b'"score": 0.9':
        answer.write_bytes(record(sees({"y": [[0.1, 0.9]]}, [("top_k", {"output": "y"})], ("dark", "x")), grey_png(3)))
        text = "expected"
    else:
        assert before in text_before
        answer.write_bytes(text_before.replace(before, after))
    with pytest.raises(GoldenFailed, match=text):
        check_goldens(open_session(open_bundle(bundle.path), Threads(), HERE, Clock()), bundle.path)


X, Y = (Spec("x", DType.FP32, (-1,)),), (Spec("y", DType.FP32, (-1,)),)


def tensor_session(function, kind=DType.FP32):
    outputs = (replace(Y[0], dtype=kind),)
    golden = GoldenEntry("goldens/0.json", "goldens/0.answer.json", 1e-3)
    return Session(manifest(X, outputs, goldens=(golden,)), FakeRunner(X, outputs, function), Clock())


def write_golden(folder, session):
    given = [Tensor("x", DType.FP32, (3,), np.float32([1, 2, 3]).tobytes())]
    (folder / "goldens").mkdir(exist_ok=True)
    (folder / "goldens/0.json").write_bytes(tensors_file(given))
    (folder / "goldens/0.answer.json").write_bytes(record(session, given))


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (lambda f: {"y": f["x"] * 2.0001}, None),
        (lambda f: {"y": f["x"] * 2.1}, "output 'y' is off by up to 0.3"),
        (lambda f: {"y": f["x"][:2] * 2}, r"expected shape \[3\]; got \[2\]"),
        (lambda f: {"z": f["x"]}, "no output 'y'"),
        (lambda f: {"y": f["x"] * np.nan}, "output 'y' is off"),
    ],
)
def test_tensors_agree_within_the_tolerance(tmp_path, other, text):
    write_golden(tmp_path, tensor_session(lambda f: {"y": f["x"] * 2}))
    session = tensor_session(other)
    if text is None:
        assert check_goldens(session, tmp_path) == 1
        return
    with pytest.raises(GoldenFailed, match=text):
        check_goldens(session, tmp_path)


def test_texts_agree_exactly(tmp_path):
    def says(text):
        return tensor_session(lambda _: {"y": np.asarray([text, "b", "c"], object)}, DType.BYTES)

    write_golden(tmp_path, says("a"))
    assert check_goldens(says("a"), tmp_path) == 1
    with pytest.raises(GoldenFailed, match="output 'y' differs"):
        check_goldens(says("A"), tmp_path)


def test_nan_is_equal_to_nan(tmp_path):
    session = tensor_session(lambda f: {"y": f["x"] * np.nan})
    write_golden(tmp_path, session)
    assert check_goldens(session, tmp_path) == 1
