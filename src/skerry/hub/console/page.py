"""From a template and values to a page. The one place that knows Jinja: autoescape is on, an unknown name is an error.

Whatever a value holds was made up by a node, a device or a publisher; no template marks anything as safe.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from skerry.core.version import VERSION
from skerry.hub.api.auth import person, rooms
from skerry.hub.console import words
from skerry.hub.console.live import cursor
from skerry.hub.console.overlay import hue, keys, large, small
from skerry.hub.rooms import Rooms
from skerry.hub.store.results import AlarmRow, Which
from skerry.hub.store.store import Page

HERE = Path(__file__).parent
STATIC = HERE / "static"
SEEN = "skerry_alarm_seen"  # a cookie: the newest alarm whose banner this browser has put away
WORDS = ("ago", "count", "iso", "millis", "named", "pace", "plain", "score", "short", "size", "when")  # filters
RECENT = 3600.0  # s that an alarm keeps its banner if nobody puts it away


def _stamp() -> str:
    """Return a word that changes when a file of `static/` does, so that browsers may keep them for ever."""
    found = hashlib.sha256()
    for path in sorted(STATIC.iterdir()):
        found.update(path.read_bytes())
    return found.hexdigest()[:12]


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update({name: getattr(words, name) for name in WORDS})
    made.globals.update(stamp=_stamp(), version=VERSION, hue=hue, keys=keys, small=small, large=large)
    return made


ENVIRONMENT = _environment()


def enter(request: Request) -> Rooms:
    """Return the hub, if a person asks who may; raise NotKnown or NotAllowed. Every page begins with this."""
    person(request)
    return rooms(request)


def show(request: Request, template: str, **values: Any) -> HTMLResponse:
    """Return a page inside the frame that all pages share."""
    at = rooms(request)
    path, query = request.url.path, request.url.query
    frame = {
        "now": at.clock.now(),
        "here": f"{path}?{query}" if query else path,
        "room": path.split("/")[1],
        "since": cursor(at.events.notice()),
        "standing": standing(request),
    }
    return HTMLResponse(ENVIRONMENT.get_template(template).render(**frame, **values))


def bare(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page for somebody who may not be logged in: no menu, nothing of the hub."""
    return HTMLResponse(ENVIRONMENT.get_template(template).render(**values), status)


def standing(request: Request) -> AlarmRow | None:
    """Return the newest alarm, if it is recent and this browser has not put it away."""
    at, seen = rooms(request), request.cookies.get(SEEN, "")
    newest = next(iter(at.results.alarms(Which(), Page(limit=1))), None)
    if newest is None or newest.received < at.clock.now() - RECENT:
        return None
    put_away = int(seen) if seen.isascii() and seen.isdecimal() and len(seen) < 19 else 0
    return newest if newest.id > put_away else None
