"""The API about models, bundles and blobs. A blob is named by its digest, so it may be kept by anyone for ever."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from skerry.core import names
from skerry.core.names import Digest
from skerry.hub.api.auth import anyone, person, rooms
from skerry.hub.api.body import message, pour
from skerry.hub.api.ranges import satisfiable
from skerry.hub.store.models import VersionRow
from skerry.wire.registry import MAX_PUBLISH, Publish

BODY = MAX_PUBLISH * 2  # bytes; a manifest inside a JSON string has its quotes escaped


async def publish(request: Request) -> JSONResponse:
    """Take `Publish`; return the version as in `model`."""
    who = await run_in_threadpool(person, request)
    model = names.model_name(request.path_params["model"])
    said = await message(request, Publish.read, BODY)
    row = await run_in_threadpool(rooms(request).registry.publish, model, said, who.name)
    return JSONResponse(version_json(row), 201)


def listed(request: Request) -> JSONResponse:
    """Return {"models": [{name, versions}]} by name; versions as in `model`."""
    person(request)
    found: dict[str, list[VersionRow]] = {}
    for row in rooms(request).registry.listed():
        found.setdefault(row.model, []).append(row)
    return JSONResponse({"models": [_model_json(name, rows) for name, rows in found.items()]})


def model(request: Request) -> JSONResponse:
    """Return {name, versions: [{model, version, digest, runtime, size, published, published_by}]}, newest first."""
    person(request)
    name = names.model_name(request.path_params["model"])
    return JSONResponse(_model_json(name, rooms(request).registry.listed(name)))


def manifest(request: Request) -> Response:
    """Return a bundle's manifest, byte for byte as it was published."""
    anyone(request)
    digest = _digest(request)
    return _for_ever(rooms(request).registry.signed(digest).manifest)


def signature(request: Request) -> Response:
    """Return a bundle's signature file, byte for byte as it was published."""
    anyone(request)
    digest = _digest(request)
    return _for_ever(rooms(request).registry.signed(digest).signature)


async def put_blob(request: Request) -> JSONResponse:
    """Take a blob's bytes; return {digest, size}. One that is here and sound is not read again."""
    who = await run_in_threadpool(person, request)
    digest, blobs, limit = _digest(request), rooms(request).blobs, rooms(request).settings.max_blob
    if await run_in_threadpool(blobs.sound, digest):
        return JSONResponse({"digest": digest, "size": await run_in_threadpool(blobs.size, digest)})
    incoming = await run_in_threadpool(blobs.receive, digest, limit)
    try:
        await pour(request, incoming, limit)
        size = await run_in_threadpool(rooms(request).registry.keep, digest, incoming, who.name)
    finally:
        incoming.drop()  # closes and unlinks one file; must also happen when this task is cancelled
    return JSONResponse({"digest": digest, "size": size}, 201)


def blob(request: Request) -> Response:
    """Return a blob's bytes, or the part of them that `Range` names, so that a broken fetch can go on."""
    anyone(request)
    digest, blobs = _digest(request), rooms(request).blobs
    size = blobs.size(digest)
    headers = _headers(digest)
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if not satisfiable(request.headers.get("range"), size):
        raise HTTPException(416, f"Range: the blob has {size} bytes", {"Content-Range": f"bytes */{size}"})
    return FileResponse(blobs.path(digest), headers=headers, media_type="application/octet-stream")


def version_json(row: VersionRow) -> dict[str, Any]:
    """Return a version as JSON values."""
    return dict(vars(row))


def _model_json(name: str, rows: Any) -> dict[str, Any]:
    return {"name": name, "versions": [version_json(row) for row in rows]}


def _digest(request: Request) -> Digest:
    return names.digest(request.path_params["digest"])


def _for_ever(text: str) -> Response:
    return Response(text.encode(), headers=_headers(None), media_type="application/json")


def _headers(digest: Digest | None) -> dict[str, str]:
    # nosniff: a picture came from a node, and a browser must not take one for a page.
    headers = {"Cache-Control": "private, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
    return headers if digest is None else {**headers, "ETag": f'"{digest}"'}
