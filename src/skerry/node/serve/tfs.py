"""TensorFlow Serving's REST API: paths, status and metadata, with its rules and its error texts."""

from __future__ import annotations

from skerry.core.errors import Invalid, NotFound, NotReady
from skerry.node.generation import State
from skerry.node.models import Models
from skerry.node.serve.cold import Request, Response, as_json
from skerry.node.serve.http.exchange import Exchange
from skerry.node.serve.inference import Target
from skerry.node.serve.site import Parts, Route
from skerry.node.worker.order import Op
from skerry.wire import tfs_models as tfs

OPS = {"predict": Op.TFS_PREDICT, "classify": Op.TFS_CLASSIFY, "regress": Op.TFS_REGRESS}
STATES = {
    State.SERVING: ("AVAILABLE", "OK"),
    State.REVIVING: ("LOADING", "OK"),
    State.QUARANTINED: ("END", "INTERNAL"),
    State.RETIRED: ("UNLOADING", "OK"),
}
Row = tuple[int, str, str, str]


def _preflight(origin: str) -> Response:
    if not origin.startswith(("http://", "https://")):
        raise Invalid("Origin header is missing in CORS preflight")
    return Response(b"")


def statuses(models: Models, name: str, version: int | None, label: str | None) -> list[Row]:
    """Return version, state, error code and text of a model's versions, or of one; raise NotFound, Invalid."""
    fallen = [(n, "END", "INTERNAL", why) for (model, n), why in models.fallen().items() if model == name]
    try:
        live = models.live(name, version, label)
    except NotReady as error:
        state = ("END", "INTERNAL") if models.reason(name) else ("LOADING", "UNAVAILABLE")
        return [(version or 1, *state, str(error))]
    except NotFound:
        if found := [row for row in fallen if row[0] == version]:
            return found
        which = f"version {version}" if version is not None else "any versions"
        raise NotFound(f"Could not find {which} of model {name}") from None
    wanted = version if label is None else live.manifest.version
    rows = [
        (one.manifest.version, *STATES[one.state], one.trouble if one.state is not State.SERVING else "")
        for one in models.generations(name)
    ]
    return sorted((row for row in (*rows, *fallen) if wanted in (None, row[0])), reverse=True)


class TensorFlowServing:
    """The endpoints of the API."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def routes(self) -> list[Route]:
        """Return where they are: whatever is below /v1 is theirs."""
        return [
            Route("POST", "/v1/{rest...}", target=self.target),
            Route("*", "/v1/{rest...}", self.get),
            Route("POST", "/V1/{rest...}", target=self.target),
            Route("*", "/V1/{rest...}", self.get),
        ]

    def target(self, exchange: Exchange, _: Parts) -> Target:
        """`/v1/models/M[/versions/N|/labels/L]:predict`, `:classify`, `:regress`."""
        asked = tfs.route("POST", exchange.path.decode("latin-1"))
        self._check(asked)
        return Target(OPS[asked.verb], asked.model, asked.version, asked.label)

    def get(self, request: Request) -> Response:
        """`/v1/models/M[/versions/N|/labels/L]`: the state of versions; with `/metadata`, the signature.

        `/v1/models`: the models in service.
        """
        if request.method == "OPTIONS":
            return _preflight(request.exchange.header(b"origin"))
        asked = tfs.route(request.method, request.exchange.path.decode("latin-1"))
        if asked.verb == "list":
            return as_json({"models": self._models.names()})
        if asked.verb == "metadata":
            self._check(asked)
            live = self._models.live(asked.model, asked.version, asked.label)
            signatures = tfs.plain_signature(live.inputs, live.outputs)
            return as_json(tfs.metadata(asked.model, live.manifest.version, signatures))
        return as_json(tfs.status(statuses(self._models, asked.model, asked.version, asked.label)))

    def _check(self, asked: tfs.Target) -> None:
        try:
            self._models.live(asked.model, asked.version, asked.label)
        except NotFound:
            latest = asked.version is None
            which = f"Latest({asked.model})" if latest else f"Specific({asked.model}, {asked.version})"
            raise NotFound(f"Servable not found for request: {which}") from None
