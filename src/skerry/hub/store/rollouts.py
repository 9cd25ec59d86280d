"""Statements about rollouts and the nodes in them. What may happen to them is `core.rollout`'s."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, func, insert, select, update

from skerry.core.names import Digest, GroupName, ModelName, NodeName
from skerry.core.plan import Wanted
from skerry.core.rollout import NodeState, State
from skerry.hub.store.schema import members, rollouts
from skerry.hub.store.store import Page, Tx
from skerry.wire.registry import RollOut


@dataclass(frozen=True)
class RolloutRow:
    """A rollout: which version goes where, and how it stands."""

    id: int
    model: ModelName
    version: int
    digest: Digest
    node: NodeName | None
    group: GroupName | None
    state: State
    made: float
    made_by: str
    ended: float | None

    @property
    def wanted(self) -> Wanted:
        """What its nodes are told to serve."""
        return Wanted(self.model, self.version, self.digest, self.id)


@dataclass(frozen=True)
class MemberRow:
    """One node in a rollout; `previous` is what it was to serve before, `superseded_by` the rollout that took it."""

    rollout: int
    node: NodeName
    state: NodeState
    reason: str
    changed: float
    previous: Wanted | None
    superseded_by: int | None


_LIVE = members.c.superseded_by.is_(None)


def add(tx: Tx, order: RollOut, digest: Digest, state: State, who: str, now: float) -> RolloutRow:
    """Add a rollout without nodes."""
    values = {"model": order.model, "version": order.version, "digest": digest, "node": order.node}
    stands = {"group_name": order.group, "state": state.value, "made": now, "made_by": who}
    done = tx.execute(insert(rollouts).values(**values, **stands))
    (number,) = done.inserted_primary_key or (0,)
    return RolloutRow(number, order.model, order.version, digest, order.node, order.group, state, now, who, None)


def hold(tx: Tx, number: int) -> RolloutRow | None:
    """Return a rollout, and keep others from changing it until the transaction ends."""
    row = tx.execute(select(rollouts).where(rollouts.c.id == number).with_for_update()).one_or_none()
    return None if row is None else _rollout(row)


def find(tx: Tx, number: int) -> RolloutRow | None:
    """Return a rollout."""
    row = tx.execute(select(rollouts).where(rollouts.c.id == number)).one_or_none()
    return None if row is None else _rollout(row)


def listed(tx: Tx, page: Page) -> tuple[RolloutRow, ...]:
    """Return rollouts."""
    return tuple(_rollout(row) for row in tx.execute(page.of(select(rollouts), rollouts.c.id)))


def set_state(tx: Tx, number: int, state: State, ended: float) -> None:
    """Let a rollout end in a state."""
    tx.execute(update(rollouts).where(rollouts.c.id == number).values(state=state.value, ended=ended))


def newest_of_group(tx: Tx, group: GroupName, states: Collection[State]) -> tuple[RolloutRow, ...]:
    """Return the newest rollout of each model that is for this group and in one of the states."""
    at = rollouts.c
    among = (at.group_name == group) & at.state.in_([state.value for state in states])
    newest = select(func.max(at.id)).where(among).group_by(at.model)
    return tuple(_rollout(row) for row in tx.execute(select(rollouts).where(at.id.in_(newest)).order_by(at.id)))


def put_member(tx: Tx, rollout: int, node: NodeName, previous: Wanted | None, now: float) -> None:
    """Tell a node: add it to a rollout, or, if it was in it once, begin again."""
    values: dict[str, Any] = {"state": NodeState.TOLD.value, "reason": "", "changed": now, "superseded_by": None}
    values["previous_version"] = previous and previous.version
    values["previous_digest"] = previous and previous.digest
    values["previous_rollout"] = previous and previous.rollout
    same = (members.c.rollout == rollout) & (members.c.node == node)
    if tx.execute(update(members).where(same).values(**values)).rowcount == 0:
        tx.execute(insert(members).values(rollout=rollout, node=node, **values))


def answer(tx: Tx, member: MemberRow, state: NodeState, reason: str, now: float) -> None:
    """Keep what a node answered."""
    same = (members.c.rollout == member.rollout) & (members.c.node == member.node)
    tx.execute(update(members).where(same).values(state=state.value, reason=reason, changed=now))


def supersede(tx: Tx, member: MemberRow, by: int, now: float) -> None:
    """Take a node out of a rollout, for a newer one."""
    same = (members.c.rollout == member.rollout) & (members.c.node == member.node)
    tx.execute(update(members).where(same).values(superseded_by=by, changed=now))


def members_of(tx: Tx, rollout: int) -> tuple[MemberRow, ...]:
    """Return all nodes of a rollout, by name."""
    return _members(tx, _joined().where(members.c.rollout == rollout).order_by(members.c.node))


def states_of(tx: Tx, rollout: int) -> frozenset[NodeState]:
    """Return the states that the nodes still in a rollout are in."""
    found = tx.execute(select(members.c.state).where(members.c.rollout == rollout, _LIVE).distinct()).scalars()
    return frozenset(NodeState(state) for state in found)


def tallies(tx: Tx, numbers: Collection[int]) -> dict[int, dict[NodeState, int]]:
    """Return, for each rollout, how many of the nodes still in it are in each state."""
    at = members.c
    query = select(at.rollout, at.state, func.count()).where(at.rollout.in_(numbers), _LIVE)
    found: dict[int, dict[NodeState, int]] = {number: {} for number in numbers}
    for rollout, state, count in tx.execute(query.group_by(at.rollout, at.state)):
        found[rollout][NodeState(state)] = count
    return found


def told(tx: Tx, node: NodeName) -> tuple[MemberRow, ...]:
    """Return the rollouts that wait for this node's answer. Those that were cancelled wait no more."""
    standing = rollouts.c.state.in_([State.RUNNING.value, State.DONE.value])  # DONE: for one that joined later
    waits = (members.c.node == node) & (members.c.state == NodeState.TOLD.value) & _LIVE & standing
    return _members(tx, _joined().where(waits).order_by(members.c.rollout))


def waiting(tx: Tx, rollout: int) -> tuple[MemberRow, ...]:
    """Return the nodes of a rollout that have not answered."""
    waits = (members.c.rollout == rollout) & (members.c.state == NodeState.TOLD.value) & _LIVE
    return _members(tx, _joined().where(waits).order_by(members.c.node))


def _joined() -> Select[Any]:
    return select(members, rollouts.c.model).join(rollouts, rollouts.c.id == members.c.rollout)


def _members(tx: Tx, query: Select[Any]) -> tuple[MemberRow, ...]:
    return tuple(_member(row) for row in tx.execute(query))


def _member(row: Row[Any]) -> MemberRow:
    previous = None
    if row.previous_digest is not None:
        previous = Wanted(row.model, row.previous_version, Digest(row.previous_digest), row.previous_rollout)
    state = NodeState(row.state)
    return MemberRow(row.rollout, row.node, state, row.reason, row.changed, previous, row.superseded_by)


def _rollout(row: Row[Any]) -> RolloutRow:
    return RolloutRow(
        id=row.id,
        model=row.model,
        version=row.version,
        digest=row.digest,
        node=row.node,
        group=row.group_name,
        state=State(row.state),
        made=row.made,
        made_by=row.made_by,
        ended=row.ended,
    )
