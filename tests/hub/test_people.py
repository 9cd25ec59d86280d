"""Tokens: made once, kept as hashes, spent, over, revoked."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from skerry.core.errors import NotAllowed, NotFound
from skerry.hub.app import build
from skerry.hub.people import Act, NotKnown, allowed
from skerry.hub.store.people import PersonRow
from tests.hub.world import World, secret_of


def test_the_first_start_alone_makes_an_admin(world: World) -> None:
    again = build(world.settings, world.clock)
    assert again.admin_token is None
    again.close()
    assert world.rooms.people.who(world.admin) == PersonRow("admin", "admin")


def test_a_new_admin_token_ends_the_old_one(world: World) -> None:
    token = world.rooms.people.new_admin_token()
    assert world.rooms.people.who(token) == PersonRow("admin", "admin")
    with pytest.raises(NotKnown):
        world.rooms.people.who(world.admin)


def test_no_token_lies_on_the_disk(world: World) -> None:
    world.enrol("dock-1")
    tokens = [world.admin, world.join, secret_of("dock-1")]
    world.close()
    data = b"".join(path.read_bytes() for path in Path(world.settings.state).rglob("*") if path.is_file())
    assert b"dock-1" in data
    assert not [token for token in tokens if token.encode() in data]


@pytest.mark.parametrize("token", ["", "x", "\udc80".encode("utf-8", "replace").decode(), "é" * 500])
def test_an_unknown_token_is_nobodys(world: World, token: str) -> None:
    with pytest.raises(NotKnown):
        world.rooms.people.who(token)


def test_a_role_may_what_its_table_says() -> None:
    assert allowed(PersonRow("ann", "admin"), Act.CHANGE).name == "ann"
    with pytest.raises(NotAllowed, match="ann is guest, which may not read"):
        allowed(PersonRow("ann", "guest"), Act.READ)


def test_a_join_token_is_used_up(world: World) -> None:
    join = world.rooms.people.new_join_token("ann", uses=2).token
    world.enrol("a", join=join)
    world.enrol("a", join=join)  # the same node again is free
    world.enrol("b", join=join)
    with pytest.raises(NotAllowed, match="used up"):
        world.enrol("c", join=join)


def test_a_join_token_is_over(world: World) -> None:
    join = world.rooms.people.new_join_token("ann", seconds=60.0).token
    world.clock.time += 59.0
    world.enrol("a", join=join)
    world.clock.time += 1.0
    with pytest.raises(NotAllowed):
        world.enrol("b", join=join)


def test_a_join_token_is_revoked(world: World) -> None:
    made = world.rooms.people.new_join_token("ann")
    world.enrol("a", join=made.token)
    world.rooms.people.revoke_join_token(made.row.id, "ann")
    with pytest.raises(NotAllowed):
        world.enrol("b", join=made.token)
    with pytest.raises(NotFound):
        world.rooms.people.revoke_join_token(made.row.id, "ann")
    assert [row.revoked is None for row in world.rooms.people.join_tokens()] == [False, True]
    assert world.events()[-1] == "join token revoked"


def test_a_token_is_not_shown_by_repr(world: World) -> None:
    made = world.rooms.people.new_join_token("ann")
    assert made.token not in repr(made)


def test_the_state_folder_is_private(world: World) -> None:
    assert world.settings.state.stat().st_mode & 0o077 == 0
    assert sqlite3.sqlite_version_info > (3, 35)
