"""Nobody gets in without a token, no other site acts for who is in, and every answer keeps a browser strict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from skerry.hub.api.web import web
from skerry.hub.console.frame import local
from skerry.hub.console.routes import GET, POST, console_routes
from tests.hub.console.town import SAME, client, known
from tests.hub.world import World, secret_of

OPEN = {"/login"}
INSIDE = [path.format(name="dock-1", number=1) for path in [*GET, "/events/stream"] if path not in OPEN]
CHANGES = [path.format(number=1) for path in POST]


def test_a_stranger_is_sent_to_the_door(world: World) -> None:
    for path in INSIDE:
        answer = client(world).get(path)
        assert answer.status_code == 303, path
        assert answer.headers["location"] in ("/login", f"/login?next={path}"), path
        assert client(world).get(path, headers={"cookie": "skerry_session=guess"}).status_code == 303, path


def test_a_stranger_changes_nothing(world: World) -> None:
    for path in CHANGES:
        if path != "/login":
            answer = client(world).post(path, headers=SAME)
            assert (answer.status_code, answer.headers["location"]) == (303, "/login"), path


def test_htmx_is_told_to_go_to_the_door(world: World) -> None:
    answer = client(world).get("/nodes", headers={"hx-request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"], answer.text) == (401, "/login", "")


def test_a_token_opens_the_door_and_is_in_no_address(world: World) -> None:
    browser = client(world)
    answer = browser.get(f"/?token={world.admin}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie
    assert browser.get("/").status_code == 200
    assert client(world).get(f"/?x=1&token={world.admin}").headers["location"] == "/?x=1"
    assert client(world).get("/?token=wrong").status_code == 401


def test_the_cookie_is_secure_over_https(world: World) -> None:
    assert "Secure" in client(world, "https://hub").get(f"/?token={world.admin}").headers["set-cookie"]


def test_the_form_lets_in_and_out(world: World) -> None:
    browser = client(world)
    assert browser.get("/login?next=/nodes").status_code == 200
    answer = browser.post("/login", data={"token": f" {world.admin} ", "next": "/nodes?x=1"}, headers=SAME)
    assert (answer.status_code, answer.headers["location"]) == (303, "/nodes?x=1")
    assert browser.get("/nodes").status_code == 200
    assert browser.post("/logout", headers=SAME).headers["location"] == "/login"
    assert browser.get("/nodes").status_code == 303


@pytest.mark.parametrize("data", [{"token": "wrong"}, {"token": ""}, {}, {"token": "é\x00" * 40}])
def test_a_wrong_token_is_told_so(world: World, data: dict[str, str]) -> None:
    answer = client(world).post("/login", data=data, headers=SAME)
    assert answer.status_code == 401
    assert "not known here" in answer.text
    assert "set-cookie" not in answer.headers


def test_a_node_is_no_person(world: World) -> None:
    world.enrol("dock-1")
    answer = client(world).post("/login", data={"token": secret_of("dock-1")}, headers=SAME)
    assert answer.status_code == 401
    assert "node&#39;s token" in answer.text
    browser = client(world)
    browser.cookies.set("skerry_session", secret_of("dock-1"))
    assert browser.get("/nodes").status_code == 403


@pytest.mark.parametrize(
    "headers",
    [{}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "http://e"}, {"origin": "null"}],
)
def test_no_other_site_can_act_for_somebody(world: World, headers: dict[str, str]) -> None:
    for path in CHANGES:
        answer = known(world).post(path, headers=headers, data={"token": world.admin})
        assert answer.status_code == 403, path
        assert "another site" in answer.text


def test_a_browser_without_sec_fetch_is_known_by_its_origin(world: World) -> None:
    answer = client(world).post("/login", data={"token": world.admin}, headers={"origin": "http://hub"})
    assert answer.status_code == 303


@pytest.mark.parametrize("path", ["/", "/login", "/nowhere", "/static/skerry.css", "/nodes/none", "/static/none"])
def test_every_answer_keeps_a_browser_strict(world: World, path: str) -> None:
    headers = known(world).get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_pages_are_not_kept_and_stamped_files_are(world: World) -> None:
    browser = known(world)
    assert browser.get("/nodes").headers["cache-control"] == "no-store"
    assert "immutable" in browser.get("/static/skerry.css?v=1").headers["cache-control"]
    assert "immutable" not in browser.get("/static/skerry.css").headers["cache-control"]


def test_errors_are_pages(world: World) -> None:
    for path, status in (("/nowhere", 404), ("/nodes/none", 404), ("/results/x", 400), ("/rollouts/7", 404)):
        answer = known(world).get(path)
        assert answer.status_code == status, path
        assert answer.headers["content-type"].startswith("text/html")
        assert "To the overview" in answer.text


def test_the_api_keeps_its_own_errors(world: World) -> None:
    answer = known(world).get("/api/v1/nowhere")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
    assert known(world).put("/api/v1/nodes", headers=SAME).status_code == 405
    assert client(world).get("/health").json() == {"status": "ok"}


class Broken:
    """A trail that fails in a way that nobody meant."""

    def notice(self) -> Any:
        raise RuntimeError("secret words")


def test_a_failure_is_a_page_that_tells_nothing(world: World) -> None:
    app = web(replace(world.rooms, events=Broken()), console_routes())
    browser = TestClient(app, "http://hub", raise_server_exceptions=False)
    browser.cookies.set("skerry_session", world.admin)
    answer = browser.get("/nodes")
    assert answer.status_code == 500
    assert "its log says why" in answer.text
    assert "secret words" not in answer.text
    assert "content-security-policy" in answer.headers
    with pytest.raises(RuntimeError):  # and the server's log hears of it
        TestClient(app, "http://hub", cookies=dict(browser.cookies)).get("/nodes")


@pytest.mark.parametrize("path", ["//evil", "/\\evil", "http://evil", "javascript:1", "", "/a\nb", "/a\\b"])
def test_nobody_is_sent_elsewhere(path: str) -> None:
    assert local(path) == "/"
    assert local("/results?node=a&before=3") == "/results?node=a&before=3"
