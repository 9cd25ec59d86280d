"""Targets of what C libraries and our own readers decode: images and sound."""

from __future__ import annotations

import contextlib

import numpy as np

from skerry.core.errors import RequestError
from skerry.core.fields import Fields
from skerry.engine.steps.audio.mel import LogMel
from skerry.engine.steps.audio.micro import MicroFrontend
from skerry.engine.steps.audio.sound import DecodeAudio
from skerry.engine.steps.audio.wav import MAX_SECONDS, read_wav
from skerry.engine.steps.image import MAX_PIXELS, DecodeImage, Resize
from skerry.engine.steps.plan import plan
from skerry.engine.steps.step import Trace

COLOURS = ("rgb", "bgr", "grey")
AUDIO = DecodeAudio.read(Fields({"rate": 16_000, "samples": 16_000, "scale": "int16"}, ""))
MICRO = MicroFrontend.read(Fields({}, "")).at(16_000, "int16")
MELS = LogMel.read(Fields({"centre": True, "pre_emphasis": 0.97}, "")).at(16_000, "float")


def image(data: bytes) -> None:
    """A JPEG, PNG or WebP, in each colour and at each scale."""
    if len(data) < 2:
        return
    colour, small, value = COLOURS[data[0] % 3], bool(data[0] & 4), np.frombuffer(data[1:], np.uint8)
    decode = DecodeImage(colour, scaled=small)
    steps = plan([decode, Resize.read(Fields({"width": 8, "height": 8}, ""))] if small else [decode])
    trace = Trace()
    found = value
    try:
        for step in steps:
            found = step(found, trace)
    except RequestError:
        return
    assert found.ndim == 3
    assert found.shape[2] == (1 if colour == "grey" else 3)
    assert 0 < trace.width * trace.height <= MAX_PIXELS
    if not small:
        assert found.dtype == np.uint8
        assert found.shape[:2] == (trace.height, trace.width)


def wav(data: bytes) -> None:
    """A WAV file: samples are numbers, those of whole numbers from -1 to 1; then at another rate, and its features."""
    try:
        samples, rate = read_wav(data)
    except RequestError:
        return
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) <= MAX_SECONDS * rate
    assert np.isfinite(samples).all()
    if len(samples) < 10_000:
        with contextlib.suppress(RequestError):
            heard = AUDIO(np.frombuffer(data, np.uint8), Trace())
            assert MICRO(heard, Trace()).shape == (98, 40)
        assert np.isfinite(MELS(samples, Trace())).all()
