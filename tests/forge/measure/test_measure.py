"""The truth meter on real sessions: right and wrong, how sure, how far apart, and what the bootstrap says."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from skerry.core.errors import Invalid
from skerry.core.gate import Interval, loss_gate
from skerry.core.names import ModelName
from skerry.engine.make import Wishes, make_bundle
from skerry.engine.runners.runner import Threads
from skerry.engine.session import open_bare, open_session
from skerry.forge.data import BOXES, CLASSES, Box, Data, Example, read_data
from skerry.forge.measure import (
    Bin,
    Classified,
    Detected,
    Mistake,
    compare,
    differ,
    difference_interval,
    mean_interval,
    measure,
    median_interval,
    open_plain,
    open_wide,
)
from skerry.forge.measure.boxes import truths_of
from skerry.forge.score import Answer, Truth, average_precision
from skerry.host.clock import Clock
from skerry.host.files import Disk
from tests.engine.kit import HERE, detector, graph, sees
from tests.models import adder_onnx, brightness_bundle, brightness_onnx, grey_png

LEVELS = {"dark": (10, 60, 100, 120), "bright": (240, 200, 160, 140)}
F = 1  # TensorProto.FLOAT


@pytest.fixture
def folder(tmp_path):
    for label, levels in LEVELS.items():
        (tmp_path / "data" / label).mkdir(parents=True)
        for level in levels:
            (tmp_path / "data" / label / f"{level}.png").write_bytes(grey_png(level))
    (tmp_path / "data/dark/250.png").write_bytes(grey_png(250))  # mislabelled: the surest mistake
    (tmp_path / "data/bright/broken.png").write_bytes(b"no picture")
    return tmp_path / "data"


@pytest.fixture
def bundle(tmp_path):
    return brightness_bundle(tmp_path / "bundles" / "1")


def test_a_classifier_is_measured_in_the_session_that_serves_it(folder, bundle):
    heard = []
    found = measure(open_session(bundle, Threads(), HERE, Clock()), read_data(folder), lambda *told: heard.append(told))
    assert heard[-1] == (10, 10, "measuring")
    assert isinstance(found, Classified)
    assert (found.accuracy().value, found.accuracy().count, found.accuracy().kind) == (0.8, 10, "top-1")
    assert found.accuracy().interval.low == pytest.approx(0.490, abs=1e-3)
    assert found.confusion.tolist() == [[4, 1, 0], [0, 4, 1]]  # one picture could not be read: nothing
    first, second = found.mistakes(5)
    assert first == Mistake(first.index, "dark/250.png", "dark", "bright", first.sure)
    assert first.sure > 0.99
    assert (second.guess, second.sure) == ("nothing", 0.0)
    assert sum(one.count for one in found.reliability) == 10
    assert 0 <= found.calibration_error <= 1
    assert found.label(0) == "dark"


def test_two_classifiers_are_compared_example_by_example(folder, bundle, tmp_path):
    one = measure(open_session(bundle, Threads(), HERE, Clock()), read_data(folder))
    upside_down = make_bundle(
        brightness_onnx(tmp_path / "m.onnx", gain=-10.0),
        Wishes(ModelName("brightness"), version=2, labels=("dark", "bright")),
        tmp_path / "bundles" / "2",
        Disk(),
    )
    other = measure(open_session(upside_down, Threads(), HERE, Clock()), read_data(folder))
    pair = one.paired(other)
    assert (pair.lost, pair.won, pair.count) == (8, 1, 10)
    assert one.agreement(one).value == 1.0
    assert one.agreement(other).value == pytest.approx(0.1)  # both give nothing for the broken one
    assert compare(one, other, 0.005) == loss_gate(pair, 0.005)
    assert compare(one, other, 0.005).outcome.value == "fail"
    with pytest.raises(Invalid, match="expected the same examples; got 10 and 9 of them"):
        one.paired(
            measure(open_session(bundle, Threads(), HERE, Clock()), read_data(folder).only([True] * 9 + [False]))
        )


def test_arrays_go_through_the_model_alone(tmp_path):
    nodes = [("MatMul", ["x", "w"], ["y"])]
    path = graph(
        tmp_path / "m.onnx", nodes, {"x": (F, [None, 2])}, {"y": (F, [None, 3])}, {"w": np.eye(2, 3, dtype=np.float32)}
    )
    session = open_bare(path, ModelName("m"), 1, Threads(), Clock())
    np.savez(tmp_path / "d.npz", x=[[1.0, 0.0], [0.0, 1.0], [5.0, 0.0]], y=[0, 1, 2])  # float64: becomes the model's
    found = measure(session, read_data(tmp_path / "d.npz"))
    assert found.right.tolist() == [True, True, False]
    assert found.sure[2] == pytest.approx(np.exp(5) / (np.exp(5) + 2))
    np.savez(tmp_path / "e.npz", a=[[1.0, 0.0]] * 2, b=[1, 2], y=[0, 1])
    with pytest.raises(Invalid, match="data: expected arrays x; got a, b"):
        measure(session, read_data(tmp_path / "e.npz"))
    np.savez(tmp_path / "f.npz", x=[[1.0, 0.0, 3.0]] * 2, y=[0, 1])
    with pytest.raises(Invalid, match="shape"):
        measure(session, read_data(tmp_path / "f.npz"))


def test_labels_without_names_are_places_even_if_one_is_missing(tmp_path):
    path = graph(tmp_path / "m.onnx", [("Identity", ["x"], ["y"])], {"x": (7, [4])}, {"y": (7, [4])})  # INT64, no rows
    session = open_bare(path, ModelName("m"), 1, Threads(), Clock())
    np.savez(tmp_path / "d.npz", x=[[9, 0, 0, 0], [0, 0, 0, 9]], y=[0, 3])
    found = measure(session, read_data(tmp_path / "d.npz"))
    assert (found.labels, found.right.tolist()) == (("0", "1", "2", "3"), [True, True])
    np.savez(tmp_path / "e.npz", x=[[0.5, 0, 0, 0]] * 2, y=[0, 3])
    with pytest.raises(Invalid, match="data: x: expected INT64; float64 does not fit"):
        measure(session, read_data(tmp_path / "e.npz"))
    np.savez(tmp_path / "f.npz", x=[[9, 0, 0, 0]] * 2, y=[0, 10**6])
    with pytest.raises(Invalid, match="expected labels below 10000; got 1000000"):
        measure(session, read_data(tmp_path / "f.npz"))


def test_outputs_of_other_shapes_are_not_compared(tmp_path):
    made = {}
    for name, op, shape in (("flat", "Flatten", [2, 4]), ("same", "Identity", [2, 2, 2])):
        path = graph(tmp_path / f"{name}.onnx", [(op, ["x"], ["y"])], {"x": (F, [2, 2, 2])}, {"y": (F, shape)})
        made[name] = open_bare(path, ModelName(name), 1, Threads(), Clock())
    with pytest.raises(Invalid, match=r"expected outputs of one shape; got \[2, 4\] and \[2, 2, 2\]"):
        differ(made["flat"], made["same"], [{"x": np.ones((1, 2, 2, 2), np.float32)}])
    two = open_bare(adder_onnx(tmp_path / "a.onnx"), ModelName("a"), 1, Threads(), Clock())
    feeds = {"x": np.ones((1, 3), np.float32), "y": np.ones((1, 3), np.float32)}
    assert differ(two, two, [feeds]).greatest == 0


def test_data_that_do_not_fit_the_model_are_named(folder, bundle, tmp_path):
    session = open_session(bundle, Threads(), HERE, Clock())
    np.savez(tmp_path / "d.npz", x=[[1.0], [2.0]], y=[0, 1])
    with pytest.raises(Invalid, match="the model takes image; the data are arrays"):
        measure(session, read_data(tmp_path / "d.npz"))
    (folder / "dark").rename(folder / "dim")
    with pytest.raises(Invalid, match="labels 'dim' are not the model's: 'dark', 'bright'"):
        measure(session, read_data(folder))


def test_outputs_are_compared_number_by_number(folder, bundle, tmp_path):
    other = brightness_bundle(tmp_path / "bundles" / "2", version=2)
    one, two = (open_plain(b, Threads(), HERE, Clock()) for b in (bundle, other))
    pictures = [grey_png(level) for level in (0, 100, 200)]
    same = differ(one, one, pictures)
    assert (same.greatest, same.mean, same.inputs) == (0.0, 0.0, 3)
    found = differ(one, two, pictures)
    assert 0 < found.mean < found.greatest < 0.1
    with pytest.raises(Invalid, match="differ: expected inputs; got none"):
        differ(one, two, [])


def test_a_nan_on_one_side_alone_is_an_infinite_difference(tmp_path):
    path = graph(tmp_path / "m.onnx", [("Log", ["x"], ["y"])], {"x": (F, [None])}, {"y": (F, [None])})
    log = open_bare(path, ModelName("m"), 1, Threads(), Clock())
    path = graph(tmp_path / "n.onnx", [("Identity", ["x"], ["z"])], {"x": (F, [None])}, {"z": (F, [None])})
    same = open_bare(path, ModelName("n"), 1, Threads(), Clock())
    assert differ(log, log, [{"x": np.float32([-1])}]).greatest == 0
    assert differ(log, same, [{"x": np.float32([-1])}]).greatest == np.inf
    assert differ(log, same, [{"x": np.float32([1])}]).greatest == 1
    two = open_bare(adder_onnx(tmp_path / "a.onnx"), ModelName("a"), 1, Threads(), Clock())
    with pytest.raises(Invalid, match="expected arrays x, y"):
        differ(same, two, [{"x": np.float32([1])}])


def replace_with_classes(found: Detected) -> Classified:
    nothing = np.zeros(len(found.names), dtype=np.int64)
    return Classified(found.data, found.labels, found.names, nothing, nothing, nothing.astype(np.float64))


def png(side: int = 16) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "PNG")
    return file.getvalue()


def test_a_detector_is_scored_over_its_whole_curve(tmp_path):
    shares = [[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]  # left, top, right, bottom
    model = detector(tmp_path / "d.onnx", shares, [[0.9, 0.0], [0.0, 0.2]])
    bundle = make_bundle(model, Wishes(ModelName("d"), labels=("spot", "dent"), threshold=0.5), tmp_path / "b", Disk())
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(png())
    truth = (Box("spot", 0, 0, 8, 8), Box("dent", 8, 8, 16, 16))
    data = Data("d", BOXES, "image", (Example("a.png", boxes=truth), Example("b.png", boxes=truth[:1])), tmp_path)
    cut = measure(open_session(bundle, Threads(), HERE, Clock()), data)
    wide = measure(open_wide(bundle, Threads(), HERE, Clock()), data)
    assert isinstance(cut, Detected)
    assert isinstance(wide, Detected)
    assert cut.mean_precision(0.5) == pytest.approx(0.5)  # the dents are under the threshold
    assert wide.mean_precision(0.5) == pytest.approx(1.0)
    assert wide.accuracy(0.33).kind == "mAP@0.33"
    assert wide.accuracy().interval == Interval(1.0, 1.0)
    assert compare(cut, wide, 0.005).passed
    assert compare(wide, cut, 0.005).outcome.value == "not_proven"  # two pictures
    same = compare(wide, wide, 0.005)
    assert same.outcome.value == "not_proven"
    assert same.text.startswith("0 pt, 95 % interval -100 to 100 pt, n=2")
    with pytest.raises(Invalid, match="expected two classifiers or two detectors"):
        compare(wide, replace_with_classes(wide), 0.005)
    gain, interval = cut.gain(wide)
    assert gain == pytest.approx(0.5)
    assert interval.low <= 0.5 <= interval.high
    assert wide.at(0.5).total.recall == pytest.approx(2 / 3)
    assert wide.worst(0.1, 5) == (1,)
    assert [one.label for one in wide.wrong(1, 0.1)[1]] == ["dent"]
    assert wide.worst(0.5, 5) == (0,)
    assert [one.label for one in wide.wrong(0, 0.5)[0]] == ["dent"]
    with pytest.raises(Invalid, match="expected the same pictures; got 2 and 1 of them"):
        cut.gain(measure(open_session(bundle, Threads(), HERE, Clock()), replace(data, examples=data.examples[:1])))


side, length = st.integers(0, 30), st.integers(1, 30)
box = st.tuples(side, side, length, length).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
label = st.sampled_from("pq")
truth = st.builds(lambda n, b: Truth(n, *b), label, box)
answer = st.builds(lambda n, s, b: Answer(n, s, *b), label, st.floats(0.01, 1), box)
picture = st.tuples(st.lists(answer, max_size=4), st.lists(truth, max_size=4))


@settings(max_examples=60, deadline=None)
@given(st.lists(picture, min_size=1, max_size=5))
def test_weights_of_one_give_the_scorers_own_average_precision(pictures):
    answers, truths = zip(*pictures, strict=True)
    found = Detected(
        "d", ("p", "q"), tuple(map(str, range(len(pictures)))), tuple(map(tuple, answers)), tuple(map(tuple, truths))
    )
    for overlap in (0.33, 0.5):
        verdicts = found.verdicts(overlap)
        each = [
            average_precision([j for j in verdicts.judged if j.label == name], count)
            for name, count in verdicts.truths.items()
            if count
        ]
        assert found.mean_precision(overlap) == pytest.approx(sum(each) / len(each) if each else 0.0, abs=1e-9)
        whole = found.accuracy(overlap)
        assert 0 <= whole.interval.low <= whole.interval.high <= 1 + 1e-9


@settings(max_examples=60, deadline=None)
@given(picture, st.floats(0, 1))
def test_what_is_wrong_adds_up(one, threshold):
    answers, truths = map(tuple, one)
    found = Detected("d", ("p", "q"), ("x",), (answers,), (truths,))
    missed, false = found.wrong(0, threshold)
    kept = sum(a.score >= threshold for a in answers)
    hits = found.at(threshold).total.hits
    assert (len(truths) - len(missed), kept - len(false)) == (hits, hits)
    assert set(missed) <= set(truths)
    assert set(false) <= set(answers)


def test_pictures_drawn_twice_count_twice():
    spot = (0, 0, 10, 10)
    good = ((Answer("p", 0.9, *spot),), (Truth("p", *spot),))
    bad = ((Answer("p", 0.8, 50, 50, 60, 60),), (Truth("p", *spot),))
    many = [good] * 30 + [bad] * 10
    found = Detected("d", ("p",), tuple(map(str, range(40))), tuple(a for a, _ in many), tuple(t for _, t in many))
    assert found.mean_precision(0.5) == pytest.approx(0.75)
    interval = found.accuracy().interval
    assert interval.low == pytest.approx(0.75 - 1.96 * (0.75 * 0.25 / 40) ** 0.5, abs=0.04)
    assert interval.high == pytest.approx(0.75 + 1.96 * (0.75 * 0.25 / 40) ** 0.5, abs=0.04)
    assert found.accuracy() == found.accuracy()  # the same seed


def test_reliability_by_hand():
    sure = np.array([0.05, 0.95, 0.93, 1.0])
    found = Classified("d", ("a", "b"), tuple("wxyz"), np.array([0, 0, 1, 1]), np.array([1, 0, 1, 0]), sure)
    assert found.reliability == (Bin(0.05, 0.0, 1), Bin(pytest.approx(0.96), pytest.approx(2 / 3), 3))
    assert found.calibration_error == pytest.approx((0.05 + 3 * (0.96 - 2 / 3)) / 4)


def test_a_model_whose_answer_is_no_number_gives_nothing(tmp_path):
    (tmp_path / "x.png").write_bytes(png())
    data = Data("d", CLASSES, "image", (Example("x.png", "a"),), tmp_path)
    for scores, guess, sure in (([np.nan, 1.0], -1, 0.0), ([0.25, 0.75], 1, 0.75), ([0.0, 0.0], 0, 0.5)):
        found = measure(sees({"p": np.float32(scores)}, [], ("a", "b")), data)
        assert (found.guesses.tolist(), found.sure.tolist()) == ([guess], [sure])
    assert measure(sees({"p": np.float32([0.1, 0.2, 0.7])}, [], ("a", "b")), data).guesses.tolist() == [-1]
    assert measure(sees({"p": np.float32([[1, 2], [3, 4]])}, [], ("a", "b")), data).guesses.tolist() == [-1]


numbers = st.lists(st.floats(-100, 100), min_size=2, max_size=30)


@given(numbers, st.integers(0, 5))
def test_a_bootstrap_interval_lies_within_what_was_seen(values, seed):
    for interval in (mean_interval(values, seed, times=50), median_interval(values, seed, times=50)):
        assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9
    assert mean_interval(values, seed) == mean_interval(values, seed)


def test_a_bootstrap_interval_is_as_wide_as_the_formula_says():
    random = np.random.default_rng(0)
    before = random.normal(5, 2, 400)
    after = before + random.normal(0.3, 1, 400)
    found = difference_interval(before, after, seed=1)
    mean, half = (after - before).mean(), 1.96 * (after - before).std() / 20
    assert found.low == pytest.approx(mean - half, abs=0.01)
    assert found.high == pytest.approx(mean + half, abs=0.01)
    with pytest.raises(Invalid, match="bootstrap: expected pairs; got 2 and 1 values"):
        difference_interval([1, 2], [1], seed=0)
    with pytest.raises(Invalid, match="bootstrap: expected a list of finite numbers"):
        mean_interval([], seed=0)
    assert truths_of([("a", 1, 2, 3, 4)]) == (Truth("a", 1, 2, 3, 4),)
