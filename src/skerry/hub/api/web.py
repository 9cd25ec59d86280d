"""The hub's web application: the route table of `wire.routes` joined to its handlers; the console's pages follow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from skerry.hub.api import models, nodes, results, rollouts
from skerry.hub.api.auth import rooms
from skerry.hub.api.errors import HANDLERS
from skerry.hub.rooms import Rooms
from skerry.wire import routes

Web = Starlette
Page = BaseRoute


def health(request: Request) -> JSONResponse:
    """Return {"status": "ok"} if the database answers."""
    rooms(request).events.notice()
    return JSONResponse({"status": "ok"})


API: dict[routes.Route, Callable[..., Any]] = {
    routes.ENROL: nodes.enrol,
    routes.CHECK_IN: nodes.check_in,
    routes.UPLOAD: results.upload,
    routes.MANIFEST: models.manifest,
    routes.SIGNATURE: models.signature,
    routes.BLOB: models.blob,
    routes.PUT_BLOB: models.put_blob,
    routes.PUBLISH: models.publish,
    routes.MODELS: models.listed,
    routes.MODEL: models.model,
    routes.NODES: nodes.listed,
    routes.ROLL_OUT: rollouts.start,
    routes.ROLLOUTS: rollouts.listed,
    routes.ROLLOUT: rollouts.detail,
    routes.CANCEL: rollouts.cancel,
    routes.RESULTS: results.listed,
    routes.ALARMS: results.alarms,
    routes.EVENTS: results.events,
    routes.JOIN_TOKEN: nodes.join_token,
    routes.HEALTH: health,
}


def web(at: Rooms, pages: Sequence[Page] = ()) -> Web:
    """Return the application over these rooms."""
    table = [Route(route.path, handler, methods=[route.method]) for route, handler in API.items()]
    app = Starlette(routes=[*table, *pages], exception_handlers=HANDLERS)
    app.state.rooms = at
    app.state.uploads = asyncio.Semaphore(results.UPLOADS)
    app.state.uploading = set()  # nodes that are sending a batch now
    return app
