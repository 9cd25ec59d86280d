"""The pages about models and their versions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from starlette.requests import Request
from starlette.responses import Response

from skerry.core.errors import Invalid, TrustError
from skerry.core.manifest import Manifest, read_manifest
from skerry.core.names import ModelName
from skerry.core.trust import read_signatures
from skerry.hub.console.page import enter, show
from skerry.hub.fleet import NodeView
from skerry.hub.rooms import Rooms
from skerry.hub.store.models import VersionRow
from skerry.wire.checkin import SERVING

DETAILED = 20  # newest versions whose manifest is read for one page; a manifest may have 4 MiB


@dataclass(frozen=True)
class Line:
    """A model: its versions, newest first, and the nodes that serve any of them."""

    name: str
    versions: tuple[VersionRow, ...]
    nodes: int


@dataclass(frozen=True)
class Described:
    """A version with what its manifest says, who signed it, and the nodes that serve it."""

    row: VersionRow
    manifest: Manifest | None
    keys: tuple[str, ...]
    nodes: tuple[str, ...]


def models(request: Request) -> Response:
    """Return all models."""
    at = enter(request)
    fleet = at.fleet.listed()
    lines = [
        Line(name, tuple(rows), len(_serving(fleet, name))) for name, rows in groupby(at.registry.listed(), _model)
    ]
    return show(request, "models.html", models=lines)


def model(request: Request) -> Response:
    """Return one model."""
    at, name = enter(request), ModelName(request.path_params["name"])
    rows, fleet = at.registry.listed(name), at.fleet.listed()
    return show(
        request,
        "model.html",
        name=name,
        versions=[_described(at, row, fleet) for row in rows[:DETAILED]],
        older=rows[DETAILED:],
        groups=at.fleet.groups(),
        nodes=[view.node.name for view in fleet],
    )


def _model(row: VersionRow) -> str:
    return row.model


def _described(at: Rooms, row: VersionRow, fleet: Iterable[NodeView]) -> Described:
    signed = at.registry.signed(row.digest)
    try:
        manifest = read_manifest(signed.manifest.encode())
        keys = tuple(sorted(read_signatures(signed.signature.encode())))
    except (Invalid, TrustError):  # it was good when it was published; a later Skerry may read it otherwise
        manifest, keys = None, ()
    return Described(row, manifest, keys, _serving(fleet, row.model, row.digest))


def _serving(fleet: Iterable[NodeView], model: str, digest: str | None = None) -> tuple[str, ...]:
    return tuple(
        view.node.name
        for view in fleet
        if any(r.state == SERVING and r.model == model and digest in (None, r.digest) for r in view.node.reports)
    )
