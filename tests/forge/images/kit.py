"""Drawn shapes as pictures, and a plan of seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from skerry.forge.images.train import Part, Plan
from skerry.forge.models.mobilenet import Shape

SMALL = Shape(0.35, 64, 1)


def drawn(label: str, index: int, side: int = 64) -> Image.Image:
    """A disc or a box on a noisy ground."""
    random = np.random.default_rng([index, len(label)])
    image = Image.fromarray(random.integers(0, 60, (side, side)).astype(np.uint8))
    x, y = random.integers(side // 8, side // 2, 2).tolist()
    size = int(random.integers(side // 4, side // 2))
    draw = ImageDraw.Draw(image)
    (draw.ellipse if label == "disc" else draw.rectangle)(
        (x, y, x + size, y + size), fill=int(random.integers(130, 256))
    )
    return image


def folder(path: Path, count: int = 20, labels: tuple[str, ...] = ("box", "disc")) -> Path:
    """A folder for each class."""
    for label in labels:
        (path / label).mkdir(parents=True)
        for index in range(count):
            drawn(label, index).save(path / label / f"{index}.png")
    return path


def part(count: int = 12, side: int = 64) -> Part:
    """Pixels and labels without files."""
    labels = np.arange(count) % 2
    pixels = np.stack([np.asarray(drawn(("box", "disc")[label], n, side))[..., None] for n, label in enumerate(labels)])
    return Part(pixels, labels.astype(np.int64))


def plan(steps: int = 6) -> Plan:
    """A plan of a second or two."""
    return Plan(SMALL, 2, steps, round=3, batch=6, seed=3)
