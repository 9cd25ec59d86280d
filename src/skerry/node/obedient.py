"""A node with a hub: agent, recorder, uplink and webhooks, each a loop of its own around the shared journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from skerry.core import names
from skerry.core.errors import Invalid, SkerryError
from skerry.core.version import VERSION
from skerry.engine.known import runtimes
from skerry.host import keys
from skerry.host.files import PRIVATE, Disk, lock, read
from skerry.link.http import Fetcher
from skerry.node.actions.webhook import Webhooks
from skerry.node.app import Shared
from skerry.node.hub import Hub
from skerry.node.layers import Recorded
from skerry.node.loop import Loop
from skerry.node.record.journal import Journal
from skerry.node.record.recorder import Recorder
from skerry.node.record.uplink import Uplink
from skerry.node.serve.admin import Repository
from skerry.node.settings import node_name
from skerry.node.update.agent import Agent
from skerry.node.update.apply import Installer
from skerry.wire.checkin import Enrol

STOP_SECONDS = 2.0  # how long a loop that is talking to a slow hub is waited for
MAX_SECRET = 1024  # bytes of the file


def obedient(shared: Shared, disk: Disk | None = None) -> Obedient:
    """Return the life of a node that obeys the hub of its settings."""
    return Obedient(shared, disk or Disk())


class Obedient:
    """The loops of a node that obeys a hub."""

    def __init__(self, shared: Shared, disk: Disk) -> None:
        settings, models, metrics = shared.settings, shared.models, shared.metrics
        loader, clock = shared.loader, shared.clock
        if settings.hub is None or loader.trust is None or not loader.trust.keys:
            raise Invalid("trust: a node with a hub needs at least one publisher's public key; see --trust")
        self._url = shared.url
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
        self._recorder = Recorder(self._journal, settings.rules, clock, metrics, name)
        self.recorded: Recorded | None = Recorded(self._recorder)
        self.repository: Repository | None = None  # the hub decides
        self.failure: SkerryError | None = None
        installer = Installer(settings.state, hub, loader.trust, loader, models, disk)
        uplink, webhooks = Uplink(self._journal, hub), Webhooks(self._journal, fetcher, clock)
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
            "runtimes": runtimes(),
            "disk_free": self._disk.free(self._state),
        }
        return self._journal.backlog(), self._url, facts
