"""The node's REST routes on one port. What each does lives in the file of its protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from skerry.node.layers import Infer
from skerry.node.metrics import Metrics
from skerry.node.models import Models
from skerry.node.serve.errors import HANDLERS
from skerry.node.serve.oip import OpenInference, told
from skerry.node.serve.predict import Predict
from skerry.node.serve.tfs import TensorFlowServing
from skerry.wire import routes


def rest(models: Models, infer: Infer, metrics: Metrics, node: str, started: Callable[[], None]) -> Starlette:
    """Return the application; `started` is called once it takes requests."""
    oip, tfs, predict = OpenInference(models, infer), TensorFlowServing(models, infer), Predict(models, infer, node)

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(_: Request) -> Response:
        troubles = models.troubles()
        if troubles:
            return JSONResponse({"ready": False, "error": told(troubles)}, 503, {"Retry-After": "1"})
        return JSONResponse({"ready": True, "models": models.names()})

    async def page(_: Request) -> Response:
        return Response(metrics.page(), media_type=metrics.content_type)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        started()
        yield

    model = "/v2/models/{model}"
    version = model + "/versions/{version}"
    return Starlette(
        routes=[
            Route(routes.HEALTH.path, health),
            Route(routes.READY.path, ready),
            Route(routes.METRICS.path, page),
            Route(routes.PREDICT.path, predict.post, methods=["POST"]),
            Route("/v1/models/{rest:path}", tfs.post, methods=["POST"]),
            Route("/v1/models/{rest:path}", tfs.get),
            Route("/v1/models", tfs.get),
            Route("/v2", oip.server),
            Route("/v2/health/live", oip.live),
            Route("/v2/health/ready", oip.ready),
            *[Route(path, oip.metadata) for path in (model, version)],
            *[Route(path + "/ready", oip.model_ready) for path in (model, version)],
            *[Route(path + "/infer", oip.infer, methods=["POST"]) for path in (model, version)],
        ],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )
