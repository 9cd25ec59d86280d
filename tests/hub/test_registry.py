"""Publishing: whole, believed, once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from skerry.core.errors import BadSignature, Conflict, Invalid, NotFound
from skerry.core.manifest import read_manifest
from skerry.core.names import Digest, ModelName
from tests.core.values import DIGEST
from tests.hub.world import BOARDS, World


@pytest.fixture(params=[True, False], ids=["trusting keys", "trusting people"])
def either(request: pytest.FixtureRequest, make_world: Callable[..., World]) -> World:
    return make_world(trusted=request.param)


def test_a_version_is_kept_byte_for_byte(either: World) -> None:
    said = either.bundle(3)
    row = either.rooms.registry.publish(BOARDS, said, "ann")
    kept = either.rooms.registry.signed(row.digest)
    assert (kept.manifest, kept.signature) == (said.manifest, said.signature)
    assert either.rooms.registry.resolve(BOARDS, 3) == row
    assert (row.digest, row.size, row.runtime) == (read_manifest(said.manifest.encode()).digest, 7, "onnx")
    assert either.trail()[-1].details == {"digest": row.digest, "size": 7}


def test_publishing_again_changes_nothing(either: World) -> None:
    first = either.rooms.registry.publish(BOARDS, either.bundle(1), "ann")
    events = either.events()
    either.clock.time += 9.0
    assert either.rooms.registry.publish(BOARDS, either.bundle(1), "bob") == first
    assert either.events() == events


def test_a_version_never_changes(either: World) -> None:
    either.publish(1)
    with pytest.raises(Conflict, match="boards version 1"):
        either.rooms.registry.publish(BOARDS, either.bundle(1, b"others"), "ann")


def test_the_files_come_first(either: World) -> None:
    with pytest.raises(Invalid, match=r"model\.onnx"):
        either.rooms.registry.publish(BOARDS, either.bundle(put=False), "ann")
    assert either.rooms.registry.listed() == ()


def test_a_manifest_that_lies_about_a_size(world: World) -> None:
    said = world.bundle()
    value = json.loads(said.manifest)
    value["files"]["model.onnx"]["size"] += 1
    with pytest.raises(Invalid, match="8 bytes"):
        world.rooms.registry.publish(BOARDS, replace(said, manifest=json.dumps(value)), "ann")


def test_the_path_and_the_manifest_name_the_same_model(world: World) -> None:
    with pytest.raises(Invalid, match="expected others"):
        world.rooms.registry.publish(ModelName("others"), world.bundle(), "ann")


@pytest.mark.parametrize("signature", ["", "{}", '{"signatures": {}}', '{"signatures": {"k": "%"}}', "[]"])
def test_it_must_be_signed(either: World, signature: str) -> None:
    with pytest.raises(BadSignature):
        either.rooms.registry.publish(BOARDS, replace(either.bundle(), signature=signature), "ann")
    assert either.trail()[-1].what == "version refused"
    assert either.rooms.registry.listed() == ()


def test_a_tampered_manifest_is_refused_by_a_hub_that_knows_the_keys(make_world: Callable[..., World]) -> None:
    world = make_world(trusted=True)
    said = world.bundle()
    with pytest.raises(BadSignature):
        world.rooms.registry.publish(BOARDS, replace(said, manifest=said.manifest.replace("finds", "hides")), "ann")


def test_another_publisher_is_refused_by_a_hub_that_knows_the_keys(make_world: Callable[..., World]) -> None:
    world, stranger = make_world(trusted=True), make_world()
    world.bundle()
    with pytest.raises(BadSignature, match="trusted here"):
        world.rooms.registry.publish(BOARDS, stranger.bundle(), "eve")


def test_what_is_not_there_is_not_found(world: World) -> None:
    for ask in (
        lambda: world.rooms.registry.resolve(BOARDS, 1),
        lambda: world.rooms.registry.listed(BOARDS),
        lambda: world.rooms.registry.signed(Digest(DIGEST)),
    ):
        with pytest.raises(NotFound):
            ask()


def test_lists_are_by_name_and_newest_first(world: World) -> None:
    for name, version in (("boards", 1), ("axles", 7), ("boards", 12), ("boards", 3)):
        world.publish(version, ModelName(name))
    found = [(row.model, row.version) for row in world.rooms.registry.listed()]
    assert found == [("axles", 7), ("boards", 12), ("boards", 3), ("boards", 1)]
    assert [row.version for row in world.rooms.registry.listed(BOARDS)] == [12, 3, 1]
