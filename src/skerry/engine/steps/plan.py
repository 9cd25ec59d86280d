"""From the steps that a manifest declares to the steps that run: hints are set and neighbours joined, answers kept.

What is joined gives the same numbers as the steps one after the other, to the last bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skerry.core.errors import Invalid
from skerry.engine.arrays import Array
from skerry.engine.steps.audio.mel import LogMel
from skerry.engine.steps.audio.micro import MicroFrontend
from skerry.engine.steps.audio.sound import DecodeAudio
from skerry.engine.steps.image import DecodeImage, Layout, Letterbox, Normalise, Resize
from skerry.engine.steps.step import Trace

Ready = Callable[[Array, Trace], Array]


@dataclass(frozen=True)
class Planes:
    """`normalise` and then `layout` to NCHW: each plane is written once and worked on where it lies."""

    normalise: Normalise
    name: ClassVar[str] = "normalise, layout"

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Return float32 [1, channels, height, width]."""
        height, width, channels = value.shape
        gains, shifts = self.normalise.factors(channels)
        found = np.empty((1, channels, height, width), np.float32)
        found[0] = value.transpose(2, 0, 1)
        for channel in range(channels):
            found[0, channel] *= gains[channel]
            if shifts is not None:
                found[0, channel] -= shifts[channel]
        return found


@dataclass(frozen=True)
class DecodeFor:
    """`decode_image` with `scaled`, before a step that makes the image smaller."""

    decode: DecodeImage
    target: Resize | Letterbox
    name: ClassVar[str] = DecodeImage.name
    takes: ClassVar[str] = DecodeImage.takes

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Return pixels of at least the size that the target makes."""
        return self.decode.decode(value, trace, self.target.inner)


def plan(steps: Sequence[Ready]) -> list[Ready]:
    """Return the steps to run in place of these; raise Invalid where they do not go together.

    A scaled `decode_image` learns what size comes after it, the features of a sound what rate comes before them.
    """
    found: list[Ready] = []
    for step, after in itertools.pairwise([*steps, None]):
        last = found[-1] if found else None
        if isinstance(step, DecodeImage) and step.scaled and isinstance(after, Resize | Letterbox):
            found.append(DecodeFor(step, after))
        elif isinstance(last, Normalise) and isinstance(step, Layout) and step.to == "NCHW":
            found[-1] = Planes(last)
        elif isinstance(last, DecodeAudio) and isinstance(step, LogMel | MicroFrontend):
            found.append(step.at(last.rate, last.scale))
        elif isinstance(step, LogMel | MicroFrontend):
            raise Invalid(f"step '{step.name}': expected 'decode_audio' right before it")
        elif step is not None:
            found.append(step)
    return found
