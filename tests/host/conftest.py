"""The environment of a child that shall import the same Skerry."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture
def source() -> dict[str, str]:
    """Return an environment in which `import skerry` finds this source."""
    return {**os.environ, "PYTHONPATH": str(SOURCE)}
