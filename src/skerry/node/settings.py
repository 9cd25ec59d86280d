"""The node's settings: one frozen class; `host.settings.load` fills it from TOML, environment and command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from skerry.core.errors import Invalid
from skerry.core.names import shown
from skerry.core.rules import Rule
from skerry.host.process import split_address

DEFAULT_HTTP = "127.0.0.1:8441"


@dataclass(frozen=True)
class NodeSettings:
    """What a node can be told. Without `hub` it stands alone and serves `paths`."""

    http: str = DEFAULT_HTTP  # HOST:PORT to serve on; loopback unless told otherwise
    threads: int = 0  # threads inside one run of a model; 0: chosen from the processors
    waiting: int = 64  # requests of one model that may wait; at 15 ms each the last waits about 1 s
    paths: tuple[Path, ...] = ()  # bundles, model files and repositories of a stand-alone node
    trust: tuple[str, ...] = ()  # publishers' public keys, each its line of text or a file that holds it
    hub: str | None = None  # URL of the hub
    name: str = ""  # the node's name; the machine's if empty
    group: str = "default"  # the group that it enrols into
    join_token: str = field(default="", repr=False)  # needed once, to enrol
    state: Path = Path("skerry-node")  # folder of bundles, slots, journal and secret
    journal_bytes: int = 1 << 30  # bytes of results kept while the hub is away; days of one board a second
    rules: tuple[Rule, ...] = ()  # what the node does by itself

    def __post_init__(self) -> None:
        """Refuse what could not work, naming the setting."""
        split_address(self.http)
        if self.hub is not None and not self.hub.startswith(("http://", "https://")):
            raise Invalid(f"node.hub: expected http://HOST:PORT; got {shown(self.hub)}")
        for name, least in (("threads", 0), ("waiting", 1), ("journal_bytes", 1 << 20)):
            if getattr(self, name) < least:
                raise Invalid(f"node.{name}: expected {least} or more; got {getattr(self, name)}")
        if len({rule.name for rule in self.rules}) != len(self.rules):
            raise Invalid("node.rules: expected each name once")
