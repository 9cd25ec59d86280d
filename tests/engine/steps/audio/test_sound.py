from __future__ import annotations

import contextlib
import io
import random
import struct
import time
import wave

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.errors import Invalid, TooLarge
from skerry.core.manifest import StepEntry
from skerry.core.tensor import DType, Spec
from skerry.engine.runners.fake import FakeRunner
from skerry.engine.session import Session
from skerry.engine.steps.audio.sound import resample
from skerry.engine.steps.audio.wav import GUID_TAIL, MAX_CHUNKS, read_wav
from skerry.engine.steps.step import Trace, read_step
from skerry.engine.steps.table import PRE
from skerry.host.clock import Clock
from tests.engine.kit import data as third_party
from tests.engine.kit import manifest

DICE = np.random.default_rng(6)


def chunk(name, body, size=None):
    return name + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) % 2)


def fmt(kind=1, channels=1, rate=16_000, bits=16, extensible=False, step=None):
    step = channels * bits // 8 if step is None else step
    head = struct.pack("<HHIIHH", 0xFFFE if extensible else kind, channels, rate, rate * step, step, bits)
    if extensible:
        head += struct.pack("<HHIH", 22, bits, 0, kind) + GUID_TAIL
    return chunk(b"fmt ", head)


def wav(body, before=b"", size=None, **form):
    inside = b"WAVE" + fmt(**form) + before + chunk(b"data", body, size)
    return b"RIFF" + struct.pack("<I", len(inside)) + inside


def packed(values, kind, bits):
    """Return values of -1 to 1 as the bytes of samples, and the values that those bytes mean."""
    if kind == 3:
        found = np.asarray(values, f"<f{bits // 8}")
        return found.tobytes(), found.astype(np.float64)
    whole = np.clip(np.rint(np.asarray(values) * 2.0 ** (bits - 1)), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    whole = whole.astype(np.int64)
    data = b"".join(int(v + (128 if bits == 8 else 0)).to_bytes(bits // 8, "little", signed=bits != 8) for v in whole)
    return data, whole / 2.0 ** (bits - 1)


FORMS = [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)]


@given(
    st.sampled_from(FORMS),
    st.integers(1, 5),
    st.booleans(),
    st.lists(st.floats(-1, 1, width=32), max_size=12),
    st.sampled_from([b"", chunk(b"LIST", b"INFOx"), chunk(b"fact", bytes(4)) + chunk(b"junk", b"")]),
)
def test_every_form_is_read(form, channels, extensible, values, before):
    kind, bits = form
    values = values[: len(values) // channels * channels]
    data, meant = packed(values, kind, bits)
    found, rate = read_wav(
        wav(data, before, kind=kind, bits=bits, channels=channels, extensible=extensible, rate=44_100) + b"rest"
    )
    assert rate == 44_100
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, meant.reshape(-1, channels).mean(axis=1), atol=1e-6)


def test_a_stream_of_unknown_length_goes_to_the_end():
    found, _ = read_wav(wav(np.int16([1, 2, 3]).tobytes() + b"x", size=0xFFFFFFFF)[:-1])
    np.testing.assert_array_equal(found * 32768, [1, 2, 3])


@pytest.mark.parametrize("name", ["silero_vad/speech.wav", "tflite_support/speech.wav",
                                  "mlperf_tiny/sww_short_wav_easy10s.wav"])  # fmt: skip
def test_real_files_are_read_as_the_standard_library_reads_them(name):
    path = third_party(name)
    with wave.open(str(path)) as file:
        want = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        assert file.getsampwidth() == 2
        rate = file.getframerate()
    found, told = read_wav(path.read_bytes())
    assert told == rate
    np.testing.assert_allclose(found, want.mean(axis=1) / 32768, atol=1e-6)


GOOD = wav(bytes(8))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "expected a WAV file; got 0 bytes"),
        (b"OggS" + bytes(40), "expected a WAV file; got 44 bytes"),
        (GOOD[:12], "breaks off: expected a chunk at byte 12 of 12"),
        (GOOD[:15], "breaks off: expected a chunk"),
        (GOOD[:30], r"chunk b'fmt ' has 16 bytes, 10 are there"),
        (GOOD[:36], "expected a chunk at byte 36"),
        (GOOD[:-1], "expected 8 bytes of samples; 7 are there"),
        (GOOD[:12] + GOOD[36:], "'fmt ' chunk before its 'data'"),
        (GOOD[:12] + chunk(b"fmt ", bytes(14)) + GOOD[36:], "at least 16 bytes; got 14"),
        (wav(bytes(9)), "whole samples of 2 bytes; got 9"),
        (wav(bytes(8), kind=6, bits=8), "got format 6 of 8 bits"),
        (wav(bytes(8), kind=1, bits=12, step=2), "got format 1 of 12 bits"),
        (wav(bytes(8), kind=3, bits=16), "got format 3 of 16 bits"),
        (wav(bytes(8), channels=0), "1 to 64 channels; got 0"),
        (wav(bytes(8), channels=65), "1 to 64 channels; got 65"),
        (wav(bytes(8), rate=0), "samples a second; got 0"),
        (wav(bytes(8), rate=192_001), "samples a second; got 192001"),
        (wav(bytes(8), step=3), "expected 2 bytes for 1 samples of 16 bits; the file says 3"),
        (wav(bytes(8), extensible=True).replace(GUID_TAIL, bytes(14)), "sub-format of PCM or float"),
        (wav(struct.pack("<2f", 0, np.nan), kind=3, bits=32), "not numbers"),
        (wav(struct.pack("<d", 1e300), kind=3, bits=64), "not numbers"),
        (wav(struct.pack("<f", -1.1e6), kind=3, bits=32), r"not numbers of at most 1e\+06"),
        (GOOD[:12] + chunk(b"junk", b"") * 1001 + GOOD[12:], f"first {MAX_CHUNKS} chunks"),
    ],
)
def test_what_is_wrong_is_named(data, told):
    with pytest.raises(Invalid, match=f"^audio: .*{told}"):
        read_wav(data)


def test_a_long_recording_is_too_large():
    assert len(read_wav(wav(bytes(120_000), rate=1000, bits=8))[0]) == 120_000
    with pytest.raises(TooLarge, match=r"at most 120 seconds; got 120\.1"):
        read_wav(wav(bytes(120_100), rate=1000, bits=8))


@given(st.binary(max_size=120), st.sampled_from([b"", b"RIFF\0\0\0\0WAVE", GOOD[:20], GOOD[:36]]))
def test_arbitrary_bytes_raise_our_errors_alone(data, head):
    with contextlib.suppress(Invalid, TooLarge):
        read_wav(head + data)


def test_damaged_files_raise_our_errors_alone():
    dice = random.Random(8)
    good = [wav(bytes(range(48)), kind=k, bits=b, channels=2, extensible=e) for k, b in FORMS for e in (False, True)]
    for data in good * 150:
        broken = bytearray(data[: dice.randint(1, len(data))] if dice.random() < 0.3 else data)
        for _ in range(dice.randint(1, 3)):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        with contextlib.suppress(Invalid, TooLarge):
            decoded(bytes(broken), rate=8000)


# The change of rate

RATES = [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000]


def tone(hertz, rate, seconds=0.25):
    return np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate).astype(np.float32)


def decibels(error):
    return 20 * np.log10(max(np.abs(error).max(), 1e-12))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("to", [8_000, 16_000, 22_050, 44_100])
def test_tones_keep_their_form(rate, to):
    for share in (0.01, 0.2, 0.5, 0.8, 0.85):
        hertz = share * min(rate, to) / 2
        found = resample(tone(hertz, rate), rate, to)
        want = tone(hertz, to)
        count = min(len(found), len(want))
        edge = int(40 * to / min(rate, to))  # nothing is known beyond the ends
        assert decibels(found[edge : count - edge] - want[edge : count - edge]) < -60


@pytest.mark.parametrize(("rate", "to"), [(48_000, 16_000), (44_100, 16_000), (96_000, 8_000), (32_000, 22_050)])
def test_tones_above_the_new_half_rate_are_gone(rate, to):
    for share in (1.1, 1.3, 1.9):
        if share * to < rate:
            found = resample(tone(share * to / 2, rate), rate, to)
            assert decibels(found[60:-60]) < -60


@given(st.sampled_from(RATES), st.sampled_from(RATES), st.integers(0, 700))
def test_the_count_is_the_rates_and_a_constant_stays(rate, to, count):
    found = resample(np.ones(count, np.float32), rate, to)
    assert len(found) == -(-count * to // rate)
    assert found.dtype == np.float32
    middle = found[len(found) // 2 : len(found) // 2 + 1]
    if count > 700 * 0.8 and rate <= 3 * to:
        np.testing.assert_allclose(middle, 1, atol=1e-4)


def test_the_resampling_is_the_slow_sum():
    """One output at a time, by the definition: sinc and window around the output's own moment."""
    samples = DICE.standard_normal(400).astype(np.float32)
    found = resample(samples, 44_100, 16_000)
    lower = 16_000 / 44_100 * 0.945
    half = int(np.ceil(32 / lower))
    for n in (0, 1, 17, 80, 100, len(found) - 1):
        moment = n * 44_100 / 16_000
        at = np.arange(int(moment) - half, int(moment) + half + 1)
        weights = np.sinc((at - moment) * lower)
        weights *= np.i0(9 * np.sqrt(np.clip(1 - ((at - moment) / (half + 1)) ** 2, 0, None)))
        weights /= weights.sum()
        there = (at >= 0) & (at < len(samples))
        assert found[n] == pytest.approx((weights[there] * samples[at[there]]).sum(), abs=1e-5)


def test_a_rate_that_fits_badly_is_refused():
    with pytest.raises(Invalid, match="44101 Hz needs 16000 filters"):
        resample(np.zeros(10, np.float32), 44_101, 16_000)


# The step


def decoded(data, **options):
    return read_step(StepEntry("decode_audio", options), PRE, "pre")(np.frombuffer(data, np.uint8), Trace())


def test_the_samples_are_cut_filled_and_laid_out():
    data = wav(np.int16([16384, -32768, 1]).tobytes())
    np.testing.assert_allclose(decoded(data), [[0.5, -1, 1 / 32768]])
    np.testing.assert_allclose(decoded(data, layout="flat", samples=2), [0.5, -1])
    np.testing.assert_allclose(decoded(data, samples=5), [[0.5, -1, 1 / 32768, 0, 0]])
    whole = decoded(data, scale="int16", samples=4)
    assert (whole.dtype, whole.tolist()) == (np.int16, [[16384, -32768, 1, 0]])


def test_the_loudest_sample_can_be_made_1():
    found = decoded(wav(np.int16([100, -400, 0]).tobytes()), scale="peak", samples=4)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0.25, -1, 0, 0]])
    assert decoded(wav(bytes(6)), scale="peak").tolist() == [[0, 0, 0]]
    assert decoded(wav(b""), scale="peak").shape == (1, 0)


def test_full_scale_is_cut_not_wrapped():
    data = wav(np.float32([1, -1, 2, -2, 0.99999]).tobytes(), kind=3, bits=32)
    assert decoded(data, scale="int16").tolist() == [[32767, -32768, 32767, -32768, 32767]]


@settings(max_examples=20)
@given(st.sampled_from(RATES), st.sampled_from(FORMS), st.integers(0, 3000))
def test_any_recording_comes_as_the_model_takes_it(rate, form, count):
    data, _ = packed(DICE.uniform(-1, 1, count), *form)
    found = decoded(wav(data, rate=rate, kind=form[0], bits=form[1]), rate=16_000, samples=1000)
    assert (found.shape, found.dtype) == ((1, 1000), np.float32)


def test_a_second_of_44100_hz_is_ready_soon():
    data = wav(DICE.integers(-9999, 9999, 44_100).astype("<i2").tobytes(), rate=44_100)
    decoded(data)
    started = time.perf_counter()
    decoded(data)
    assert time.perf_counter() - started < 0.1


def test_wave_of_the_standard_library_is_read():
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(np.int16([[100, 300], [-100, 0]]).tobytes())
    np.testing.assert_allclose(decoded(file.getvalue()) * 32768, [[200, -50]])


def test_a_session_hears():
    given_specs = (Spec("sound", DType.FP32, (1, 4)),), (Spec("y", DType.FP32, (1, 2)),)
    runner = FakeRunner(*given_specs, lambda feeds: {"y": feeds["sound"][:, :2]})
    steps = [("decode_audio", {"samples": 4})], [("top_k", {"output": "y", "k": 1})]
    session = Session(manifest(*given_specs, *steps, labels=("one", "two")), runner, Clock())
    sight = session.look(wav(np.int16([8192, 16384]).tobytes()))
    assert [(f.label, f.score, f.box) for f in sight.findings] == [("two", 0.5, None)]
    with pytest.raises(Invalid, match="expected a WAV file"):
        session.look(b"\xff\xd8\xff")
