"""Steps for a model that hears a part of the sound at a time: windows of it, and what their answers come to.

After `slide` the model is run once for each window, in turn; one that remembers begins at its start state and goes on
from window to window. Every output then has one more axis in front: the windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from skerry.core.errors import Invalid, TooLarge
from skerry.core.fields import Fields
from skerry.engine.arrays import Array
from skerry.engine.steps.step import Named, Trace, named

MAX_WINDOWS = 6_000  # of one sound: 120 s in hops of 20 ms; of a wake word model's 0.1 ms each, 0.6 s


@dataclass(frozen=True)
class Slide:
    """Windows of `size` frames every `hop` frames: [frames, …] to [windows, size, …]."""

    size: int
    hop: int
    name: ClassVar[str] = "slide"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: size (of a window), hop (from one to the next, default size), both in frames."""
        size = options.whole("size", low=1, high=1 << 24)
        return cls(size, options.whole("hop", default=size, low=1, high=1 << 24))

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Return the windows, none for what is shorter than one; raise TooLarge for more than MAX_WINDOWS."""
        count = (len(value) - self.size) // self.hop + 1
        if count > MAX_WINDOWS:
            raise TooLarge(f"audio: expected at most {MAX_WINDOWS} windows; got {count}")
        if count < 1:
            return np.zeros((0, self.size, *value.shape[1:]), value.dtype)
        windows = np.lib.stride_tricks.sliding_window_view(value, self.size, axis=0)[:: self.hop]
        return np.moveaxis(windows, -1, 1)


@dataclass(frozen=True)
class Reshape:
    """The same numbers in another shape; one size may be -1: whatever is left."""

    shape: tuple[int, ...]
    name: ClassVar[str] = "reshape"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: shape."""
        shape = options.many("shape", _size, limit=16)
        if shape.count(-1) > 1:
            raise Invalid(f"{options.path('shape')}: expected at most one size of -1; got {list(shape)}")
        return cls(shape)

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Return the array; raise Invalid where the count is another."""
        known = int(np.prod([size for size in self.shape if size > 0]))
        if value.size % known or (-1 not in self.shape and value.size != known):
            raise Invalid(f"step '{self.name}': expected numbers for {list(self.shape)}; got {list(value.shape)}")
        return value.reshape([value.size // known if size < 0 else size for size in self.shape])


def _size(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not (value == -1 or 1 <= value <= 1 << 24):
        raise Invalid(f"expected a whole number from 1 to {1 << 24}, or -1; got {value!r}")
    return value


@dataclass(frozen=True)
class MovingMean:
    """At each window the mean of an output over the last `count` windows; before the first stand zeros."""

    output: str
    count: int
    name: ClassVar[str] = "moving_mean"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: output (the name of the array), count."""
        return cls(options.text("output"), options.whole("count", low=1, high=MAX_WINDOWS))

    def __call__(self, values: Named, trace: Trace) -> Named:
        """Return the arrays with that one replaced."""
        found = named(values, self.output, self.name).astype(np.float64)
        sums = np.cumsum(found, axis=0)
        sums[self.count :] -= sums[: -self.count].copy()
        return {**values, self.output: (sums / self.count).astype(np.float32)}


@dataclass(frozen=True)
class Peak:
    """The greatest value of an output over the windows."""

    output: str
    name: ClassVar[str] = "peak"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: output (the name of the array)."""
        return cls(options.text("output"))

    def __call__(self, values: Named, trace: Trace) -> Named:
        """Return the arrays with that one replaced: its first axis is gone."""
        return {**values, self.output: named(values, self.output, self.name).max(axis=0)}
