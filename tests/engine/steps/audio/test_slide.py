"""Windows of a sound, a model that hears them in turn, and what its answers come to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, RunFailed, TooLarge
from skerry.core.fields import Fields
from skerry.core.tensor import DType, Spec
from skerry.engine.runners.fake import FakeRunner
from skerry.engine.session import Session
from skerry.engine.steps.audio.slide import MAX_WINDOWS, MovingMean, Peak, Reshape, Slide
from skerry.engine.steps.step import Trace
from skerry.host.clock import Clock
from tests.engine.kit import manifest
from tests.engine.steps.audio.test_sound import wav

X = (Spec("x", DType.FP32, (1, 4)),)
Y = (Spec("y", DType.FP32, (1, 1)),)
PRE = [("decode_audio", {"layout": "flat"}), ("slide", {"size": 4, "hop": 2}), ("reshape", {"shape": [-1, 1, 4]})]


@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 9))
def test_windows_are_the_frames_in_turn(frames, size, hop):
    value = np.arange(frames * 2).reshape(frames, 2)
    found = Slide(size, hop)(value, Trace())
    want = [value[start : start + size] for start in range(0, frames - size + 1, hop)]
    np.testing.assert_array_equal(found, np.reshape(want, (len(want), size, 2)))


def test_too_many_windows_are_refused():
    assert len(Slide(1, 1)(np.zeros(MAX_WINDOWS), Trace())) == MAX_WINDOWS
    with pytest.raises(TooLarge, match="at most 6000 windows; got 6001"):
        Slide(1, 1)(np.zeros(MAX_WINDOWS + 1), Trace())


def test_reshape_keeps_the_numbers():
    value = np.arange(12).reshape(3, 4)
    assert Reshape((-1, 2, 2))(value, Trace()).shape == (3, 2, 2)
    assert Reshape((1, 12))(value, Trace()).tolist() == [list(range(12))]
    for shape in ((1, 11), (-1, 5), (24,)):
        with pytest.raises(Invalid, match=r"step 'reshape': expected numbers for .*; got \[3, 4\]"):
            Reshape(shape)(value, Trace())
    with pytest.raises(Invalid, match="at most one size of -1"):
        Reshape.read(Fields({"shape": [-1, -1]}, ""))


@given(st.lists(st.floats(0, 1, width=32), max_size=30), st.integers(1, 8))
def test_the_mean_is_of_the_last_ones(values, count):
    given_values = np.float32(values).reshape(-1, 1)
    found = MovingMean("y", count)({"y": given_values}, Trace())["y"]
    want = [sum(values[max(0, n - count + 1) : n + 1]) / count for n in range(len(values))]
    np.testing.assert_allclose(found.reshape(-1), want, atol=1e-6)
    if values:
        assert Peak("y")({"y": found, "z": found}, Trace())["y"].tolist() == [found.max()]


def hearing(runner, post=()):
    return Session(manifest(runner.inputs, runner.outputs, PRE, post, labels=("loud",)), runner, Clock())


def clip(*values):
    return wav(np.int16(np.array(values) * 16_384).tobytes())


def test_a_model_hears_each_window():
    runner = FakeRunner(X, Y, lambda feeds: {"y": feeds["x"].max(axis=1, keepdims=True)})
    sight = hearing(runner).look(clip(0, 0.25, 0, 0, 1, 0, 0.5, 0.5, 0))
    np.testing.assert_allclose(sight.arrays["y"], [[[0.125]], [[0.5]], [[0.5]]])
    post = [("moving_mean", {"output": "y", "count": 2}), ("peak", {"output": "y"}), ("top_k", {"output": "y"})]
    (found,) = hearing(runner, post).look(clip(0, 0.25, 0, 0, 1, 0, 0.5, 0.5, 0)).findings
    assert (found.label, found.score) == ("loud", 0.5)


def test_sound_of_less_than_a_window_is_the_callers_fault():
    runner = FakeRunner(X, Y, lambda feeds: {"y": feeds["x"][:, :1]})
    for values in ((), (1, 1, 1)):
        with pytest.raises(Invalid, match="audio: too short: expected enough for one run of the model"):
            hearing(runner).look(clip(*values))


def test_memory_goes_from_window_to_window_and_no_further():
    """A model that adds up what it hears: within a sound it remembers, from sound to sound it never does."""

    def born():
        heard = []
        return lambda feeds: {"y": heard.append(float(feeds["x"][0, 0])) or np.float32([[sum(heard)]])}

    alone = born()
    session = hearing(FakeRunner(X, Y, alone, born))
    for _ in range(3):
        found = session.look(clip(1, 0, 1, 0, 1, 0, 0, 0)).arrays["y"]
        assert found.reshape(-1).tolist() == [0.5, 1.0, 1.5]


def test_a_model_of_another_shape_is_the_bundles_fault():
    runner = FakeRunner((Spec("x", DType.FP32, (1, 5)),), Y, lambda feeds: {"y": feeds["x"][:, :1]})
    with pytest.raises(RunFailed, match=r"the steps give the shape \[1, 4\], the model takes \[1, 5\]"):
        hearing(runner).look(clip(*range(9)))
    with pytest.raises(Invalid, match="step 'micro_frontend'"):
        Session(manifest(X, Y, [("decode_audio", {}), ("micro_frontend", {})]), runner, Clock())
