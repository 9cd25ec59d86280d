"""Repositories for tests: files put in place, and a clock that has moved on since."""

from __future__ import annotations

import os
from pathlib import Path

NOW = 1_800_000_000.0  # s; every file that `put` writes is an hour old then


def put(root: Path, *paths: str, data: bytes = b"x", age: float = 3600.0) -> Path:
    """Write files, as old as if they had been written `age` seconds before NOW; return the root."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    for place, _, names in os.walk(root):
        for name in names:
            if str(Path(place, name).relative_to(root)) in paths:
                old(Path(place, name), age)
    return root


def old(path: Path, age: float = 3600.0) -> None:
    """Make a file and the folders above it look that old; the folders stay younger if they are."""
    os.utime(path, (NOW - age, NOW - age))
    os.utime(path.parent, (NOW - age, NOW - age))


def text(path: Path, words: str) -> Path:
    """Write a text file, an hour old."""
    put(path.parent, path.name, data=words.encode())
    return path
