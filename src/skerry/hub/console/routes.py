"""The console's addresses: one table. `console_routes()` is what `hub.app.build` and `serve` take as `pages`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from skerry.hub.console import door, fleet, models, overview, results, rollouts, trail
from skerry.hub.console.frame import Console
from skerry.hub.console.live import Live
from skerry.hub.console.page import STATIC

GET: dict[str, Callable[..., Any]] = {
    "/": overview.overview,
    "/login": door.greet,
    "/nodes": fleet.nodes,
    "/nodes/{name}": fleet.node,
    "/models": models.models,
    "/models/{name}": models.model,
    "/rollouts": rollouts.rollouts,
    "/rollouts/{number}": rollouts.rollout,
    "/results": results.results,
    "/results/fresh": results.fresh,
    "/results/{number}": results.result,
    "/results/{number}/picture": results.picture,
    "/alarms": trail.alarms,
    "/alarms/banner": trail.banner,
    "/events": trail.events,
}
POST: dict[str, Callable[..., Any]] = {
    "/login": door.log_in,
    "/logout": door.log_out,
    "/rollouts": rollouts.start,
    "/rollouts/{number}/cancel": rollouts.cancel,
    "/alarms/seen": trail.seen,
}


def console_routes() -> list[BaseRoute]:
    """Return the console: every page, its live stream and its files, for one hub."""
    return [
        Console(
            [
                *(Route(path, handler, methods=["GET"]) for path, handler in GET.items()),
                *(Route(path, handler, methods=["POST"]) for path, handler in POST.items()),
                Route("/events/stream", Live().stream, methods=["GET"]),
                Mount("/static", StaticFiles(directory=STATIC)),
            ]
        )
    ]
