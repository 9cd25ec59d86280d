"""One node with every tiny model, shared by a file of tests: they only ask it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.node.kit import Place, place, put_all, steady


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A node that serves."""
    with place() as found:
        put_all(found, tmp_path_factory.mktemp("models"))
        yield found


@pytest.fixture(scope="module")
def site():
    """A node with a model that answers at once."""
    with place() as found:
        found.put(steady(), depth=4)
        yield found


@pytest.fixture(autouse=True)
def _whole(request, caplog):
    """Whatever came in, nothing stays held, and nothing was a fault of ours."""
    yield
    if "site" in request.fixturenames:
        found = request.getfixturevalue("site")
        found.quiet()
        assert found.get("/health") == (200, {"status": "alive"})
    assert "fault of Skerry's own" not in caplog.text
