"""Rows that a small net learns in a second: three clouds, in tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np

COUNT = 360


def clouds(path: Path, seed: int = 0, apart: float = 4.0, count: int = COUNT) -> Path:
    """Write a table of three clouds of numbers with a header; return its path."""
    random = np.random.default_rng(seed)
    y = np.arange(count) % 3
    x = random.standard_normal((count, 4)) + apart * np.eye(3, 4)[y]
    x = x * [1, 1000, 0.001, 1] + [5, 0, 0, -20]  # as sensors of different units give
    lines = ["a,b,c,d,label", *(",".join([*map(str, row), f"kind{label}"]) for row, label in zip(x, y, strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path
