"""A hub with a life behind it: nodes, versions, rollouts, results with pictures, alarms; and a real server for it."""

from __future__ import annotations

import contextlib
import io
import json
import random
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import uvicorn
from PIL import Image, ImageDraw
from starlette.testclient import TestClient

from skerry.core.finding import Finding
from skerry.core.manifest import Manifest
from skerry.core.names import ModelName, NodeName
from skerry.core.trust import key_id, message, write_signatures
from skerry.hub.api.web import web
from skerry.hub.console.routes import console_routes
from skerry.wire.checkin import SERVING, CheckIn, ModelReport
from skerry.wire.registry import Publish
from skerry.wire.results import Alarm, Batch, Entry, Result
from tests.core.values import manifest_json
from tests.hub.world import BOARDS, World

LABELS = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
SAME = {"sec-fetch-site": "same-origin"}
Shown = tuple[bytes, tuple[Finding, ...]]


def board(seed: int, size: int = 320) -> Shown:
    """Draw a small board with what is wrong with it."""
    dice = random.Random(seed)
    image = Image.new("L", (size, size), 255)
    pen = ImageDraw.Draw(image)
    for row in range(12, size, 24):
        pen.line([(0, row), (size, row + dice.choice([0, 24]))], fill=0, width=8)
    found = []
    for _ in range(dice.randrange(0, 5)):
        x, y, label = dice.randrange(size - 40), dice.randrange(size - 40), dice.randrange(len(LABELS))
        pen.rectangle((x + 8, y + 8, x + 24, y + 20), fill=dice.choice([0, 255]))
        found.append(Finding(LABELS[label], dice.uniform(0.5, 0.99), label, (x, y, x + 32.0, y + 28.0)))
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue(), tuple(found)


def client(world: World, base: str = "http://hub") -> TestClient:
    """Return a browser that is not logged in and follows nothing by itself."""
    app = web(world.rooms, console_routes())
    return TestClient(app, base, follow_redirects=False, raise_server_exceptions=False)


def known(world: World, base: str = "http://hub") -> TestClient:
    """Return a browser of the admin."""
    browser = client(world, base)
    browser.cookies.set("skerry_session", world.admin)
    return browser


def told(world: World, node: NodeName, facts: dict[str, object], *more: ModelReport, url: str = "") -> None:
    """Let a node check in, serving what it is to serve."""
    serves = [ModelReport(w.model, w.version, w.digest, SERVING) for w in world.desired(node)]
    world.rooms.fleet.check_in(node, CheckIn(node, (*serves, *more), 0, url or f"http://{node}.local:8500", facts))


def published(world: World, version: int, name: str = BOARDS, **change: object) -> None:
    """Publish a version that says something of itself."""
    content = f"weights of {name} {version}".encode() * 90_000
    files = {
        "model.onnx": {"sha256": world.rooms.blobs.put(content), "size": len(content)},
        "goldens/0.png": {"sha256": world.rooms.blobs.put(b"x"), "size": 1},
        "goldens/0.json": {"sha256": world.rooms.blobs.put(b"{}"), "size": 2},
    }
    said = {"name": name, "version": version, "files": files, "labels": list(LABELS), **change}
    said.setdefault("post", [{"step": "boxes"}, {"step": "suppress"}])
    manifest = Manifest.read(manifest_json(**said))
    signatures = write_signatures({key_id(world.key.public): world.key.sign(message(manifest.canonical))})
    publish = Publish(json.dumps(manifest.json()), json.dumps(signatures))
    world.rooms.registry.publish(ModelName(name), publish, "ann")


def entries(world: World, boards: Sequence[Shown], first: int = 1, every: float = 4.0, size: int = 320) -> list[Entry]:
    """Return journal entries of results, the last of them now."""
    digest = world.rooms.registry.listed(BOARDS)[0].digest
    begin, dice = world.clock.time - every * (len(boards) - 1), random.Random(first)
    found = []
    for place, (picture, findings) in enumerate(boards):
        source, took = f"line-2/board-{1000 + first + place}.png", dice.uniform(5.5, 8.5)
        body = Result(BOARDS, 2, digest, source, findings, size, size, took)
        found.append(Entry(first + place, begin + place * every, body, picture))
    return found


def populate(world: World, boards: Sequence[Shown], size: int = 320) -> None:
    """Give the hub a week in a plant."""
    clock, end = world.clock, world.clock.time
    clock.time = end - 4 * 86_400.0
    published(world, 1, description="Finds open, shorted and frayed copper on bare boards.")
    nodes = [world.enrol(f"line-{n}-cam", "plant-a") for n in (1, 2, 3)] + [world.enrol("dock-1", "dock")]
    facts = {"skerry": "0.1.0", "cpus": 4, "memory": 8_201_347_072, "architecture": "aarch64", "disk_free": 41 << 30}
    facts |= {"system": "Linux 6.6.31", "runtimes": ["onnx"]}
    world.roll_out(1, group="plant-a")
    for node in nodes:
        told(world, node, facts)
    clock.time = end - 3600.0 * 30
    published(world, 2, description="The same, trained with 4,000 more boards; steadier on spurs.")
    published(world, 1, "labels-ocr", description="Reads the lot number on a label.", labels=["lot"])
    world.roll_out(2, group="plant-a")
    told(world, nodes[0], facts)
    told(world, nodes[1], facts)
    world.refuses(nodes[2], 2, "golden goldens/0.png: expected 3 boxes; got 2 (short 0.62 is missing)")
    refused = next(r for r in world.rooms.fleet.find(nodes[2]).node.reports)
    clock.time = end - 1200.0
    world.enrol("spare-7", "dock")
    told(world, nodes[3], facts)
    clock.time = end
    world.roll_out(1, group="dock")
    for node in nodes[:2]:
        told(world, node, facts)
    told(world, nodes[2], facts, refused)
    found = entries(world, boards, size=size)
    last = found[-1]
    body = Alarm("shorts in a row", BOARDS, last.seq - 2, "2 of the last 3 boards have a short")
    first, rest = found[: len(found) // 3], found[len(found) // 3 :]
    world.rooms.results.take(nodes[0], Batch("e", tuple(first)))
    rest = [replace(entry, seq=place + 1) for place, entry in enumerate(rest)]
    alarm = Entry(len(rest) + 1, end - 20.0, replace(body, result=max(1, len(rest) - 1)), b"")
    world.rooms.results.take(nodes[1], Batch("e", (*rest, alarm)))


@contextlib.contextmanager
def served(world: World) -> Iterator[str]:
    """Serve a hub with its console on a free port; stop it as the hub itself does."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        config = uvicorn.Config(
            web(world.rooms, console_routes()), log_level="warning", lifespan="off", timeout_graceful_shutdown=5
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            world.rooms.stopping.set()
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()
