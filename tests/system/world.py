"""A real hub and real nodes as processes on free ports, and the verbs that system tests use on them."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skerry.cli.operator import Operator
from skerry.core.errors import SkerryError
from skerry.core.names import ModelName, NodeName
from skerry.device.client import Client
from skerry.host.ed25519 import PrivateKey
from skerry.host.keys import public_line
from skerry.host.process import Child
from skerry.host.settings import environment
from skerry.link.http import Fetcher, Reply
from skerry.wire.registry import RollOut
from skerry.wire.routes import ALARMS, NODES, RESULTS, ROLLOUT
from tests.models import brightness_bundle

SECONDS = 40.0  # that anything may take on a busy machine before a test gives up on it


def until(what: str, look: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Return the first true value of `look`; fail the test if none comes."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.05)
    return found


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def get(url: str, seconds: float = 5.0) -> Reply:
    """GET a URL."""
    return Fetcher().request("GET", url, limit=1 << 24, seconds=seconds)


def post(url: str, body: bytes, kind: str = "application/octet-stream", seconds: float = 10.0) -> Reply:
    """POST bytes to a URL."""
    return Fetcher().request("POST", url, body=body, headers={"Content-Type": kind}, limit=1 << 24, seconds=seconds)


class World:
    """A hub, its operator and a publisher's key, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = PrivateKey.make()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = ""
        self.children: list[Child] = []
        self.hub: Child | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def start_hub(self) -> None:
        """Start the hub, at the same port each time."""
        config = self.folder / "hub.toml"
        state = json.dumps(str(self.folder / "hub"))
        config.write_text(f'[hub]\nhttp = "127.0.0.1:{self.port}"\nstate = {state}\ncheck_in = 0.2\n')
        self.hub = self._child("hub", ["-m", "skerry", "hub", "--config", str(config), "--json"])
        self.token = self.hub.ready(SECONDS).get("admin_token", self.token)

    @property
    def operator(self) -> Operator:
        """The hub, called as its admin."""
        return Operator(self.url, self.token)

    def settings(self, name: str, trust: PrivateKey | None = None, **more: Any) -> Path:
        """Write a node's settings file and return it."""
        values = {
            "http": "127.0.0.1:0",
            "hub": self.url,
            "name": name,
            "state": str(self.folder / name),
            "trust": [public_line((trust or self.key).public).strip()],
            **more,
        }
        rules = values.pop("rules", [])
        lines = ["[node]", *(f"{k} = {json.dumps(v)}" for k, v in values.items())]
        for rule in rules:
            lines += ["[[node.rules]]", *(f"{k} = {json.dumps(v)}" for k, v in rule.items())]
        path = self.folder / f"{name}.toml"
        path.write_text("\n".join(lines) + "\n")
        return path

    def start_node(self, name: str, settings: Path | None = None, join: str | None = None) -> tuple[Child, str]:
        """Start a node; return its process and its URL."""
        argv = ["-m", "skerry", "node", "--config", str(settings or self.settings(name)), "--json"]
        child = self._child(name, argv, {"SKERRY_NODE_JOIN_TOKEN": join or self.operator.join_token()})
        return child, child.ready(SECONDS)["http"]

    def start_faulty(self, name: str, settings: Path, nth: int, kill: bool, join: str) -> Child:
        """Start a node whose disk strikes at its nth act; it may die before it is ready."""
        argv = ["-m", "tests.system.faulty_node", str(settings), str(nth), "kill" if kill else "full"]
        return self._child(name, argv, {"SKERRY_NODE_JOIN_TOKEN": join})

    def publish(self, version: int) -> str:
        """Publish a version of the brightness model; return its digest."""
        folder = self.folder / f"bundle-{version}"
        bundle = brightness_bundle(folder, version, self.key)
        self.operator.publish(folder)
        return bundle.manifest.digest

    def roll_out(self, version: int, node: str) -> dict[str, Any]:
        """Start a rollout to one node."""
        return self.operator.roll_out(RollOut(ModelName("brightness"), version, node=NodeName(node)))

    def ended(self, rollout: int) -> dict[str, Any] | None:
        """Return a rollout if it has ended."""
        found = self.operator.ask(ROLLOUT, rollout=rollout)
        return None if found["state"] in ("waiting", "running") else found

    def rolled_out(self, version: int, node: str) -> dict[str, Any]:
        """Roll out and return how it ended."""
        rollout = self.roll_out(version, node)
        found: dict[str, Any] = until(f"rollout {version} on {node}", lambda: self.ended(rollout["id"]))
        return found

    def node(self, name: str) -> dict[str, Any] | None:
        """Return what the hub knows of a node that has checked in, or None."""
        found = [n for n in self.operator.ask(NODES)["nodes"] if n["name"] == name and n["last_seen"]]
        return found[0] if found else None

    def results(self, node: str) -> list[str]:
        """Return the places ("epoch/seq") of all results of a node on the hub, oldest first."""
        places, after = [], 0
        while rows := self.operator.ask(RESULTS, query=f"?node={node}&limit=200&after={after}")["results"]:
            places += [f"{row['epoch']}/{row['seq']}" for row in rows]
            after = rows[-1]["id"]
        return places

    def alarms(self, node: str) -> list[dict[str, Any]]:
        """Return a node's alarms on the hub."""
        found: list[dict[str, Any]] = self.operator.ask(ALARMS, query=f"?node={node}&limit=200")["alarms"]
        return found

    def close(self) -> None:
        """End everything."""
        for child in reversed(self.children):
            child.kill()

    def _child(self, name: str, argv: list[str], extra: dict[str, str] | None = None) -> Child:
        environ = {**environment(), **(extra or {})}
        child = Child(name, [sys.executable, *argv], self.folder / f"{name}.log", environ)
        self.children.append(child)
        return child


def ask_again(client: Client, model: str, image: bytes, seconds: float = SECONDS) -> Any:
    """Return a node's answer, however often it has to be asked while it starts."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return client.infer(model, image)
        except SkerryError:
            assert time.monotonic() < deadline, f"no answer of {model} in {seconds:.0f} s"
            time.sleep(0.05)
