"""A node with a hub: agent, recorder, uplink and webhooks, each a loop of its own around the shared journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from skerry.core import names
from skerry.core.errors import Invalid, SkerryError
from skerry.core.version import VERSION
from skerry.engine.session import RUNNERS
from skerry.host import keys
from skerry.host.files import PRIVATE, Disk, lock, read
from skerry.host.machine import Machine
from skerry.link.http import Fetcher
from skerry.node.actions.webhook import Webhooks
from skerry.node.hub import Hub
from skerry.node.layers import recorded
from skerry.node.load import Loader
from skerry.node.loop import Loop
from skerry.node.metrics import Metrics
from skerry.node.models import Models
from skerry.node.record.journal import Journal
from skerry.node.record.recorder import Recorder
from skerry.node.record.uplink import Uplink
from skerry.node.settings import NodeSettings
from skerry.node.update.agent import Agent
from skerry.node.update.apply import Installer
from skerry.wire.checkin import Enrol

STOP_SECONDS = 2.0  # how long a loop that is talking to a slow hub is waited for
MAX_SECRET = 1024  # bytes of the file


class Obedient:
    """The loops of a node that obeys a hub."""

    def __init__(
        self, settings: NodeSettings, url: str, models: Models, metrics: Metrics, loader: Loader, disk: Disk
    ) -> None:
        if settings.hub is None or loader.trust is None or not loader.trust.keys:
            raise Invalid("trust: a node with a hub needs at least one publisher's public key; see --trust")
        self._url = url
        self._disk = disk
        self._state = settings.state
        self._machine = loader.machine
        name = node_name(settings, loader.machine)
        disk.folder(settings.state, 0o700)
        self._lock = lock(settings.state / "lock")
        enrol = Enrol(name, names.group_name(settings.group), settings.join_token, self._secret())
        fetcher = Fetcher()
        hub = Hub(fetcher, settings.hub, enrol)
        self._journal = Journal(settings.state / "journal.db", settings.journal_bytes)
        self._recorder = Recorder(self._journal, settings.rules, loader.clock, metrics, name)
        self.infer = recorded(models.infer, self._recorder)
        self.failure: SkerryError | None = None
        installer = Installer(settings.state, hub, loader.trust, loader, models, disk)
        uplink, webhooks = Uplink(self._journal, hub), Webhooks(self._journal, fetcher, loader.clock)
        self._uplink = Loop("uplink", uplink.tick, lambda: uplink.failing)
        self._webhooks = Loop("webhooks", webhooks.tick)
        agent = Agent(name, hub, installer, models, metrics, self._facts, self._uplink.wake)
        self._agent = Loop("agent", agent.tick)
        self._recorder.nudges += [self._uplink.nudge, self._webhooks.nudge]

    def start(self, ready: Callable[[list[str]], None], _: Callable[[], None]) -> None:
        """Begin every loop, and call `ready` at once: what this node will serve is the hub's to say."""
        self._recorder.start()
        for loop in (self._agent, self._uplink, self._webhooks):
            loop.start()
        ready([])

    def stop(self) -> None:
        """End every loop; what was handed over is on disk, what the hub has not taken stays there."""
        self._recorder.stop()
        for loop in (self._agent, self._uplink, self._webhooks):
            loop.stop(STOP_SECONDS)
        self._journal.close()
        self._lock.close()

    def _secret(self) -> str:
        """Return this node's own token, made once and kept before the hub ever hears of it."""
        path = self._state / "secret"
        data = read(path, MAX_SECRET)
        if data is None:
            data = keys.new_token().encode()
            self._disk.write(path, data, PRIVATE)
        return data.decode().strip()

    def _facts(self) -> tuple[int, str, Mapping[str, Any]]:
        facts = {
            "skerry": VERSION,
            "cpus": self._machine.cpus,
            "memory": self._machine.memory,
            "architecture": self._machine.architecture,
            "system": self._machine.system,
            "runtimes": sorted(RUNNERS),
            "disk_free": self._disk.free(self._state),
        }
        return self._journal.backlog(), self._url, facts


def node_name(settings: NodeSettings, machine: Machine) -> names.NodeName:
    """Return the node's name: the one set, or the machine's; Invalid if neither can be one."""
    return names.node_name(settings.name or machine.host.split(".")[0])
