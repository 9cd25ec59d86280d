"""Steps on sound, before the model: a WAV file to the samples that the model takes; the change of rate.

The rate is changed by a polyphase filter: a sinc cut off at CUT of the lower half rate, under a Kaiser window of ZEROS
zero crossings to each side. Tones below 0.85 of the lower half rate come through within 0.01 dB; what lies above
the new half rate by an eighth is damped by more than 80 dB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Self

import numpy as np

from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.engine.arrays import Array
from skerry.engine.steps.audio.wav import MAX_RATE, MAX_SECONDS, MIN_RATE, read_wav
from skerry.engine.steps.step import Trace

ZEROS = 32
CUT = 0.945  # of the lower half rate: the filter's slope is as wide on both sides of it
BETA = 9.0  # of the Kaiser window: about 90 dB
MAX_PHASES = 1_280  # of one filter; the rates in use need at most 640, and a filter of all phases is 0.5 MB there


@dataclass(frozen=True)
class DecodeAudio:
    """A WAV file to mono samples of one rate: float32 of -1 to 1, or int16; `peak`: float32, the loudest of them 1."""

    rate: int
    samples: int
    scale: str
    layout: str
    name: ClassVar[str] = "decode_audio"
    takes: ClassVar[str] = "audio"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: rate (Hz, default 16000), samples (0: as many as come), scale, layout."""
        return cls(
            options.whole("rate", default=16_000, low=MIN_RATE, high=MAX_RATE),
            options.whole("samples", default=0, high=MAX_RATE * MAX_SECONDS),
            options.choice("scale", ("float", "int16", "peak"), default="float"),
            options.choice("layout", ("batch", "flat"), default="batch"),
        )

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Return [1, samples] or [samples]; raise Invalid or TooLarge."""
        found, rate = read_wav(value.tobytes())
        found = resample(found, rate, self.rate)
        if self.scale == "peak":
            found = found / max(np.float32(1e-9), np.abs(found).max(initial=0))  # silence stays silence
        if self.samples:
            found = np.pad(found[: self.samples], (0, max(0, self.samples - len(found))))
        if self.scale == "int16":
            found = np.clip(np.rint(found * np.float32(32768)), -32768, 32767).astype(np.int16)
        return found[np.newaxis] if self.layout == "batch" else found


def resample(samples: Array, rate: int, to: int) -> Array:
    """Return the samples at another rate, float32: ceil(n * to / rate) of them, the first at the same moment."""
    common = math.gcd(rate, to)
    up, down = to // common, rate // common
    if up > MAX_PHASES:
        raise Invalid(f"audio: expected a rate that goes evenly into {to} Hz; {rate} Hz needs {up} filters")
    if up == down or not len(samples):
        return samples
    bank = filters(up, down)
    taps = bank.shape[1]
    count = -(-len(samples) * up // down)
    # Rows of the window's view may not overlap more than a matrix product bears: so many outputs share one row.
    spread = up * -(-taps // down)
    stride = spread // up * down
    rows = -(-count // spread)
    padded = np.zeros(rows * stride + stride + 2 * taps, np.float32)
    padded[taps // 2 : taps // 2 + len(samples)] = samples
    found = np.empty((rows, spread), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(padded, taps)
    for index in range(spread):
        start = index * down // up
        found[:, index] = windows[start : start + rows * stride : stride][:rows] @ bank[index % up]
    return found.reshape(-1)[:count]


@lru_cache(maxsize=4)
def filters(up: int, down: int) -> Array:
    """Return the filter of each phase as float32 [up, taps]; output n takes phase n % up, and the input around it."""
    lower = min(1.0, up / down)  # of the input's half rate
    reach = ZEROS / (lower * CUT)  # input samples to each side
    half = math.ceil(reach)
    at = np.arange(-half, half + 1)[np.newaxis] - (np.arange(up) * down % up / up)[:, np.newaxis]
    inside = np.clip(1 - (at / (half + 1)) ** 2, 0, None)
    bank = np.sinc(at * lower * CUT) * np.i0(BETA * np.sqrt(inside))
    bank /= bank.sum(axis=1, keepdims=True)  # a constant stays what it is, in every phase
    return bank.astype(np.float32)
