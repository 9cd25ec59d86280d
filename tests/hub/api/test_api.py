"""The API as its callers see it: shapes, who may, what is refused and how."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from skerry.core import errors
from skerry.core.manifest import digest_of
from skerry.hub.api.auth import person
from skerry.hub.api.errors import STATUS, status
from skerry.hub.api.web import API, web
from skerry.hub.people import NotKnown
from skerry.wire import routes
from skerry.wire.registry import MAX_PUBLISH
from skerry.wire.results import Batch, encode
from skerry.wire.routes import Route as Named
from tests.core.values import DIGEST
from tests.hub.world import World, alarm, result, secret_of

PARTS = {"digest": DIGEST, "model": "boards", "rollout": 1}
OPEN = {routes.ENROL, routes.HEALTH}
OF_NODES = {routes.CHECK_IN, routes.UPLOAD}
OF_BOTH = {routes.MANIFEST, routes.SIGNATURE, routes.BLOB}


class Api:
    """A client that calls routes by name, as a person, a node or nobody."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.node = world.enrol("dock-1", "docks")
        self.client = TestClient(world.hub.asgi, raise_server_exceptions=False)
        self.tokens = {"person": world.admin, "node": secret_of("dock-1"), "stranger": "x" * 43}

    def call(self, route: Named, as_: str = "person", parts: dict[str, Any] | None = None, **more: Any) -> Any:
        headers = dict(more.pop("headers", {}))
        if as_ in self.tokens:
            headers["Authorization"] = f"Bearer {self.tokens[as_]}"
        path = route.at(**(PARTS | (parts or {})))
        return self.client.request(route.method, path, headers=headers, **more)


@pytest.fixture
def api(world: World) -> Iterator[Api]:
    found = Api(world)
    with found.client:
        yield found


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Return one client for the tests that change nothing which another sees."""
    world = World(tmp_path_factory.mktemp("still"))
    found = Api(world)
    with found.client:
        yield found
    world.close()


def _refused(answer: Any, code: int) -> str:
    """Check the shape that every refusal has, and return its text."""
    assert answer.status_code == code, answer.text
    assert answer.headers["content-type"] == "application/json"
    value = answer.json()
    assert list(value) == ["error"]
    assert isinstance(value["error"], str)
    assert value["error"]
    return value["error"]


@pytest.mark.parametrize("route", sorted(set(API) - OPEN, key=str), ids=lambda r: f"{r.method} {r.path}")
def test_who_may_call(still: Api, route: Named) -> None:
    for nobody in ("nobody", "stranger"):
        answer = still.call(route, as_=nobody)
        _refused(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
    may = {"person", "node"} if route in OF_BOTH else {"node"} if route in OF_NODES else {"person"}
    for caller in ("person", "node"):
        answer = still.call(route, as_=caller)
        assert (answer.status_code == 403) is (caller not in may)
        assert answer.status_code != 401
        if caller not in may:
            _refused(answer, 403)


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic eDp5", "Bearer é", "bearer x y"])
def test_odd_credentials_are_not_known(still: Api, value: str) -> None:
    answer = still.client.get(routes.NODES.path, headers={"Authorization": value.encode("latin-1")})
    _refused(answer, 401)


def test_the_whole_way_of_a_version(api: Api) -> None:
    said = api.world.bundle(2, put=False)
    digest = digest_of(b"weights")
    assert "model.onnx" in _refused(api.call(routes.PUBLISH, json=said.json()), 400)
    assert api.call(routes.PUT_BLOB, parts={"digest": digest}, content=b"weights").json() == {
        "digest": digest,
        "size": 7,
    }
    version = api.call(routes.PUBLISH, json=said.json()).json()
    assert set(version) == {"model", "version", "digest", "runtime", "size", "published", "published_by"}
    assert api.call(routes.MODELS).json() == {"models": [{"name": "boards", "versions": [version]}]}
    assert api.call(routes.MODEL).json() == {"name": "boards", "versions": [version]}
    bundle = {"digest": version["digest"]}
    assert api.call(routes.MANIFEST, as_="node", parts=bundle).text == said.manifest
    assert api.call(routes.SIGNATURE, as_="node", parts=bundle).text == said.signature
    started = api.call(routes.ROLL_OUT, json={"model": "boards", "version": 2, "group": "docks"})
    assert started.status_code == 201
    told = api.call(routes.CHECK_IN, as_="node", json={"node": "dock-1"}).json()
    wanted = {"model": "boards", "version": 2, "digest": version["digest"], "rollout": 1}
    assert told == {"interval": 10.0, "desired": [wanted]}
    serving = {**wanted, "state": "serving"}
    api.call(routes.CHECK_IN, as_="node", json={"node": "dock-1", "models": [serving], "facts": {"cpus": 4}})
    (rollout,) = api.call(routes.ROLLOUTS).json()["rollouts"]
    assert (rollout["state"], rollout["counts"]) == ("done", {"told": 0, "confirmed": 1, "failed": 0})
    assert api.call(routes.ROLLOUT).json()["nodes"][0]["state"] == "confirmed"
    (node,) = api.call(routes.NODES).json()["nodes"]
    assert (node["name"], node["group"], node["online"], node["desired"]) == ("dock-1", "docks", True, [wanted])
    assert (node["reports"][0]["state"], node["facts"]) == ("serving", {"cpus": 4})
    assert "done" in _refused(api.call(routes.CANCEL), 409)
    assert "secret" not in api.call(routes.NODES).text


def test_results_come_and_are_listed(api: Api) -> None:
    data = encode(Batch("e", (result(1, picture=b"png"), alarm(2, of=1), result(3, None))))
    for _ in range(2):
        assert api.call(routes.UPLOAD, as_="node", content=data).json() == {"epoch": "e", "high": 3}
    good, bad = api.call(routes.RESULTS).json()["results"]
    assert (bad["seq"], bad["defective"], good["defective"], good["picture"]) == (1, True, False, None)
    assert bad["findings"] == [{"label": "crack", "score": 0.9, "index": 0, "box": [1.0, 2.0, 3.0, 4.0]}]
    assert api.call(routes.BLOB, parts={"digest": bad["picture"]}).content == b"png"
    (raised,) = api.call(routes.ALARMS).json()["alarms"]
    assert (raised["result_id"], raised["rule"]) == (bad["id"], "cracks")
    for query, expected in (
        ("?defective=true", [1]),
        ("?defective=false", [3]),
        ("?limit=1", [3]),
        ("?after=0&limit=1", [1]),
        ("?before=2", [1]),
        ("?node=dock-1&model=boards", [3, 1]),
        ("?node=dock-2", []),
    ):
        found = api.client.get(routes.RESULTS.path + query, headers={"Authorization": f"Bearer {api.world.admin}"})
        assert [row["seq"] for row in found.json()["results"]] == expected
    assert api.call(routes.EVENTS).json()["events"][0]["what"] == "node enrolled"


@pytest.mark.parametrize(
    "query", ["limit=-1", "limit=1001", "limit=x", "before=²", "defective=1", "node=a/b", "after=1e3"]
)
def test_an_odd_query_is_refused(still: Api, query: str) -> None:
    text = _refused(still.call(routes.RESULTS, params=query), 400)
    assert query.partition("=")[0] in text


def test_a_join_token_lets_a_node_in(api: Api) -> None:
    made = api.call(routes.JOIN_TOKEN, json={"seconds": 60, "uses": 1})
    assert (made.status_code, made.json()["uses"]) == (201, 1)
    asked = {"name": "dock-2", "group": "docks", "join_token": made.json()["token"], "secret": secret_of("dock-2")}
    assert api.call(routes.ENROL, as_="nobody", json=asked).json() == {"name": "dock-2"}
    assert api.call(routes.ENROL, as_="nobody", json=asked).json() == {"name": "dock-2"}
    _refused(api.call(routes.ENROL, as_="nobody", json={**asked, "name": "dock-3"}), 403)
    _refused(
        api.call(routes.ENROL, as_="nobody", json={**asked, "join_token": api.world.join, "secret": "t" * 40}), 409
    )
    _refused(api.call(routes.JOIN_TOKEN, json={"uses": 0}), 400)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"node": "dock-1", "facts": {"x": NaN}}', b'{"node": "dock-1", "facts": {"x": "\\ud800"}}'],
)
def test_a_message_that_is_none(still: Api, body: bytes) -> None:
    _refused(still.call(routes.CHECK_IN, as_="node", content=body), 400)


def test_a_batch_that_is_none(still: Api) -> None:
    _refused(still.call(routes.UPLOAD, as_="node", content=b"\xff" * 64), 400)


def test_what_is_not_there(still: Api) -> None:
    for route in (routes.MANIFEST, routes.SIGNATURE, routes.BLOB, routes.MODEL, routes.ROLLOUT, routes.CANCEL):
        _refused(still.call(route), 404)
    _refused(still.client.get("/api/v2"), 404)
    _refused(still.call(routes.BLOB, parts={"digest": "sha256:x"}), 400)
    _refused(still.call(routes.ROLLOUT, parts={"rollout": "x"}), 400)


def test_the_wrong_method(still: Api) -> None:
    answer = still.client.delete(routes.NODES.path)
    _refused(answer, 405)
    assert "GET" in answer.headers["allow"]


def test_bodies_have_limits_that_are_counted(api: Api) -> None:
    over = b" " * ((1 << 20) + 1)
    assert "announced" in _refused(api.call(routes.CHECK_IN, as_="node", content=over), 413)

    def lying() -> Iterator[bytes]:
        yield from (over[:1000] for _ in range(2000))

    for headers in ({}, {"Content-Length": "10"}):  # none, and a lie; a server would not let the lie through
        answer = api.call(routes.CHECK_IN, as_="node", content=lying(), headers=headers)
        assert "announced" not in _refused(answer, 413)
    _refused(api.call(routes.PUBLISH, content=b"", headers={"Content-Length": str(3 * MAX_PUBLISH)}), 413)


def test_a_blob_over_the_limit_leaves_nothing(make_world: Callable[..., World]) -> None:
    world = make_world(max_blob=10)
    api = Api(world)
    with api.client:
        data = b"x" * 11
        _refused(api.call(routes.PUT_BLOB, parts={"digest": digest_of(data)}, content=data), 413)
        _refused(api.call(routes.PUT_BLOB, parts={"digest": digest_of(data)}, content=iter([data])), 413)
        assert "expected sha256:0123" in _refused(api.call(routes.PUT_BLOB, content=b"others"), 422)
    assert [(e.what, e.on) for e in world.trail()][-1] == ("blob refused", f"blob:{DIGEST}")
    assert [p for p in world.rooms.blobs.root.rglob("*") if p.is_file()] == []


def test_a_blob_is_put_once(api: Api) -> None:
    data = bytes(range(256)) * 9000  # over one chunk
    parts = {"digest": digest_of(data)}
    assert api.call(routes.PUT_BLOB, parts=parts, content=data).status_code == 201
    assert api.call(routes.PUT_BLOB, parts=parts, content=b"is not read").status_code == 200
    assert api.call(routes.BLOB, parts=parts).content == data
    head = api.client.head(routes.BLOB.at(**parts), headers={"Authorization": f"Bearer {api.world.admin}"})
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(data)), b"")


@pytest.mark.parametrize(
    ("asked", "code", "part"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=4-", 206, b"456789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=-99", 206, b"0123456789"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=10-", 416, b""),
        ("bytes=5-4", 416, b""),
        ("bytes=-0", 416, b""),
        ("bytes=x", 416, b""),
        ("bytes=-", 416, b""),
        ("bytes=" + ",".join(["0-1"] * 99), 416, b""),
        ("lines=0-3", 416, b""),
    ],
)
def test_a_fetch_goes_on_where_it_broke(still: Api, asked: str, code: int, part: bytes) -> None:
    digest = still.world.rooms.blobs.put(b"0123456789")
    answer = still.call(routes.BLOB, as_="node", parts={"digest": digest}, headers={"Range": asked})
    if code == 416:
        _refused(answer, 416)
        assert answer.headers["content-range"] == "bytes */10"
    else:
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (206, part, f'"{digest}"')
        assert answer.headers["content-range"].endswith("/10")


def test_a_blob_is_named_by_its_tag(api: Api) -> None:
    digest = api.world.rooms.blobs.put(b"0123456789")
    same, other = {"If-None-Match": f'"{digest}"'}, {"If-Range": f'"{DIGEST}"', "Range": "bytes=0-3"}
    assert api.call(routes.BLOB, parts={"digest": digest}, headers=same).status_code == 304
    assert api.call(routes.BLOB, parts={"digest": digest}, headers=other).content == b"0123456789"
    assert api.call(routes.BLOB, parts={"digest": digest}).headers["x-content-type-options"] == "nosniff"
    assert api.call(routes.BLOB, parts={"digest": api.world.rooms.blobs.put(b"")}).content == b""


def test_a_person_may_come_with_a_cookie(api: Api) -> None:
    host = {"Host": "hub.example:8440", "Cookie": f"skerry_session={api.world.admin}"}
    good: list[dict[str, str]] = [{}, {"Origin": "https://hub.example:8440"}, {"Sec-Fetch-Site": "same-origin"}]
    bad = [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ]
    for headers in good:
        answer = api.call(routes.JOIN_TOKEN, as_="cookie", headers={**host, **headers}, json={})
        assert answer.status_code == 201, headers
    for headers in bad:
        _refused(api.call(routes.JOIN_TOKEN, as_="cookie", headers={**host, **headers}, json={}), 403)
        assert api.call(routes.NODES, as_="cookie", headers={**host, **headers}).status_code == 200
    _refused(api.call(routes.NODES, as_="cookie", headers={"Cookie": "skerry_session=x"}), 401)


def test_health_needs_nobody(still: Api) -> None:
    assert still.call(routes.HEALTH, as_="nobody").json() == {"status": "ok"}


def test_an_error_that_nobody_meant_tells_nothing(world: World) -> None:
    def broken(request: Request) -> JSONResponse:
        raise KeyError("a secret of the house")

    def full(request: Request) -> JSONResponse:
        raise OSError(28, "No space left on device")

    def busy(request: Request) -> JSONResponse:
        raise errors.QueueFull("later \ud800", after=2.5)

    def mine(request: Request) -> JSONResponse:
        return JSONResponse({"name": person(request).name})

    pages = [Route("/broken", broken), Route("/full", full), Route("/busy", busy), Route("/mine", mine)]
    app = web(world.rooms, pages)
    with TestClient(app, raise_server_exceptions=False) as client:
        assert "secret" not in _refused(client.get("/broken"), 500)
        _refused(client.get("/full"), 507)
        assert client.get("/busy").headers["retry-after"] == "3"
        _refused(client.get("/busy"), 503)
        assert client.get("/mine", headers={"Authorization": f"Bearer {world.admin}"}).json() == {"name": "admin"}
    with TestClient(app) as client, pytest.raises(KeyError):  # the server gets it, and logs it with its traceback
        client.get("/broken")


def test_too_many_uploads_are_asked_to_come_later(api: Api) -> None:
    state = api.world.hub.asgi.state
    free, state.uploads = state.uploads, type(state.uploads)(0)
    answer = api.call(routes.UPLOAD, as_="node", content=encode(Batch("e", (result(1),))))
    _refused(answer, 503)
    assert answer.headers["retry-after"] == "5"
    state.uploads = free


def test_a_node_sends_one_batch_at_a_time(api: Api) -> None:
    batch = encode(Batch("e", (result(1),)))
    nodes = api.world.hub.asgi.state.uploading
    name = next(iter(api.world.hub.rooms.fleet.listed())).node.name
    nodes.add(name)
    _refused(api.call(routes.UPLOAD, as_="node", content=batch), 503)
    nodes.discard(name)
    assert api.call(routes.UPLOAD, as_="node", content=batch).status_code == 200
    assert not nodes


def test_every_error_has_a_status() -> None:
    def kinds(kind: type[errors.SkerryError]) -> list[type[errors.SkerryError]]:
        return [kind, *(k for sub in kind.__subclasses__() for k in kinds(sub))]

    found = {kind: status(kind("x")) for kind in kinds(errors.SkerryError)}
    assert found[NotKnown] == 401
    assert found[errors.WrongDigest] == found[errors.BadSignature] == 422
    assert found[errors.DeadlinePassed] == 408
    assert found[errors.QueueFull] == 503
    assert set(STATUS) <= set(found)


def test_every_route_of_the_hub_has_a_handler() -> None:
    named = {route for route in vars(routes).values() if isinstance(route, Named)}
    of_nodes = {routes.READY, routes.METRICS, routes.PREDICT}
    assert {r for r in named if r.path.startswith("/api/")} | {routes.HEALTH} == set(API)
    assert not of_nodes & set(API)


def test_lists_are_json_that_anyone_reads(still: Api) -> None:
    for route in (routes.MODELS, routes.NODES, routes.ROLLOUTS, routes.RESULTS, routes.ALARMS, routes.EVENTS):
        value = json.loads(still.call(route).content)
        assert list(value) == [route.path.rpartition("/")[2]]
