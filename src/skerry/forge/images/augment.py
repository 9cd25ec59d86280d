"""Pictures made strange: turned, shifted, zoomed, lit otherwise, blurred, noisy, with a hole, mixed with another.

A batch is a function of its pixels, its labels and a generator alone, so a training that goes on draws what it would
have drawn. Never here: files, the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from skerry.core.errors import Invalid
from skerry.forge.images.pixels import MEAN, STD, Pixels

FLIPS = ("none", "sides", "all")  # all: upside down and by quarter turns too, as parts lie on a belt
TURN = 15.0  # degrees to either side
SHIFT = 0.08  # of the side
ZOOM = 0.15  # larger or smaller
STRETCH = 0.08  # of the ratio of the sides
LIGHT, CONTRAST, COLOUR, GAMMA, SLOPE = (
    0.15,
    0.25,
    0.12,
    0.3,
    0.2,
)  # brightness, its spread, each channel, a light aside
BLURRED, NOISY, HOLED, MIXED = 0.15, 0.25, 0.25, 0.3  # share of the pictures; of the batches that are mixed
NOISE = 0.05  # most, of a range of 1
HOLE = 0.2  # most of a side; larger ones hide the very fault that is looked for
BETA = 0.3  # of the distribution of mixtures: most are nearly one picture
SMOOTH = 0.05  # of the labels


class Batch(NamedTuple):
    image: Tensor  # [N, channels, side, side], normalised
    target: Tensor  # [N, classes], each sums to 1


@dataclass(frozen=True)
class Strange:
    """How strange: which flips are allowed, the side that comes out, how many classes."""

    side: int
    classes: int
    flips: str = "sides"

    def __post_init__(self) -> None:
        if self.flips not in FLIPS:
            raise Invalid(f"flips: expected {', '.join(FLIPS)}; got {self.flips!r}")


def plain(pixels: Pixels) -> Tensor:
    """Return pixels [N,H,W,C] as the net takes them, as the steps `normalise` and `layout` do."""
    return (_floats(pixels) * (1 / (255 * STD))).sub_(MEAN / STD)


def strange(pixels: Pixels, labels: np.ndarray, how: Strange, random: np.random.Generator, hard: bool = True) -> Batch:
    """Return a batch for training; without `hard` nothing is cut out or mixed, as in the last part of a training."""
    image = _floats(pixels) / 255
    image = _moved(image, how, random)
    image = _lit(image, random)
    image = _worn(image, random)
    target = torch.full((len(labels), how.classes), SMOOTH / how.classes)
    target[torch.arange(len(labels)), torch.from_numpy(labels)] += 1 - SMOOTH
    if hard:
        image = _holed(image, random)
        if random.random() < MIXED:
            share = float(random.beta(BETA, BETA))
            image = share * image + (1 - share) * image.flip(0)
            target = share * target + (1 - share) * target.flip(0)
    return Batch((image - MEAN) / STD, target)


def _floats(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2).astype(np.float32))


def _moved(image: Tensor, how: Strange, random: np.random.Generator) -> Tensor:
    """Turn, zoom, shift and flip, in one sampling."""
    count = len(image)
    angle = np.deg2rad(random.uniform(-TURN, TURN, count))
    if how.flips == "all":
        angle += random.integers(0, 4, count) * np.pi / 2
    zoom = np.exp(random.uniform(-np.log1p(ZOOM), np.log1p(ZOOM), count))
    ratio = np.exp(random.uniform(-STRETCH, STRETCH, count))
    wide, high = zoom * ratio, zoom / ratio
    if how.flips != "none":
        wide = wide * random.choice((-1.0, 1.0), count)
    if how.flips == "all":
        high = high * random.choice((-1.0, 1.0), count)
    theta = np.zeros((count, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 0, 1] = np.cos(angle) * wide, -np.sin(angle) * high
    theta[:, 1, 0], theta[:, 1, 1] = np.sin(angle) * wide, np.cos(angle) * high
    theta[:, :, 2] = random.uniform(-2 * SHIFT, 2 * SHIFT, (count, 2))
    size = [count, image.shape[1], how.side, how.side]
    grid = functional.affine_grid(torch.from_numpy(theta), size, align_corners=False)
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _lit(image: Tensor, random: np.random.Generator) -> Tensor:
    """Another lamp, another exposure, light from one side."""
    count, channels, side = image.shape[:3]

    def each(*shape: int, most: float) -> Tensor:
        return torch.from_numpy(random.uniform(-most, most, (count, *shape, 1, 1)).astype(np.float32))

    middle = image.mean((1, 2, 3), keepdim=True)
    image = (image - middle) * (1 + each(1, most=CONTRAST)) + middle + each(1, most=LIGHT)
    if channels > 1:
        image = image * (1 + each(channels, most=COLOUR))
    ramp = torch.linspace(-1, 1, side)
    image = (
        image + each(1, most=SLOPE / 2) * ramp.view(1, 1, 1, side) + each(1, most=SLOPE / 2) * ramp.view(1, 1, side, 1)
    )
    return image.clamp_(1e-4, 1).pow(torch.exp(each(1, most=GAMMA)))


def _worn(image: Tensor, random: np.random.Generator) -> Tensor:
    """Out of focus, and noise of a poor sensor."""
    count, channels = image.shape[:2]
    blurred = np.flatnonzero(random.random(count) < BLURRED)
    if len(blurred):
        taps = torch.tensor([1.0, 2.0, 1.0]) / 4
        kernel = (taps[:, None] * taps[None, :]).expand(channels, 1, 3, 3)
        padded = functional.pad(image[blurred], (1, 1, 1, 1), mode="replicate")
        image[blurred] = functional.conv2d(padded, kernel, groups=channels)
    noisy = np.flatnonzero(random.random(count) < NOISY)
    if len(noisy):
        noise = random.standard_normal((len(noisy), *image.shape[1:]), np.float32)
        image[noisy] += torch.from_numpy(noise * random.uniform(0, NOISE, (len(noisy), 1, 1, 1)).astype(np.float32))
    return image


def _holed(image: Tensor, random: np.random.Generator) -> Tensor:
    side = image.shape[2]
    for place in np.flatnonzero(random.random(len(image)) < HOLED):
        high, wide = (max(1, int(side * part)) for part in random.uniform(0.05, HOLE, 2))
        top, left = int(random.integers(side - high + 1)), int(random.integers(side - wide + 1))
        image[int(place), :, top : top + high, left : left + wide] = float(random.random())
    return image
