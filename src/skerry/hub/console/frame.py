"""What is around every page: headers that keep a browser strict, where a change comes from, and errors as pages.

Plain ASGI, so that a stream passes through untouched. The console answers every path that is not the API's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skerry.core.errors import BusyError, NotAllowed, SkerryError
from skerry.hub.api.errors import status
from skerry.hub.console.page import bare
from skerry.hub.people import NotKnown

POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
FOR_EVER = "public, max-age=31536000, immutable"  # a static file's address holds a stamp of its bytes
READING = frozenset({"GET", "HEAD"})
NEXT = {
    401: "Log in again.",
    403: "Ask whoever runs this hub.",
    404: "It may have another name now, or the link is old.",
    409: "Go back, look at how it stands now, and decide again.",
    503: "Wait a moment and load the page again.",
}


class Strict:
    """Adds the headers, refuses changes from elsewhere, and turns a failure nobody meant into a page."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        started = False

        async def strict(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _harden(scope, MutableHeaders(scope=message))
            await send(message)

        request = Request(scope)
        if request.method not in READING and not same_origin(request):
            return await _page(403, "This request comes from another site.")(scope, receive, strict)
        try:
            await self.app(scope, receive, strict)
        except ClientDisconnect:  # there is nobody to show a page to; the hub's own table keeps the log clean
            raise
        except Exception:  # boundary: a page instead of a broken connection; raised again, the server logs it
            if not started:
                await _page(500, "The hub failed; its log says why.")(scope, receive, strict)
            raise
        return None


class Console(Mount):
    """All pages; the API's paths stay the API's, with its own refusals."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        frame = [Middleware(Strict), Middleware(ExceptionMiddleware, handlers=PAGES)]
        super().__init__("", routes=routes, middleware=frame)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether a request is for a page."""
        if scope["type"] != "http" or scope["path"].startswith("/api/"):
            return Match.NONE, {}
        return super().matches(scope)


def same_origin(request: Request) -> bool:
    """Whether a browser says that one of our own pages sends this. Every browser says so with a POST."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site:
        return site in ("same-origin", "none")
    return origin is not None and urlsplit(origin).netloc == request.headers.get("host")


def local(path: str) -> str:
    """Return a path of this hub, from one that came with a request; "/" for anything else."""
    good = path.startswith("/") and path[1:2] not in ("/", "\\") and path.isprintable() and "\\" not in path
    return path if good else "/"


async def _stranger(request: Request, _error: Exception) -> Response:
    query = f"?{request.url.query}" if request.url.query else ""
    wanted = quote(request.url.path + query) if request.method in READING and request.url.path != "/" else ""
    to = f"/login?next={wanted}" if wanted else "/login"
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": "/login"})
    return RedirectResponse(to, 303)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, SkerryError)
    page = _page(status(error), str(error))
    if isinstance(error, BusyError):
        page.headers["Retry-After"] = str(math.ceil(error.after))
    return page


async def _by_framework(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    page = _page(error.status_code, "There is nothing here." if error.status_code == 404 else error.detail)
    page.headers.update(error.headers or {})
    return page


def _page(code: int, text: str) -> Response:
    text = text.encode("utf-8", "replace").decode()  # an error may quote half of a surrogate pair
    return bare("error.html", code, code=code, title=HTTPStatus(code).phrase, text=text, advice=NEXT.get(code, ""))


PAGES: dict[Any, Callable[..., Any]] = {
    NotKnown: _stranger,
    NotAllowed: _refused,
    SkerryError: _refused,
    HTTPException: _by_framework,
}


def _harden(scope: Scope, headers: MutableHeaders) -> None:
    if scope["path"].startswith("/static/") and b"v=" in scope["query_string"]:
        headers.setdefault("Cache-Control", FOR_EVER)
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
