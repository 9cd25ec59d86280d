"""Parity: what is equal passes with its numbers, what is not names the output, the place and both values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from skerry.core.errors import Invalid, RunFailed
from skerry.core.tensor import DType, Spec
from skerry.engine.arrays import Array
from skerry.engine.runners.onnx import OnnxRunner
from skerry.engine.runners.runner import Lane, Threads
from skerry.forge.parity import (
    EXACT,
    QUANTISED,
    Asked,
    Feeds,
    ParityLost,
    Tolerance,
    given,
    made_up,
    prove,
    prove_made_up,
)
from tests.models import adder_onnx

ASKED = (Asked("x", DType.FP32, ("n", 3)), Asked("y", DType.FP32, ("n", 3)))


class Said:
    """A runner that says what it is told."""

    remembers = False
    inputs = (Spec("x", DType.FP32, (-1,)),)

    def __init__(self, answer: Array) -> None:
        self.answer = answer
        self.outputs = (Spec("out", DType.FP32, (-1,)),)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {"out": self.answer}

    def lane(self) -> Lane:
        raise RunFailed("none")

    def close(self) -> None:
        pass


def compare(want: object, got: object, tolerance: Tolerance = EXACT) -> object:
    one, other = np.asarray(want), np.asarray(got)
    return prove(lambda _: {"out": one}, Said(other), [{"x": np.zeros(1, np.float32)}], tolerance)


def adder(feeds: Feeds) -> dict[str, Array]:
    return {"sum": feeds["x"] + feeds["y"], "difference": feeds["x"] - feeds["y"]}


def test_an_equal_model_is_proven_on_several_sizes(tmp_path: Path) -> None:
    runner = OnnxRunner(adder_onnx(tmp_path / "a.onnx"), Threads())
    found = prove_made_up(adder, runner, ASKED)
    assert [d.output for d in found.outputs] == ["sum", "difference"]
    assert found.inputs == 6
    assert found.shapes == ("x[1,3] y[1,3]", "x[3,3] y[3,3]")
    assert max(d.maximum for d in found.outputs) <= 1e-6
    assert found.document()["outputs"]["sum"]["values"] == 36


def test_a_model_that_is_wrong_is_named_with_both_values(tmp_path: Path) -> None:
    runner = OnnxRunner(adder_onnx(tmp_path / "a.onnx"), Threads())

    def wrong(feeds: Feeds) -> dict[str, Array]:
        return adder(feeds) | {"sum": feeds["x"] + feeds["y"] * np.float32(1.01)}

    with pytest.raises(ParityLost, match=r"output 'sum', input 0, index \[0, \d\]: expected .*; got"):
        prove_made_up(wrong, runner, ASKED)


def test_sizes_that_the_source_refuses_are_left_out(tmp_path: Path) -> None:
    runner = OnnxRunner(adder_onnx(tmp_path / "a.onnx"), Threads())

    def large(feeds: Feeds) -> dict[str, Array]:
        if len(feeds["x"]) < 10:
            raise RunFailed("too short")
        return adder(feeds)

    assert prove_made_up(large, runner, ASKED).shapes == ("x[16,3] y[16,3]", "x[96,3] y[96,3]")

    def never(_: Feeds) -> dict[str, Array]:
        raise RunFailed("no such size")

    with pytest.raises(Invalid, match="no such size"):
        prove_made_up(never, runner, ASKED)


@pytest.mark.parametrize("one", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_must_be_so_on_both_sides(one: float) -> None:
    strange, plain = np.array([1, one], np.float32), np.array([1, 2], np.float32)
    compare(strange, strange)
    for pair in ((strange, plain), (plain, strange)):
        with pytest.raises(ParityLost, match=r"index \[1\]"):
            compare(*pair, tolerance=QUANTISED)


def test_whole_numbers_are_equal_or_counted() -> None:
    want, got = np.arange(100), np.arange(100)
    got[7] = 8
    with pytest.raises(ParityLost, match=r"1 of 100 are not equal .*index \[7\]: expected 7; got 8"):
        compare(want, got)
    found = compare(want, got, Tolerance(unequal=0.01))
    assert found.outputs[0].unequal == 1  # type: ignore[attr-defined]
    assert compare(want, got, Tolerance(steps=1)).outputs[0].unequal == 0  # type: ignore[attr-defined]


def test_shapes_types_and_names_must_be_the_same() -> None:
    with pytest.raises(ParityLost, match=r"shape \[2\]; got \[3\]"):
        compare(np.zeros(2), np.zeros(3))
    with pytest.raises(ParityLost, match="float32; got float64"):
        compare(np.zeros(2, np.float32), np.zeros(2))
    with pytest.raises(ParityLost, match="expected a; got out"):
        prove(lambda _: {"a": np.zeros(1)}, Said(np.zeros(1)), [{}])


def test_a_quantised_model_with_a_lost_bias_fails_by_its_mean() -> None:
    want = np.linspace(-1, 1, 1000, dtype=np.float32)
    compare(want, want + np.float32(0.05) * np.sin(np.arange(1000, dtype=np.float32)), QUANTISED)
    with pytest.raises(ParityLost, match="mean difference"):
        compare(want, want + np.float32(0.2), QUANTISED)


def test_made_up_inputs_are_the_same_each_time_and_sensible() -> None:
    asked = (
        Asked("image", DType.FP32, ("batch", 3, 8, "w")),
        Asked("bytes", DType.UINT8, (1, 8, 8, 3)),
        Asked("ids", DType.INT64, ("batch", "t")),
        Asked("on", DType.BOOL, (2,)),
        Asked("text", DType.BYTES, ("batch",)),
    )
    one, other = made_up(asked, 3, 0), made_up(asked, 3, 0)
    assert all((one[name] == other[name]).all() for name in one)
    assert one["image"].shape == (3, 3, 8, 5)
    assert one["ids"].shape == (3, 7)
    assert 0 <= one["image"].min() < one["image"].max() < 1
    assert one["bytes"].max() > 200
    assert set(np.unique(one["ids"])) <= {0, 1}
    assert not (one["image"] == made_up(asked, 3, 1)["image"]).all()
    with pytest.raises(Invalid, match="too large"):
        made_up((Asked("x", DType.FP32, (1 << 20, 1 << 20)),), 1, 0)


def test_given_inputs_are_looked_at() -> None:
    good = {"x": np.zeros((2, 3)), "y": np.zeros((2, 3), np.float32)}
    assert given(ASKED, good, "inputs")["x"].dtype == np.float32
    for bad, text in (
        ({"x": good["x"]}, "expected arrays named x, y; got x"),
        (good | {"z": good["x"]}, "expected arrays named"),
        (good | {"y": np.zeros((3, 3), np.float32)}, r"'y': expected shape \[n,3\]; got \[3, 3\]"),
        (good | {"y": np.zeros((2, 4), np.float32)}, "expected shape"),
        (good | {"y": np.zeros((2, 3), np.int64)}, "expected float32; got int64"),
    ):
        with pytest.raises(Invalid, match=text):
            given(ASKED, bad, "inputs")
