"""Samples, network, loop and export: targets decode back, a short run learns, a cut run goes on unchanged."""

from collections import deque

import numpy as np
import pytest
import torch

from skerry.forge.boards import render_board
from skerry.forge.export import ParityLost, check_parity, export_onnx
from skerry.forge.marks import LABELS
from skerry.forge.models.detector import REACH, STRIDE, Detector
from skerry.forge.samples import TWIN, Crops, make_batch
from skerry.forge.supply import make_example
from skerry.forge.train import Run, TrainPlan, box_loss, heat_loss, rate_at, train

TINY = TrainPlan(steps=30, seed=5, crops=Crops(batch=6, side=128), processes=1, first=16)


@pytest.fixture(scope="module")
def examples():
    return deque(make_example(seed) for seed in range(8))


def test_a_batch_depends_on_seed_and_step_alone(examples):
    first, again, other = (make_batch(examples, Crops(4, 128), 3, step) for step in (7, 7, 8))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert (first.image != other.image).any()


def test_targets_decode_back_to_boxes(examples):
    """Every centre cell gives a box around dark-light change, inside the crop, that its gaussian sits on."""
    batch = make_batch(examples, Crops(16, 256), 0, 0)
    centres = np.argwhere(batch.heat == 1)
    assert len(centres) > 20
    for n, _, row, column in centres:
        assert batch.weight[n, row, column] > 0
        x, y = (column + 0.5) * STRIDE, (row + 0.5) * STRIDE
        left, top, right, bottom = batch.box[n, :, row, column]
        x1, y1, x2, y2 = x - left, y - top, x + right, y + bottom
        assert -1 <= x1 < x2 <= 256
        assert -1 <= y1 < y2 <= 256
        assert abs((x1 + x2) / 2 - x) <= STRIDE / 2 + 1
        assert abs((y1 + y2) / 2 - y) <= STRIDE / 2 + 1
        part = batch.image[n, 0, int(y1) : int(y2) + 1, int(x1) : int(x2) + 1]
        assert part.min() < 0.5 < part.max()


def test_the_negative_of_the_negative_is_the_label_itself():
    assert (TWIN[TWIN] == np.arange(len(LABELS))).all()
    assert (np.arange(len(LABELS)) != TWIN).all()


def test_the_detector_gives_one_cell_per_stride_and_no_negative_distance():
    net = Detector().eval()
    for size in (64, 256):
        heat, box = net(torch.rand(2, 1, size, size))
        assert heat.shape == (2, 6, size // STRIDE, size // STRIDE)
        assert box.shape == (2, 4, size // STRIDE, size // STRIDE)
        assert (box >= 0).all()
    assert sum(p.numel() for p in net.parameters()) * 4 < 2_000_000


def test_losses_are_least_at_the_truth(examples):
    batch = {k: torch.from_numpy(v) for k, v in make_batch(examples, Crops(4, 128), 1, 1)._asdict().items()}
    sure = torch.where(batch["heat"] == 1, 20.0, -20.0)
    assert heat_loss(sure, batch) < 0.01 < heat_loss(-sure, batch)
    assert box_loss(batch["box"], batch) < 0.05
    assert box_loss(batch["box"], batch) < box_loss(batch["box"] + 5, batch) < box_loss(batch["box"] + REACH, batch)


def test_the_rate_warms_up_and_falls():
    rates = [rate_at(step, 1000) for step in range(1000)]
    top = int(np.argmax(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < rates[top] / 50


def test_a_short_run_learns_and_a_cut_run_ends_the_same(tmp_path):
    """Bit for bit the same on one machine with the same number of threads."""
    losses = []
    whole = train(TINY, tmp_path / "whole.pt", lambda s: losses.append(s.heat_loss + s.box_loss))
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    steps = []
    train(TINY, tmp_path / "cut.pt", lambda s: steps.append(s.step), stop_at=13)
    resumed = train(TINY, tmp_path / "cut.pt", lambda s: steps.append(s.step))
    assert steps == list(range(1, 31))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_checkpoint_of_another_seed_is_refused(tmp_path):
    Run.start(seed=1).save(tmp_path / "a.pt", seed=1)
    with pytest.raises(ValueError, match="seed"):
        train(TrainPlan(steps=2, seed=2), tmp_path / "a.pt", lambda _: None)


def test_the_exported_file_answers_like_the_network_and_names_no_path(tmp_path):
    torch.manual_seed(0)
    net = Detector().eval()
    for name in ("a", "b"):
        export_onnx(net, tmp_path / f"{name}.onnx", size=64)
    data = (tmp_path / "a.onnx").read_bytes()
    assert data == (tmp_path / "b.onnx").read_bytes()
    assert b"/work" not in data
    assert b".py" not in data
    image = render_board(1, 8).image[:64, :64]
    assert check_parity(net, tmp_path / "a.onnx", [image])["heat"] < 1e-5
    other = Detector().eval()
    torch.nn.init.constant_(other.heat.bias, 0.0)
    with pytest.raises(ParityLost):
        check_parity(other, tmp_path / "a.onnx", [image])
