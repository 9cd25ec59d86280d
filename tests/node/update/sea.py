"""A simulated hub behind the real client: publish, order, tamper, cut the line; and a node's agent that obeys it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from skerry.core.errors import Unreachable
from skerry.core.manifest import Manifest
from skerry.core.names import GroupName, ModelName, NodeName
from skerry.core.plan import Wanted
from skerry.core.trust import Trust
from skerry.engine.bundle import Bundle, open_bundle
from skerry.host.ed25519 import PrivateKey
from skerry.host.files import Disk
from skerry.host.keys import verify
from skerry.link.http import FakeFetcher, Reply
from skerry.node.hub import Hub
from skerry.node.update.agent import Agent
from skerry.node.update.apply import Installer
from skerry.wire.checkin import CheckIn, Enrol, Orders
from tests.models import brightness_bundle
from tests.node.kit import Live, loader

KEY = PrivateKey.make()


class Line(FakeFetcher):
    """The line to the hub: `cut_after` bytes of a blob it breaks, once."""

    def __init__(self, answer: Callable[[str, str, bytes, Mapping[str, str]], Reply]) -> None:
        super().__init__(answer)
        self.cut_after: int | None = None

    def download(self, url: str, **more: Any) -> Iterator[bytes]:
        """Yield the answer in small pieces, as far as the line holds."""
        for whole in super().download(url, **more):
            for start in range(0, len(whole), 64):
                piece = whole[start : start + 64]
                if self.cut_after is not None:
                    self.cut_after -= len(piece)
                    if self.cut_after < 0:
                        self.cut_after = None
                        raise Unreachable("the line is cut")
                yield piece


class Sea:
    """The hub: what it has, what it desires, what it was told. `down` cuts it off; `answers` are given first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.texts: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.desired: tuple[Wanted, ...] = ()
        self.reports: list[CheckIn] = []
        self.asked: list[tuple[str, str]] = []  # (path, Range)
        self.down, self.known, self.enrolments = False, True, 0
        self.answers: dict[str, Reply] = {}  # by a piece of the path
        self.line = Line(self)
        self.boats: list[Boat] = []  # that ever obeyed it

    def close(self) -> None:
        """Every node is switched off."""
        for boat in self.boats:
            boat.close()

    def publish(self, version: int, key: PrivateKey = KEY) -> Bundle:
        """Put a signed version of the brightness model on the hub."""
        folder = self.folder / f"v{version}" / "bundle"
        bundle = open_bundle(folder) if folder.exists() else brightness_bundle(folder, version, key)
        self.put(bundle)
        return bundle

    def put(self, bundle: Bundle) -> None:
        """Put a bundle on the hub as it lies on disk."""
        digest = bundle.manifest.digest
        self.texts[f"{digest}/manifest"] = (bundle.path / "manifest.json").read_bytes()
        self.texts[f"{digest}/signature"] = (bundle.path / "manifest.sig").read_bytes()
        for path, entry in bundle.manifest.files.items():
            self.blobs[entry.sha256] = (bundle.path / path).read_bytes()

    def order(self, *manifests: Manifest, rollout: int = 1) -> None:
        """Desire these and nothing else."""
        self.desired = tuple(Wanted(m.name, m.version, m.digest, rollout) for m in manifests)

    def __call__(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        path = url.removeprefix("http://hub")
        self.asked.append((path, headers.get("Range", "")))
        if self.down:
            raise Unreachable("the hub is away")
        for piece, reply in self.answers.items():
            if piece in path:
                return reply
        if path.endswith("/enrol"):
            self.enrolments += 1
            self.known = True
            return Reply(200, b"{}")
        if not self.known or headers.get("Authorization") != "Bearer secret":
            return Reply(401, b'{"error": "unknown node"}')
        if path.endswith("/check-in"):
            self.reports.append(CheckIn.read(json.loads(body)))
            return Reply(200, json.dumps(Orders(10.0, self.desired).json()).encode())
        part = path.removeprefix("/api/v1/bundles/").removeprefix("/api/v1/blobs/")
        found = self.texts.get(part, self.blobs.get(part))
        if found is None:
            return Reply(404, b'{"error": "not here"}')
        start = int(headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        return Reply(206 if start else 200, found[start:])

    @property
    def told(self) -> dict[tuple[str, int], tuple[str, str]]:
        """(model, version) -> (state, reason) of the last report."""
        return {(m.model, m.version): (m.state, m.reason) for m in self.reports[-1].models}

    @property
    def trouble(self) -> str:
        """The trouble in the last report."""
        return str(self.reports[-1].facts["trouble"])


class Boat:
    """A node's agent on a folder of its own; a new one on the same folder is the node started again."""

    def __init__(self, state: Path, sea: Sea, disk: Disk | None = None, trust: PrivateKey = KEY) -> None:
        self.state, self.sea, self.live = state, sea, Live()
        self.models, self.metrics = self.live.models, self.live.metrics
        trusted = Trust((trust.public,), verify)
        hub = Hub(sea.line, "http://hub", Enrol(NodeName("boat"), GroupName("g"), "join", "secret"))
        self.installer = Installer(state, hub, trusted, loader(trusted), self.models, disk or Disk())
        self.closed = False
        sea.boats.append(self)
        self.returns = 0  # times that the hub was told to be back
        facts = (0, "http://boat", {"cpus": 2})
        self.agent = Agent(
            NodeName("boat"), hub, self.installer, self.models, self.metrics, lambda: facts, self._hub_is_back
        )

    def _hub_is_back(self) -> None:
        self.returns += 1

    def tick(self, times: int = 1) -> float:
        """Tick so often; return the last wait."""
        wait = 0.0
        for _ in range(times):
            wait = self.agent.tick()
        return wait

    @property
    def version(self) -> int | None:
        """The version that serves."""
        return self.models.live("brightness").manifest.version if self.models.names() else None

    @property
    def bundles(self) -> set[str]:
        """The digests that are installed."""
        folder = self.state / "bundles"
        return {f"sha256:{p.name}" for p in folder.iterdir()} if folder.is_dir() else set()

    def again(self, disk: Disk | None = None) -> Boat:
        """The node is killed and starts again."""
        self.close()
        return Boat(self.state, self.sea, disk)

    def close(self) -> None:
        """The node is killed."""
        if not self.closed:
            self.closed = True
            self.live.close()


BRIGHTNESS = ModelName("brightness")
