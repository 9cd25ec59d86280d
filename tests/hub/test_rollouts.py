"""Rollouts, told as what people and nodes do."""

from __future__ import annotations

import pytest

from skerry.core.errors import Conflict, NotFound
from skerry.core.names import ModelName, NodeName
from skerry.hub.store.store import Page
from skerry.wire.checkin import REFUSED, ModelReport
from skerry.wire.registry import RollOut
from tests.hub.world import BOARDS, World


@pytest.fixture
def docks(world: World) -> World:
    """A world with two nodes in a group, one outside, and three versions."""
    for name, group in (("a", "docks"), ("b", "docks"), ("c", "gates")):
        world.enrol(name, group)
    for version in (1, 2, 3):
        world.publish(version)
    return world


A, B, C = NodeName("a"), NodeName("b"), NodeName("c")


def versions(world: World, node: NodeName) -> list[int]:
    return [wanted.version for wanted in world.desired(node)]


def test_a_group_is_told_answers_and_is_done(docks: World) -> None:
    number = docks.roll_out(1, group="docks")
    assert (versions(docks, A), versions(docks, B), versions(docks, C)) == ([1], [1], [])
    assert docks.states(number) == ("running", {"a": "told", "b": "told"})
    docks.check_in(A)
    assert docks.states(number) == ("running", {"a": "told", "b": "told"})
    assert [w.rollout for w in docks.serves(A)] == [number]
    assert docks.states(number) == ("running", {"a": "confirmed", "b": "told"})
    docks.serves(B)
    assert docks.states(number) == ("done", {"a": "confirmed", "b": "confirmed"})
    assert docks.events()[-4:] == ["rollout started", "node confirmed", "node confirmed", "rollout ended"]
    assert docks.rooms.rollouts.detail(number).rollout.ended == docks.clock.time


def test_one_node_is_told(docks: World) -> None:
    number = docks.roll_out(2, node="c")
    assert (versions(docks, A), versions(docks, C)) == ([], [2])
    docks.serves(C)
    assert docks.states(number) == ("done", {"c": "confirmed"})


def test_a_refusal_goes_back_to_what_was_there_before(docks: World) -> None:
    docks.roll_out(1, group="docks")
    first = docks.desired(A)
    docks.serves(A), docks.serves(B)
    number = docks.roll_out(2, group="docks")
    assert docks.refuses(A, number, "golden 3: expected crack") == first
    assert docks.states(number) == ("running", {"a": "failed", "b": "told"})
    docks.serves(B)
    assert docks.states(number) == ("failed", {"a": "failed", "b": "confirmed"})
    assert (versions(docks, A), versions(docks, B)) == ([1], [2])
    assert docks.rooms.rollouts.detail(number).members[0].reason == "golden 3: expected crack"


def test_a_refusal_of_the_first_version_leaves_nothing(docks: World) -> None:
    number = docks.roll_out(1, node="a")
    assert docks.refuses(A, number) == ()
    assert docks.states(number) == ("failed", {"a": "failed"})


def test_a_refusal_of_another_rollout_says_nothing(docks: World) -> None:
    first = docks.roll_out(1, node="a")
    docks.refuses(A, first)
    again = docks.roll_out(1, node="a")  # somebody mended the node
    (wanted,) = docks.desired(A)
    docks.check_in(A, ModelReport(BOARDS, 1, wanted.digest, REFUSED, first, "old"))
    assert docks.states(again) == ("running", {"a": "told"})
    docks.serves(A)
    assert docks.states(again) == ("done", {"a": "confirmed"})


def test_serving_an_old_version_confirms_nothing(docks: World) -> None:
    docks.roll_out(1, node="a")
    (old,) = docks.desired(A)
    docks.serves(A)
    number = docks.roll_out(2, node="a")
    docks.serves(A, old)
    assert docks.states(number) == ("running", {"a": "told"})


def test_what_is_served_already_is_confirmed_at_the_next_check_in(docks: World) -> None:
    docks.roll_out(1, node="a")
    docks.serves(A)
    number = docks.roll_out(1, group="docks")
    docks.serves(A)
    assert docks.states(number) == ("running", {"a": "confirmed", "b": "told"})


def test_cancelling_keeps_what_was_confirmed(docks: World) -> None:
    docks.roll_out(1, group="docks")
    docks.serves(A), docks.serves(B)
    number = docks.roll_out(2, group="docks")
    docks.serves(A)
    assert docks.cancel(number).rollout.state.value == "cancelled"
    assert (versions(docks, A), versions(docks, B)) == ([2], [1])
    docks.refuses(B, number)  # too late to matter
    assert docks.states(number) == ("cancelled", {"a": "confirmed", "b": "told"})
    with pytest.raises(Conflict, match="cancelled"):
        docks.cancel(number)


def test_a_newer_rollout_takes_over_nodes_that_have_not_answered(docks: World) -> None:
    docks.roll_out(1, group="docks")
    docks.serves(A), docks.serves(B)
    older = docks.roll_out(2, group="docks")
    newer = docks.roll_out(3, node="a")
    assert docks.states(older) == ("running", {"b": "told"})
    docks.serves(B)
    assert docks.states(older) == ("done", {"b": "confirmed"})
    assert [m.superseded_by for m in docks.rooms.rollouts.detail(older).members] == [newer, None]
    # Version 2 was never confirmed on a, so that is not what it goes back to.
    assert [w.version for w in docks.refuses(A, newer)] == [1]


def test_an_older_rollout_without_nodes_is_cancelled(docks: World) -> None:
    older = docks.roll_out(2, group="docks")
    docks.roll_out(3, group="docks")
    assert docks.states(older) == ("cancelled", {})
    assert docks.events()[-4:] == ["rollout started", "node taken over", "node taken over", "rollout ended"]


def test_taking_over_the_last_silent_node_ends_the_older_rollout(docks: World) -> None:
    older = docks.roll_out(2, group="docks")
    docks.refuses(B, older)
    docks.roll_out(3, node="a")
    assert docks.states(older) == ("failed", {"b": "failed"})


def test_cancelling_leaves_nodes_that_a_newer_rollout_took(docks: World) -> None:
    older = docks.roll_out(2, group="docks")
    docks.roll_out(3, node="a")
    docks.cancel(older)
    assert (versions(docks, A), versions(docks, B)) == ([3], [])


def test_another_model_is_not_touched(docks: World) -> None:
    axles = ModelName("axles")
    docks.publish(1, axles)
    number = docks.roll_out(2, node="a")
    docks.rooms.rollouts.start(RollOut(axles, 1, node=A), "ann")
    assert docks.states(number) == ("running", {"a": "told"})
    assert [(w.model, w.version) for w in docks.desired(A)] == [("axles", 1), ("boards", 2)]


def test_a_late_joiner_is_told_what_the_group_was_told(docks: World) -> None:
    done = docks.roll_out(1, group="docks")
    docks.serves(A), docks.serves(B)
    late = docks.enrol("late", "docks")
    assert [w.rollout for w in docks.desired(late)] == [done]
    docks.serves(late)
    assert docks.states(done) == ("done", {"a": "confirmed", "b": "confirmed", "late": "confirmed"})
    assert docks.events()[-3:] == ["node enrolled", "rollout joined", "node confirmed"]


def test_a_late_joiner_of_a_running_rollout_counts(docks: World) -> None:
    number = docks.roll_out(1, group="docks")
    late = docks.enrol("late", "docks")
    docks.serves(A), docks.serves(B)
    assert docks.states(number)[0] == "running"
    docks.serves(late)
    assert docks.states(number)[0] == "done"


def test_a_late_joiner_that_refuses_leaves_a_done_rollout_done(docks: World) -> None:
    number = docks.roll_out(1, group="docks")
    docks.serves(A), docks.serves(B)
    late = docks.enrol("late", "docks")
    assert docks.refuses(late, number) == ()
    assert docks.states(number) == ("done", {"a": "confirmed", "b": "confirmed", "late": "failed"})


def test_a_late_joiner_is_not_told_what_failed_or_was_cancelled(docks: World) -> None:
    docks.roll_out(1, group="docks")
    docks.serves(A), docks.serves(B)
    failed = docks.roll_out(2, group="docks")
    docks.refuses(A, failed), docks.refuses(B, failed)
    docks.cancel(docks.roll_out(3, group="docks"))
    assert versions(docks, docks.enrol("late", "docks")) == [1]


def test_a_node_that_moves_and_comes_back_is_asked_nothing_twice(docks: World) -> None:
    number = docks.roll_out(1, group="docks")
    docks.serves(A), docks.serves(B)
    docks.enrol("a", "gates"), docks.enrol("a", "docks")
    assert docks.states(number) == ("done", {"a": "confirmed", "b": "confirmed"})
    assert versions(docks, A) == [1]


@pytest.mark.parametrize(("version", "to"), [(9, {"group": "docks"}), (1, {"group": "moon"}), (1, {"node": "nobody"})])
def test_what_is_not_there_is_named(docks: World, version: int, to: dict[str, str]) -> None:
    with pytest.raises(NotFound, match=r"version 9|group moon|node nobody"):
        docks.roll_out(version, **to)
    assert docks.rooms.rollouts.listed(Page()) == ()


def test_an_unknown_rollout_is_not_found(docks: World) -> None:
    for ask in (docks.cancel, docks.rooms.rollouts.detail):
        with pytest.raises(NotFound, match="rollout 7"):
            ask(7)


def test_the_list_counts_nodes(docks: World) -> None:
    first, second = docks.roll_out(1, group="docks"), docks.roll_out(2, node="c")
    docks.serves(A)
    found = docks.rooms.rollouts.listed(Page())
    assert [p.rollout.id for p in found] == [second, first]
    assert [{s.value: n for s, n in p.counts.items()} for p in found] == [{"told": 1}, {"confirmed": 1, "told": 1}]
