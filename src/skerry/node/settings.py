"""The node's settings: one frozen class; `host.settings.load` fills it from TOML, environment and command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from skerry.core import names
from skerry.core.agreement import Terms
from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.core.names import shown
from skerry.core.rules import Rule
from skerry.host.caps import Caps
from skerry.host.machine import Machine
from skerry.host.process import split_address
from skerry.host.profiles import HOME
from skerry.node.repository import read_labels

DEFAULT_HTTP = "127.0.0.1:8441"
NAMED = "named"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class VersionLabels:
    """Labels of versions by model, as {"boards": {"stable": 3}}."""

    by_model: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @staticmethod
    def read(value: object) -> VersionLabels:
        """Return the labels in a table; raise Invalid naming what is wrong."""
        return VersionLabels(read_labels(value))


@dataclass(frozen=True)
class AskedTrials:
    """Trials that begin with the node, by model, as {"boards": {"version": 4, "mode": "canary", "share": 0.1}}."""

    by_model: Mapping[str, Terms] = field(default_factory=dict)

    @staticmethod
    def read(value: object) -> AskedTrials:
        """Return the terms in a table; raise Invalid naming what is wrong."""
        fields = Fields(value, "trials")
        return AskedTrials({names.model_name(name): fields.read(name, Terms.read) for name in fields.rest()})


@dataclass(frozen=True)
class NodeSettings:
    """What a node can be told. Without `hub` it stands alone and serves `paths`."""

    http: str = DEFAULT_HTTP  # HOST:PORT to serve on; loopback unless told otherwise
    grpc: str = ""  # HOST:PORT to serve gRPC on; not served if empty
    local: Path | None = None  # UNIX socket for HTTP too; beside it, with ".fd" after its name, one to pass memory over
    shared_memory: str = ""  # "named": clients may register POSIX shared memory by its name; any of them may use it
    shared_memory_users: tuple[int, ...] = ()  # numbers of users, beside the node's own, whose named memory is taken
    access_log: str = ""  # a line of JSON for each request: "-" to standard error, or a file; off if empty
    control: bool | None = None  # whether models may be loaded and unloaded by request; unset: from this machine alone
    threads: int = 0  # threads inside one run of a model; 0: chosen from the processors
    waiting: int = 64  # requests of one model that may wait; at 15 ms each the last waits about 1 s
    paths: tuple[Path, ...] = ()  # bundles, model files and repositories of a stand-alone node
    labels: VersionLabels = VersionLabels()  # second names of versions; before those of the models' own folders
    trials: AskedTrials = AskedTrials()  # candidates beside the versions that serve
    caps: Caps = field(
        default_factory=Caps
    )  # what the workers of models may take of the machine; "*": each that has none of its own
    traces: str = ""  # URL of a collector that takes OTLP over HTTP; none are made if empty
    trace_every: int = 0  # of the requests without a traceparent every so many are traced; 0: none
    trust: tuple[str, ...] = ()  # publishers' public keys, each its line of text or a file that holds it
    hub: str | None = None  # URL of the hub
    name: str = ""  # the node's name; the machine's if empty
    group: str = "default"  # the group that it enrols into
    join_token: str = field(default="", repr=False)  # needed once, to enrol
    state: Path = Path("skerry-node")  # folder of bundles, slots, journal and secret
    journal_bytes: int = 1 << 30  # bytes of results kept while the hub is away; days of one board a second
    profiles: Path = HOME  # folder of what `skerry tune` found out about models on this machine
    rules: tuple[Rule, ...] = ()  # what the node does by itself

    def __post_init__(self) -> None:
        """Refuse what could not work, naming the setting."""
        split_address(self.http)
        if self.grpc:
            split_address(self.grpc)
        if self.hub is not None and not self.hub.startswith(("http://", "https://")):
            raise Invalid(f"node.hub: expected http://HOST:PORT; got {shown(self.hub)}")
        for name, least in (("threads", 0), ("waiting", 1), ("trace_every", 0), ("journal_bytes", 1 << 20)):
            if getattr(self, name) < least:
                raise Invalid(f"node.{name}: expected {least} or more; got {getattr(self, name)}")
        if self.shared_memory not in ("", NAMED):
            raise Invalid(f"node.shared_memory: expected 'named', or nothing; got {shown(self.shared_memory)}")
        if self.hub is not None and self.trials.by_model:
            raise Invalid("node.trials: expected none on a node with a hub, which decides what its nodes serve")
        if self.traces and not self.traces.startswith(("http://", "https://")):
            raise Invalid(f"node.traces: expected http://HOST:PORT; got {shown(self.traces)}")
        if len({rule.name for rule in self.rules}) != len(self.rules):
            raise Invalid("node.rules: expected each name once")

    @property
    def shares(self) -> bool:
        """Whether there is a way for clients to share memory with this node."""
        return self.local is not None or self.shared_memory == NAMED

    @property
    def controlled(self) -> bool:
        """Whether models may be loaded and unloaded by request: where unset, only if nobody else can reach the node."""
        if self.control is not None:
            return self.control
        return all(split_address(one)[0] in LOOPBACK for one in (self.http, self.grpc) if one)


def node_name(settings: NodeSettings, machine: Machine) -> names.NodeName:
    """Return the node's name: the one set, or the machine's; Invalid if neither can be one."""
    return names.node_name(settings.name or machine.host.split(".")[0])
