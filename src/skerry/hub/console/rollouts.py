"""The pages about rollouts, and the two changes that a person makes here: to start one, and to cancel it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from skerry.core import names
from skerry.core.errors import Invalid
from skerry.core.names import shown
from skerry.core.rollout import ENDED, NodeState
from skerry.hub.api.auth import person, rooms
from skerry.hub.api.body import number
from skerry.hub.api.query import page
from skerry.hub.console.door import form
from skerry.hub.console.page import enter, show
from skerry.hub.rollouts import Progress
from skerry.wire.registry import RollOut

LISTED = 50


def rollouts(request: Request) -> Response:
    """Return rollouts, newest first."""
    at = enter(request)
    return show(request, "rollouts.html", rollouts=at.rollouts.listed(page(request, LISTED)), limit=LISTED)


def rollout(request: Request) -> Response:
    """Return one rollout with its nodes."""
    at = enter(request)
    detail = at.rollouts.detail(number(request, "number"))
    live = [member for member in detail.members if member.superseded_by is None]
    counts = dict(Counter(member.state for member in live))
    order = {NodeState.FAILED: 0, NodeState.TOLD: 1, NodeState.CONFIRMED: 2}
    return show(
        request,
        "rollout.html",
        found=Progress(detail.rollout, counts),
        members=sorted(detail.members, key=lambda m: (m.superseded_by is not None, order[m.state], m.node)),
        ended=detail.rollout.state in ENDED,
    )


async def start(request: Request) -> Response:
    """Take the form of a model's page; go to the new rollout."""
    who = await run_in_threadpool(person, request)
    order = _order(await form(request))
    made = await run_in_threadpool(rooms(request).rollouts.start, order, who.name)
    return RedirectResponse(f"/rollouts/{made.rollout.id}", 303)


def cancel(request: Request) -> Response:
    """Stop a rollout and show it."""
    who, which = person(request), number(request, "number")
    rooms(request).rollouts.cancel(which, who.name)
    return RedirectResponse(f"/rollouts/{which}", 303)


def _order(fields: Mapping[str, str]) -> RollOut:
    kind, _, name = fields.get("to", "").partition(":")
    if kind not in ("node", "group"):
        raise Invalid(f"to: expected a node or a group; got {shown(fields.get('to', ''))}")
    return RollOut(
        model=names.model_name(fields.get("model")),
        version=names.version(fields.get("version")),
        node=names.node_name(name) if kind == "node" else None,
        group=names.group_name(name) if kind == "group" else None,
    )
