"""Rollouts: nodes are told a version, and each answers by serving it or by refusing it.

The legal moves are `core.rollout`'s. What this file adds is what the answers do to a node's desired versions:

* told: the version becomes desired; what was desired before is remembered with the node.
* refused, or the rollout is cancelled before the node answered: what was desired before is desired again.
* overtaken: a newer rollout of the same model takes over, node by node, those that have not answered an
  older one. They leave the older rollout, and what they go back to, if they refuse again, is what they served
  before the older one: a version that was never confirmed is never gone back to. An older rollout that has no
  node left is cancelled; one that still has nodes goes on with them.
* a node that joins a group is told the group's newest rollout of each model that runs or is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from skerry.core.errors import NotFound
from skerry.core.names import GroupName, NodeName
from skerry.core.rollout import ENDED, Event, NodeState, State, outcome, step
from skerry.host.clock import Clock
from skerry.hub.events import HUB, What, note
from skerry.hub.store import fleet, models
from skerry.hub.store import rollouts as rows
from skerry.hub.store.rollouts import MemberRow, RolloutRow
from skerry.hub.store.store import Page, Store, Tx
from skerry.wire.checkin import REFUSED, SERVING, ModelReport
from skerry.wire.registry import RollOut


@dataclass(frozen=True)
class Progress:
    """A rollout, and how many of the nodes still in it are in each state."""

    rollout: RolloutRow
    counts: dict[NodeState, int]


@dataclass(frozen=True)
class Detail:
    """A rollout with every node that is or was in it."""

    rollout: RolloutRow
    members: tuple[MemberRow, ...]


class Rollouts:
    """Starts, hears, ends."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def start(self, order: RollOut, who: str) -> Detail:
        """Tell a node, or every node of a group, a version; raise NotFound for a version, node or group not here."""
        now = self._clock.now()
        with self._store.write() as tx:
            version = models.find(tx, order.model, order.version)
            if version is None:
                raise NotFound(f"model {order.model} has no version {order.version}")
            nodes = _targets(tx, order)
            rollout = rows.add(tx, order, version.digest, step(State.WAITING, Event.START), who, now)
            on = f"node:{order.node}" if order.node is not None else f"group:{order.group}"
            to = {"model": order.model, "version": order.version, "to": on, "nodes": len(nodes)}
            note(tx, now, who, What.ROLLOUT_STARTED, f"rollout:{rollout.id}", **to)
            overtaken = {older for node in nodes for older in _tell(tx, rollout, node, now)}
            for older in sorted(overtaken):
                _settle(tx, older, now)
            return Detail(rollout, rows.members_of(tx, rollout.id))

    def cancel(self, number: int, who: str) -> Detail:
        """Stop a rollout: nodes that confirmed keep the version, the others go back; raise Conflict if it has ended."""
        now = self._clock.now()
        with self._store.write() as tx:
            rollout = rows.hold(tx, number)
            if rollout is None:
                raise NotFound(f"rollout {number}: there is none")
            state = step(rollout.state, Event.CANCEL)
            for member in rows.waiting(tx, number):
                _go_back(tx, rollout, member)
            _end(tx, rollout, state, who, now)
            return _detail(tx, number)

    def detail(self, number: int) -> Detail:
        """Return one rollout; raise NotFound if there is none."""
        with self._store.read() as tx:
            return _detail(tx, number)

    def listed(self, page: Page) -> tuple[Progress, ...]:
        """Return rollouts: newest first, or oldest first after `page.after`."""
        with self._store.read() as tx:
            found = rows.listed(tx, page)
            counts = rows.tallies(tx, [rollout.id for rollout in found])
        return tuple(Progress(rollout, counts[rollout.id]) for rollout in found)


def hear(tx: Tx, node: NodeName, reports: Sequence[ModelReport], now: float) -> None:
    """Take what a node says of its models as answers to the rollouts that wait for it."""
    for member in rows.told(tx, node):
        rollout = rows.hold(tx, member.rollout)
        assert rollout is not None  # a foreign key holds it
        heard = _heard(rollout, reports)
        if heard is None:
            continue
        state, reason = heard
        rows.answer(tx, member, state, reason, now)
        about = {"rollout": rollout.id, "model": rollout.model, "version": rollout.version}
        if state is NodeState.FAILED:
            _go_back(tx, rollout, member)
            note(tx, now, f"node:{node}", What.NODE_REFUSED, f"node:{node}", **about, reason=reason)
        else:
            note(tx, now, f"node:{node}", What.NODE_CONFIRMED, f"node:{node}", **about)
        _settle(tx, rollout.id, now)


def join(tx: Tx, node: NodeName, group: GroupName, now: float) -> None:
    """Tell a node that is new in a group what the group was told before."""
    overtaken: set[int] = set()
    for rollout in rows.newest_of_group(tx, group, (State.RUNNING, State.DONE)):
        if rollout.wanted in fleet.desired_of(tx, node):
            continue  # it was in this group before
        overtaken.update(_tell(tx, rollout, node, now))
        about = {"rollout": rollout.id, "model": rollout.model, "version": rollout.version}
        note(tx, now, HUB, What.ROLLOUT_JOINED, f"node:{node}", **about)
    for older in sorted(overtaken):
        _settle(tx, older, now)


def _heard(rollout: RolloutRow, reports: Iterable[ModelReport]) -> tuple[NodeState, str] | None:
    about = [r for r in reports if (r.model, r.digest) == (rollout.model, rollout.digest)]
    if any(r.state == SERVING for r in about):
        return NodeState.CONFIRMED, ""
    # A refusal is final for the rollout that it names, and says nothing of another.
    return next(((NodeState.FAILED, r.reason) for r in about if (r.state, r.rollout) == (REFUSED, rollout.id)), None)


def _targets(tx: Tx, order: RollOut) -> tuple[NodeName, ...]:
    if order.group is not None:
        nodes = fleet.in_group(tx, order.group)
        if not nodes:
            raise NotFound(f"group {order.group}: no node is in it")
        return nodes
    assert order.node is not None  # wire.registry.RollOut has exactly one of the two
    if fleet.find(tx, order.node) is None:
        raise NotFound(f"node {order.node}: not enrolled here")
    return (order.node,)


def _tell(tx: Tx, rollout: RolloutRow, node: NodeName, now: float) -> tuple[int, ...]:
    """Make the rollout's version the node's desired one; return the older rollouts that lost the node to it."""
    previous = next((w for w in fleet.desired_of(tx, node) if w.model == rollout.model), None)
    overtaken = []
    for older in rows.told(tx, node):
        told = rows.find(tx, older.rollout)
        if told is None or told.model != rollout.model or told.id == rollout.id:
            continue
        previous = older.previous
        rows.supersede(tx, older, rollout.id, now)
        note(tx, now, HUB, What.NODE_TAKEN_OVER, f"node:{node}", rollout=older.rollout, by=rollout.id)
        overtaken.append(older.rollout)
    rows.put_member(tx, rollout.id, node, previous, now)
    fleet.want(tx, node, rollout.wanted)
    return tuple(overtaken)


def _go_back(tx: Tx, rollout: RolloutRow, member: MemberRow) -> None:
    if member.previous is None:
        fleet.unwant(tx, member.node, rollout.model)
    else:
        fleet.want(tx, member.node, member.previous)


def _settle(tx: Tx, number: int, now: float) -> None:
    """End a rollout if its nodes' answers say so; one that lost all its nodes is cancelled."""
    rollout = rows.hold(tx, number)
    if rollout is None or rollout.state in ENDED:
        return
    states = rows.states_of(tx, number)
    event = outcome(states) if states else Event.CANCEL
    if event is not None:
        _end(tx, rollout, step(rollout.state, event), HUB, now)


def _end(tx: Tx, rollout: RolloutRow, state: State, who: str, now: float) -> None:
    rows.set_state(tx, rollout.id, state, now)
    about = {"model": rollout.model, "version": rollout.version, "state": state.value}
    note(tx, now, who, What.ROLLOUT_ENDED, f"rollout:{rollout.id}", **about)


def _detail(tx: Tx, number: int) -> Detail:
    rollout = rows.find(tx, number)
    if rollout is None:
        raise NotFound(f"rollout {number}: there is none")
    return Detail(rollout, rows.members_of(tx, number))
