"""The nodes: how one joins, and what is said at a check-in. A node is believed about itself and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from skerry.core.errors import Conflict, Invalid, NotAllowed, NotFound
from skerry.core.names import NodeName, shown
from skerry.core.plan import Wanted
from skerry.host.clock import Clock
from skerry.host.keys import same, token_hash
from skerry.hub import rollouts
from skerry.hub.events import What, note
from skerry.hub.people import spend_join_token
from skerry.hub.store import fleet as rows
from skerry.hub.store.fleet import GroupRow, NodeRow
from skerry.hub.store.store import Store
from skerry.wire.checkin import CheckIn, Enrol, Orders

MIN_SECRET = 32  # characters; host.keys.new_token gives 43. Below this a plain hash could be guessed back
MISSED = 3  # check-ins that may fail to come before a node counts as away


@dataclass(frozen=True)
class NodeView:
    """A node with what it is to serve, and whether it is heard from."""

    node: NodeRow
    desired: tuple[Wanted, ...]
    online: bool


class Fleet:
    """Enrols, checks in, lists."""

    def __init__(self, store: Store, clock: Clock, interval: float) -> None:
        self._store = store
        self._clock = clock
        self._interval = interval

    def enrol(self, asked: Enrol) -> None:
        """Let a node in. The same name and secret again is fine and needs no join token, unless the group is another.

        Raises NotAllowed for a bad join token, Conflict for a name that another node has.
        """
        if len(asked.secret) < MIN_SECRET:
            raise Invalid(f"secret: expected {MIN_SECRET} characters or more; got {len(asked.secret)}")
        now, hashed = self._clock.now(), token_hash(asked.secret)
        with self._store.write() as tx:
            known, node = rows.token_hash(tx, asked.name), rows.find(tx, asked.name)
            mine = known is not None and same(known, hashed)
            if mine and node is not None and node.group == asked.group:
                return
            token = spend_join_token(tx, asked.join_token, now)
            if mine:
                rows.move(tx, asked.name, asked.group)
            elif node is not None or rows.by_token(tx, hashed) is not None:
                raise Conflict(f"node {asked.name}: this name or this secret is another node's")
            else:
                rows.add(tx, asked.name, asked.group, hashed, now)
            what = What.NODE_MOVED if mine else What.NODE_ENROLLED
            note(tx, now, f"node:{asked.name}", what, f"node:{asked.name}", group=asked.group, join_token=token)
            rollouts.join(tx, asked.name, asked.group, now)

    def check_in(self, node: NodeName, report: CheckIn) -> Orders:
        """Take the report of the node that sends it, and return its orders."""
        if report.node != node:
            raise NotAllowed(f"node {node} may not report for {report.node}")
        if report.url and not report.url.startswith(("http://", "https://")):  # the console makes a link of it
            raise Invalid(f"url: expected http:// or https://; got {shown(report.url)}")
        now = self._clock.now()
        with self._store.write() as tx:
            rows.seen(tx, report, now)
            rollouts.hear(tx, node, report.models, now)
            return Orders(self._interval, rows.desired_of(tx, node))

    def listed(self) -> tuple[NodeView, ...]:
        """Return all nodes, by name."""
        with self._store.read() as tx:
            nodes, desired = rows.listed(tx), rows.all_desired(tx)
        return tuple(self._view(node, tuple(desired.get(node.name, ()))) for node in nodes)

    def find(self, name: NodeName) -> NodeView:
        """Return one node; raise NotFound if it is not enrolled."""
        with self._store.read() as tx:
            node, desired = rows.find(tx, name), rows.desired_of(tx, name)
        if node is None:
            raise NotFound(f"node {name}: not enrolled here")
        return self._view(node, desired)

    def groups(self) -> tuple[GroupRow, ...]:
        """Return all groups, by name, with the number of their nodes."""
        with self._store.read() as tx:
            return rows.groups(tx)

    def _view(self, node: NodeRow, desired: tuple[Wanted, ...]) -> NodeView:
        silent = self._clock.now() - (node.last_seen or 0.0)
        return NodeView(node, desired, online=0 <= silent <= MISSED * self._interval)
