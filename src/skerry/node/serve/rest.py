"""The node's HTTP site put together: its own calls, Open Inference, TensorFlow Serving, metrics."""

from __future__ import annotations

from functools import partial

from skerry.host.clock import Clock
from skerry.node.layers import Recorded
from skerry.node.metrics import Metrics
from skerry.node.metrics.people import people, text
from skerry.node.models import Models
from skerry.node.serve.admin import Admin
from skerry.node.serve.cold import Request, Response, as_json
from skerry.node.serve.docs.site import Docs
from skerry.node.serve.oip import OpenInference, told
from skerry.node.serve.predict import Predict
from skerry.node.serve.settings import Settings
from skerry.node.serve.site import Route, Site
from skerry.node.serve.tfs import TensorFlowServing
from skerry.node.tracing.traced import TracedInference, Tracing
from skerry.node.trials.calls import TrialCalls
from skerry.wire import routes


def rest(
    models: Models,
    metrics: Metrics,
    clock: Clock,
    node: str,
    admin: Admin,
    recorded: Recorded | None = None,
    tracing: Tracing | None = None,
) -> Site:
    """Return the site; `recorded` keeps the results of images, `tracing` tells of requests."""
    predict = Predict(models, node, recorded)

    def health(_: Request) -> Response:
        return as_json({"status": "alive"})

    def ready(_: Request) -> Response:
        troubles = models.troubles()
        if troubles:
            return as_json({"ready": False, "error": told(troubles)}, 503, b"retry-after: 1\r\n")
        return as_json({"ready": True, "models": models.names()})

    def page(_: Request) -> Response:
        return Response(metrics.page(), kind=metrics.content_type.encode())

    def serving_page(_: Request) -> Response:
        return Response(metrics.page("tfs"), kind=metrics.content_type.encode())

    def stats(request: Request) -> Response:
        found = people(metrics.readings(), {name: metrics.counts(name) for name in models.names()})
        wanted = request.exchange.header(b"accept")
        if request.query.get("as") == "text" or ("text/" in wanted and "application/json" not in wanted):
            return Response(text(found).encode(), kind=b"text/plain; charset=utf-8")
        trials = [trial.json() for trial in models.trials.all()]
        held = {one.manifest.name: one.arena.used for one in models.generations()}
        now = {"connections": len(site.connections), "held_bytes": held}
        return as_json({**found, **now, "caps": models.caps, "trials": trials})

    own = [
        Route("GET", routes.HEALTH.path, health),
        Route("GET", routes.READY.path, ready),
        Route("GET", routes.METRICS.path, page),
        Route("GET", "/monitoring/prometheus/metrics", serving_page),
        Route("GET", "/stats", stats),
        Route("POST", routes.PREDICT.path, target=predict.target),
    ]
    docs = Docs(models, metrics, node, lambda: admin.grpc)
    own += [*TrialCalls(models, admin).routes(), *Settings(models, admin).routes()]
    table = [*own, *docs.routes(), *OpenInference(models, admin).routes(), *TensorFlowServing(models).routes()]
    site = Site(table, models, clock, predict.finish)
    if tracing is not None:
        site.inference = partial(TracedInference, tracing=tracing)
    return site
