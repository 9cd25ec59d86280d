"""The API about rollouts."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse

from skerry.core.rollout import NodeState
from skerry.hub.api.auth import person, rooms
from skerry.hub.api.body import message, number, page
from skerry.hub.rollouts import Detail
from skerry.hub.store.rollouts import MemberRow, RolloutRow
from skerry.wire.registry import RollOut


async def start(request: Request) -> JSONResponse:
    """Take `RollOut`; return the rollout as in `detail`."""
    who = await run_in_threadpool(person, request)
    order = await message(request, RollOut.read)
    made = await run_in_threadpool(rooms(request).rollouts.start, order, who.name)
    return JSONResponse(detail_json(made), 201)


def listed(request: Request) -> JSONResponse:
    """Return {"rollouts": [{id, model, version, digest, node, group, state, made, made_by, ended, counts}]}.

    `counts` is {told, confirmed, failed}: the nodes still in it. Newest first; `?limit=&before=&after=`.
    """
    person(request)
    found = rooms(request).rollouts.listed(page(request))
    rows = [{**rollout_json(p.rollout), "counts": {s.value: p.counts.get(s, 0) for s in NodeState}} for p in found]
    return JSONResponse({"rollouts": rows})


def detail(request: Request) -> JSONResponse:
    """Return a rollout as in `listed`, without counts, with nodes: [{node, state, reason, changed, superseded_by}]."""
    person(request)
    return JSONResponse(detail_json(rooms(request).rollouts.detail(number(request, "rollout"))))


def cancel(request: Request) -> JSONResponse:
    """Return the rollout, cancelled, as in `detail`."""
    who = person(request)
    return JSONResponse(detail_json(rooms(request).rollouts.cancel(number(request, "rollout"), who.name)))


def rollout_json(row: RolloutRow) -> dict[str, Any]:
    """Return a rollout as JSON values."""
    return {**vars(row), "state": row.state.value}


def detail_json(found: Detail) -> dict[str, Any]:
    """Return a rollout and its nodes as JSON values."""
    return {**rollout_json(found.rollout), "nodes": [_member_json(member) for member in found.members]}


def _member_json(row: MemberRow) -> dict[str, Any]:
    return {
        "node": row.node,
        "state": row.state.value,
        "reason": row.reason,
        "changed": row.changed,
        "superseded_by": row.superseded_by,
    }
