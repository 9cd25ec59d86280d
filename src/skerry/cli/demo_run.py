"""What `skerry up` does, step by step: hub, node, bundle, rollout, boards, alarm, and the proof that all arrived.

Each step either comes to its end or raises a SkerryError that says what was waited for.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

from skerry.cli.operator import Operator
from skerry.cli.receiver import Receiver
from skerry.core.errors import Conflict, PeerError, SkerryError
from skerry.core.names import ModelName, NodeName
from skerry.core.rules import Memory, Rule, feed
from skerry.device.client import Client
from skerry.engine.bundle import Bundle, open_bundle, sign
from skerry.host.ed25519 import PrivateKey
from skerry.host.files import PRIVATE, Disk, read
from skerry.host.keys import public_line
from skerry.host.process import Child, listen, split_address
from skerry.host.settings import environment
from skerry.link.http import Fetcher, bearer
from skerry.wire.answer import Answer
from skerry.wire.registry import RollOut
from skerry.wire.routes import ALARMS, NODES, RESULTS, ROLLOUT, Route

DEMO = Path(str(files("skerry.cli") / "demo"))  # the PCB bundle and the sample boards that come with Skerry
NODE = NodeName("line-1")
RULE = Rule("two of three boards defective", ModelName("pcb"), count=2, window=3)
READY_SECONDS = 60.0  # for a child to start; 2 s here, a small ARM board under load takes 20
STEP_SECONDS = 60.0  # for each thing that is waited for
POLL_SECONDS = 0.1
CHECK_IN_SECONDS = "0.5"  # of the demo's one node; a hub's default of 10 s would only be waited for
PAGE = 200  # results asked for at once
MAX_PAGE = 16 << 20  # bytes of a console page


@dataclass
class Demo:
    """A running demo. `say(event, text, facts)` is told of every step."""

    state: Path
    say: Callable[..., None]
    disk: Disk = field(default_factory=Disk)
    children: list[Child] = field(default_factory=list)
    receiver: Receiver = field(default_factory=Receiver)
    hub_url: str = ""
    node_url: str = ""
    token: str = ""

    @property
    def console(self) -> str:
        """The console's address, with the token that logs in."""
        return f"{self.hub_url}/?token={self.token}"

    @property
    def operator(self) -> Operator:
        """The hub, called as its admin."""
        return Operator(self.hub_url, self.token)

    def start_hub(self, http: str) -> None:
        """Step 1: a hub in a process of its own."""
        _check_free(http, "--hub-http")
        self.disk.folder(self.state, 0o700)
        often = {"SKERRY_HUB_CHECK_IN": CHECK_IN_SECONDS}
        started = self._child("hub", ["hub", "--http", http, "--state", str(self.state / "hub")], often)
        self.hub_url = started["http"]
        kept = self.state / "admin.token"
        if "admin_token" in started:
            self.disk.write(kept, started["admin_token"].encode(), PRIVATE)
        found = read(kept, 1024)
        if found is None:
            raise Conflict(f"{self.state}: the hub's admin token is not in {kept}; remove the folder to begin anew")
        self.token = found.decode().strip()
        self.say("hub", f"hub at {self.hub_url}", http=self.hub_url)

    def start_node(self, http: str) -> None:
        """Step 2: a node in a process of its own, that trusts the publisher's key and has one rule."""
        _check_free(http, "--node-http")
        rule = {
            "name": RULE.name,
            "model": RULE.model,
            "count": RULE.count,
            "window": RULE.window,
            "webhook": self.receiver.url,
        }
        settings: dict[str, Any] = {
            "http": http,
            "hub": self.hub_url,
            "name": NODE,
            "state": str(self.state / "node"),
            "trust": [public_line(self._publisher().public, "demo").strip()],
        }
        lines = ["[node]", *(f"{k} = {json.dumps(v)}" for k, v in settings.items())]
        lines += ["[[node.rules]]", *(f"{k} = {json.dumps(v)}" for k, v in rule.items())]
        config = self.state / "node.toml"
        self.disk.write(config, ("\n".join(lines) + "\n").encode())
        join = {"SKERRY_NODE_JOIN_TOKEN": self.operator.join_token(uses=1)}
        self.node_url = self._child("node", ["node", "--config", str(config)], join)["http"]
        self._until(f"node {NODE} to enrol", self._enrolled)
        self.say("node", f"node {NODE} at {self.node_url}, enrolled", http=self.node_url)

    def publish(self) -> Bundle:
        """Step 3: the bundle, signed here with the publisher's key, onto the hub."""
        folder = self.state / "bundle"
        rmtree(folder, ignore_errors=True)
        copytree(DEMO / "pcb", folder)
        bundle = open_bundle(folder)
        sign(bundle, self._publisher(), self.disk)
        try:
            self.operator.publish(folder)
        except Conflict as error:
            raise Conflict(
                f"{self.state} was made by another version of Skerry; remove it and begin anew. ({error})"
            ) from None
        manifest = bundle.manifest
        text = f"bundle {manifest.name} version {manifest.version} signed and published, {manifest.size / 1e6:.2f} MB"
        self.say("published", text, digest=manifest.digest)
        return bundle

    def roll_out(self, bundle: Bundle) -> None:
        """Step 4: the node pulls it, verifies it, runs its goldens, and only then serves it."""
        manifest = bundle.manifest
        started = time.monotonic()
        rollout = self.operator.roll_out(RollOut(manifest.name, manifest.version, node=NODE))
        found = self._until("the rollout to end", lambda: self._ended(rollout["id"]))
        if found["state"] != "done":
            reasons = "; ".join(node["reason"] for node in found["nodes"])
            raise PeerError(f"the rollout ended as {found['state']}: {reasons}")
        spent = time.monotonic() - started
        self.say("rollout", f"rollout {found['id']} done in {spent:.1f} s: signature, digests and "
                 f"{len(manifest.goldens)} goldens passed on {NODE}", rollout=found["id"])  # fmt: skip

    def send(self, boards: list[Path], pause: float) -> Iterator[tuple[Path, Answer]]:
        """Step 5: boards through the device SDK; yields each answer."""
        client = Client(self.node_url)
        for board in boards:
            yield board, client.infer("pcb", board)
            time.sleep(pause)

    def alarms(self, answers: list[Answer]) -> list[dict[str, Any]]:
        """Step 6: the node's rule has called the webhook, as often as these answers must make it."""
        memory, due = Memory(), 0
        for answer in answers:
            memory, fired = feed(RULE, memory, answer.findings)
            due += fired
        found = [self._until(f"the alarm '{RULE.name}' at the webhook", self._webhook) for _ in range(due)]
        for alarm in found:
            self.say("alarm", f"ALARM at the webhook: {alarm['text']} ({alarm['source']})", alarm=alarm)
        if not due:
            self.say("quiet", f"no alarm was due: never {RULE.count} defective boards of {RULE.window} in a row")
        return found

    def delivered(self, answers: list[Answer], alarms: list[dict[str, Any]]) -> None:
        """Step 7: the hub has every result exactly once, and the alarms; the console shows them."""
        sent = {answer.result for answer in answers}
        if len(sent) != len(answers) or "" in sent:
            raise PeerError("the node's journal did not take every result; see its log")
        self._until(f"all {len(sent)} results on the hub", lambda: sent <= set(self._results()))
        twice = [place for place in sent if self._results().count(place) != 1]
        if twice:
            raise PeerError(f"results that are on the hub more than once: {twice}")
        due = {tuple(alarm["id"].split("/")[1:3]) for alarm in alarms}
        self._until("the alarms on the hub", lambda: due <= self._alarms())
        page = Fetcher().request(
            "GET", self.hub_url + "/results", headers=bearer(self.token), limit=MAX_PAGE, seconds=10.0
        )
        if page.status != 200 or NODE.encode() not in page.body:
            raise PeerError(f"the console's page of results answered {page.status}")
        count = f"all {len(sent)} results and {len(due)} alarm{'s' if len(due) != 1 else ''}"
        self.say("delivered", f"{count} are on the hub, each once", results=len(sent), alarms=len(due))

    def watch(self) -> None:
        """Raise PeerError, with the end of its log, if a child has ended by itself."""
        for child in self.children:
            if not child.running:
                raise PeerError(f"the {child.name} has ended by itself. Its log ends:\n{child.tail()}")

    def stop(self) -> None:
        """End the children, node first, so that it can still deliver."""
        for child in reversed(self.children):
            child.stop()
        self.receiver.close()

    def _child(self, name: str, argv: list[str], extra: dict[str, str]) -> dict[str, Any]:
        plain = {k: v for k, v in environment().items() if not k.startswith(("SKERRY_NODE_", "SKERRY_HUB_"))}
        environ = {**plain, **extra}
        log = self.state / f"{name}.log"
        child = Child(name, [sys.executable, "-m", "skerry", *argv, "--json", "--log-level", "info"], log, environ)
        self.children.append(child)
        return child.ready(READY_SECONDS)

    def _publisher(self) -> PrivateKey:
        path = self.state / "publisher.key"
        if not path.exists():
            PrivateKey.make().save(path, self.disk)
        return PrivateKey.load(path)

    def _until(self, what: str, look: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + STEP_SECONDS
        while not (found := look()):
            self.watch()
            if time.monotonic() > deadline:
                logs = ", ".join(str(self.state / f"{child.name}.log") for child in self.children)
                raise PeerError(f"waited {STEP_SECONDS:.0f} s for {what}; the logs are {logs}")
            time.sleep(POLL_SECONDS)
        return found

    def _enrolled(self) -> bool:
        return any(node["name"] == NODE and node["online"] for node in self.operator.ask(NODES)["nodes"])

    def _ended(self, rollout: int) -> dict[str, Any] | None:
        found = self.operator.ask(ROLLOUT, rollout=rollout)
        return None if found["state"] in ("waiting", "running") else found

    def _webhook(self) -> dict[str, Any] | None:
        return None if self.receiver.alarms.empty() else self.receiver.alarms.get_nowait()

    def _results(self) -> list[str]:
        return [f"{row['epoch']}/{row['seq']}" for row in self._listed(RESULTS, "results")]

    def _listed(self, route: Route, key: str) -> Iterator[dict[str, Any]]:
        after = 0
        while rows := self.operator.ask(route, query=f"?node={NODE}&limit={PAGE}&after={after}")[key]:
            yield from rows
            after = rows[-1]["id"]

    def _alarms(self) -> set[tuple[str, ...]]:
        return {(row["epoch"], str(row["seq"])) for row in self._listed(ALARMS, "alarms")}


def boards(folder: Path) -> list[Path]:
    """Return the images of a folder by name; raise a SkerryError if there is none."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not found:
        raise SkerryError(f"{folder}: no PNG or JPEG in it")
    return found


def _check_free(http: str, option: str) -> None:
    try:
        listen(*split_address(http)).close()
    except Conflict as error:
        raise Conflict(f"{error} with {option}") from None
