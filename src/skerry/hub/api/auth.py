"""Who sent a request. Every handler but two (enrol, health) begins with one of `person`, `node` or `anyone`.

The three look into the database: call them from a handler that is no coroutine, or in a thread.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request

from skerry.core.errors import NotAllowed
from skerry.core.names import NodeName
from skerry.hub.people import Act, NotKnown, allowed
from skerry.hub.rooms import Rooms
from skerry.hub.store.people import PersonRow

COOKIE = "skerry_session"  # holds a person's token; the console sets it HttpOnly and SameSite=Strict
READING = frozenset({"GET", "HEAD"})


def rooms(request: Request) -> Rooms:
    """Return the hub that a request is for."""
    found = request.app.state.rooms
    assert isinstance(found, Rooms)
    return found


def person(request: Request) -> PersonRow:
    """Return the person who asks, by header or cookie, if they may do this.

    Raises NotKnown without good credentials, NotAllowed for a node or for a role that may not.
    """
    found = anyone(request)
    if not isinstance(found, PersonRow):
        raise NotAllowed(f"node {found}: this is for people")
    return allowed(found, Act.READ if request.method in READING else Act.CHANGE)


def node(request: Request) -> NodeName:
    """Return the node that asks; raise NotKnown without good credentials, NotAllowed for a person."""
    found = anyone(request)
    if isinstance(found, PersonRow):
        raise NotAllowed(f"{found.name}: this is for nodes")
    return found


def anyone(request: Request) -> PersonRow | NodeName:
    """Return the person or node that asks; raise NotKnown without good credentials."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return rooms(request).people.who(token.strip())
    cookie = request.cookies.get(COOKIE)
    if not cookie:
        raise NotKnown("expected 'Authorization: Bearer <token>'")
    _check_origin(request)
    return rooms(request).people.who(cookie)


def _check_origin(request: Request) -> None:
    """Refuse a change that another site makes a browser send: a browser adds the cookie by itself."""
    if request.method in READING:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    good = site in ("same-origin", "none") if site else origin is None or _host(origin) == request.headers.get("host")
    if not good:
        raise NotAllowed("this request comes from another site")


def _host(origin: str) -> str:
    return urlsplit(origin).netloc
