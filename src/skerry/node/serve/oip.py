"""The Open Inference Protocol (V2) over REST: everything but the inference itself, which workers do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skerry.core import names
from skerry.core.fields import Fields, parse
from skerry.core.tensor import Spec
from skerry.core.version import VERSION
from skerry.node.models import Models
from skerry.node.serve.admin import Admin
from skerry.node.serve.cold import MAX_BODY, Request, Response, as_json
from skerry.node.serve.http.exchange import Exchange
from skerry.node.serve.inference import Target
from skerry.node.serve.local.memory import Memory
from skerry.node.serve.site import Parts, Route
from skerry.node.worker.order import Op


class OpenInference:
    """The endpoints of the protocol."""

    def __init__(self, models: Models, admin: Admin) -> None:
        self._models = models
        self._admin = admin

    def routes(self) -> list[Route]:
        """Return where they are."""
        found = [
            Route("GET", "/v2", self.server),
            Route("GET", "/v2/health/live", self.live),
            Route("GET", "/v2/health/ready", self.ready),
            Route("GET", "/v2/models/stats", self.statistics),
            Route("POST", "/v2/repository/index", self.index),
            Route("POST", "/v2/repository/models/{model}/load", self.load),
            Route("POST", "/v2/repository/models/{model}/unload", self.unload),
        ]
        found += Memory(self._admin.regions).routes()
        for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            found += [
                Route("GET", model, self.metadata),
                Route("GET", model + "/ready", self.model_ready),
                Route("GET", model + "/config", self.config),
                Route("GET", model + "/stats", self.statistics),
                Route("POST", model + "/infer", target=_target),
            ]
        return found

    def server(self, _: Request) -> Response:
        """Server metadata. Only extensions that are whole are listed."""
        return as_json({"name": "skerry", "version": VERSION, "extensions": self._admin.extensions})

    def live(self, _: Request) -> Response:
        """The process answers."""
        return as_json({"live": True})

    def ready(self, _: Request) -> Response:
        """Every model that should serve has passed its goldens."""
        troubles = self._models.troubles()
        if troubles:
            return as_json({"ready": False, "error": told(troubles)}, 503, b"retry-after: 1\r\n")
        return as_json({"ready": True})

    def metadata(self, request: Request) -> Response:
        """A model's versions, inputs and outputs."""
        live = self._models.live(request.parts["model"], _version(request.parts))
        versions = [str(one.manifest.version) for one in self._models.generations(live.manifest.name)]
        return as_json(
            {
                "name": live.manifest.name,
                "versions": versions,
                "platform": live.platform,
                "inputs": [_spec(spec) for spec in live.inputs],
                "outputs": [_spec(spec) for spec in live.outputs],
            }
        )

    def config(self, request: Request) -> Response:
        """A model's configuration, as Triton writes it."""
        return as_json(self._admin.config(request.parts["model"], _version(request.parts)))

    def statistics(self, request: Request) -> Response:
        """How often and how long, of one model or of all."""
        return as_json(self._admin.statistics(request.parts.get("model"), _version(request.parts)))

    async def index(self, request: Request) -> Response:
        """What the repository holds. Body: {"ready": true} for what serves alone."""
        asked = Fields(parse(request.body or b"{}", "request", MAX_BODY), "")
        return as_json(await self._admin.index(asked.flag("ready", default=False)))

    async def load(self, request: Request) -> Response:
        """Load a model, or load it again. A body is {"parameters": {}}: none are taken."""
        await self._admin.load(request.parts["model"], _parameters(request))
        return as_json({})

    async def unload(self, request: Request) -> Response:
        """Take a model out of service. Body: {"parameters": {"unload_dependents": true}}, or none."""
        await self._admin.unload(request.parts["model"], _parameters(request))
        return as_json({})

    def model_ready(self, request: Request) -> Response:
        """Whether one model serves; NotFound or NotReady if not."""
        name = request.parts["model"]
        self._models.live(name, _version(request.parts)).check()
        return as_json({"name": name, "ready": True})


def told(troubles: Mapping[str, str]) -> str:
    """Return what is missing as one line of text."""
    return "; ".join(f"{name}: {why}" if name else why for name, why in troubles.items())


def _parameters(request: Request) -> dict[str, Any]:
    """Return what a load or unload says beside the model's name."""
    asked = Fields(parse(request.body or b"{}", "request", MAX_BODY), "request")
    return Fields(asked.raw("parameters", {}), "parameters").rest()


def _target(_: Exchange, parts: Parts) -> Target:
    return Target(Op.INFER, parts["model"], _version(parts))


def _version(parts: Parts) -> int | None:
    asked = parts.get("version")
    return None if asked is None else names.version(asked)


def _spec(spec: Spec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.dtype.value, "shape": list(spec.shape)}
