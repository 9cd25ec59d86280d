"""The API about results, alarms and events.

All lists take `?limit=&before=&after=` (ids): newest first, or, with `after`, oldest first, so a follower that asks
again after the last id it saw misses nothing.
"""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse

from skerry.core.errors import QueueFull
from skerry.core.names import NodeName
from skerry.hub.api.auth import node, person, rooms
from skerry.hub.api.body import page, which, whole
from skerry.hub.rooms import Rooms
from skerry.hub.store.results import ResultRow
from skerry.wire.results import MAX_BATCH, Ack, decode

UPLOADS = 8  # batches in memory at once: 256 MiB at most. After an outage the whole fleet comes at once
AFTER = 5.0  # s that a node is asked to wait then, before its own jitter


async def upload(request: Request) -> JSONResponse:
    """Take a framed `Batch`; return `Ack`."""
    name = await run_in_threadpool(node, request)
    room, nodes = request.app.state.uploads, request.app.state.uploading
    if room.locked() or name in nodes:  # one for each node, so that none can take every place
        raise QueueFull(f"{UPLOADS} uploads are being taken, or one of {name}", after=AFTER)
    nodes.add(name)
    try:
        async with room:
            data = await whole(request, MAX_BATCH)
            ack = await run_in_threadpool(_take, rooms(request), name, data)
    finally:
        nodes.discard(name)
    return JSONResponse(dict(ack.json()))


def listed(request: Request) -> JSONResponse:
    """Return {"results": [{id, node, epoch, seq, at, received, model, version, digest, source, defective, findings,

    width, height, millis, picture}]}; `?node=&model=&defective=`. `picture` is a blob's digest or null.
    """
    person(request)
    found = rooms(request).results.listed(which(request), page(request))
    return JSONResponse({"results": [result_json(row) for row in found]})


def alarms(request: Request) -> JSONResponse:
    """Return {"alarms": [{id, node, epoch, seq, at, received, rule, model, result, text, picture, result_id}]};

    `?node=&model=`. `result_id` is the id of the result that raised it, or null if that never came.
    """
    person(request)
    found = rooms(request).results.alarms(which(request), page(request))
    return JSONResponse({"alarms": [dict(vars(row)) for row in found]})


def events(request: Request) -> JSONResponse:
    """Return {"events": [{id, at, who, what, on, details}]}."""
    person(request)
    found = rooms(request).events.listed(page(request))
    return JSONResponse({"events": [dict(vars(row)) for row in found]})


def result_json(row: ResultRow) -> dict[str, Any]:
    """Return a result as JSON values."""
    return {**vars(row), "findings": [finding.json() for finding in row.findings]}


def _take(at: Rooms, name: NodeName, data: bytes) -> Ack:
    return at.results.take(name, decode(data))
