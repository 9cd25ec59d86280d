"""The order of the passes on a small classifier whose labels are its own answers: what is kept, and what is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skerry.core.card import CARD, Accuracy, Effect, Ratio, read_card
from skerry.core.errors import Conflict, Invalid
from skerry.core.gate import Interval, Outcome, Verdict
from skerry.core.manifest import Manifest, Runtime
from skerry.core.names import ModelName
from skerry.engine.bundle import open_bundle, write_bundle
from skerry.engine.golden import check_goldens
from skerry.engine.runners.runner import Threads
from skerry.engine.session import open_session
from skerry.forge.data import Shares
from skerry.forge.optimise.observe import Observed
from skerry.forge.shrink.drive import Drive, Wishes, judged
from skerry.forge.shrink.judge import Judge
from skerry.forge.shrink.prepare import loss_of, parts_of, source_of, threads_of
from skerry.forge.shrink.write import write
from skerry.host import machine
from skerry.host.clock import Clock
from skerry.host.files import Disk
from tests.forge.optimise.kit import mobile

COUNT = 400
HERE = machine.look()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle, and a .npz of inputs with the model's own answers as labels."""
    folder = tmp_path_factory.mktemp("shrink")
    model = mobile(3, side=32)
    random = np.random.default_rng(5)
    x = random.standard_normal((COUNT, 3, 32, 32)).astype(np.float32) * random.uniform(0.2, 3, (COUNT, 1, 1, 1))
    x = x.astype(np.float32) + random.standard_normal((COUNT, 3, 1, 1)).astype(np.float32)
    with Observed(model) as session:
        y = np.array([int(session.run({"x": row[np.newaxis]})["y"].argmax()) for row in x])
        inputs = tuple(session.inputs)
    np.savez(folder / "data.npz", x=x, y=y)
    manifest = Manifest(
        name=ModelName("small"),
        version=4,
        runtime=Runtime("onnx", "model.onnx"),
        files={},
        inputs=inputs,
        outputs=(),
        labels=tuple("abcde"),
    )
    with Observed(model) as session:
        manifest = replace(manifest, outputs=tuple(session._runner.outputs))
    write_bundle(folder / "bundle", manifest, {"model.onnx": model.SerializeToString()}, Disk())
    return folder


def test_a_model_becomes_smaller_and_proves_it(made, tmp_path):
    source = source_of(made / "bundle", tmp_path / "out")
    parts = parts_of(made / "data.npz", source, Shares(0.0, 0.6, 1), lambda *_: None)
    assert len(parts.calibration.examples) + len(parts.test.examples) == COUNT
    heard = []
    wishes = Wishes(most=0.05, minutes=0.5)
    judge = Judge(tmp_path / "scratch", parts.calibration, parts.test, 1, HERE)
    found = Drive(judge, wishes, lambda *_: None, heard.append).run(source)
    assert [one.name for one in heard] == [one.name for one in found.passes]
    assert found.first.effect.accuracy.value == 1.0
    bundle, card = write(source, found, parts, wishes, tmp_path / "out", 1, HERE)
    assert bundle.manifest.version == 5
    assert read_card((bundle.path / CARD).read_bytes()) == card
    assert card.gates[0].outcome is not Outcome.FAIL
    assert card.measured.accuracy.value >= 0.95
    assert {use.use for use in card.data} == {"calibration", "test"}
    assert len({golden.input for golden in bundle.manifest.goldens}) > 1
    session = open_session(open_bundle(tmp_path / "out"), Threads(), HERE, Clock())
    assert check_goldens(session, bundle.path) == len(bundle.manifest.goldens)
    page = (tmp_path / "out.html").read_text()
    assert "int8" in page
    assert "small" in page
    for one in found.passes:  # what was kept pays, what was left says why
        assert one.why
    with pytest.raises(Conflict, match="something already"):
        source_of(made / "bundle", tmp_path / "out")


def test_what_does_not_fit_is_told_before_any_work(made, tmp_path):
    source = source_of(made / "bundle", tmp_path / "x")
    np.savez(tmp_path / "strange.npz", x=np.zeros((40, 3, 32, 32), np.float32), y=np.arange(40))
    with pytest.raises(Invalid, match="are not the model's"):
        parts_of(tmp_path / "strange.npz", source, Shares(), lambda *_: None)
    np.savez(
        tmp_path / "few.npz",
        x=np.zeros((9, 3, 32, 32), np.float32) + np.arange(9).reshape(9, 1, 1, 1),
        y=np.arange(9) % 2,
    )
    with pytest.raises(Invalid, match="expected 8 examples"):
        parts_of(tmp_path / "few.npz", source, Shares(), lambda *_: None)


def effect(size: int, ratio: float, accuracy: float = 0.9) -> Effect:
    spread = Interval(ratio - 0.01, ratio + 0.01)
    return Effect(
        size=size, accuracy=Accuracy("top-1", accuracy, Interval(0.8, 1.0), 100), ratio=Ratio(ratio, spread, 30)
    )


@pytest.mark.parametrize(
    ("outcome", "lost", "size", "ratio", "kept"),
    [
        (Outcome.PASS, 0.0, 100, 0.5, True),  # faster
        (Outcome.PASS, 0.0, 30, 1.0, True),  # smaller
        (Outcome.PASS, 0.0, 100, 1.0, False),  # neither
        (Outcome.PASS, 0.0, 30, 1.2, False),  # smaller, and slower
        (Outcome.FAIL, 0.1, 30, 0.5, False),
        (Outcome.NOT_PROVEN, 0.01, 30, 0.5, False),  # as measured it loses too much
        (Outcome.NOT_PROVEN, 0.001, 30, 0.5, True),
    ],
)
def test_what_is_kept(outcome, lost, size, ratio, kept):
    verdict = Verdict("loss", outcome, "the numbers")
    assert judged(effect(100, 1.0), effect(size, ratio), verdict, 0.005, lost)[0] is kept


@pytest.mark.parametrize(("text", "share"), [("0.5pt", 0.005), ("2 pt", 0.02), ("0.01", 0.01)])
def test_a_loss_is_read(text, share):
    assert loss_of(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "pt", "0", "-1pt", "100pt", "nanpt", "half"])
def test_a_loss_that_makes_no_sense_is_refused(text):
    with pytest.raises(Invalid, match="max-loss: expected points"):
        loss_of(text)


@pytest.mark.parametrize("text", ["", "cpu", "cpu-0", "cpu-3", "gpu-1", "cpu-x", "cpu--1"])
def test_a_target_that_is_not_here_is_refused(text):
    with pytest.raises(Invalid, match="expected cpu-1 to cpu-2"):
        threads_of(text, 2)
