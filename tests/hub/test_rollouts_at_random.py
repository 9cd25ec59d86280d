"""Rollouts under any order of what people and nodes do: what must always be so."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from skerry.core.names import NodeName
from skerry.core.rollout import ENDED, NodeState, State, outcome
from skerry.hub.store.store import Page
from tests.hub.world import World

NODES = st.sampled_from([NodeName("a"), NodeName("b"), NodeName("c")])
GROUPS = st.sampled_from(["docks", "gates"])
VERSIONS = st.integers(1, 3)


class Fleet(RuleBasedStateMachine):
    """Three nodes that move between two groups, three versions, and people who cannot make up their minds."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name))
        for name, group in (("a", "docks"), ("b", "docks"), ("c", "gates")):
            self.world.enrol(name, group)
        for version in (1, 2, 3):
            self.world.publish(version)
        self.good: dict[NodeName, set[int]] = {NodeName(name): set() for name in "abc"}  # versions ever confirmed

    def teardown(self) -> None:
        self.world.close()
        self.folder.cleanup()

    @rule(version=VERSIONS, node=NODES)
    def to_a_node(self, version: int, node: NodeName) -> None:
        self.world.roll_out(version, node=node)

    @precondition(lambda self: self.world.rooms.fleet.groups())
    @rule(version=VERSIONS, data=st.data())
    def to_a_group(self, version: int, data: st.DataObject) -> None:
        self.world.roll_out(version, group=data.draw(st.sampled_from(self.world.rooms.fleet.groups())).name)

    @rule(node=NODES)
    def serves(self, node: NodeName) -> None:
        self.good[node] |= {wanted.version for wanted in self.world.desired(node)}
        self.world.serves(node)

    @rule(node=NODES)
    def refuses(self, node: NodeName) -> None:
        for wanted in self.world.desired(node):
            self.world.refuses(node, wanted.rollout)

    @rule(node=NODES, group=GROUPS)
    def moves(self, node: NodeName, group: str) -> None:
        self.world.enrol(node, group)

    @rule(data=st.data())
    def cancels(self, data: st.DataObject) -> None:
        running = [p.rollout.id for p in self._rollouts() if p.rollout.state is State.RUNNING]
        if running:
            self.world.cancel(data.draw(st.sampled_from(running)))

    @invariant()
    def a_rollout_stands_where_its_nodes_put_it(self) -> None:
        for progress in self._rollouts():
            states = [state for state, count in progress.counts.items() if count]
            if progress.rollout.state is State.RUNNING:
                assert NodeState.TOLD in states
            elif progress.rollout.state is State.FAILED:
                assert outcome(states) is not None
                assert NodeState.FAILED in states
            assert (progress.rollout.ended is not None) == (progress.rollout.state in ENDED)

    @invariant()
    def a_node_that_waits_to_answer_is_told_just_that(self) -> None:
        for progress in self._rollouts():
            if progress.rollout.state is State.CANCELLED:
                continue
            for member in self.world.rooms.rollouts.detail(progress.rollout.id).members:
                if member.state is NodeState.TOLD and member.superseded_by is None:
                    assert self.world.desired(member.node) == (progress.rollout.wanted,)

    @invariant()
    def a_node_is_told_something_or_keeps_what_it_confirmed(self) -> None:
        for node, good in self.good.items():
            for wanted in self.world.desired(node):
                members = self.world.rooms.rollouts.detail(wanted.rollout).members
                mine = next(m for m in members if m.node == node)
                assert wanted.version in good or (mine.state, mine.superseded_by) == (NodeState.TOLD, None)

    def _rollouts(self):
        return self.world.rooms.rollouts.listed(Page(limit=1000))


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=15, stateful_step_count=18, deadline=None)
