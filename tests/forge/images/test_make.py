"""From a folder of pictures to a bundle: short, but every part of it real."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from skerry.core.card import CARD, Pass, read_card
from skerry.core.errors import Conflict, Invalid, LoadFailed
from skerry.core.names import ModelName
from skerry.engine.bundle import open_bundle, verify
from skerry.engine.golden import check_goldens
from skerry.engine.runners.runner import Threads
from skerry.engine.session import open_session
from skerry.forge.data import Shares
from skerry.forge.images.finish import Asked
from skerry.forge.images.make import Result, make
from skerry.forge.images.plan import CHECKPOINT, Ears, Wanted
from skerry.forge.images.size import Budget
from skerry.forge.images.train import Heard
from skerry.host import machine
from skerry.host.clock import Clock
from tests.forge.images.kit import folder

HERE = machine.look()
SHARES = Shares(0.25, 0.25, 0)
WANTED = Wanted(shares=SHARES, width=0.35, steps=6)
FLOAT = Asked(shrink=False)


class Heared:
    def __init__(self, stop: int = 0) -> None:
        self.steps: list[int] = []
        self.passes: list[str] = []
        self.texts: list[str] = []
        self._stop = stop

    def ears(self) -> Ears:
        return Ears(lambda *_: None, self._heard, lambda done: self.passes.append(done.name), self.texts.append)

    def _heard(self, now: Heard) -> None:
        self.steps.append(now.step)
        if now.step == self._stop:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("data") / "shapes")


def made(data: Path, out: Path, wanted: Wanted = WANTED, asked: Asked = FLOAT, told: Heared | None = None) -> Result:
    return make(data, ModelName("shapes"), out, wanted, asked, HERE, (told or Heared()).ears())


def test_pictures_become_a_bundle(data, tmp_path):
    out = tmp_path / "out"
    found = made(data, out)
    bundle = open_bundle(out)
    verify(bundle)
    assert bundle.manifest.digest == found.bundle.manifest.digest
    assert bundle.manifest.labels == ("box", "disc")
    session = open_session(bundle, Threads(), HERE, Clock())
    check_goldens(session, bundle.path)
    sight = session.look((data / "disc" / "1.png").read_bytes())
    assert {one.label for one in sight.findings} == {"box", "disc"}
    assert sum(one.score for one in sight.findings) == pytest.approx(1.0, abs=1e-3)
    session.close()
    card = read_card((out / CARD).read_bytes())
    assert card.recipe == "images"
    assert [use.use for use in card.data] == ["train", "validation", "test"]
    assert sum(use.files for use in card.data) == 40
    assert card.parity[0].greatest < 1e-3
    assert card.measured.latency is not None
    assert card.measured.accuracy is not None
    assert card.measured.accuracy.count == len(found.ended.last.measured.names)
    assert card.seeds == {"images": 0}
    assert "confusion" in (tmp_path / "out.html").read_text().lower()
    assert "shapes" in (tmp_path / "out.data.html").read_text()
    assert [path.name for path in (tmp_path / "out.run").iterdir()] == ["weights.pt"]


def test_a_stopped_run_goes_on_to_the_same_bundle(data, tmp_path):
    whole = made(data, tmp_path / "whole")
    told = Heared(stop=4)
    with pytest.raises(KeyboardInterrupt):
        made(data, tmp_path / "cut", told=told)
    run = tmp_path / "cut.run"
    assert json.loads((run / "plan.json").read_text())["plan"]["steps"] == 6
    with pytest.raises(Conflict, match="a training of other seed, steps was begun there"):
        made(data, tmp_path / "cut", Wanted(shares=SHARES, seed=1, width=0.35, steps=7))
    again = Heared()
    cut = made(data, tmp_path / "cut", told=again)
    assert any("going on" in text for text in again.texts)
    one, other = ((tmp_path / name / "model.onnx").read_bytes() for name in ("whole", "cut"))
    assert one == other
    assert whole.card.options == cut.card.options
    assert not (run / CHECKPOINT).exists()


@pytest.mark.slow
def test_int8_and_gates_and_a_start_from_weights(data, tmp_path):
    made(data, tmp_path / "first")
    weights = tmp_path / "first.run" / "weights.pt"
    told = Heared()
    asked = Asked(least=0.01, budget=Budget(p99_us=1e6, size=1_000_000), minutes=0.3)
    wanted = Wanted(shares=SHARES, width=0.35, side=64, steps=2, weights=weights)
    found = made(data, tmp_path / "second", wanted, asked, told)
    assert "int8, all in INT8" in told.passes
    assert [gate.gate.split()[0] for gate in found.card.gates] == ["loss", "accuracy", "p99", "size"]
    assert [use.use for use in found.card.data][-1] == "calibration"
    assert found.card.passes
    assert any("p99" in text for text in told.texts)
    session = open_session(open_bundle(tmp_path / "second"), Threads(), HERE, Clock())
    check_goldens(session, tmp_path / "second")
    session.close()
    trained = torch.load(tmp_path / "second.run" / "weights.pt", weights_only=True)
    assert "head.weight" in trained


def test_errors_come_first(data, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(Conflict, match="there is something already"):
        made(data, tmp_path / "there")
    with pytest.raises(Invalid, match="expected a folder for each class"):
        made(tmp_path / "there", tmp_path / "out")
    assert not (tmp_path / "out.run").exists()


@pytest.mark.parametrize("wish", [{"flips": "some"}, {"side": 8}, {"width": 9.0}])
def test_wishes_that_cannot_be(wish):
    with pytest.raises(Invalid, match=f"{next(iter(wish))}: expected"):
        Wanted(**wish)


def test_a_plan_of_another_version_is_refused(data, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        made(data, tmp_path / "out", told=Heared(stop=1))
    path = tmp_path / "out.run" / "plan.json"
    plan = json.loads(path.read_text())
    plan["plan"]["shape"]["more"] = 1
    path.write_text(json.dumps(plan))
    with pytest.raises(LoadFailed, match="not a plan of this version"):
        made(data, tmp_path / "out")


def test_minutes_become_steps(data, tmp_path):
    told = Heared()
    found = made(data, tmp_path / "out", Wanted(shares=SHARES, width=0.35, minutes=0.01), told=told)
    assert told.steps[-1] == found.card.options["steps_done"]
    assert found.card.options["steps"] == 40
    assert isinstance(found.ended.passes, tuple)
    assert not any(isinstance(one, Pass) for one in told.passes)
