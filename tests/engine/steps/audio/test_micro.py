"""The micro frontend against TensorFlow's own C code: digests of what that gives for `sound`.

The code was that of pymicro-features 2.0.2, compiled with these options, its cosf, log1pf and powf rounded correctly.
(With glibc 2.36, whose log1pf is not, one weight differs by 1/4096, and of 440,760 numbers of 37 sounds 8.)
"""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.engine.steps.audio import fixed
from skerry.engine.steps.audio.micro import MicroFrontend
from skerry.engine.steps.step import Trace


def dice(count):
    """Return whole numbers of 16 bits from a plain generator, the same on every machine."""
    found, state = np.empty(count, np.int64), 7
    for n in range(count):
        state = (state * 1103515245 + 12345) % (1 << 31)
        found[n] = state >> 15
    return found


def sound(count):
    """Return a rising saw tooth with noise, in four steps from hardly there to cut at full scale."""
    n = np.arange(count)
    loud = np.array([30, 300, 3000, 30_000])[n * 4 // count]
    saw = (n * (20 + n // 200)) % 1000 - 500
    noise = dice(count) - 32_768
    return np.clip(saw * loud // 500 + (noise * loud >> 17), -32_768, 32_767).astype(np.int16)


def features(samples, rate=16_000, **options):
    return MicroFrontend.read(Fields(options, "step")).at(rate, "int16")(samples, Trace())


SOUND = sound(24_000)


@pytest.mark.parametrize(
    ("rate", "options", "shape", "digest"),
    [
        (16_000, {}, (148, 40), "f0cb20af60ff04396ba8d0e9c6dd8609fb7aa849f87a88d13c726f58074e9d2f"),
        (16_000, {"hop_ms": 20}, (74, 40), "d9532703c0fe8926eedafb65cd09a5f40d087080598e99f155d541ae7670ca9d"),
        (8000, {"window_ms": 25, "n_mels": 32, "f_min": 100.0, "f_max": 3800.0}, (298, 32),
         "71b2325006bf5f3bf977b3d62b1ada91598c6aa6ec949604adbedb0819048083"),
        (16_000, {"window_ms": 64, "hop_ms": 32, "n_mels": 80, "f_min": 60.0, "f_max": 7900.0}, (45, 80),
         "dec527b4d2ebd0c2aa56f9ef5152913ddeebe39356647ffcc92ea2eae7635282"),
    ],
)  # fmt: skip
def test_every_bit_is_tensorflows(rate, options, shape, digest):
    found = features(SOUND, rate, **options)
    assert (found.shape, found.dtype) == (shape, np.float32)
    assert found.min() >= 0
    assert hashlib.sha256(found.astype("<u2").tobytes()).hexdigest() == digest


def test_the_first_and_the_last_numbers():
    """A few of the numbers behind the first digest, to be read by people."""
    found = features(SOUND)
    assert found[0, :6].tolist() == [497, 496, 534, 554, 570, 480]
    assert found[-1, :6].tolist() == [0, 0, 0, 0, 266, 0]


@given(st.integers(0, 2000), st.integers(0, 16_000))
def test_any_length_gives_as_many_frames_as_it_holds_windows(count, start):
    found = features(SOUND[start : start + count])
    assert found.shape == ((count - 480) // 160 + 1 if count >= 480 else 0, 40)
    whole = features(SOUND[start:])
    np.testing.assert_array_equal(found, whole[: len(found)])  # nothing is heard before it comes


def test_silence_is_nothing():
    assert not features(np.zeros(16_000, np.int16)).any()


@pytest.mark.parametrize("kind", ["square", "least", "flips", "click"])
def test_full_scale_stays_within_the_numbers(kind):
    n = np.arange(16_000)
    samples = {
        "square": np.where(n // 8 % 2, 32_767, -32_768),
        "least": np.full(16_000, -32_768),
        "flips": np.where(dice(16_000) & 1, 32_767, -32_768),
        "click": np.where(n % 4001 == 4000, -32_768, 0),
    }[kind]
    found = features(samples.astype(np.int16))
    assert 0 <= found.min() <= found.max() < 1200  # 64 * ln(2 ** 27)


@pytest.mark.parametrize(
    ("options", "rate", "scale", "told"),
    [
        ({}, 16_000, "float", "samples of int16 .*got float"),
        ({}, 8000, "int16", r"f_min < f_max < 4000; got 125\.0, 7500\.0"),
        ({"f_max": 100}, 16_000, "int16", "f_min < f_max"),
        ({"hop_ms": 31}, 16_000, "int16", "hops no longer; got 480 samples, 31 ms"),
        ({"window_ms": 300, "hop_ms": 10}, 16_000, "int16", "16 to 4096 samples"),
        ({"window_ms": 1, "hop_ms": 1, "f_max": 400}, 1000, "int16", "16 to 4096 samples"),
    ],
)
def test_what_cannot_be_is_refused(options, rate, scale, told):
    with pytest.raises(Invalid, match=told):
        MicroFrontend.read(Fields(options, "step")).at(rate, scale)


@given(st.sampled_from([8, 16, 32, 64, 512, 2048]), st.integers(1, 5), st.integers(0, 999))
def test_the_transform_is_one_but_for_its_roundings(size, frames, seed):
    samples = np.random.default_rng(seed).integers(-20_000, 20_000, (size, frames)).astype(np.int32)
    real, imag = fixed.rfft(samples)
    want = np.fft.rfft(samples, axis=0) / size
    assert real.shape == imag.shape == want.shape
    assert max(np.abs(real - want.real).max(), np.abs(imag - want.imag).max()) < 8


def test_a_second_is_ready_soon():
    step = MicroFrontend.read(Fields({}, "")).at(16_000, "int16")
    step(SOUND[:16_000], Trace())
    started = time.perf_counter()
    step(SOUND[:16_000], Trace())
    assert time.perf_counter() - started < 0.2
