"""Where the documents and pages are, and what they are made from: what serves at this moment."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from skerry.core import names
from skerry.node.generation import Generation
from skerry.node.metrics import Metrics
from skerry.node.metrics.people import people
from skerry.node.models import Models
from skerry.node.serve.cold import Request, Response, as_json
from skerry.node.serve.docs import page
from skerry.node.serve.docs.lines import lines
from skerry.node.serve.docs.look import HEADERS
from skerry.node.serve.docs.oip import oip
from skerry.node.serve.docs.own import own
from skerry.node.serve.docs.parts import Json
from skerry.node.serve.docs.tfs import tfs
from skerry.node.serve.http.exchange import Exchange
from skerry.node.serve.site import Route

HTML = b"text/html; charset=utf-8"
DOCUMENTS: dict[str, Callable[[Sequence[Generation]], Json]] = {"oip": oip, "tfs": tfs, "node": own}
_HOST = re.compile(r"[A-Za-z0-9.\-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")


class Docs:
    """The endpoints."""

    def __init__(self, models: Models, metrics: Metrics, node: str, grpc: Callable[[], str]) -> None:
        """`grpc` returns HOST:PORT of the node's gRPC server, "" if it has none."""
        self._models = models
        self._metrics = metrics
        self._node = node
        self._grpc = grpc

    def routes(self) -> list[Route]:
        """Return where they are."""
        found = [Route("GET", path, self.index) for path in ("/", "/docs")]
        found.append(Route("GET", "/docs/{model}", self.model))
        return found + [Route("GET", f"/openapi/{name}.json", self._document(name)) for name in DOCUMENTS]

    def index(self, _: Request) -> Response:
        """The page of all models."""
        generations = self._models.generations()
        found = page.index(self._node, generations, self._stats(), self._models.troubles() if generations else {})
        return Response(found.encode(), kind=HTML, extra=HEADERS)

    def model(self, request: Request) -> Response:
        """The page of one model."""
        asked = request.query.get("version")
        live = self._models.live(request.parts["model"], None if asked is None else names.version(asked))
        name, version = live.manifest.name, live.manifest.version
        versions = [one.manifest.version for one in self._models.generations(name)]
        host = _host(request.exchange)
        shown = lines(live, f"http://{host}", _beside(self._grpc(), host))
        found = page.model(live, versions, self._stats().get((name, str(version)), {}), shown)
        return Response(found.encode(), kind=HTML, extra=HEADERS)

    def _document(self, name: str) -> Callable[[Request], Response]:
        make = DOCUMENTS[name]

        def answer(_: Request) -> Response:
            return as_json(make(self._models.generations()))

        return answer

    def _stats(self) -> dict[tuple[str, str], dict[str, Any]]:
        found = people(self._metrics.readings(), {})
        return {(one["model"], one["version"]): one for one in found["models"]}


def _host(exchange: Exchange) -> str:
    """Return the node's HOST:PORT as this client reached it; a Host header that is none is not repeated."""
    told = exchange.header(b"host")
    return told if _HOST.fullmatch(told) else "127.0.0.1"


def _beside(grpc: str, host: str) -> str:
    """Return the gRPC server's HOST:PORT as this client reaches it: its port, at the host that HTTP was reached at."""
    if not grpc:
        return ""
    return f"{re.sub(r':[0-9]+$', '', host)}:{grpc.rpartition(':')[2]}"
