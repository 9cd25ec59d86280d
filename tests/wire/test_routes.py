from __future__ import annotations

import re
import string
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.wire import routes
from skerry.wire.routes import Route
from tests.core.values import DIGEST

ALL = {name: value for name, value in vars(routes).items() if isinstance(value, Route)}


@pytest.mark.parametrize("route", ALL.values(), ids=list(ALL))
def test_a_route_is_well_formed(route):
    assert route.method in ("GET", "POST", "PUT", "DELETE")
    assert re.fullmatch(r"(/[a-z0-9-]+|/\{[a-z]+\})+", route.path)


def test_no_two_routes_are_the_same():
    shapes = [(route.method, re.sub(r"\{\w+\}", "{}", route.path)) for route in ALL.values()]
    assert len(set(shapes)) == len(shapes)


def test_a_digest_stands_in_a_path_as_it_is():
    assert routes.BLOB.at(digest=DIGEST) == f"/api/v1/blobs/{DIGEST}"
    assert routes.CANCEL.at(rollout=7) == "/api/v1/rollouts/7/cancel"
    assert routes.HEALTH.at() == "/health"


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1))
def test_nothing_in_a_part_can_leave_it(text):
    path = routes.MODEL.at(model=text)
    prefix, _, part = path.rpartition("/")
    assert prefix == "/api/v1/models"
    assert set(part) <= set(string.ascii_letters + string.digits + "_.-~:%")
    assert unquote(part) == text


def test_a_part_must_be_given():
    with pytest.raises(KeyError):
        routes.MODEL.at()
