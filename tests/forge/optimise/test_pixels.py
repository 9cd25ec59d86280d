"""Normalisation in the model: bytes in, the same answers, whatever means, padding and layout."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.core.manifest import StepEntry
from skerry.engine.steps.image import Layout, Normalise
from skerry.engine.steps.step import Trace
from skerry.forge.optimise.graph import apart
from skerry.forge.optimise.pixels import as_pixels, take_pixels
from skerry.forge.optimise.rewrites.net import operators
from skerry.forge.optimise.work import Work
from tests.forge.optimise.kit import Draft, mobile, run


def steps(layout: str = "NCHW", **options: object) -> tuple[StepEntry, ...]:
    return (
        StepEntry("decode_image"),
        StepEntry("resize", {"width": 16, "height": 16}),
        StepEntry("normalise", options),
        StepEntry("layout", {"to": layout}),
    )


def ready(pixels: np.ndarray, entries: tuple[StepEntry, ...]) -> np.ndarray:
    value: np.ndarray = pixels
    for entry in entries:
        if entry.step == "normalise":
            value = Normalise.read(Fields(dict(entry.options), ""))(value, Trace())
        elif entry.step == "layout":
            value = Layout.read(Fields(dict(entry.options), ""))(value, Trace())
    return value


def last_model() -> onnx.ModelProto:
    draft = Draft()
    turned = draft.node("Transpose", "x", perm=[0, 3, 1, 2])
    draft.node("Relu", draft.conv(turned, 3, 4), out="y")
    return draft.model({"x": [1, 16, 16, 3]}, {"y": [1, 4, 16, 16]})


@given(
    st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    st.lists(st.floats(0.05, 3), min_size=3, max_size=3),
    st.sampled_from(["NCHW", "NHWC"]),
    st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_bytes_give_the_answers_that_normalised_floats_gave(
    mean: list[float], std: list[float], layout: str, seed: int
) -> None:
    model = mobile() if layout == "NCHW" else last_model()
    entries = steps(layout, mean=mean, std=std)
    raw = take_pixels(model, entries, Work())
    assert raw is not None
    assert [entry.step for entry in raw.steps] == ["decode_image", "resize", "layout"]
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    true = run(model, {"x": ready(pixels, entries)})["y"]
    found = ready(pixels, raw.steps)
    assert found.dtype == np.uint8
    assert apart(true, run(raw.model, {"x": found})["y"]) < 2e-5
    back = as_pixels(
        {"x": ready(pixels, entries)}, Normalise.read(Fields({"mean": mean, "std": std}, "")), layout == "NHWC"
    )
    assert np.array_equal(back["x"], found)


def test_without_a_mean_nothing_but_a_cast_is_added() -> None:
    raw = take_pixels(mobile(), steps(), Work())
    assert raw is not None
    assert operators(raw.model) == {**operators(mobile()), "Cast": 1}


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ((StepEntry("decode_image"),), "one 'normalise'"),
        ((StepEntry("decode_image"), StepEntry("normalise"), StepEntry("quantise")), "one 'normalise'"),
        ((), "got none"),
    ],
)
def test_other_steps_are_left_and_the_reason_is_said(entries: tuple[StepEntry, ...], reason: str) -> None:
    work = Work()
    assert take_pixels(mobile(), entries, work) is None
    assert reason in work.said[0]


def test_inputs_that_are_no_pictures_are_left() -> None:
    draft = Draft()
    draft.node("Relu", "x", out="y")
    work = Work()
    assert take_pixels(draft.model({"x": [1, 4]}, {"y": [1, 4]}), steps(), work) is None
    assert "four dimensions" in work.said[0]


def test_floats_that_were_no_bytes_are_refused() -> None:
    with pytest.raises(Invalid, match="input 'x'"):
        as_pixels({"x": np.full((1, 3, 2, 2), 9.0, np.float32)}, Normalise.read(Fields({}, "")), last=False)
