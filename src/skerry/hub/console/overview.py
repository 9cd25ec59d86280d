"""The first page: does all stand as it should, what came last, and what needs a look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from skerry.core.rollout import State
from skerry.hub.console.door import enter_with, without_token
from skerry.hub.console.page import enter, show
from skerry.hub.fleet import NodeView
from skerry.hub.rooms import Rooms
from skerry.hub.store.results import Which
from skerry.hub.store.store import Page
from skerry.wire.checkin import REFUSED

DAY, HOUR, MINUTES = 86_400.0, 3_600.0, 300.0  # s that the tiles look back
STRIP = 8  # newest results
ALARMS = 3
LOOKED_AT = 100  # newest rollouts among which the running ones are
WORRIES = 6  # lines before "and more"


@dataclass(frozen=True)
class Worry:
    """A node that needs a look, and why."""

    node: str
    word: str
    text: str


@dataclass(frozen=True)
class Tiles:
    """The numbers at the top."""

    online: int
    nodes: int
    models: int
    versions: int
    day: int  # results
    minutes: int  # results
    alarms: int  # in an hour


def overview(request: Request) -> Response:
    """Return the overview; `?token=` logs in."""
    token = request.query_params.get("token")
    if token:
        return enter_with(request, token, without_token(request))
    at = enter(request)
    nodes = at.fleet.listed()
    running = [p for p in at.rollouts.listed(Page(LOOKED_AT)) if p.rollout.state is State.RUNNING]
    return show(
        request,
        "overview.html",
        tiles=_tiles(at, nodes),
        alarms=at.results.alarms(Which(), Page(ALARMS)),
        results=at.results.listed(Which(), Page(STRIP)),
        running=running,
        worries=list(_worries(nodes)),
        shown=WORRIES,
    )


def _tiles(at: Rooms, nodes: Sequence[NodeView]) -> Tiles:
    now, versions = at.clock.now(), at.registry.listed()
    return Tiles(
        online=sum(view.online for view in nodes),
        nodes=len(nodes),
        models=len({row.model for row in versions}),
        versions=len(versions),
        day=at.results.since(now - DAY).results,
        minutes=at.results.since(now - MINUTES).results,
        alarms=at.results.since(now - HOUR).alarms,
    )


def _worries(nodes: Sequence[NodeView]) -> Iterator[Worry]:
    for view in nodes:
        name = view.node.name
        if view.node.last_seen is None:
            yield Worry(name, "never heard", "enrolled, but it has not checked in yet")
        elif not view.online:
            yield Worry(name, "away", "")
        for report in view.node.reports:
            if report.state == REFUSED:
                yield Worry(name, "refused", f"{report.model} version {report.version}: {report.reason}")
