"""The features of TensorFlow's micro frontend, bit for bit: what microWakeWord, micro_speech and their kin hear.

Fixed-point arithmetic for microcontrollers: a Hann window, the transform of `fixed`, triangles even on the mel scale,
their square roots; noise that lasts is taken away (an average that falls slowly, faster in every other channel), each
channel is set against its own noise (PCAN, arXiv 1607.05666), and the logarithm is taken, by table. All but the average
is worked out for many frames at once. Tables are reckoned in float32 as C does, their functions in float64 first: so
they are the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.engine.arrays import Array
from skerry.engine.steps.audio import fixed
from skerry.engine.steps.audio.wav import MAX_RATE
from skerry.engine.steps.step import Trace

BLOCK = 128  # frames at a time: the transform's numbers (0.5 MB of 512 samples each) stay in a processor's own memory
WINDOW_BITS = 12
WEIGHT_BITS = 12
NOISE_BITS = 10  # of an average after the point
SHARE_BITS = 14
SHARES = (0.025, 0.06)  # of the newest frame in the average; of even and of odd channels
REMAINS = 0.05  # of a channel, whatever the noise
GAIN_BITS, STRENGTH, OFFSET = 21, 0.95, 80.0  # PCAN's
RATIO_BITS, OUTPUT_BITS = 12, 6
LOG_BITS, LOG_PARTS = 16, 7  # of a logarithm after the point; two to the power of LOG_PARTS parts in its table
OUT_BITS = 6  # what comes out is 64 times the natural logarithm
WORD = 0xFFFFFFFF


@dataclass(frozen=True)
class MicroFrontend:
    """int16 samples to float32 [frames, n_mels] of whole numbers; the first frame is there with the first window."""

    window_ms: int
    hop_ms: int
    n_mels: int
    f_min: float
    f_max: float
    name: ClassVar[str] = "micro_frontend"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: window_ms (default 30), hop_ms (10), n_mels (40), f_min (125 Hz), f_max (7500 Hz)."""
        return cls(
            options.whole("window_ms", default=30, low=1, high=1000),
            options.whole("hop_ms", default=10, low=1, high=1000),
            options.whole("n_mels", default=40, low=1, high=256),
            options.real("f_min", default=125.0, low=0.0, high=MAX_RATE / 2),
            options.real("f_max", default=7500.0, low=1.0, high=MAX_RATE / 2),
        )

    def at(self, rate: int, scale: str) -> Micro:
        """Return the step for sound of this rate; raise Invalid where it cannot be."""
        if scale != "int16":
            raise Invalid(f"step '{self.name}': expected samples of int16 (decode_audio: scale); got {scale}")
        size = self.window_ms * rate // 1000
        if not self.f_min < self.f_max < rate / 2:
            raise Invalid(f"step '{self.name}': expected f_min < f_max < {rate / 2:g}; got {self.f_min}, {self.f_max}")
        if not 16 <= size <= 1 << 12 or self.hop_ms > self.window_ms:
            raise Invalid(
                f"step '{self.name}': expected windows of 16 to 4096 samples and hops no longer; "
                f"got {size} samples, {self.hop_ms} ms"
            )
        return Micro(self, rate, size)

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Not without the rate: `plan` puts `at` in place."""
        raise Invalid(f"step '{self.name}': expected 'decode_audio' right before it")


class Micro:
    """A micro frontend with its tables."""

    name = MicroFrontend.name

    def __init__(self, options: MicroFrontend, rate: int, size: int) -> None:
        self._hop = options.hop_ms * rate // 1000
        self._window = _window(size)
        self._size = 1 << (size - 1).bit_length()
        self._triangles = _triangles(options, rate, self._size)
        self._lift = self._size.bit_length() - 1 - WEIGHT_BITS // 2  # bits that the transform takes off
        shares = [int(np.float32(share) * np.float32(1 << SHARE_BITS)) for share in SHARES]
        self._shares = np.resize(np.array(shares, np.int64), options.n_mels)
        self._gains = _gains(NOISE_BITS - self._lift)
        self._logs = _logs()

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Return the frames; none for sound that is shorter than a window."""
        samples = value.reshape(-1)
        size, channels = len(self._window), self._triangles.shape[1]
        if len(samples) < size:
            return np.zeros((0, channels), np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(samples, size)[:: self._hop]
        found = np.empty((len(frames), channels), np.int64)
        for start in range(0, len(frames), BLOCK):
            part = slice(start, start + BLOCK)
            found[part] = self._channels(frames[part])
        heard, noise = self._quieted(found)
        return self._logarithm(self._against(heard, noise)).astype(np.float32)

    def _channels(self, frames: Array) -> Array:
        """Return the magnitude in each channel of some frames."""
        windowed = (frames * self._window >> WINDOW_BITS).astype(np.int16)
        most = np.abs(windowed).max(axis=1)
        shift = fixed.BITS - _bit_length(most)  # the transform has 16 bits: each frame uses them all
        samples = np.zeros((self._size, len(frames)), np.int32)
        samples[: windowed.shape[1]] = (windowed << shift[:, np.newaxis].astype(np.int16)).T
        real, imag = fixed.rfft(samples)
        energy = (real.astype(np.float64) ** 2 + imag.astype(np.float64) ** 2).T
        found: Array = _root(energy @ self._triangles) >> shift[:, np.newaxis]
        return found

    def _quieted(self, signal: Array) -> tuple[Array, Array]:
        """Return the signal without the noise that lasts, and the noise; one frame after the other."""
        scaled = signal << NOISE_BITS & WORD
        noise = scaled * self._shares
        kept = (1 << SHARE_BITS) - self._shares
        last = np.zeros(signal.shape[1], np.int64)
        for frame in range(len(noise)):
            last *= kept
            last += noise[frame]
            last >>= SHARE_BITS
            noise[frame] = last
        rest = (scaled - np.minimum(noise, scaled)) >> NOISE_BITS
        least = signal * int(np.float32(REMAINS) * np.float32(1 << SHARE_BITS)) >> SHARE_BITS
        return np.maximum(rest, least), noise

    def _against(self, signal: Array, noise: Array) -> Array:
        """Return the signal in units of its noise: PCAN."""
        ratio = (signal * _gain(noise, self._gains) >> GAIN_BITS - self._lift - RATIO_BITS) & WORD
        small = ratio * ratio >> 2 + 2 * RATIO_BITS - OUTPUT_BITS
        large = (ratio >> RATIO_BITS - OUTPUT_BITS) - (1 << OUTPUT_BITS)
        return np.where(ratio < 2 << RATIO_BITS, small, large)

    def _logarithm(self, signal: Array) -> Array:
        """Return 64 times the natural logarithm; 0 for what is at most 1."""
        value = np.maximum((signal << self._lift if self._lift >= 0 else signal >> -self._lift) & WORD, 1)
        whole = _bit_length(value) - 1
        fraction = value - (1 << whole)
        fraction = np.where(whole < LOG_BITS, fraction << np.maximum(LOG_BITS - whole, 0), fraction)
        fraction >>= np.maximum(whole - LOG_BITS, 0)
        unit = LOG_BITS - LOG_PARTS
        part = fraction >> unit
        low, high = self._logs[part], self._logs[part + 1]
        two = (whole << LOG_BITS) + fraction + low + ((high - low) * (fraction - (part << unit)) >> LOG_BITS)
        half = 1 << LOG_BITS - 1
        natural = round(np.log(2) * (1 << LOG_BITS)) * two + half >> LOG_BITS
        found: Array = np.minimum((natural << OUT_BITS) + half >> LOG_BITS, 0xFFFF)
        return found


def _window(size: int) -> Array:
    """Return the Hann window as whole numbers of WINDOW_BITS; reckoned in float32 as microcontrollers do."""
    angle, half = np.float32(np.pi) * np.float32(2) / np.float32(size), np.float32(0.5)
    angles = (angle * (np.arange(size, dtype=np.float32) + half)).astype(np.float64)
    share = half - half * np.cos(angles).astype(np.float32)
    found: Array = np.floor(share * np.float32(1 << WINDOW_BITS) + half).astype(np.int32)
    return found


def _mel(hertz: Array | float) -> Array:
    share = (np.asarray(hertz, np.float32) / np.float32(700)).astype(np.float64)
    found: Array = np.float32(1127) * np.log1p(share).astype(np.float32)
    return found


def _triangles(options: MicroFrontend, rate: int, size: int) -> Array:
    """Return the weight of each line of the spectrum in each channel, [size / 2 + 1, channels].

    A line between the centres of two channels goes to both; below the first centre and beyond the last the other
    half is no channel's.
    """
    count = options.n_mels
    low, high = _mel(options.f_min), _mel(options.f_max)
    gap = (high - low) / np.float32(count + 1)
    edges = np.concatenate([[low], low + gap * np.arange(1, count + 2, dtype=np.float32)]).astype(np.float32)
    width = np.float32(0.5) * np.float32(rate) / np.float32(size // 2)
    found = np.zeros((size // 2 + 1, count + 2))
    first = int(np.float32(1.5) + np.float32(options.f_min) / width)  # never the constant
    lines = np.arange(first, size // 2 + 1)
    mels = _mel(lines * width)
    for line, mel in zip(lines, mels, strict=True):
        after = max(1, int(np.searchsorted(edges, mel, side="left")))
        if after > count + 1:
            break
        share = (edges[after] - mel) / (edges[after] - edges[after - 1])
        scale = np.float32(1 << WEIGHT_BITS)
        found[line, after - 1] = np.floor(share * scale + np.float32(0.5))
        found[line, after] = np.floor((np.float32(1) - share) * scale + np.float32(0.5))
    return found[:, 1:-1]


def _gains(bits: int) -> Array:
    """Return PCAN's gain over noise, by the noise's length in bits: a curve of the second degree for each, [33, 3]."""

    def gain(noise: int) -> int:
        base = np.float32(noise) / np.float32(2.0**bits) + np.float32(OFFSET)
        share = np.float32(float(base) ** -float(np.float32(STRENGTH)))
        return min(int(np.float32(1 << GAIN_BITS) * share + np.float32(0.5)), 0x7FFF)

    rows = [[gain(0), 0, 0], [gain(1), 0, 0]]
    for length in range(2, 33):
        start = 1 << length - 1
        end = start + start - 1 if length == 32 else 2 * start
        first, middle, last = gain(start), gain(start + (start >> 1)), gain(end)
        slope = 4 * (middle - first) - (last - first)
        rows.append([first, slope, last - first - slope])
    return np.array(rows, np.int64)


def _gain(noise: Array, rows: Array) -> Array:
    """Return the gain for each noise."""
    length = _bit_length(noise)
    share = np.where(length < 11, noise << np.maximum(11 - length, 0), noise >> np.maximum(length - 11, 0)) & 0x3FF
    first, slope, bend = rows[:, 0][length], rows[:, 1][length], rows[:, 2][length]
    curve = ((bend * share >> 5) + (slope << 5)) * share
    found: Array = np.where(noise == 2, rows[2, 0], (curve + (1 << 14) >> 15) + first)
    return found


def _logs() -> Array:
    """Return what the binary logarithm of 1 + x has over x itself, at 128 steps from 0 to 1, and once more at 1."""
    x = np.arange((1 << LOG_PARTS) + 1) / (1 << LOG_PARTS)
    return np.rint((np.log2(1 + x) - x) * (1 << LOG_BITS)).astype(np.int64)


def _bit_length(value: Array) -> Array:
    """Return how many bits whole numbers below 2 ** 53 need, 0 for 0."""
    found: Array = np.frexp(value.astype(np.float64))[1].astype(np.int64)
    return found


def _root(value: Array) -> Array:
    """Return rounded square roots of whole numbers below 2 ** 53; those of 32 bits have one of at most 16."""
    whole = value.astype(np.int64)
    root = np.sqrt(value).astype(np.int64)
    root += whole - root * root > root
    return np.where(whole <= WORD, np.minimum(root, 0xFFFF), root)
