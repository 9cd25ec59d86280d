"""log_mel and dct against their definitions, written out frame by frame in float64."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.core.manifest import StepEntry
from skerry.engine.steps.audio.mel import Cosines, LogMel, bands
from skerry.engine.steps.plan import plan
from skerry.engine.steps.step import Trace, read_step
from skerry.engine.steps.table import PRE

DICE = np.random.default_rng(3)
SPEECH = np.cumsum(DICE.standard_normal(8000)).astype(np.float32)
SPEECH = (SPEECH - SPEECH.mean()) / np.abs(SPEECH).max()


def log_mel(samples, rate=16_000, **options):
    return LogMel.read(Fields(options, "step")).at(rate, "float")(np.asarray(samples, np.float32), Trace())


def mel_of(hertz, scale):
    if scale == "htk":
        return 1127.01048 * np.log(1 + hertz / 700)
    return hertz / (200 / 3) if hertz < 1000 else 15 + np.log(hertz / 1000) / (np.log(6.4) / 27)


def hertz_of(mel, scale):
    if scale == "htk":
        return 700 * (np.exp(mel / 1127.01048) - 1)
    return mel * 200 / 3 if mel < 15 else 1000 * np.exp((mel - 15) * np.log(6.4) / 27)


def triangle(x, low, peak, high):
    if low < x <= peak:
        return (x - low) / (peak - low)
    return (high - x) / (high - peak) if peak < x < high else 0.0


def slow(samples, rate, *, window_ms=25, hop_ms=10, n_fft=0, n_mels=80, f_min=60, f_max=0, window="hann", centre=False,
         pre_emphasis=0.0, power=2, mel_scale="htk", slopes="hertz", norm="none", offset=0.0, floor=1e-10):  # fmt: skip
    """One sum at a time."""
    x = np.asarray(samples, np.float64)
    x = np.array([x[n] - (pre_emphasis * x[n - 1] if n else 0) for n in range(len(x))])
    size, hop = round(window_ms * rate / 1000), round(hop_ms * rate / 1000)
    if centre:
        half = size // 2
        x = np.concatenate([x[half:0:-1], x, x[-2 : -half - 2 : -1]])
    n_fft = n_fft or 2 ** int(np.ceil(np.log2(size)))
    still = {"hann": 0.5, "hamming": 0.54}[window]
    shape = np.array([still - (1 - still) * np.cos(2 * np.pi * n / size) for n in range(size)])
    wave = np.exp(-2j * np.pi * np.outer(np.arange(size), np.arange(n_fft // 2 + 1)) / n_fft)
    top = f_max or rate / 2
    low, high = mel_of(f_min, mel_scale), mel_of(top, mel_scale)
    mels = [low + (high - low) * n / (n_mels + 1) for n in range(n_mels + 2)]
    edges = [hertz_of(m, mel_scale) for m in mels]
    rows = []
    for start in range(0, len(x) - size + 1, hop):
        lines = np.abs((x[start : start + size] * shape) @ wave) ** power
        row = []
        for band in range(n_mels):
            total = 0.0
            for k in range(n_fft // 2 + 1):
                hertz = k * rate / n_fft
                at, corners = (hertz, edges) if slopes == "hertz" else (mel_of(hertz, mel_scale), mels)
                total += lines[k] * triangle(at, *corners[band : band + 3])
            if norm == "slaney":
                total *= 2 / (edges[band + 2] - edges[band])
            row.append(np.log(max(total + offset, floor)))
        rows.append(row)
    return np.array(rows)


KINDS = [
    {},
    {"n_fft": 1024, "mel_scale": "slaney", "norm": "slaney", "centre": True, "window_ms": 64, "hop_ms": 32},
    {"window_ms": 30, "hop_ms": 20, "n_mels": 40, "f_min": 20, "f_max": 4000, "slopes": "mel", "power": 1,
     "offset": 1e-6},
    {"window": "hamming", "pre_emphasis": 0.97, "n_mels": 24, "f_min": 0, "slopes": "mel", "floor": 1e-3},
    {"mel_scale": "slaney", "slopes": "mel", "n_mels": 13, "centre": True},
]  # fmt: skip


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("rate", [8000, 16_000])
def test_it_is_what_the_formulas_say(options, rate):
    options = {**options, "f_max": min(options.get("f_max", 0), rate / 2)}
    samples = SPEECH[:3000]
    want = slow(samples, rate, **options)
    found = log_mel(samples, rate, **options)
    assert found.dtype == np.float32
    assert found.shape == want.shape
    np.testing.assert_allclose(found, want, atol=2e-3)  # the quietest band of a frame is 1e-6 of the loudest
    assert np.abs(found - want).mean() < 2e-5


def test_slaneys_scale_is_the_one_that_librosa_publishes():
    """The first numbers of `librosa.mel_frequencies(n_mels=40)`, as its documentation prints them."""
    published = [0.0, 85.317, 170.635, 255.952, 341.269, 426.586, 511.904, 597.221, 682.538, 767.855, 853.173, 938.49,
                 1024.856, 1119.114, 1222.042, 1334.436, 1457.167]  # fmt: skip
    options = LogMel.read(Fields({"mel_scale": "slaney", "f_min": 0, "f_max": 11025, "n_mels": 38}, ""))
    lines = np.arange(8193) * 22_050 / 16_384
    peaks = lines[bands(options, 22_050, 16_384).argmax(axis=0)]
    np.testing.assert_allclose(peaks[:16], published[1:], atol=0.7)  # half of a line of this spectrum


@given(st.integers(0, 1200), st.booleans(), st.sampled_from([1, 2]))
def test_any_length_gives_as_many_frames_as_it_holds_windows(count, centre, power):
    found = log_mel(SPEECH[:count], centre=centre, power=power, n_mels=20, floor=1e-5)
    size = count + 400 * (centre and count > 200)
    assert found.shape == ((size - 400) // 160 + 1 if size >= 400 else 0, 20)
    assert np.isfinite(found).all()
    assert (found >= np.log(np.float32(1e-5))).all()


def test_silence_is_the_floor():
    np.testing.assert_array_equal(log_mel(np.zeros(1600), floor=1e-6), np.full((8, 80), np.log(np.float32(1e-6))))


def test_long_sound_is_the_same_as_its_parts():
    whole = log_mel(np.resize(SPEECH, 300 * 160 + 240))
    assert len(whole) == 300  # more than one block
    np.testing.assert_allclose(whole[290:], log_mel(np.resize(SPEECH, 300 * 160 + 240)[290 * 160 :]), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"window_ms": 0.1}, "windows of 2 to 16384 samples and hops of 1 or more; got 1 and 80"),
        ({"n_fft": 100}, "n_fft of a window's 200 samples or more; got 100"),
        ({"f_min": 4000}, "f_min < f_max <= 4000; got 4000, 4000"),
        ({"f_max": 4001}, "f_max <= 4000; got 60, 4001"),
    ],
)
def test_what_cannot_be_at_this_rate_is_refused(options, told):
    with pytest.raises(Invalid, match=f"step 'log_mel': .*{told}"):
        LogMel.read(Fields(options, "")).at(8000, "float")


@pytest.mark.parametrize("step", ["log_mel", "micro_frontend"])
def test_features_need_their_rate(step):
    made = [read_step(StepEntry(name), PRE, "pre") for name in ("decode_audio", "quantise", step) if name != "quantise"]
    with pytest.raises(Invalid, match=f"step '{step}': expected 'decode_audio' right before it"):
        plan(made[1:])
    with pytest.raises(Invalid, match="decode_audio"):
        made[1](np.zeros(3), Trace())


def test_the_cosine_transform():
    frames = DICE.standard_normal((3, 40)).astype(np.float32)
    for norm in ("ortho", "htk"):
        found = Cosines.read(Fields({"keep": 13, "norm": norm}, ""))(frames, Trace())
        for k in range(13):
            want = sum(frames[:, n] * np.cos(np.pi * k * (2 * n + 1) / 80) for n in range(40)) * np.sqrt(2 / 40)
            np.testing.assert_allclose(found[:, k], want / (np.sqrt(2) if norm == "ortho" and not k else 1), atol=1e-5)
    with pytest.raises(Invalid, match=r"frames of 41 bands or more; got \[3, 40\]"):
        Cosines(41, "htk")(frames, Trace())


def test_a_second_is_ready_soon():
    step = LogMel.read(Fields({}, "")).at(16_000, "float")
    samples = np.resize(SPEECH, 16_000)
    step(samples, Trace())
    started = time.perf_counter()
    step(samples, Trace())
    assert time.perf_counter() - started < 0.1
