"""Results on real processes: every one that a node recorded is on the hub, once, whoever is killed when."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from skerry.core.errors import SkerryError
from skerry.device.client import Client
from tests.models import grey_png
from tests.system.world import World, ask_again, until

DARK, BRIGHT = grey_png(10), grey_png(240)
RULE = {"name": "too bright", "model": "brightness", "labels": ["bright"], "min_score": 0.9, "count": 2, "window": 3}


def serving(world: World, name: str, settings: Path) -> str:
    """Start a node, roll version 1 out to it and return its URL."""
    world.publish(1)
    _, url = world.start_node(name, settings)
    until("enrolment", lambda: world.node(name))
    assert world.rolled_out(1, name)["state"] == "done"
    return url


class Camera:
    """Asks a node again and again, and remembers the place of every result that it was told was recorded."""

    def __init__(self) -> None:
        self.url = ""
        self.recorded: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self, url: str) -> None:
        """Begin to ask."""
        self.url = url
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        picture = grey_png(200, side=400)
        while not self._stop.is_set():
            try:
                self.recorded.add(Client(self.url, tries=1, seconds=5).infer("brightness", picture).result)
            except SkerryError:
                time.sleep(0.02)


@pytest.mark.parametrize("killed", ["node", "hub", "both"])
def test_none_lost_and_none_twice_when_killed_in_the_middle_of_uploads(world: World, killed: str) -> None:
    settings = world.settings("line-1")
    url = serving(world, "line-1", settings)
    camera = Camera()
    camera.start(url)
    try:
        for round_number in range(3):
            enough = len(camera.recorded) + 30
            until("some results", lambda enough=enough: len(camera.recorded) >= enough)
            if killed in ("hub", "both"):
                assert world.hub is not None
                world.hub.kill()
                time.sleep(0.1 * round_number)
                world.start_hub()
            if killed in ("node", "both"):
                world.children[-2 if killed == "both" else -1].kill()
                world.children = [child for child in world.children if child.running]
                _, camera.url = world.start_node("line-1", settings, join="none needed")
        before = len(camera.recorded)
        until("results after the last kill", lambda: len(camera.recorded) > before + 10)
    finally:
        camera.stop()
    assert "" not in camera.recorded
    on_hub = until("all results on the hub", lambda: _all_there(world, camera.recorded))
    assert len(on_hub) == len(set(on_hub)), "a result is on the hub twice"
    sequence = [int(place.split("/")[1]) for place in on_hub]
    assert sorted(sequence) == list(range(1, len(sequence) + 1)), "the journal's order has a gap"


def _all_there(world: World, recorded: set[str]) -> list[str] | None:
    found = world.results("line-1")
    return found if recorded <= set(found) else None


def test_results_gather_while_the_hub_is_away(world: World) -> None:
    url = serving(world, "line-1", world.settings("line-1"))
    assert world.hub is not None
    world.hub.kill()
    places = {Client(url).infer("brightness", DARK, source=f"board {n}").result for n in range(50)}
    assert len(places) == 50
    world.start_hub()
    until("all results", lambda: _all_there(world, places))


@contextmanager
def receiver(refuse: int = 0) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """A webhook receiver that fails the first `refuse` calls; yields its URL and the alarms that it took."""
    alarms: list[dict[str, object]] = []
    left = [refuse]

    class Post(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            left[0] -= 1
            if left[0] < 0:
                alarms.append(json.loads(body))
            self.send_response(204 if left[0] < 0 else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Post)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", alarms
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_rule_raises_one_alarm_at_the_webhook_and_on_the_hub(world: World) -> None:
    with receiver(refuse=1) as (hook, alarms):
        url = serving(world, "line-1", world.settings("line-1", rules=[{**RULE, "webhook": hook}]))
        client = Client(url)
        for image in (DARK, BRIGHT, DARK, BRIGHT, BRIGHT, BRIGHT, DARK, DARK, DARK):
            client.infer("brightness", image)
        until("the alarm at the webhook", lambda: alarms)
        on_hub = until("the alarm on the hub", lambda: world.alarms("line-1"))
        time.sleep(0.5)
        assert len(alarms) == len(on_hub) == 1
        assert alarms[0]["rule"] == on_hub[0]["rule"] == "too bright"
        assert alarms[0]["result"] == on_hub[0]["result"] == 4  # the second bright one of the last three


def test_a_rule_remembers_across_a_kill_and_the_alarm_reaches_its_webhook_later(world: World) -> None:
    with receiver() as (hook, alarms):
        settings = world.settings("line-1", rules=[{**RULE, "webhook": hook}])
        url = serving(world, "line-1", settings)
        Client(url).infer("brightness", BRIGHT)
        world.children[-1].kill()
        _, url = world.start_node("line-1", settings, join="none needed")
        ask_again(Client(url), "brightness", BRIGHT)
        assert until("the alarm", lambda: alarms)[0]["rule"] == "too bright"
