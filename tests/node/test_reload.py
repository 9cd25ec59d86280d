"""A node alone that is told to serve other models: TensorFlow Serving's reload, without its web server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.core.errors import Conflict, Invalid, LoadFailed, NotAllowed, NotFound
from skerry.node.alone import Alone, alone
from skerry.node.app import Shared
from skerry.node.repository import Source
from skerry.node.settings import NodeSettings
from skerry.wire.config import Policy, Which
from tests.models import adder_onnx
from tests.node.kit import SECONDS, Live, loader

ALL = Policy(Which.ALL)


def put(root: Path, name: str, *versions: int) -> Path:
    for version in versions:
        path = root / name / str(version) / "model.onnx"
        path.parent.mkdir(parents=True)
        adder_onnx(path)
    return root / name


@pytest.fixture
def live() -> Iterator[Live]:
    found = Live()
    yield found
    found.close()


@pytest.fixture
def life(live: Live, tmp_path: Path) -> Iterator[Alone]:
    put(tmp_path / "models", "a", 1, 2)
    put(tmp_path / "models", "b", 1)
    put(tmp_path / "elsewhere", "c", 1)
    found = alone(
        Shared(NodeSettings(paths=(tmp_path / "models",)), "", loader(), live.models, live.metrics, live.clock)
    )
    ended = threading.Event()
    found.start(lambda _: ended.set(), ended.set)
    assert ended.wait(SECONDS)
    yield found
    found.stop()


def serving(live: Live) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for one in live.models.generations():
        found.setdefault(one.manifest.name, []).append(one.manifest.version)
    return found


def test_what_is_listed_serves_and_nothing_else(live: Live, life: Alone, tmp_path: Path) -> None:
    assert serving(live) == {"a": [2], "b": [1]}
    life.reload([Source(tmp_path / "models" / "a", "a", ALL)])
    assert serving(live) == {"a": [1, 2]}
    assert live.models.troubles() == {}
    life.reload(
        [Source(tmp_path / "models" / "b", "other", Policy()), Source(tmp_path / "models" / "a", "a", Policy())]
    )
    assert serving(live) == {"a": [2], "other": [1]}
    life.reload([])
    assert serving(live) == {}


def test_the_new_list_is_what_is_followed(live: Live, life: Alone, tmp_path: Path) -> None:
    life.reload([Source(tmp_path / "models" / "a", "a", Policy())])
    put(tmp_path / "models", "late", 1)
    with pytest.raises(NotFound, match="late: not in the repository"):
        life.load("late")
    life.unload("a")
    life.load("a")
    assert serving(live) == {"a": [2]}
    listing = life.index()
    assert {one.name for one in (*listing.found, *listing.refusals)} == {"a"}


def test_labels_move_and_let_old_versions_go(live: Live, life: Alone, tmp_path: Path) -> None:
    path = tmp_path / "models" / "a"
    life.reload([Source(path, "a", ALL, {"stable": 1, "canary": 2})])
    assert live.models.live("a", label="stable").manifest.version == 1
    life.reload([Source(path, "a", Policy(Which.SPECIFIC, 1, (2,)), {"stable": 2})])
    assert live.models.live("a", label="stable").manifest.version == 2
    assert serving(live) == {"a": [2]}
    with pytest.raises(Invalid, match="label"):
        live.models.live("a", label="canary")


def test_a_label_of_a_version_that_does_not_serve_is_left_out(live: Live, life: Alone, tmp_path: Path) -> None:
    text = "assign label to version 9 of model a, which is not currently available for inference"
    with pytest.raises(Conflict, match=text):
        life.reload([Source(tmp_path / "models" / "a", "a", ALL, {"stable": 1, "lost": 9})])
    assert serving(live) == {"a": [1, 2]}
    assert live.models.live("a", label="stable").manifest.version == 1
    with pytest.raises(Invalid, match="label"):
        live.models.live("a", label="lost")


def test_nothing_outside_the_paths_of_the_start_is_served(live: Live, life: Alone, tmp_path: Path) -> None:
    (tmp_path / "models" / "link").symlink_to(tmp_path / "elsewhere" / "c")
    for path in (
        tmp_path / "elsewhere" / "c",
        tmp_path / "models" / ".." / "elsewhere" / "c",
        tmp_path / "models" / "link",
    ):
        with pytest.raises(NotAllowed, match="model c: base_path: expected a path in"):
            life.reload([Source(path, "c", Policy()), Source(tmp_path / "models" / "a", "a", Policy())])
    assert serving(live) == {"a": [2], "b": [1]}, "all as it was"


def test_one_that_cannot_serve_is_said_and_the_others_serve(live: Live, life: Alone, tmp_path: Path) -> None:
    bad = tmp_path / "models" / "bad" / "1" / "model.onnx"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"no model")
    with pytest.raises(LoadFailed, match=r"cannot load model\.onnx"):
        life.reload(
            [Source(tmp_path / "models" / "bad", "bad", Policy()), Source(tmp_path / "models" / "b", "b", Policy())]
        )
    assert serving(live) == {"b": [1]}
    assert "bad" in live.models.troubles()


def test_where_one_is_not_there_nothing_is_changed(live: Live, life: Alone, tmp_path: Path) -> None:
    models = tmp_path / "models"
    (models / "hollow" / "1").mkdir(parents=True)
    good = Source(models / "a", "other", ALL)
    for name, text in (("none", "no such file or folder"), ("hollow", "no model|neither a bundle")):
        with pytest.raises(NotFound, match=text):
            life.reload([good, Source(models / name, name, Policy())])
    (models / "odd" / "1").mkdir(parents=True)
    (models / "odd" / "1" / "saved_model.pb").touch()
    with pytest.raises(Invalid, match="SavedModel"):
        life.reload([good, Source(models / "odd", "odd", Policy())])
    assert serving(live) == {"a": [2], "b": [1]}, "all as it was"
    assert live.models.troubles() == {}
    put(models, "late", 1)
    life.load("late")
    assert serving(live) == {"a": [2], "b": [1], "late": [1]}, "and the whole repository is followed still"
