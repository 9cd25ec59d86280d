"""The pages about results, and their pictures as a browser may show them."""

from __future__ import annotations

import json
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from skerry.core.errors import NotFound
from skerry.hub.api.body import number
from skerry.hub.api.query import newer_than, page, which
from skerry.hub.api.results import result_json
from skerry.hub.console.page import enter, show
from skerry.hub.store.results import Which
from skerry.hub.store.store import Page

LISTED = 24  # cards of one page: whole rows at two, three and four in a row
COUNTED = 100  # new results that are counted; more are "100 and more"
KINDS = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}  # how such a file begins
SEALED = {  # a picture came from a device: it is shown as one, whatever else it might be taken for
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, max-age=31536000, immutable",  # a result never changes
    "Content-Disposition": "inline",
}


def results(request: Request) -> Response:
    """Return results, newest first; `?node=&model=&findings=&before=`."""
    at, asked = enter(request), which(request)
    found = at.results.listed(asked, page(request, LISTED))
    return show(
        request,
        "results.html",
        results=found,
        asked=asked,
        kept=_kept(asked),
        nodes=[view.node.name for view in at.fleet.listed()],
        models=sorted({row.model for row in at.registry.listed()}),
        limit=LISTED,
        first=newer_than(request, "before") is None,
    )


def fresh(request: Request) -> Response:
    """Return how many results are newer than `?after=`, as the line above the list."""
    at, asked = enter(request), which(request)
    after = newer_than(request, "after") or 0
    found = at.results.listed(asked, Page(COUNTED, after=after))
    return show(request, "fresh.html", count=len(found), most=COUNTED, after=after, kept=_kept(asked))


def result(request: Request) -> Response:
    """Return one result with its neighbours."""
    at, which_one = enter(request), number(request, "number")
    row = at.results.find(which_one)
    older = at.results.listed(Which(), Page(1, before=row.id))
    newer = at.results.listed(Which(), Page(1, after=row.id))
    return show(
        request,
        "result.html",
        row=row,
        older=next(iter(older), None),
        newer=next(iter(newer), None),
        raw=json.dumps(result_json(row), indent=2, ensure_ascii=False),
    )


def picture(request: Request) -> Response:
    """Return the bytes of a result's picture, if they are a JPEG's or a PNG's."""
    at, which_one = enter(request), number(request, "number")
    digest = at.results.find(which_one).picture
    if digest is None:
        raise NotFound(f"result {which_one}: it came without a picture")
    at.blobs.size(digest)
    path = at.blobs.path(digest)
    with path.open("rb") as file:
        begins = file.read(max(map(len, KINDS)))
    kind = next((kind for magic, kind in KINDS.items() if begins.startswith(magic)), None)
    if kind is None:
        raise HTTPException(415, "This picture is neither a JPEG nor a PNG.")
    return FileResponse(path, media_type=kind, headers=SEALED)


def _kept(asked: Which) -> str:
    """Return the filters as they go into the next address."""
    fields = {"node": asked.node, "model": asked.model, "findings": "1" if asked.defective else None}
    return urlencode({name: value for name, value in fields.items() if value is not None})
