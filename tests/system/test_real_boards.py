"""Real boards through the whole of Skerry: device, node, hub."""

from __future__ import annotations

import csv
from pathlib import Path

from skerry.cli.demo_run import DEMO
from skerry.core.names import ModelName, NodeName
from skerry.device.client import Client
from skerry.engine.bundle import open_bundle, sign
from skerry.host.files import Disk
from skerry.wire.registry import RollOut
from tests.data import DATA, needs
from tests.system.world import World, until

BOARDS = DATA / "deeppcb"
COUNT = 24


@needs("deeppcb")
def test_real_boards_from_device_to_hub(world: World, tmp_path: Path) -> None:
    with (BOARDS / "images.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test_seen_board"][:: 168 // COUNT][:COUNT]
    assert len(rows) == COUNT
    folder = tmp_path / "pcb"
    folder.mkdir()
    for path in (DEMO / "pcb").rglob("*"):
        if path.is_file():
            Disk().write(folder / path.relative_to(DEMO / "pcb"), path.read_bytes())
    bundle = open_bundle(folder)
    sign(bundle, world.key, Disk())
    world.operator.publish(folder)
    _, url = world.start_node("line-1")
    until("enrolment", lambda: world.node("line-1"))
    rollout = world.operator.roll_out(RollOut(ModelName("pcb"), bundle.manifest.version, node=NodeName("line-1")))
    assert until("the rollout", lambda: world.ended(rollout["id"]))["state"] == "done"
    client = Client(url)
    answers = [client.infer("pcb", BOARDS / row["test_image"]) for row in rows]
    for answer in answers:
        assert (answer.width, answer.height) == (640, 640)
        for found in answer.findings:
            assert found.label in bundle.manifest.labels
            left, top, right, bottom = found.box or (0, 0, 0, 0)
            assert 0 <= left < right <= 640
            assert 0 <= top < bottom <= 640
    assert sum(bool(answer.findings) for answer in answers) > COUNT // 2, "every one of these boards has defects"
    places = {answer.result for answer in answers}
    assert len(places) == COUNT
    until("all results on the hub", lambda: places <= set(world.results("line-1")))
