"""A rollout: the move of a node or a group to one version, as two tables of legal moves.

A rollout has a state; each node in it has one too. Nothing here knows the time or the database: the hub
feeds events and stores what comes back. Waves and gates will be more events in the same tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from skerry.core.errors import Conflict


class State(Enum):
    """Where a rollout stands."""

    WAITING = "waiting"  # created; no node has been told
    RUNNING = "running"  # nodes have been told; not all have answered
    DONE = "done"  # every node serves the version, goldens passed there
    FAILED = "failed"  # at least one node refused it; every node has answered
    CANCELLED = "cancelled"  # a person stopped it


class Event(Enum):
    """What may happen to a rollout."""

    START = "start"
    ALL_CONFIRMED = "all confirmed"
    SOME_FAILED = "some failed"
    CANCEL = "cancel"


class NodeState(Enum):
    """Where one node of a rollout stands."""

    TOLD = "told"  # the version is the node's desired one
    CONFIRMED = "confirmed"  # the node said that it serves it, after its goldens passed there
    FAILED = "failed"  # the node said that it cannot, and why


MOVES: dict[tuple[State, Event], State] = {
    (State.WAITING, Event.START): State.RUNNING,
    (State.WAITING, Event.CANCEL): State.CANCELLED,
    (State.RUNNING, Event.ALL_CONFIRMED): State.DONE,
    (State.RUNNING, Event.SOME_FAILED): State.FAILED,
    (State.RUNNING, Event.CANCEL): State.CANCELLED,
}

ENDED = frozenset({State.DONE, State.FAILED, State.CANCELLED})


def step(state: State, event: Event) -> State:
    """Return the state after the event; raise Conflict if the table has no such move."""
    try:
        return MOVES[state, event]
    except KeyError:
        raise Conflict(f"rollout: it is {state.value}, so it cannot take '{event.value}'") from None


def outcome(nodes: Iterable[NodeState]) -> Event | None:
    """Return the event that the nodes' states amount to, or None while one has yet to answer."""
    states = list(nodes)
    if not states or NodeState.TOLD in states:
        return None
    return Event.SOME_FAILED if NodeState.FAILED in states else Event.ALL_CONFIRMED
