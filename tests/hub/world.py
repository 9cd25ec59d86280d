"""A hub in a folder, with a clock that stands still, and the verbs by which a test plays people and nodes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skerry.core.finding import Finding
from skerry.core.manifest import Manifest, digest_of
from skerry.core.names import Digest, GroupName, ModelName, NodeName
from skerry.core.plan import Wanted
from skerry.core.trust import key_id, message, write_signatures
from skerry.host.clock import FakeClock
from skerry.host.ed25519 import PrivateKey
from skerry.host.keys import public_line
from skerry.hub.app import build
from skerry.hub.rollouts import Detail
from skerry.hub.settings import HubSettings
from skerry.hub.store.events import EventRow
from skerry.hub.store.store import Page
from skerry.wire.checkin import REFUSED, SERVING, CheckIn, Enrol, ModelReport
from skerry.wire.registry import Publish, RollOut
from skerry.wire.results import Alarm, Entry, Result
from tests.core.values import manifest_json

BOARDS = ModelName("boards")
PICTURE = b"\x89PNG\r\n\x1a\n"


class World:
    """One hub and everybody around it."""

    def __init__(self, folder: Path, trusted: bool = False, **settings: Any) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.key = PrivateKey.make()
        trust = (public_line(self.key.public),) if trusted else ()
        self.settings = HubSettings(state=folder / "hub", trust=trust, **settings)
        self.hub = build(self.settings, self.clock)
        self.rooms = self.hub.rooms
        self.admin = self.hub.admin_token or ""
        self.join = self.rooms.people.new_join_token("admin").token

    def close(self) -> None:
        self.hub.close()

    def bundle(self, version: int = 1, content: bytes = b"weights", put: bool = True, name: str = BOARDS) -> Publish:
        """Return what publishes a small bundle; its file lies here as a blob if `put`."""
        if put:
            self.rooms.blobs.put(content)
        files = {"model.onnx": {"sha256": digest_of(content), "size": len(content)}}
        manifest = Manifest.read(manifest_json(name=name, version=version, files=files, goldens=[]))
        signature = self.key.sign(message(manifest.canonical))
        signatures = write_signatures({key_id(self.key.public): signature})
        return Publish(json.dumps(manifest.json(), indent=1), json.dumps(signatures))

    def publish(self, version: int = 1, name: ModelName = BOARDS) -> Digest:
        """Publish a bundle and return its digest."""
        return self.rooms.registry.publish(name, self.bundle(version, name=name), "ann").digest

    def enrol(self, name: str, group: str = "default", secret: str | None = None, join: str | None = None) -> NodeName:
        """Let a node join."""
        node = NodeName(name)
        self.rooms.fleet.enrol(
            Enrol(node, GroupName(group), self.join if join is None else join, secret or secret_of(name))
        )
        return node

    def roll_out(self, version: int, node: str | None = None, group: str | None = None) -> int:
        """Start a rollout and return its number."""
        order = RollOut(BOARDS, version, node and NodeName(node), group and GroupName(group))
        return self.rooms.rollouts.start(order, "ann").rollout.id

    def cancel(self, number: int) -> Detail:
        return self.rooms.rollouts.cancel(number, "ann")

    def serves(self, node: NodeName, wanted: Wanted | None = None) -> tuple[Wanted, ...]:
        """Let a node check in, saying that it serves something (what it is to serve, if not told what)."""
        said = [wanted] if wanted else self.desired(node)
        return self.check_in(node, *(ModelReport(w.model, w.version, w.digest, SERVING) for w in said))

    def refuses(self, node: NodeName, rollout: int, reason: str = "goldens failed") -> tuple[Wanted, ...]:
        """Let a node check in, refusing what it is to serve."""
        said = (w for w in self.desired(node) if w.rollout == rollout)
        return self.check_in(node, *(ModelReport(w.model, w.version, w.digest, REFUSED, rollout, reason) for w in said))

    def check_in(
        self, node: NodeName, *reports: ModelReport, facts: Mapping[str, Any] | None = None
    ) -> tuple[Wanted, ...]:
        report = CheckIn(node, tuple(reports), 3, "http://10.0.0.7:8500", facts or {})
        return self.rooms.fleet.check_in(node, report).desired

    def desired(self, node: NodeName) -> tuple[Wanted, ...]:
        return self.rooms.fleet.find(node).desired

    def states(self, rollout: int) -> tuple[str, dict[str, str]]:
        """Return a rollout's state and those of the nodes still in it."""
        found = self.rooms.rollouts.detail(rollout)
        return found.rollout.state.value, {m.node: m.state.value for m in found.members if m.superseded_by is None}

    def events(self) -> list[str]:
        """Return what happened, oldest first."""
        return [event.what for event in self.trail()]

    def trail(self) -> tuple[EventRow, ...]:
        return self.rooms.events.listed(Page(limit=1000, after=0))


def secret_of(node: str) -> str:
    """Return the secret that a node of a test has."""
    return f"secret-of-{node}-" + "x" * 32


def result(seq: int, label: str | None = "crack", picture: bytes = b"", source: str = "a.png") -> Entry:
    """Return a journal entry with a result."""
    findings = () if label is None else (Finding(label, 0.9, 0, (1.0, 2.0, 3.0, 4.0)),)
    body = Result(BOARDS, 1, digest_of(b"bundle"), source, findings, 640, 480, 4.5)
    return Entry(seq, 1_800_000_000.0 + seq, body, picture)


def alarm(seq: int, of: int) -> Entry:
    """Return a journal entry with an alarm."""
    return Entry(seq, 1_800_000_000.0 + seq, Alarm("cracks", BOARDS, of, "2 of 3"))
