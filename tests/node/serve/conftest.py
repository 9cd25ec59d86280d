"""One node with every tiny model, shared by a file of tests: they only ask it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.node.kit import Place, place, put_all


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A node that serves."""
    with place() as found:
        put_all(found, tmp_path_factory.mktemp("models"))
        yield found
