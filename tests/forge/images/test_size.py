"""The choice of the net: budgets in words, what a net weighs, the largest that fits."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid
from skerry.core.names import ModelName
from skerry.forge.images.export import bundle_of, program, started
from skerry.forge.images.size import Budget, Chooser, bytes_of, candidates, size_of, time_of, weights_of
from skerry.forge.importers.torch_source import to_onnx
from skerry.forge.models.mobilenet import MobileNet, Shape
from skerry.host import machine
from tests.forge.images.kit import SMALL

HERE = machine.look()


def quiet(done: int, total: int, what: str) -> None:
    pass


@pytest.mark.parametrize(("text", "wanted"), [("", 0), ("800KB", 800_000), ("1.5MB", 1_500_000), (" 900 ", 900)])
def test_sizes(text, wanted):
    assert size_of(text) == wanted


@pytest.mark.parametrize(("text", "wanted"), [("", 0), ("10ms", 10_000), ("250us", 250), ("1.5s", 1_500_000)])
def test_times(text, wanted):
    assert time_of(text) == wanted


@given(st.text(max_size=12))
def test_other_words_are_told(text):
    for read in (size_of, time_of):
        with suppress(Invalid):
            assert read(text) >= 0


def test_no_budget_takes_the_last():
    shapes = candidates(128, 3)
    assert Chooser(("a", "b"), Budget(), [], HERE).largest(shapes, quiet).shape == shapes[-1]
    assert shapes[-1] == Shape(1.0, 128, 3)


def test_a_size_takes_the_largest_that_fits():
    shapes = candidates(128, 3)
    found = Chooser(("a", "b"), Budget(size=500_000), [], HERE).largest(shapes, quiet).shape
    assert bytes_of(found, 2, whole=True) <= 500_000
    larger = [one for one in shapes if weights_of(one, 2) > weights_of(found, 2)]
    assert larger
    assert all(bytes_of(one, 2, whole=True) > 500_000 for one in larger)
    with pytest.raises(Invalid, match=r"size: the least net takes about [\d,]+ bytes; got 1,000"):
        Chooser(("a", "b"), Budget(size=1000), [], HERE).largest(shapes, quiet)


class Known(Chooser):
    """A chooser whose nets take what their width and side say."""

    def timed(self, shape: Shape, watch: object) -> float:
        return shape.width * shape.side


def test_a_time_takes_the_largest_that_fits():
    shapes = sorted(candidates(224, 3), key=lambda one: one.width * one.side)
    for most in (30.0, 77.0, 130.0, 1000.0):
        found = Known(("a", "b"), Budget(p99_us=most), [], HERE).largest(shapes, quiet)
        assert found.p99_us == max(one.width * one.side for one in shapes if one.width * one.side <= most)
    with pytest.raises(Invalid, match="p99: the least net takes"):
        Known(("a", "b"), Budget(p99_us=1.0), [], HERE).largest(shapes, quiet)


def test_what_is_reckoned_of_the_file_is_what_it_takes(tmp_path):
    data = to_onnx(program(MobileNet(SMALL, 2), SMALL))
    reckoned = bytes_of(SMALL, 2, whole=False)
    assert 0.8 * reckoned < len(data) <= 1.1 * reckoned
    bundle = bundle_of(data, ModelName("small"), SMALL, ("box", "disc"), tmp_path / "bundle")
    assert bundle.manifest.inputs[0].shape == (1, 1, 64, 64)


def test_weights_to_start_from(tmp_path):
    other = MobileNet(SMALL, 3).state_dict()
    torch.save(other, tmp_path / "three.pt")
    found = started(tmp_path / "three.pt", SMALL, 2)
    assert torch.equal(found["hidden.0.weight"], other["hidden.0.weight"])
    assert found["head.weight"].shape[0] == 2
    assert torch.equal(started(tmp_path / "three.pt", SMALL, 3)["head.weight"], other["head.weight"])
    with pytest.raises(Invalid, match="are not of this module"):
        started(tmp_path / "three.pt", Shape(0.5, 64, 1), 2)
    torch.save({"head.bias": torch.nn.Linear(2, 2)}, tmp_path / "module.pt")
    with pytest.raises(Invalid, match="holds more than tensors"):
        started(tmp_path / "module.pt", SMALL, 2)


@pytest.mark.parametrize("shape", [Shape(0.35, 64, 1), Shape(0.5, 128, 3, swish=True), Shape(1.0, 96)])
def test_every_shape_runs(shape):
    found = MobileNet(shape, 5).eval()(torch.zeros(2, shape.channels, shape.side, shape.side))
    assert found.shape == (2, 5)
