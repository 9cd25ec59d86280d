"""What the protocols can ask beside inference: configuration, statistics, the repository. One answer for all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from skerry.core.errors import Invalid, NotAllowed, NotFound
from skerry.core.names import MAX_NAME, shown
from skerry.node.generation import State
from skerry.node.metrics import Metrics
from skerry.node.metrics.oip import statistics
from skerry.node.models import Models
from skerry.node.repository import Listing, Source
from skerry.node.serve.local.regions import Regions
from skerry.node.serve.logs import Logs
from skerry.node.trace import Traces
from skerry.wire.config import config_json

EXTENSIONS = (
    "binary_tensor_data", "classification", "model_configuration", "statistics", "schedule_policy", "sequence",
    "logging",
)  # fmt: skip
CONTROL = "model_repository"
SHARED = "system_shared_memory"
STATES = {
    State.SERVING: "READY",
    State.REVIVING: "LOADING",
    State.QUARANTINED: "UNAVAILABLE",
    State.RETIRED: "UNLOADING",
}

Parameters = Mapping[str, object]


class Repository(Protocol):
    """Where models come from, if somebody may ask for them."""

    def load(self, name: str) -> None:
        """Load a model, or load it again; blocks."""
        ...

    def unload(self, name: str) -> None:
        """Take a model out of service."""
        ...

    def reload(self, sources: Sequence[Source]) -> None:
        """Serve these models and no others; blocks."""
        ...

    def index(self) -> Listing:
        """Return all that is there; blocks."""
        ...


class Admin:
    """The answers. `repository` is None where only the node itself decides what it serves."""

    def __init__(
        self, models: Models, metrics: Metrics, repository: Repository | None, regions: Regions | None = None
    ) -> None:
        self._models = models
        self._metrics = metrics
        self._repository = repository
        self.regions = regions or Regions(named=False)
        self.grpc = ""  # HOST:PORT of the gRPC server, once it serves
        self.logs = Logs()
        self.traces: Traces | None = None  # None: there is no collector to tell

    @property
    def extensions(self) -> list[str]:
        """The protocol's extensions that are whole here."""
        more = {
            CONTROL: self._repository is not None,
            SHARED: self.regions.named,
            "trace": self.traces is not None,
        }
        return [*EXTENSIONS, *[name for name, here in more.items() if here]]

    def config(self, name: str, version: int | None) -> dict[str, Any]:
        """Return a model's configuration, as Triton writes it."""
        live = self._models.live(name, version)
        runtime = live.manifest.runtime
        return config_json(name, live.options, live.inputs, live.outputs, runtime.name, runtime.file)

    def statistics(self, name: str | None, version: int | None) -> dict[str, Any]:
        """Return the statistics of one model, or of all."""
        if name is not None:
            self._models.live(name, version)
        return statistics(self._metrics.readings(name, version))

    async def index(self, ready: bool) -> list[dict[str, str]]:
        """Return every version that serves or might: name, version, state and reason."""
        rows: dict[tuple[str, int], tuple[str, str]] = {}
        for one in self._models.generations():
            state = STATES[one.state]
            rows[one.manifest.name, one.manifest.version] = (state, one.trouble if state != "READY" else "")
        for place, why in self._models.fallen().items():
            rows.setdefault(place, ("UNAVAILABLE", why))
        if self._repository is not None and not ready:
            listing = await asyncio.get_running_loop().run_in_executor(None, self._repository.index)
            for found in listing.found:
                rows.setdefault(
                    (found.name, found.version), ("UNAVAILABLE", self._models.reason(found.name) or "unloaded")
                )
            for refusal in listing.refusals:
                rows.setdefault((refusal.name, refusal.version or 0), ("UNAVAILABLE", str(refusal.error)))
        return [
            {"name": name, "version": str(version or ""), "state": state, "reason": reason}
            for (name, version), (state, reason) in sorted(rows.items())
            if state == "READY" or not ready
        ]

    async def load(self, name: str, parameters: Parameters) -> None:
        """Load a model, or load it again; there are no parameters that a node takes."""
        repository = self._allowed()
        for key in parameters:
            if key == "config" or key.startswith("file:"):
                raise Invalid(
                    f"{_parameter(key)}: a node reads config.pbtxt and models from its disk, not from requests"
                )
            raise Invalid(f"{_parameter(key)}: unknown parameter of load; expected none")
        await asyncio.get_running_loop().run_in_executor(None, repository.load, name)

    async def unload(self, name: str, parameters: Parameters) -> None:
        """Take a model out of service. No model depends on another here, so that unload_dependents changes nothing."""
        repository = self._allowed()
        for key, value in parameters.items():
            if key != "unload_dependents":
                raise Invalid(f"{_parameter(key)}: unknown parameter of unload; expected unload_dependents")
            if not isinstance(value, bool):
                raise Invalid(f"{_parameter(key)}: expected true or false; got {shown(value)}")
        if name not in self._models.names():
            raise NotFound(f"unknown model: {name}")
        await asyncio.get_running_loop().run_in_executor(None, repository.unload, name)

    def check_controlled(self) -> None:
        """Raise NotAllowed where what serves is not for requests to change."""
        self._allowed()

    async def reload(self, sources: Sequence[Source]) -> None:
        """Serve these models and no others."""
        repository = self._allowed()
        await asyncio.get_running_loop().run_in_executor(None, repository.reload, sources)

    def _allowed(self) -> Repository:
        if self._repository is None:
            raise NotAllowed("this node is not changed by requests; see 'control' in its settings")
        return self._repository


def _parameter(key: str) -> str:
    return f"parameters.{key[:MAX_NAME]}"
