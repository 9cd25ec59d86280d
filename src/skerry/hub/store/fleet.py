"""Statements about nodes, and about what each is to serve."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update

from skerry.core.names import Digest, GroupName, ModelName, NodeName
from skerry.core.plan import Wanted
from skerry.hub.store.schema import desired, nodes
from skerry.hub.store.store import Tx
from skerry.wire.checkin import CheckIn, ModelReport


@dataclass(frozen=True)
class NodeRow:
    """A node: who it is, what it last said, and when."""

    name: NodeName
    group: GroupName
    enrolled: float
    last_seen: float | None
    url: str
    backlog: int
    reports: tuple[ModelReport, ...]
    facts: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True)
class GroupRow:
    """A group and how many nodes are in it; a group is there as long as a node names it."""

    name: GroupName
    nodes: int


def add(tx: Tx, name: NodeName, group: GroupName, token_hash: str, now: float) -> None:
    """Add a node that has yet to check in."""
    empty = {"url": "", "backlog": 0, "reports": "[]", "facts": "{}"}
    tx.execute(insert(nodes).values(name=name, group_name=group, token_hash=token_hash, enrolled=now, **empty))


def move(tx: Tx, name: NodeName, group: GroupName) -> None:
    """Put a node into another group."""
    tx.execute(update(nodes).where(nodes.c.name == name).values(group_name=group))


def seen(tx: Tx, report: CheckIn, now: float) -> None:
    """Keep what a node said of itself."""
    values = {
        "last_seen": now,
        "url": report.url,
        "backlog": report.backlog,
        "reports": json.dumps([m.json() for m in report.models]),
        "facts": json.dumps(dict(report.facts)),
    }
    tx.execute(update(nodes).where(nodes.c.name == report.node).values(**values))


def hold(tx: Tx, name: NodeName) -> None:
    """Keep others from writing about this node until the transaction ends (SQLite has one writer in any case)."""
    tx.execute(select(nodes.c.name).where(nodes.c.name == name).with_for_update())


def find(tx: Tx, name: NodeName) -> NodeRow | None:
    """Return a node."""
    row = tx.execute(select(nodes).where(nodes.c.name == name)).one_or_none()
    return None if row is None else _node(row)


def listed(tx: Tx) -> tuple[NodeRow, ...]:
    """Return all nodes, by name."""
    return tuple(_node(row) for row in tx.execute(select(nodes).order_by(nodes.c.name)))


def in_group(tx: Tx, group: GroupName) -> tuple[NodeName, ...]:
    """Return the names of the nodes in a group."""
    at = nodes.c
    return tuple(tx.execute(select(at.name).where(at.group_name == group).order_by(at.name)).scalars())


def groups(tx: Tx) -> tuple[GroupRow, ...]:
    """Return all groups, by name."""
    at = nodes.c.group_name
    return tuple(GroupRow(*row) for row in tx.execute(select(at, func.count()).group_by(at).order_by(at)))


def token_hash(tx: Tx, name: NodeName) -> str | None:
    """Return the hash of a node's secret, or None if there is no such node."""
    return tx.execute(select(nodes.c.token_hash).where(nodes.c.name == name)).scalar_one_or_none()


def by_token(tx: Tx, hashed: str) -> NodeName | None:
    """Return whose secret this is."""
    return tx.execute(select(nodes.c.name).where(nodes.c.token_hash == hashed)).scalar_one_or_none()


def all_desired(tx: Tx) -> Mapping[NodeName, Sequence[Wanted]]:
    """Return what every node is to serve."""
    found: dict[NodeName, list[Wanted]] = {}
    for row in tx.execute(select(desired).order_by(desired.c.node, desired.c.model)):
        found.setdefault(row.node, []).append(_wanted(row))
    return found


def desired_of(tx: Tx, node: NodeName) -> tuple[Wanted, ...]:
    """Return what a node is to serve, by model."""
    query = select(desired).where(desired.c.node == node).order_by(desired.c.model)
    return tuple(_wanted(row) for row in tx.execute(query))


def want(tx: Tx, node: NodeName, wanted: Wanted) -> None:
    """Set what a node is to serve of one model."""
    unwant(tx, node, wanted.model)
    tx.execute(insert(desired).values(node=node, **vars(wanted)))


def unwant(tx: Tx, node: NodeName, model: ModelName) -> None:
    """Let a node serve nothing of one model."""
    tx.execute(delete(desired).where(desired.c.node == node, desired.c.model == model))


def _node(row: Row[Any]) -> NodeRow:
    return NodeRow(
        name=row.name,
        group=row.group_name,
        enrolled=row.enrolled,
        last_seen=row.last_seen,
        url=row.url,
        backlog=row.backlog,
        reports=tuple(ModelReport.read(value) for value in json.loads(row.reports)),
        facts=json.loads(row.facts),
    )


def _wanted(row: Row[Any]) -> Wanted:
    return Wanted(row.model, row.version, Digest(row.digest), row.rollout)
