from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Conflict
from skerry.core.rollout import ENDED, MOVES, Event, NodeState, State, outcome, step


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_pair_is_in_the_table_or_a_conflict(state, event):
    if (state, event) in MOVES:
        assert step(state, event) is MOVES[state, event]
    else:
        with pytest.raises(Conflict, match=re.escape(f"it is {state.value}, so it cannot take '{event.value}'")):
            step(state, event)


def test_nothing_leaves_an_end_and_everything_else_can_be_cancelled():
    assert {state for state, _ in MOVES} == set(State) - ENDED
    assert all(MOVES[state, Event.CANCEL] is State.CANCELLED for state in set(State) - ENDED)


def test_every_state_can_be_reached():
    reached = {State.WAITING}
    for _ in State:
        reached |= {after for (before, _), after in MOVES.items() if before in reached}
    assert reached == set(State)


@given(st.lists(st.sampled_from(Event), max_size=12))
def test_no_series_of_events_leaves_an_end(events):
    state = State.WAITING
    for event in events:
        before = state
        try:
            state = step(state, event)
        except Conflict:
            assert state is before
        else:
            assert before not in ENDED


@given(st.lists(st.sampled_from(NodeState)))
def test_the_outcome_waits_for_every_node(nodes):
    found = outcome(iter(nodes))
    if not nodes or NodeState.TOLD in nodes:
        assert found is None
    else:
        assert found is (Event.SOME_FAILED if NodeState.FAILED in nodes else Event.ALL_CONFIRMED)
        assert (State.RUNNING, found) in MOVES
