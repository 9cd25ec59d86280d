"""The API about nodes. Enrolment and check-in are `wire.checkin`; the shapes of the rest are in the docstrings."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse

from skerry.core.fields import Fields
from skerry.core.plan import Wanted
from skerry.hub.api.auth import node, person, rooms
from skerry.hub.api.body import message
from skerry.hub.fleet import NodeView
from skerry.wire.checkin import CheckIn, Enrol

YEAR = 366 * 86_400.0  # s; a join token that lives longer is better written without an end


async def enrol(request: Request) -> JSONResponse:
    """Take `Enrol`; return {"name"}. The join token in it is the credential."""
    asked = await message(request, Enrol.read)
    await run_in_threadpool(rooms(request).fleet.enrol, asked)
    return JSONResponse({"name": asked.name})


async def check_in(request: Request) -> JSONResponse:
    """Take `CheckIn`; return `Orders`."""
    name = await run_in_threadpool(node, request)
    report = await message(request, CheckIn.read)
    orders = await run_in_threadpool(rooms(request).fleet.check_in, name, report)
    return JSONResponse(orders.json())


def listed(request: Request) -> JSONResponse:
    """Return {"nodes": [{name, group, online, enrolled, last_seen, url, backlog, reports, desired, facts}]} by name."""
    person(request)
    return JSONResponse({"nodes": [node_json(view) for view in rooms(request).fleet.listed()]})


async def join_token(request: Request) -> JSONResponse:
    """Take {"seconds"?, "uses"?}; return {"id", "token", "expires", "uses"}. The token is shown this once."""
    who = await run_in_threadpool(person, request)
    seconds, uses = await message(request, _limits)
    made = await run_in_threadpool(rooms(request).people.new_join_token, who.name, seconds, uses)
    row = made.row
    return JSONResponse({"id": row.id, "token": made.token, "expires": row.expires, "uses": row.uses_left}, 201)


def node_json(view: NodeView) -> dict[str, Any]:
    """Return a node as JSON values."""
    at = view.node
    return {
        "name": at.name,
        "group": at.group,
        "online": view.online,
        "enrolled": at.enrolled,
        "last_seen": at.last_seen,
        "url": at.url,
        "backlog": at.backlog,
        "reports": [report.json() for report in at.reports],
        "desired": [wanted_json(wanted) for wanted in view.desired],
        "facts": dict(at.facts),
    }


def wanted_json(wanted: Wanted) -> dict[str, Any]:
    """Return what a node is to serve as JSON values."""
    return {"model": wanted.model, "version": wanted.version, "digest": wanted.digest, "rollout": wanted.rollout}


def _limits(value: object) -> tuple[float | None, int | None]:
    fields = Fields(value, "")
    seconds = fields.real("seconds", default=None, low=1.0, high=YEAR)
    return seconds, fields.whole("uses", default=None, low=1, high=1_000_000)
