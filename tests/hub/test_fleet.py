"""Enrolment and check-in."""

from __future__ import annotations

import pytest

from skerry.core.errors import Conflict, Invalid, NotAllowed, NotFound
from skerry.core.names import NodeName
from skerry.wire.checkin import SERVING, CheckIn, ModelReport
from tests.core.values import DIGEST
from tests.hub.world import BOARDS, World


def test_a_lost_answer_is_mended_by_asking_again(world: World) -> None:
    world.enrol("dock-1")
    events = world.events()
    world.enrol("dock-1", join="any")  # it is known by its secret now
    assert world.events() == events
    assert [view.node.name for view in world.rooms.fleet.listed()] == ["dock-1"]


@pytest.mark.parametrize("join", ["", "x", "é"])
def test_a_bad_join_token_lets_nobody_in(world: World, join: str) -> None:
    with pytest.raises(NotAllowed, match="join token"):
        world.enrol("dock-1", join=join)
    world.enrol("dock-1")
    with pytest.raises(NotAllowed):  # and tells nobody which names are taken
        world.enrol("dock-1", secret="z" * 40, join=join)


def test_a_name_belongs_to_one_secret_and_a_secret_to_one_name(world: World) -> None:
    world.enrol("dock-1", secret="s" * 40)
    with pytest.raises(Conflict):
        world.enrol("dock-1", secret="t" * 40)
    with pytest.raises(Conflict):
        world.enrol("dock-2", secret="s" * 40)


def test_a_refused_node_spends_no_use_of_a_join_token(world: World) -> None:
    join = world.rooms.people.new_join_token("ann", uses=1).token
    world.enrol("dock-1")
    with pytest.raises(Conflict):
        world.enrol("dock-1", secret="t" * 40, join=join)
    world.enrol("dock-2", join=join)


def test_a_secret_that_could_be_guessed_is_refused(world: World) -> None:
    with pytest.raises(Invalid, match="secret: expected 32") as caught:
        world.enrol("dock-1", secret="hunter2")
    assert "hunter2" not in str(caught.value)


def test_a_node_moves_to_another_group_with_a_join_token(world: World) -> None:
    world.enrol("dock-1", "docks")
    with pytest.raises(NotAllowed):
        world.enrol("dock-1", "gates", join="x")
    world.enrol("dock-1", "gates")
    assert [(g.name, g.nodes) for g in world.rooms.fleet.groups()] == [("gates", 1)]
    assert world.events()[-2:] == ["node enrolled", "node moved"]


def test_what_a_node_says_is_kept(world: World) -> None:
    node = world.enrol("dock-1", "docks")
    assert not world.rooms.fleet.find(node).online
    report = ModelReport(BOARDS, 3, DIGEST, SERVING)  # type: ignore[arg-type]
    world.clock.time += 100.0
    assert world.check_in(node, report, facts={"cpus": 4, "ö": None}) == ()
    found = world.rooms.fleet.find(node)
    assert found.online
    assert found.node.reports == (report,)
    assert (found.node.backlog, found.node.url, found.node.facts) == (3, "http://10.0.0.7:8500", {"cpus": 4, "ö": None})
    assert found.node.last_seen == world.clock.time == found.node.enrolled + 100.0


def test_a_node_is_away_after_three_missed_check_ins(world: World) -> None:
    node = world.enrol("dock-1")
    world.check_in(node)
    world.clock.time += 30.0
    assert world.rooms.fleet.find(node).online
    world.clock.time += 0.1
    assert not world.rooms.fleet.listed()[0].online


def test_a_node_reports_for_itself_alone(world: World) -> None:
    node = world.enrol("dock-1")
    with pytest.raises(NotAllowed, match="dock-1 may not report for dock-2"):
        world.rooms.fleet.check_in(node, CheckIn(NodeName("dock-2")))


def test_a_url_that_is_no_link_is_refused(world: World) -> None:
    node = world.enrol("dock-1")
    with pytest.raises(Invalid, match="url"):
        world.rooms.fleet.check_in(node, CheckIn(node, url="javascript:alert(1)"))


def test_check_ins_are_no_events(world: World) -> None:
    node = world.enrol("dock-1")
    events = world.events()
    before = world.rooms.events.notice()
    world.check_in(node)
    assert world.events() == events
    after = world.rooms.events.notice()
    assert (after.event, after.seen) == (before.event, world.clock.time)


def test_an_unknown_node_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        world.rooms.fleet.find(NodeName("nobody"))
