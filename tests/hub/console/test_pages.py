"""What the pages say of a hub with a life behind it, of an empty one, and of one where every word is hostile."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from starlette.testclient import TestClient

from skerry.core.finding import Finding
from skerry.core.manifest import digest_of
from skerry.wire.checkin import REFUSED, ModelReport
from skerry.wire.results import Alarm, Batch, Entry, Result
from tests.hub.console.town import SAME, board, known, populate, published, told
from tests.hub.world import BOARDS, World

PAGES = ["/", "/nodes", "/models", "/rollouts", "/results", "/alarms", "/events", "/alarms/banner", "/results/fresh"]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a populated hub that no test here changes."""
    world = World(tmp_path_factory.mktemp("town"))
    populate(world, [board(seed) for seed in range(30)])
    yield world
    world.close()


def text(browser: TestClient, path: str) -> str:
    """Return what a page says, without its tags."""
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text
    return " ".join(re.sub(r"<[^>]*>", " ", answer.text).split())


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", ["3 / 5 online, 2 not", "1 last hour", "30 last 24 h", "6.0 / min", "0 of 2 confirmed, 2 to answer"]),
        ("/", ["away dock-1", "refused line-3-cam boards version 2: golden", "never heard spare-7"]),
        ("/nodes", ["plant-a (3)", "dock-1 away dock", "line-1-cam online plant-a boards v2", "20 min ago", "never"]),
        ("/nodes/line-3-cam", ["serving boards version 1", "refused boards version 2", "(short 0.62 is missing)"]),
        ("/nodes/line-3-cam", ["memory 8.2 GB", "cpus 4", "architecture aarch64", "http://line-3-cam.local:8500"]),
        ("/nodes/spare-7", ["Nothing.", "told boards version 1", "rollout 3"]),
        ("/models", ["boards version 2", "onnx 1.7 MB 2 3", "labels-ocr version 1"]),
        ("/models/boards", ["Version 2 on 2 nodes", "Version 1 on 1 node", "resize → model → boxes → suppress"]),
        ("/models/boards", ["Labels open, short, mousebite", "Goldens 1", "group dock (2 nodes)", "node line-1-cam"]),
        ("/rollouts", ["3 running", "2 failed", "1 done", "2 of 3 confirmed, 1 failed", "1 d ago by ann"]),
        ("/rollouts/2", ["Rollout 2 failed", "failed golden goldens/0.png", "version 1", "confirmed"]),
        ("/rollouts/3", ["Rollout 3 running", "Really cancel?", "Yes, cancel rollout 3"]),
        ("/alarms", ["shorts in a row : 2 of the last 3 boards have a short", "20 s ago", "See the result"]),
        ("/events", ["rollout started", "node line-3-cam", "version published", "size 1.7 MB", "admin token made"]),
    ],
)
def test_a_page_says_what_is(town: World, path: str, words: list[str]) -> None:
    said = text(known(town), path)
    assert [word for word in words if word not in said] == [], said


def test_who_signed_a_version_stands_there(town: World) -> None:
    signed = town.rooms.registry.signed(town.rooms.registry.listed(BOARDS)[0].digest).signature
    (key,) = re.findall(r'"([0-9a-f]{16})"', signed)
    assert key in text(known(town), "/models/boards")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", "No node yet. Make a join token"),
        ("/nodes", "skerry node --hub"),
        ("/models", "skerry publish"),
        ("/rollouts", "No rollout yet."),
        ("/results", "No result yet."),
        ("/results?findings=1", "Show all results"),
        ("/alarms", "[[node.rules]]"),
    ],
)
def test_an_empty_page_says_what_to_do_next(world: World, path: str, words: str) -> None:
    assert words in text(known(world), path)


def test_the_overview_leads_on_step_by_step(world: World) -> None:
    node = world.enrol("dock-1")
    assert "No model yet." in text(known(world), "/")
    world.publish()
    assert "No result yet." in text(known(world), "/")
    assert "There is no node" not in text(known(world), "/models/boards")
    assert "Nothing." in text(known(world), f"/nodes/{node}")


def test_a_rollout_is_started_and_cancelled(world: World) -> None:
    world.publish()
    world.publish(2)
    nodes = [world.enrol("a", "line"), world.enrol("b", "line")]
    browser = known(world)
    answer = browser.post("/rollouts", data={"model": BOARDS, "version": "2", "to": "group:line"}, headers=SAME)
    assert (answer.status_code, answer.headers["location"]) == (303, "/rollouts/1")
    assert [[w.version for w in world.desired(node)] for node in nodes] == [[2], [2]]
    answer = browser.post("/rollouts", data={"model": BOARDS, "version": "1", "to": "node:b"}, headers=SAME)
    assert answer.headers["location"] == "/rollouts/2"
    assert "taken over" in text(browser, "/rollouts/1")
    assert browser.post("/rollouts/1/cancel", headers=SAME).headers["location"] == "/rollouts/1"
    assert world.states(1)[0] == "cancelled"
    assert "Really cancel?" not in text(browser, "/rollouts/1")
    assert browser.post("/rollouts/1/cancel", headers=SAME).status_code == 409
    assert {e.who for e in world.trail() if e.what == "rollout started"} == {"admin"}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"version": "9", "to": "group:line"}, 404),
        ({"version": "1", "to": "group:none"}, 404),
        ({"version": "x", "to": "group:line"}, 400),
        ({"version": "1", "to": "line"}, 400),
        ({"version": "1", "to": "node:<b>"}, 400),
        ({"version": "1"}, 400),
        ({"version": "1", "to": "node:" + "x" * 20_000}, 413),
        ({str(n): "1" for n in range(40)}, 400),
    ],
)
def test_a_bad_rollout_is_a_page_that_says_why(world: World, fields: dict[str, str], status: int) -> None:
    world.publish()
    world.enrol("a", "line")
    answer = known(world).post("/rollouts", data={"model": BOARDS, **fields}, headers=SAME)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")


def test_a_banner_stands_until_it_is_put_away_or_old(make_world: Callable[..., World]) -> None:
    world = make_world()
    populate(world, [board(seed) for seed in range(9)])
    browser = known(world)
    assert "Alarm: shorts in a row" in text(browser, "/nodes")
    answer = browser.post("/alarms/seen", data={"alarm": "1"}, headers={**SAME, "hx-request": "true"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/alarms/banner")
    assert "Alarm:" not in text(browser, "/nodes")
    assert "Alarm:" in text(known(world), "/nodes")  # of another browser
    node = world.enrol("a", "line")
    entry = Entry(1, world.clock.time, Alarm("again", BOARDS, 1, ""), b"")
    world.rooms.results.take(node, Batch("e", (entry,)))
    assert "Alarm: again" in text(browser, "/alarms/banner")
    browser.post("/alarms/seen", data={"alarm": "9" * 30}, headers=SAME)
    assert "Alarm: again" in text(browser, "/alarms/banner")
    world.clock.time += 3601.0
    assert "Alarm:" not in text(browser, "/nodes")


SCRIPT = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}"


def hostile(world: World) -> None:
    """Fill every field that somebody else writes with a script."""
    node = world.enrol("dock-1", "line")
    runtime = {"name": SCRIPT, "file": "model.onnx"}
    published(world, 1, description=SCRIPT, labels=[SCRIPT], post=[{"step": SCRIPT}], runtime=runtime)
    world.roll_out(1, group="line")
    wanted = world.desired(node)[0]
    report = ModelReport(wanted.model, wanted.version, wanted.digest, REFUSED, wanted.rollout, SCRIPT)
    facts = {SCRIPT: SCRIPT, "memory": SCRIPT, "runtimes": [SCRIPT, {SCRIPT: [SCRIPT]}], "trouble": {SCRIPT: SCRIPT}}
    told(world, node, facts, replace(report, rollout=0), url="http://x/" + SCRIPT)
    world.check_in(node, report, facts=facts)
    told(world, node, facts, report, url="http://x/" + SCRIPT)
    findings = (Finding(SCRIPT, 0.5, 0, (1.0, 2.0, 30.0, 40.0)), Finding(SCRIPT, 1e308, -1))
    body = Result(BOARDS, 1, digest_of(b"x"), SCRIPT, findings, 320, 240, 4.0)
    entries = (Entry(1, 1e300, body, board(1)[0]), Entry(2, -1e300, Alarm(SCRIPT, BOARDS, 1, SCRIPT), b""))
    world.rooms.results.take(node, Batch(SCRIPT[:60], entries))


class Tags(HTMLParser):
    """What a browser would make of a page: its tags with their attributes, and the words between."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_no_word_of_others_becomes_a_tag(world: World) -> None:
    hostile(world)
    browser = known(world)
    for path in [*PAGES, "/nodes/dock-1", "/models/boards", "/rollouts/1", "/results/1", "/results/1?x=" + SCRIPT]:
        answer = browser.get(path)
        assert answer.status_code == 200, path
        found = Tags(answer.text)
        if path not in ("/nodes", "/models", "/rollouts", "/results/fresh"):
            assert any(SCRIPT[:40] in words for words in found.words), path
        assert not any(">49" in words for words in found.words), path
        for tag, attributes in found.tags:
            assert not any(name.startswith("on") or name == "style" for name in attributes), (path, tag)
            assert tag not in ("iframe", "object", "embed", "base"), path
            if tag in ("script", "img", "image", "link"):
                assert (attributes.get("src") or attributes.get("href") or "").startswith("/"), (path, attributes)


def test_no_refusal_says_a_hostile_word(world: World) -> None:
    browser = known(world)
    for path in ("/nodes/", "/results?node=", "/login?next=/", "/?x=", "/results?before="):
        assert "<script>alert" not in browser.get(path + SCRIPT).text
