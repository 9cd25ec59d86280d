"""Logarithms of mel bands, and their cosine transform (MFCC): sound as most models of speech take it.

Frame t begins at sample t * hop and has window samples (with `centre` it is centred there, the sound mirrored at its
ends). Of each: window, transform of n_fft, magnitude to a power, triangles, log(max(sum + offset, floor)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.engine.arrays import Array
from skerry.engine.steps.audio.wav import MAX_RATE
from skerry.engine.steps.step import Trace

BLOCK = 256  # frames at a time; of 512 samples they take 0.5 MB
MAX_WINDOW = 1 << 14  # samples
MAX_FLOOR = 1e6  # of a sum; speech of int16 has some 1e9
WINDOWS = {"hann": 0.5, "hamming": 0.54}  # cosine windows: the share that does not swing


@dataclass(frozen=True)
class LogMel:
    """Samples to float32 [frames, n_mels]."""

    window_ms: float
    hop_ms: float
    n_fft: int
    n_mels: int
    f_min: float
    f_max: float
    window: str
    centre: bool
    pre_emphasis: float
    power: int
    mel_scale: str
    slopes: str
    norm: str
    offset: float
    floor: float
    name: ClassVar[str] = "log_mel"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: as the fields; the defaults are 25 ms every 10 ms, 80 bands from 60 Hz to half the rate."""
        return cls(
            window_ms=options.real("window_ms", default=25.0, low=0.1, high=1000.0),
            hop_ms=options.real("hop_ms", default=10.0, low=0.1, high=1000.0),
            n_fft=options.whole("n_fft", default=0, high=MAX_WINDOW),
            n_mels=options.whole("n_mels", default=80, low=1, high=512),
            f_min=options.real("f_min", default=60.0, low=0.0, high=MAX_RATE / 2),
            f_max=options.real("f_max", default=0.0, low=0.0, high=MAX_RATE / 2),
            window=options.choice("window", tuple(WINDOWS), default="hann"),
            centre=options.flag("centre", default=False),
            pre_emphasis=options.real("pre_emphasis", default=0.0, low=0.0, high=1.0),
            power=options.whole("power", default=2, low=1, high=2),
            mel_scale=options.choice("mel_scale", ("htk", "slaney"), default="htk"),
            slopes=options.choice("slopes", ("hertz", "mel"), default="hertz"),
            norm=options.choice("norm", ("none", "slaney"), default="none"),
            offset=options.real("offset", default=0.0, low=0.0, high=MAX_FLOOR),
            floor=options.real("floor", default=1e-10, low=1e-30, high=MAX_FLOOR),
        )

    def at(self, rate: int, scale: str) -> Mels:
        """Return the step for sound of this rate; raise Invalid where it cannot be."""
        size, hop = round(self.window_ms * rate / 1000), round(self.hop_ms * rate / 1000)
        if not 2 <= size <= MAX_WINDOW or hop < 1:
            raise Invalid(
                f"step '{self.name}': expected windows of 2 to {MAX_WINDOW} samples and hops of 1 or more; "
                f"got {size} and {hop}"
            )
        if self.n_fft and self.n_fft < size:
            raise Invalid(f"step '{self.name}': expected n_fft of a window's {size} samples or more; got {self.n_fft}")
        top = self.f_max or rate / 2
        if not self.f_min < top <= rate / 2:
            raise Invalid(f"step '{self.name}': expected f_min < f_max <= {rate / 2:g}; got {self.f_min:g}, {top:g}")
        return Mels(self, rate, size, hop)

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Not without the rate: `plan` puts `at` in place."""
        raise Invalid(f"step '{self.name}': expected 'decode_audio' right before it")


class Mels:
    """`log_mel` with its tables."""

    name = LogMel.name

    def __init__(self, options: LogMel, rate: int, size: int, hop: int) -> None:
        self._options = options
        self._size, self._hop = size, hop
        self._fft = options.n_fft or 1 << (size - 1).bit_length()
        still = WINDOWS[options.window]
        self._window = (still - (1 - still) * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)
        self._bands = bands(options, rate, self._fft).astype(np.float32)

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Return the frames; none for sound that is shorter than a window."""
        frames = self._frames(value.reshape(-1).astype(np.float32))
        found = np.empty((len(frames), self._options.n_mels), np.float32)
        for start in range(0, len(frames), BLOCK):
            part = slice(start, start + BLOCK)
            lines = np.fft.rfft(frames[part] * self._window, self._fft)
            if self._options.power == 1:
                strength = np.abs(lines)
            else:
                strength = lines.real**2
                strength += lines.imag**2
            np.matmul(strength, self._bands, out=found[part])
        if self._options.offset:
            found += np.float32(self._options.offset)
        np.maximum(found, np.float32(self._options.floor), out=found)
        return np.log(found, out=found)

    def _frames(self, samples: Array) -> Array:
        """Return a view of the windows, [frames, size]."""
        if self._options.pre_emphasis and len(samples):
            samples[1:] -= np.float32(self._options.pre_emphasis) * samples[:-1]
        margin = self._size // 2
        if self._options.centre and len(samples) > margin:
            samples = np.pad(samples, margin, mode="reflect")
        if len(samples) < self._size:
            return np.zeros((0, self._size), np.float32)
        return np.lib.stride_tricks.sliding_window_view(samples, self._size)[:: self._hop]


def bands(options: LogMel, rate: int, size: int) -> Array:
    """Return the weight of each line of the spectrum in each band, [size / 2 + 1, n_mels]."""
    to_mel, to_hertz = (_htk, _hertz_of_htk) if options.mel_scale == "htk" else (_slaney, _hertz_of_slaney)
    mels = np.linspace(to_mel(options.f_min), to_mel(options.f_max or rate / 2), options.n_mels + 2)
    lines = np.arange(size // 2 + 1) * rate / size
    edges = to_hertz(mels)
    places, corners = (lines, edges) if options.slopes == "hertz" else (to_mel(lines), mels)
    places = places[:, np.newaxis]
    rise = (places - corners[:-2]) / (corners[1:-1] - corners[:-2])
    fall = (corners[2:] - places) / (corners[2:] - corners[1:-1])
    found: Array = np.maximum(0, np.minimum(rise, fall))
    if options.norm == "slaney":  # each triangle has the same area
        found *= 2 / (edges[2:] - edges[:-2])
    return found


def _htk(hertz: Array | float) -> Array:
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


def _hertz_of_htk(mels: Array) -> Array:
    return 700 * (10 ** (mels / 2595) - 1)


BEND = 1000.0  # Hz; Slaney's scale is straight below (3 mels to 200 Hz), and above 27 mels to a factor of 6.4


def _slaney(hertz: Array | float) -> Array:
    high = 15 + 27 * np.log(np.maximum(hertz, BEND) / BEND) / np.log(6.4)
    return np.where(np.asarray(hertz) < BEND, np.asarray(hertz) * 3 / 200, high)


def _hertz_of_slaney(mels: Array) -> Array:
    return np.where(mels < 15, mels * 200 / 3, BEND * 6.4 ** ((mels - 15) / 27))


@dataclass(frozen=True)
class Cosines:
    """The cosine transform (DCT-II) of each frame, its first numbers: of log_mel's bands it makes MFCC."""

    keep: int
    norm: str
    name: ClassVar[str] = "dct"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: keep, norm (ortho; htk: the first number is not divided by the root of 2; default ortho)."""
        return cls(options.whole("keep", low=1, high=512), options.choice("norm", ("ortho", "htk"), default="ortho"))

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Return float32 [frames, keep]."""
        count = value.shape[-1]
        if value.ndim != 2 or self.keep > count:
            raise Invalid(f"step '{self.name}': expected frames of {self.keep} bands or more; got {list(value.shape)}")
        waves = np.cos(np.pi / count * np.outer(np.arange(count) + 0.5, np.arange(self.keep))) * np.sqrt(2 / count)
        if self.norm == "ortho":
            waves[:, 0] /= np.sqrt(2)
        found: Array = value @ waves.astype(np.float32)
        return found
