"""A file system that is really full: a small tmpfs below a node's state folder. Needs root, to mount one."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.device.client import Client
from tests.models import grey_png
from tests.system.world import World, get, until

BRIGHT = grey_png(240)
SMALL, LARGE = "4m", "200m"  # a node wants 64 MB to stay free beside a bundle


def mount(*argv: str) -> bool:
    """Run mount or umount; return whether it worked."""
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


@pytest.fixture
def volume() -> Iterator[Path]:
    """A tmpfs of 200 MB."""
    with tempfile.TemporaryDirectory() as folder:
        if not mount("mount", "-t", "tmpfs", "-o", f"size={LARGE}", "tmpfs", folder):
            pytest.skip("may not mount a tmpfs here (needs root)")
        yield Path(folder)
        mount("umount", "-l", folder)


def resize(volume: Path, size: str) -> None:
    """Make the volume smaller or larger while it is in use."""
    assert mount("mount", "-o", f"remount,size={size}", str(volume))


def test_a_bundle_that_would_fill_the_disk_waits_until_there_is_room(world: World, volume: Path) -> None:
    resize(volume, SMALL)
    world.publish(1)
    _, url = world.start_node("line-1", world.settings("line-1", state=str(volume / "node")))
    until("enrolment", lambda: world.node("line-1"))
    rollout = world.roll_out(1, "line-1")
    until("the trouble on the hub", lambda: "fill the disk" in (world.node("line-1") or {})["facts"].get("trouble", ""))
    assert get(url + "/health").status == 200
    assert world.ended(rollout["id"]) is None
    resize(volume, LARGE)
    assert until("the rollout", lambda: world.ended(rollout["id"]))["state"] == "done"
    assert Client(url).infer("brightness", BRIGHT).findings[0].label == "bright"


def test_images_are_answered_while_nothing_can_be_written(world: World, volume: Path) -> None:
    world.publish(1)
    _, url = world.start_node("line-1", world.settings("line-1", state=str(volume / "node")))
    until("enrolment", lambda: world.node("line-1"))
    assert world.rolled_out(1, "line-1")["state"] == "done"
    client = Client(url)
    recorded = {client.infer("brightness", BRIGHT).result}
    filler = volume / "filler"
    with filler.open("wb") as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(1 << 20))
            file.flush()
    picture = grey_png(200, side=600) + bytes(1 << 20)  # more than the journal's log has room for
    unrecorded = [client.infer("brightness", picture) for _ in range(5)]
    assert {answer.findings[0].label for answer in unrecorded} == {"bright"}
    assert "" in {answer.result for answer in unrecorded}
    filler.unlink()
    recorded |= {answer.result for answer in unrecorded} - {""}
    recorded.add(until("a result on disk again", lambda: client.infer("brightness", BRIGHT).result))
    until("all recorded results on the hub", lambda: recorded <= set(world.results("line-1")))
