"""The world of a system test: ended whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A hub that runs, in a folder of its own."""
    found = World(tmp_path / "world")
    found.start_hub()
    yield found
    found.close()
