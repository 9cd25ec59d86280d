"""The recipe end to end, small: samples on disk agree with their truth, and an exported file can be scored."""

import csv
import json

import numpy as np
import torch
from PIL import Image

from skerry.forge import pcb
from skerry.forge.boards import render_board
from skerry.forge.bundle import LIMIT, bundle_detector, golden_boards, pcb_bundle, threshold_of
from skerry.forge.export import export_onnx
from skerry.forge.marks import LABELS
from skerry.forge.models.detector import Detector


def test_samples_on_disk_are_the_boards_of_their_seeds(tmp_path):
    truth = json.loads(pcb.render_samples(tmp_path, 4, seed=70).read_text())
    assert len(truth) == 4
    for name, entry in truth.items():
        sound = not entry["defects"]
        board = render_board(entry["seed"], 0 if sound else None)
        with Image.open(tmp_path / name) as picture:
            assert (np.asarray(picture.convert("L")) == board.image).all()
        assert [d["label"] for d in entry["defects"]] == [d.label for d in board.defects]
    assert sum(not entry["defects"] for entry in truth.values()) == 1


def test_the_preview_is_a_picture(tmp_path):
    pcb.render_preview(tmp_path / "preview.png", 70, columns=2, rows=1)
    with Image.open(tmp_path / "preview.png") as picture:
        assert picture.size == (640, 320)


def test_an_exported_detector_is_scored_through_the_engine(tmp_path):
    torch.manual_seed(1)
    net = Detector().eval()
    torch.nn.init.constant_(net.heat.bias, 0.0)  # an untrained network that answers a lot
    export_onnx(net, tmp_path / "net.onnx")
    pcb.render_samples(tmp_path / "images", 2, seed=70)
    truth = json.loads((tmp_path / "images/truth.json").read_text())
    with (tmp_path / "images.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "split", "test_image"], *([n, "test", f"images/{n}"] for n in truth)])
    boxes = [[n, d["x1"], d["y1"], d["x2"], d["y2"], d["label"]] for n in truth for d in truth[n]["defects"]]
    with (tmp_path / "boxes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "x1", "y1", "x2", "y2", "class"], *boxes])
    boards = golden_boards(tmp_path / "images")
    pcb_bundle(tmp_path / "net.onnx", boards, 0.5, 3, tmp_path / "bundle")
    assert threshold_of(tmp_path / "bundle") == 0.5
    verdicts = pcb.score(bundle_detector(tmp_path / "bundle", 0.05), tmp_path, "test")
    total = verdicts.at(0.05).total
    assert verdicts.boards == 2
    assert total.truths == len(boxes)
    assert 0 < total.answers <= 2 * LIMIT
    assert set(verdicts.truths) == set(LABELS)
    assert verdicts.at(1.0).total.answers == 0
    assert json.loads(json.dumps(verdicts.at(0.5).as_json()))["boards"] == 2
    assert "mousebite" in verdicts.at(0.5).as_table()
