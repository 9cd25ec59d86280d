from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from skerry.core.errors import Invalid
from skerry.core.manifest import StepEntry
from skerry.engine.steps.step import Trace, read_step
from skerry.engine.steps.table import PRE

DICE = np.random.default_rng(9)


def raw(data, **options):
    trace = Trace()
    found = read_step(StepEntry("decode_raw", options), PRE, "pre")(np.frombuffer(data, np.uint8), trace)
    assert (trace.width, trace.height) == trace.size == found.shape[1::-1]
    assert found.dtype == np.uint8
    return found


def test_rgb_bgr_and_grey():
    pixels = DICE.integers(0, 256, (3, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(raw(pixels.tobytes(), width=5, height=3), pixels)
    np.testing.assert_array_equal(raw(pixels.tobytes(), width=5, height=3, format="bgr"), pixels[:, :, ::-1])
    grey = raw(pixels[:, :, 0].tobytes(), width=5, height=3, format="grey")
    np.testing.assert_array_equal(grey, pixels[:, :, :1])


def by_hand(y, u, v, full):
    """ITU-R BT.601, in floats."""
    y, u, v = float(y), u - 128.0, v - 128.0
    if not full:
        y, u, v = (y - 16) * 255 / 219, u * 255 / 224, v * 255 / 224
    return [y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u]


@given(st.integers(1, 3), st.integers(1, 3), st.booleans(), st.booleans(), st.data())
def test_yuv_is_as_by_hand(rows, columns, full, planar, data):
    luma, u, v = (
        np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)
        for size in (4 * rows * columns, rows * columns, rows * columns)
    )
    body = np.concatenate([luma, u, v] if planar else [luma, np.stack([u, v], axis=1).reshape(-1)]).tobytes()
    options = {"format": "i420" if planar else "nv12", "range": "full" if full else "limited"}
    found = raw(body, width=2 * columns, height=2 * rows, **options)
    luma, u, v = luma.reshape(2 * rows, -1), u.reshape(rows, -1), v.reshape(rows, -1)
    for row, column in np.ndindex(found.shape[:2]):
        want = by_hand(luma[row, column], u[row // 2, column // 2], v[row // 2, column // 2], full)
        np.testing.assert_allclose(found[row, column], np.clip(want, 0, 255), atol=0.51)


def test_full_range_is_pillows_ycbcr():
    planes = DICE.integers(0, 256, (3, 16, 16)).astype(np.uint8)
    planes[1:] = planes[1:, ::2, ::2].repeat(2, 1).repeat(2, 2)
    want = np.asarray(Image.fromarray(planes.transpose(1, 2, 0), "YCbCr").convert("RGB")).astype(int)
    body = planes[0].tobytes() + planes[1, ::2, ::2].tobytes() + planes[2, ::2, ::2].tobytes()
    assert np.abs(raw(body, width=16, height=16, format="i420", range="full") - want).max() <= 1


@given(st.integers(0, 60), st.sampled_from(["rgb", "bgr", "grey", "nv12", "i420"]))
def test_any_other_count_of_bytes_is_refused(count, kind):
    want = {"rgb": 24, "bgr": 24, "grey": 8, "nv12": 12, "i420": 12}[kind]
    if count == want:
        raw(bytes(count), width=4, height=2, format=kind)
    else:
        with pytest.raises(Invalid, match=f"expected {want} bytes, 4 x 2 pixels of {kind}; got {count}"):
            raw(bytes(count), width=4, height=2, format=kind)


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(Invalid, match="even sides for nv12; got 3 x 2"):
        raw(b"", width=3, height=2, format="nv12")
    with pytest.raises(Invalid, match="at most 25000000 pixels; got 16384 x 16384"):
        raw(b"", width=16384, height=16384)
