"""Worlds that close their database, so that no test leaves a connection open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub.world import World


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Return a maker of worlds."""
    made: list[World] = []

    def make(**settings: Any) -> World:
        made.append(World(tmp_path / f"world-{len(made)}", **settings))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """Return a world."""
    return make_world()
