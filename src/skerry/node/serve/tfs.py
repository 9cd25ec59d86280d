"""TensorFlow Serving's REST API: paths, status and metadata, with its rules and its error texts."""

from __future__ import annotations

from skerry.core.errors import Invalid, NotFound, NotReady
from skerry.node.generation import State
from skerry.node.models import Models
from skerry.node.serve.cold import Request, Response, as_json
from skerry.node.serve.http1 import Exchange
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
        """`/v1/models/M[/versions/N|/labels/L]`: the state of versions; with `/metadata`, the signature."""
        if request.method == "OPTIONS":
            return _preflight(request.exchange.header(b"origin"))
        asked = tfs.route(request.method, request.exchange.path.decode("latin-1"))
        if asked.verb == "metadata":
            self._check(asked)
            live = self._models.live(asked.model, asked.version, asked.label)
            signatures = tfs.plain_signature(live.inputs, live.outputs)
            return as_json(tfs.metadata(asked.model, live.manifest.version, signatures))
        return as_json(tfs.status(self._status(asked)))

    def _status(self, asked: tfs.Target) -> list[Row]:
        name, version = asked.model, asked.version
        try:
            live = self._models.live(name, version, asked.label)
        except NotReady as error:
            failed = bool(self._models.reason(name))
            state = ("END", "INTERNAL") if failed else ("LOADING", "UNAVAILABLE")
            return [(version or 1, *state, str(error))]
        except NotFound:
            if asked.label is not None:
                raise NotFound(f"Unrecognized servable version label: {asked.label}") from None
            which = f"version {version}" if version is not None else "any versions"
            raise NotFound(f"Could not find {which} of model {name}") from None
        if asked.label is not None:
            version = live.manifest.version
        found = [one for one in reversed(self._models.generations(name)) if version in (None, one.manifest.version)]
        return [(one.manifest.version, *STATES[one.state], one.trouble) for one in found]

    def _check(self, asked: tfs.Target) -> None:
        try:
            self._models.live(asked.model, asked.version, asked.label)
        except NotFound:
            if asked.label is not None:
                raise NotFound(f"Unrecognized servable version label: {asked.label}") from None
            latest = asked.version is None
            which = f"Latest({asked.model})" if latest else f"Specific({asked.model}, {asked.version})"
            raise NotFound(f"Servable not found for request: {which}") from None
