"""What a node and the hub say to each other: enrolment, and the check-in that carries report and desired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from skerry.core import names
from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.core.names import Digest, GroupName, ModelName, NodeName
from skerry.core.plan import Wanted

MAX_BODY = 1 << 20  # bytes of one message; a check-in with 1,000 models is about 200 KB
SERVING, REFUSED = "serving", "refused"


@dataclass(frozen=True)
class Enrol:
    """A node asks to join: with a join token once, and a secret of its own that is its token from then on.

    The node makes the secret and keeps it before it asks, so a lost answer is mended by asking again.
    """

    name: NodeName
    group: GroupName
    join_token: str = field(repr=False)
    secret: str = field(repr=False)

    def json(self) -> dict[str, Any]:
        """Return the message as JSON values."""
        return {"name": self.name, "group": self.group, "join_token": self.join_token, "secret": self.secret}

    @staticmethod
    def read(value: object) -> Enrol:
        """Return the message in a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        return Enrol(
            name=fields.read("name", names.node_name),
            group=fields.read("group", names.group_name, default=GroupName("default")),
            join_token=fields.text("join_token", limit=256),
            secret=fields.text("secret", limit=256),
        )


@dataclass(frozen=True)
class ModelReport:
    """What a node says of one bundle: it serves it, or it refused it and why."""

    model: ModelName
    version: int
    digest: Digest
    state: str
    rollout: int = 0
    reason: str = ""

    def json(self) -> dict[str, Any]:
        """Return the entry as JSON values."""
        return {
            "model": self.model,
            "version": self.version,
            "digest": self.digest,
            "state": self.state,
            "rollout": self.rollout,
            "reason": self.reason,
        }

    @staticmethod
    def read(value: object) -> ModelReport:
        """Return the entry in a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        return ModelReport(
            model=fields.read("model", names.model_name),
            version=fields.read("version", names.version),
            digest=fields.read("digest", names.digest),
            state=fields.choice("state", (SERVING, REFUSED)),
            rollout=fields.whole("rollout", default=0),
            reason=fields.text("reason", default=""),
        )


@dataclass(frozen=True)
class CheckIn:
    """A node's report: who it is, what it serves and refused, how much of its journal waits, facts about it."""

    node: NodeName
    models: tuple[ModelReport, ...] = ()
    backlog: int = 0  # journal entries that the hub has not acknowledged
    url: str = ""  # where the node serves, as it knows itself
    facts: Mapping[str, Any] = field(default_factory=dict)  # cpu, memory, software versions: shown, never decided on

    def json(self) -> dict[str, Any]:
        """Return the message as JSON values."""
        return {
            "node": self.node,
            "models": [m.json() for m in self.models],
            "backlog": self.backlog,
            "url": self.url,
            "facts": dict(self.facts),
        }

    @staticmethod
    def read(value: object) -> CheckIn:
        """Return the message in a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        return CheckIn(
            node=fields.read("node", names.node_name),
            models=fields.many("models", ModelReport.read, default=(), limit=10_000),
            backlog=fields.whole("backlog", default=0),
            url=fields.text("url", default=""),
            facts=Fields(fields.raw("facts", {}), "facts").rest(),
        )


@dataclass(frozen=True)
class Orders:
    """The hub's answer: what it desires of this node, and when to check in again."""

    interval: float  # seconds until the next check-in, before jitter
    desired: tuple[Wanted, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return the message as JSON values."""
        return {
            "interval": self.interval,
            "desired": [
                {"model": w.model, "version": w.version, "digest": w.digest, "rollout": w.rollout} for w in self.desired
            ],
        }

    @staticmethod
    def read(value: object) -> Orders:
        """Return the message in a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        orders = Orders(
            interval=fields.real("interval", low=0.05, high=86_400.0),
            desired=fields.many("desired", _wanted, default=(), limit=10_000),
        )
        if len({want.model for want in orders.desired}) != len(orders.desired):
            raise Invalid("desired: expected each model once")
        return orders


def _wanted(value: object) -> Wanted:
    fields = Fields(value, "")
    return Wanted(
        model=fields.read("model", names.model_name),
        version=fields.read("version", names.version),
        digest=fields.read("digest", names.digest),
        rollout=fields.whole("rollout"),
    )
