from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.errors import Invalid
from skerry.core.manifest import StepEntry
from skerry.engine.steps.image import Layout, Normalise
from skerry.engine.steps.plan import Planes, plan
from skerry.engine.steps.step import Trace, read_step
from skerry.engine.steps.table import PRE
from tests.engine.kit import png

PHOTO = np.random.default_rng(4).integers(0, 256, (61, 83, 3)).astype(np.uint8)
numbers = st.floats(-3, 3, width=32).filter(lambda v: abs(v) > 1e-3)


def many(of, count):
    return st.one_of(st.lists(of, min_size=1, max_size=1), st.lists(of, min_size=count, max_size=count))


@st.composite
def chains(draw):
    """Steps as manifests have them, with everything optional that is."""
    colour = draw(st.sampled_from(["rgb", "bgr", "grey"]))
    channels = 1 if colour == "grey" else 3
    size = {"width": draw(st.integers(1, 40)), "height": draw(st.integers(1, 40))}
    steps = [("decode_image", {"colour": colour})]
    if kind := draw(st.sampled_from(["", "resize", "letterbox"])):
        steps.append((kind, {**size, "filter": draw(st.sampled_from(["nearest", "bilinear", "area"]))}))
    if draw(st.booleans()):
        options = {"mean": draw(many(numbers, channels)), "std": draw(many(numbers, channels))}
        steps.append(("normalise", {**options, **draw(st.sampled_from([{}, {"mean": [0]}, {"scale": 1.0}]))}))
    if draw(st.booleans()):
        steps.append(("layout", {"to": draw(st.sampled_from(["NCHW", "NHWC"]))}))
    return [read_step(StepEntry(name, options), PRE, "pre") for name, options in steps]


def ran(steps, data):
    trace, value = Trace(), np.frombuffer(data, np.uint8)
    for step in steps:
        value = step(value, trace)
    return value, trace


@settings(max_examples=150)
@given(chains(), st.sampled_from(["PNG", "JPEG"]))
def test_a_plan_gives_what_its_steps_give(steps, kind):
    data = png(PHOTO, kind)
    want, told = ran(steps, data)
    found, trace = ran(plan(steps), data)
    assert trace == told
    assert (found.dtype, found.shape) == (want.dtype, want.shape)
    np.testing.assert_array_equal(found, want)


def test_normalise_and_layout_become_one():
    steps = [Normalise(1.0, (1.0,), (2.0,)), Layout("NCHW")]
    (one,) = plan(steps)
    assert isinstance(one, Planes)
    assert len(plan([steps[0], Layout("NHWC")])) == 2
    assert plan([steps[1], steps[0]]) == [steps[1], steps[0]]
    assert plan([]) == []


def test_what_does_not_fit_is_told_as_before():
    (one,) = plan([Normalise(1.0, (1.0, 2.0), (2.0,)), Layout("NCHW")])
    with pytest.raises(Invalid, match="2 means and 1 stds for 3 channels"):
        one(PHOTO, Trace())
