"""What a page's address asks for: which results, and which part of a list. A form leaves empty fields in it."""

from __future__ import annotations

from starlette.requests import Request

from skerry.core import names
from skerry.core.errors import Invalid
from skerry.core.names import shown
from skerry.hub.store.results import Which
from skerry.hub.store.store import Page


def page(request: Request, limit: int) -> Page:
    """Return the part of a list before the id `?before=`, or the newest."""
    return Page(limit, before=newer_than(request, "before"))


def newer_than(request: Request, name: str) -> int | None:
    """Return an id in the address, or None."""
    text = request.query_params.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise Invalid(f"{name}: expected a whole number; got {shown(text)}")
    return int(text)


def which(request: Request) -> Which:
    """Return what `?node=&model=&findings=` asks for; empty is any."""
    query = request.query_params
    return Which(
        node=names.node_name(query["node"]) if query.get("node") else None,
        model=names.model_name(query["model"]) if query.get("model") else None,
        defective=True if query.get("findings") else None,
    )
