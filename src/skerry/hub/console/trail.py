"""The pages about what happened: alarms, and the audit trail."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from skerry.hub.api.auth import person
from skerry.hub.api.query import page, which
from skerry.hub.console.door import form
from skerry.hub.console.page import SEEN, enter, show

LISTED = 50
MAX_AGE = 30 * 86_400  # s; an alarm's banner ends by itself long before


def alarms(request: Request) -> Response:
    """Return alarms, newest first; `?node=&model=&before=`."""
    at = enter(request)
    found = at.results.alarms(which(request), page(request, LISTED))
    return show(request, "alarms.html", alarms=found, limit=LISTED)


def banner(request: Request) -> Response:
    """Return the banner of the newest alarm, or nothing."""
    enter(request)
    return show(request, "banner.html")


async def seen(request: Request) -> Response:
    """Put an alarm's banner away in this browser; the alarm stays in the list."""
    await run_in_threadpool(person, request)
    number = (await form(request)).get("alarm", "")
    good = number.isascii() and number.isdecimal() and len(number) < 19
    answer = RedirectResponse("/alarms/banner" if "hx-request" in request.headers else "/alarms", 303)
    if good:
        answer.set_cookie(SEEN, number, max_age=MAX_AGE, path="/", httponly=True, samesite="strict")
    return answer


def events(request: Request) -> Response:
    """Return what changed, newest first; `?before=`."""
    at = enter(request)
    return show(request, "events.html", events=at.events.listed(page(request, LISTED)), limit=LISTED)
