"""From a PyTorch network, as the exporter writes it, through every pass; and the result on another runtime."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from skerry.engine.runners.runner import Threads
from skerry.forge.optimise.coverage import cover
from skerry.forge.optimise.dynamic import DynamicInt8
from skerry.forge.optimise.graph import Compact, Simplify, difference, kept_ends
from skerry.forge.optimise.plan import Recipe
from skerry.forge.optimise.quantise import StaticInt8, output_error
from skerry.forge.optimise.rewrites.net import operators
from skerry.forge.optimise.work import Work
from tests.forge.optimise.kit import mobile, run, samples


class Block(nn.Module):
    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(inner, outer, 1, bias=False), nn.BatchNorm2d(outer), nn.Hardswish()),
            *(nn.Conv2d(outer, outer, 3, 1, 1, groups=outer, bias=False), nn.BatchNorm2d(outer), nn.Hardswish()),
        )
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(outer, outer, 1), nn.Hardsigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        return y * self.gate(y)


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(24, 64), nn.Linear(64, 32)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, after = self.gru(x, h)
        return self.head(y), after


def exported(net: nn.Module, *given: torch.Tensor) -> onnx.ModelProto:
    names = [f"i{place}" for place in range(len(given))]
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                net.eval(), given, dynamo=True, external_data=False, opset_version=18, input_names=names, verbose=False
            )
    finally:
        logging.disable(logging.NOTSET)
    assert program is not None
    return program.model_proto


def test_a_network_of_convolutions_goes_all_the_way() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), Block(16, 32), nn.Dropout(0.2), Block(32, 32)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    )
    net.train()(torch.randn(8, 3, 32, 32))  # norms that are not 0 and 1
    model = exported(net, torch.randn(1, 3, 32, 32))
    work = Work(feeds=samples(model))
    simple = Simplify()(model, work)
    assert simple is not None
    kinds = operators(simple)
    assert not {"BatchNormalization", "ReduceMean", "Identity", "Dropout"} & set(kinds)
    assert kinds["GlobalAveragePool"] == 3
    small = StaticInt8(Recipe(gates_in_float=False))(simple, work)
    assert small is not None
    final = Compact()(small, work)
    assert final is not None
    assert kept_ends(model, final)
    assert output_error(simple, final, work) < 0.01
    covered = cover(final, work.feeds[0])
    assert covered.share > 0.8  # all but the first convolution
    assert covered.kinds()["QLinearConv"][0] == 6
    assert covered.conversions <= 3
    assert final.ByteSize() < 0.35 * model.ByteSize()


def test_a_gru_as_pytorch_exports_it_goes_to_int8() -> None:
    torch.manual_seed(0)
    net = Cell()
    given = torch.randn(4, 1, 24), torch.randn(1, 1, 64)
    model = exported(net, *given)
    work = Work(feeds=samples(model))
    model = Simplify()(model, work) or model
    found = DynamicInt8()(model, work)
    assert found is not None
    assert "GRU" not in operators(found)
    assert max(difference(model, found, work.feeds).values()) < 0.05
    with torch.no_grad():
        true = net(*given)[0].numpy()
    feeds = dict(zip(("i0", "i1"), (t.numpy() for t in given), strict=True))
    assert next(iter(run(found, feeds).values())) == pytest.approx(true, abs=0.05)


def test_openvino_runs_the_same_file(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    from skerry.engine.runners.openvino import OpenvinoRunner

    model = mobile(act="Relu")
    work = Work(feeds=samples(model))
    found = StaticInt8()(model, work)
    assert found is not None
    (tmp_path / "model.onnx").write_bytes(found.SerializeToString())
    runner = OpenvinoRunner(tmp_path / "model.onnx", Threads())
    for feed in work.feeds:
        true = run(found, feed)["y"]
        assert np.abs(runner.run(feed)["y"] - true).max() < 0.08 * np.abs(true).max()
    runner.close()
