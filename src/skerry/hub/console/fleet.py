"""The pages about nodes."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from skerry.core.names import NodeName
from skerry.hub.console.page import enter, show
from skerry.hub.store.results import Which
from skerry.hub.store.store import Page
from skerry.wire.checkin import REFUSED, SERVING

NEWEST = 6  # results on a node's page
BYTES = frozenset({"memory", "disk_free", "disk"})  # facts that are bytes


def nodes(request: Request) -> Response:
    """Return all nodes."""
    at = enter(request)
    return show(request, "nodes.html", nodes=at.fleet.listed(), groups=at.fleet.groups())


def node(request: Request) -> Response:
    """Return one node."""
    at, name = enter(request), NodeName(request.path_params["name"])
    view = at.fleet.find(name)
    serving = [report for report in view.node.reports if report.state == SERVING]
    return show(
        request,
        "node.html",
        view=view,
        serving=serving,
        refused=[report for report in view.node.reports if report.state == REFUSED],
        waiting=[w for w in view.desired if w.digest not in {report.digest for report in serving}],
        facts={key: value for key, value in sorted(view.node.facts.items()) if value not in (None, "", [], {})},
        sizes=BYTES,
        results=at.results.listed(Which(node=name), Page(NEWEST)),
        alarms=at.results.alarms(Which(node=name), Page(NEWEST)),
    )
