"""The processes of a real node: control, nursery, a worker for each model. Whichever dies, no stray is left."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.device.client import Client
from skerry.host.process import Child
from tests.models import brightness_bundle, grey_png
from tests.system.world import SECONDS, World, get, until

BRIGHT = grey_png(240)


def below(pid: int) -> dict[int, str]:
    """Return the processes that descend from one, by number, with their names."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            before, _, after = (folder / "stat").read_text().rpartition(")")
        except OSError:
            continue
        if after.split()[0] != "Z":
            parents[int(folder.name)], names[int(folder.name)] = int(after.split()[1]), before.partition("(")[2]
    found, more = {pid: ""}, True
    while more:
        fresh = {one: names[one] for one, parent in parents.items() if parent in found and one not in found}
        found |= fresh
        more = bool(fresh)
    return {one: name for one, name in found.items() if one != pid}


def workers(node: Child) -> list[int]:
    return [pid for pid, name in below(node.pid).items() if name.startswith("sk:")]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def node(tmp_path: Path) -> Iterator[tuple[Child, str]]:
    """A node alone with one model."""
    world = World(tmp_path / "world")
    bundle = brightness_bundle(tmp_path / "bundle")
    child = world._child("serve", ["-m", "skerry", "serve", str(bundle.path), "--http", "127.0.0.1:0", "--json"])
    yield child, child.ready(SECONDS)["http"]
    world.close()


def test_each_has_its_name(node: tuple[Child, str]) -> None:
    assert sorted(below(node[0].pid).values()) == ["sk-nursery", "sk:brightness"]


def test_a_worker_that_is_killed_is_not_missed(node: tuple[Child, str]) -> None:
    child, url = node
    client, answers, stop = Client(url, tries=1), [], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answers.append(client.infer("brightness", BRIGHT).findings[0].label)

    thread = threading.Thread(target=ask)
    thread.start()
    for _ in range(2):
        (worker,) = workers(child)
        before = len(answers)
        until("answers", lambda before=before: len(answers) > before + 10)
        os.kill(worker, signal.SIGKILL)
        until("another worker", lambda worker=worker: workers(child) not in ([], [worker]))
        before = len(answers)
        until("answers", lambda before=before: len(answers) > before + 10)
    stop.set()
    thread.join(SECONDS)
    assert set(answers) == {"bright"}
    assert get(url + "/ready").status == 200
    assert b"skerry_worker_restarts_total" in get(url + "/metrics").body


def test_a_nursery_that_is_killed_is_not_missed(node: tuple[Child, str]) -> None:
    child, url = node
    (nursery,) = [pid for pid, name in below(child.pid).items() if name == "sk-nursery"]
    (worker,) = workers(child)
    os.kill(nursery, signal.SIGKILL)
    assert Client(url).infer("brightness", BRIGHT).findings[0].label == "bright"
    os.kill(worker, signal.SIGKILL)
    assert Client(url).infer("brightness", BRIGHT).findings[0].label == "bright"
    assert len(workers(child)) == 1


def test_a_worker_that_hangs_does_not_outlive_its_node(node: tuple[Child, str]) -> None:
    child, _ = node
    (worker,) = workers(child)
    os.kill(worker, signal.SIGSTOP)
    os.kill(child.pid, signal.SIGKILL)
    until("it to end", lambda: not alive(worker), 10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_at_its_end_all_end(node: tuple[Child, str], number: int) -> None:
    child, _ = node
    pids = list(below(child.pid))
    assert len(pids) == 2
    os.killpg(child.pid, number)
    until("all to end", lambda: not child.running and not any(map(alive, pids)), 10)
    assert child.tail() == ""
