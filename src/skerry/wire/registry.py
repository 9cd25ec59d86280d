"""What people and tools say to the hub: publish a version, roll it out; and what it lists in return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skerry.core import names
from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.core.names import GroupName, ModelName, NodeName

MAX_PUBLISH = 8 << 20  # bytes of a publish request: a manifest (4 MiB at most) and its signatures


@dataclass(frozen=True)
class Publish:
    """A manifest and its detached signatures, as the text of the two files; the blobs have been put before."""

    manifest: str
    signature: str

    def json(self) -> dict[str, Any]:
        """Return the message as JSON values."""
        return {"manifest": self.manifest, "signature": self.signature}

    @staticmethod
    def read(value: object) -> Publish:
        """Return the message in a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        return Publish(fields.text("manifest", limit=MAX_PUBLISH), fields.text("signature", limit=MAX_PUBLISH))


@dataclass(frozen=True)
class RollOut:
    """Move one node, or every node of a group, to a version of a model. Exactly one of the two is given."""

    model: ModelName
    version: int
    node: NodeName | None = None
    group: GroupName | None = None

    def json(self) -> dict[str, Any]:
        """Return the message as JSON values."""
        target = {"node": self.node} if self.node is not None else {"group": self.group}
        return {"model": self.model, "version": self.version, **target}

    @staticmethod
    def read(value: object) -> RollOut:
        """Return the message in a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        order = RollOut(
            model=fields.read("model", names.model_name),
            version=fields.read("version", names.version),
            node=fields.read("node", names.node_name, default=None),
            group=fields.read("group", names.group_name, default=None),
        )
        if (order.node is None) == (order.group is None):
            raise Invalid("rollout: expected either 'node' or 'group'")
        return order
