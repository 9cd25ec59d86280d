"""The Fourier transform of real samples in 16-bit fixed point, as microcontrollers compute it; pure arithmetic.

It is KissFFT's fixed-point scheme: half as many complex values as samples, radix 4 and one radix 2 where the size
asks for it, in time; before each butterfly every value is divided by the radix, and each product is rounded
to 15 bits after the point. Models were trained on these very roundings, so an exact transform would not do. Columns
are frames, so that each line of numbers that is worked on is whole in memory.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from skerry.engine.arrays import Array

BITS = 15  # after the point
ONE = (1 << BITS) - 1
ROUND = 1 << BITS - 1


def rfft(samples: Array) -> tuple[Array, Array]:
    """Return the real and imaginary parts, int32 [size / 2 + 1, frames], of int32 samples [size, frames]."""
    size, frames = samples.shape
    half = size // 2
    order, stages = plan(half)
    pairs = samples.reshape(half, 2, frames)[order]
    real, imag = pairs[:, 0].copy(), pairs[:, 1].copy()
    for radix, step, turns in stages:
        shape = (half // (radix * step), radix, step, frames)
        _stage(real.reshape(shape), imag.reshape(shape), turns)
    return _unpack(real, imag)


@lru_cache(maxsize=8)
def plan(size: int) -> tuple[Array, list[tuple[int, int, list[tuple[Array, Array]]]]]:
    """Return the order that values are taken in, and of each stage, innermost first: radix, step, turns."""
    radices: list[int] = []
    left = size
    while left > 1:
        radices.append(4 if left % 4 == 0 else 2)
        left //= radices[-1]
    order = np.arange(size).reshape(radices[::-1]).transpose(range(len(radices))[::-1]).reshape(-1)
    circle = _turns(-2 * np.pi * np.arange(size) / size)
    stages, step = [], 1
    for radix in radices[::-1]:
        at = np.arange(step) * (size // (radix * step))
        turns = [(circle[0][number * at], circle[1][number * at]) for number in range(1, radix)]
        stages.append((radix, step, turns))
        step *= radix
    return order, stages


def _turns(angles: Array) -> tuple[Array, Array]:
    """Return cosines and sines as columns of whole numbers of BITS bits."""
    cosines, sines = (np.floor(0.5 + ONE * wave(angles)).astype(np.int32) for wave in (np.cos, np.sin))
    return cosines[:, np.newaxis], sines[:, np.newaxis]


def _stage(real: Array, imag: Array, turns: list[tuple[Array, Array]]) -> None:
    """One stage where the values lie: [groups, radix, step, frames]."""
    radix = real.shape[1]
    for part in (real, imag):
        _divide(part, radix)
    turned = [_times(real[:, n + 1], imag[:, n + 1], *turn) for n, turn in enumerate(turns)]
    if radix == 2:
        for part, other in zip((real, imag), turned[0], strict=True):
            part[:, 1] = part[:, 0] - other
            part[:, 0] += other
        return
    (r1, i1), (r2, i2), (r3, i3) = turned
    for part, second in ((real, r2), (imag, i2)):
        part[:, 2] = part[:, 0] - second
        part[:, 0] += second
    r13, i13 = r1 + r3, i1 + i3
    r1 -= r3
    i1 -= i3
    real[:, 1], imag[:, 1] = real[:, 2] + i1, imag[:, 2] - r1
    real[:, 3], imag[:, 3] = real[:, 2] - i1, imag[:, 2] + r1
    for part, both in ((real, r13), (imag, i13)):
        part[:, 2] = part[:, 0] - both
        part[:, 0] += both


def _times(real: Array, imag: Array, cosine: Array, sine: Array) -> tuple[Array, Array]:
    """Return the values turned by angles, rounded."""
    first, second = real * cosine, real * sine
    first -= imag * sine
    second += imag * cosine
    _settle(first)
    _settle(second)
    return first, second


def _divide(numbers: Array, by: int) -> None:
    numbers *= ONE // by
    _settle(numbers)


def _settle(products: Array) -> None:
    """Take the bits after the point away, rounding."""
    products += ROUND
    products >>= BITS


def _unpack(real: Array, imag: Array) -> tuple[Array, Array]:
    """From the transform of pairs to that of the samples: 0 to half, both included."""
    half, frames = real.shape
    for part in (real, imag):
        _divide(part, 2)
    middle = half // 2
    mirror = slice(half - 1, half - middle - 1, -1)
    near = slice(1, middle + 1)
    even_real, even_imag = real[near] + real[mirror], imag[near] - imag[mirror]
    angles = -np.pi * (np.arange(1, middle + 1) / half + 0.5)
    odd_real, odd_imag = _times(real[near] - real[mirror], imag[near] + imag[mirror], *_turns(angles))
    found_real, found_imag = np.zeros((2, half + 1, frames), np.int32)
    found_real[0], found_real[half] = real[0] + imag[0], real[0] - imag[0]
    found_real[mirror], found_imag[mirror] = even_real - odd_real >> 1, odd_imag - even_imag >> 1
    found_real[near], found_imag[near] = even_real + odd_real >> 1, even_imag + odd_imag >> 1
    return found_real, found_imag
