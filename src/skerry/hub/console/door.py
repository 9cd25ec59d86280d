"""Logging in and out. The token is kept by the browser in a cookie that no script can read; here, nowhere."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from skerry.core.errors import Invalid
from skerry.hub.api.auth import COOKIE, person, rooms
from skerry.hub.api.body import whole
from skerry.hub.console.frame import local
from skerry.hub.console.page import bare
from skerry.hub.people import NotKnown
from skerry.hub.store.people import PersonRow

MAX_FORM = 16 << 10  # bytes; a token has 43 characters, a rollout's form three names
MAX_FIELDS = 16
STAYS = 30 * 86_400  # s that a browser keeps the token; a tablet on the line should not ask every morning
UNKNOWN = "This token is not known here. Check that all of it was copied."
A_NODES = "This is a node's token; the console is for people."


async def form(request: Request) -> dict[str, str]:
    """Return the fields of a form; empty ones are left out."""
    text = (await whole(request, MAX_FORM)).decode("utf-8", "replace")
    try:
        return dict(parse_qsl(text, max_num_fields=MAX_FIELDS))
    except ValueError:
        raise Invalid(f"form: expected at most {MAX_FIELDS} fields") from None


def greet(request: Request) -> Response:
    """Return the page to log in on; `?token=` logs in at once."""
    token = request.query_params.get("token")
    to = local(request.query_params.get("next", "/"))
    return enter_with(request, token, to) if token else _door(to)


async def log_in(request: Request) -> Response:
    """Take a token; set the cookie and go on, or say what is wrong."""
    fields = await form(request)
    to = local(fields.get("next", "/"))
    return await run_in_threadpool(enter_with, request, fields.get("token", "").strip(), to)


def enter_with(request: Request, token: str, to: str) -> Response:
    """Let the person whose token this is in."""
    try:
        found = rooms(request).people.who(token)
    except NotKnown:
        return _door(to, UNKNOWN)
    if not isinstance(found, PersonRow):
        return _door(to, A_NODES)
    answer = RedirectResponse(to, 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, token, max_age=STAYS, path="/", secure=secure, httponly=True, samesite="strict")
    return answer


def without_token(request: Request) -> str:
    """Return where a request goes, without the token in it."""
    rest = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
    return local(request.url.path + (f"?{urlencode(rest)}" if rest else ""))


def log_out(request: Request) -> Response:
    """Forget the token in this browser; it stays good elsewhere."""
    person(request)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


def _door(to: str, wrong: str = "") -> Response:
    return bare("login.html", 401 if wrong else 200, to=to, wrong=wrong)
