"""A recipe from data to a bundle, and the same bundle again: small nets on three clouds of numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from skerry.core.card import CARD, read_card
from skerry.core.errors import Conflict, Invalid, LoadFailed, NotFound
from skerry.core.gate import Outcome
from skerry.engine.bundle import open_bundle, verify, write_bundle
from skerry.engine.golden import check_goldens
from skerry.engine.runners.runner import Threads
from skerry.engine.session import open_session
from skerry.forge.data import Shares
from skerry.forge.recipe.forge import forge, parts_of
from skerry.forge.recipe.meter import measured_on, part_of, raced
from skerry.forge.recipe.own import recipe_at
from skerry.forge.recipe.rebuild import rebuild, rebuild_optimised
from skerry.forge.recipe.recipe import Asked, Recipe, read_dials, read_share
from skerry.forge.shrink.drive import Drive, Wishes
from skerry.forge.shrink.judge import Judge
from skerry.forge.shrink.prepare import parts_of as parts_of_bundle
from skerry.forge.shrink.prepare import source_of
from skerry.forge.shrink.write import write
from skerry.forge.tabular.recipe import TABULAR
from skerry.forge.tabular.rows import data_of
from skerry.host import machine
from skerry.host.clock import Clock
from skerry.host.files import Disk
from tests.forge.recipe.kit import clouds

QUICK = {"width": 16, "epochs": 12, "dropout": 0.1}
ASKED = Asked("clouds", least=0.8, dials=QUICK)


def quiet(done: int, total: int, what: str) -> None:
    pass


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, and the bundle that was forged of it."""
    folder = tmp_path_factory.mktemp("recipe")
    data = data_of(clouds(folder / "rows.csv"))
    forge(TABULAR, data, ASKED, folder / "bundle", quiet)
    np.savez(folder / "rows.npz", x=data.arrays["x"], y=np.array([int(e.label[-1]) for e in data.examples]))
    shrunk(folder)
    return folder


def shrunk(folder: Path) -> None:
    """Optimise the bundle, as the command does."""
    source, here = source_of(folder / "bundle", folder / "small"), machine.look()
    parts, wishes = parts_of_bundle(folder / "rows.npz", source, Shares(0.0, 0.5, 3), quiet), Wishes(0.1, 0.2, 3)
    judge = Judge(folder / "scratch", parts.calibration, parts.test, 1, here)
    write(source, Drive(judge, wishes, quiet, lambda _: None).run(source), parts, wishes, folder / "small", 1, here)


def test_a_table_becomes_a_bundle_that_is_proven(made):
    bundle = open_bundle(made / "bundle")
    verify(bundle)
    card = read_card((bundle.path / CARD).read_bytes())
    assert card.proven
    assert card.measured.accuracy.value > 0.85
    assert {use.use for use in card.data} == {"train", "validation", "test"}
    assert card.parity[0].greatest <= card.parity[0].tolerance
    assert bundle.manifest.labels == ("kind0", "kind1", "kind2")
    assert bundle.manifest.inputs[0].shape == (-1, 4)
    assert len(bundle.manifest.goldens) == 3
    session = open_session(bundle, Threads(), machine.look(), Clock())
    assert check_goldens(session, bundle.path) == 3
    answer = session.feed({"x": np.array([[5, 3000, 0, -20]], np.float32)})["probabilities"]
    assert answer.shape == (1, 3)
    assert answer.sum() == pytest.approx(1)
    assert answer.argmax() == 1  # the raw numbers of the sensor: units are the model's matter
    assert "kind2" in (made / "bundle.html").read_text()


def test_forged_again_it_has_the_same_bytes(made, tmp_path):
    before = torch.get_num_threads()
    again = rebuild(made / "bundle", made / "rows.csv", tmp_path / "again", quiet)
    assert (again.same, again.why) == (True, ())
    assert torch.get_num_threads() == before
    for name in ("manifest.json", "model.onnx", CARD):
        assert (tmp_path / "again" / name).read_bytes() == (made / "bundle" / name).read_bytes()


def test_the_name_of_the_data_is_no_matter_and_their_content_is(made, tmp_path):
    renamed = tmp_path / "other.csv"
    renamed.write_bytes((made / "rows.csv").read_bytes())
    assert rebuild(made / "bundle", renamed, tmp_path / "same", quiet).same
    other = rebuild(made / "bundle", clouds(tmp_path / "o.csv", seed=1), tmp_path / "no", quiet)
    assert not other.same
    assert other.bundle is None
    assert "data: train is otherwise" in other.why[0]
    assert not (tmp_path / "no").exists()


def test_other_tools_are_named(made, tmp_path):
    bundle = open_bundle(made / "bundle")
    files = {name: (bundle.path / name).read_bytes() for name in bundle.manifest.files}
    card = read_card(files[CARD])
    files[CARD] = replace(
        card, tools={**card.tools, "torch": "1.0"}, target=replace(card.target, facts={"architecture": "abacus"})
    ).bytes
    write_bundle(tmp_path / "old", bundle.manifest, files, Disk())
    found = rebuild(tmp_path / "old", made / "rows.csv", tmp_path / "new", quiet)
    assert not found.same
    text = "\n".join(found.why)
    assert "card.json: other bytes" in text
    assert "model.onnx: the same bytes" in text
    assert "tool torch: 1.0 in the card" in text
    assert "processor architecture: abacus in the card" in text


def test_a_manifest_changed_by_hand_is_told(made, tmp_path):
    bundle = open_bundle(made / "bundle")
    files = {name: (bundle.path / name).read_bytes() for name in bundle.manifest.files}
    write_bundle(tmp_path / "said", replace(bundle.manifest, description="three clouds"), files, Disk())
    found = rebuild(tmp_path / "said", made / "rows.csv", tmp_path / "new", quiet)
    assert found.why == ("manifest: changed by hand since; all files are the same",)


def test_what_cannot_be_rebuilt_says_why(made, tmp_path):
    bundle = open_bundle(made / "bundle")
    files = {name: (bundle.path / name).read_bytes() for name in bundle.manifest.files}
    card = read_card(files[CARD])
    for recipe, said in (("optimise", "--from"), ("sorcery", "it knows: tabular")):
        write_bundle(tmp_path / recipe, bundle.manifest, {**files, CARD: replace(card, recipe=recipe).bytes}, Disk())
        with pytest.raises(Invalid, match=said):
            rebuild(tmp_path / recipe, made / "rows.csv", tmp_path / "x", quiet)
    del files[CARD]
    write_bundle(tmp_path / "bare", bundle.manifest, files, Disk())
    with pytest.raises(NotFound, match=r"no card\.json"):
        rebuild(tmp_path / "bare", made / "rows.csv", tmp_path / "x", quiet)
    with pytest.raises(Conflict):
        rebuild(made / "bundle", made / "rows.csv", made / "bundle", quiet)


def test_gates_tell_a_model_that_learnt_nothing(tmp_path):
    data = data_of(clouds(tmp_path / "noise.csv", apart=0.0))
    found = forge(TABULAR, data, Asked("noise", least=0.9, dials={**QUICK, "epochs": 1}), tmp_path / "b", quiet)
    assert [verdict.outcome for verdict in found.card.gates] == [Outcome.NOT_PROVEN, Outcome.FAIL]


def test_what_is_wrong_is_told_before_training(tmp_path):
    def never(parts, dials, watch):
        raise AssertionError

    recipe = Recipe("never", never, {"width": 1})
    data = data_of(clouds(tmp_path / "rows.csv"))
    (tmp_path / "there").mkdir()
    with pytest.raises(Conflict):
        forge(recipe, data, Asked(), tmp_path / "there", quiet)
    with pytest.raises(Invalid, match="no dial breadth; it has: width"):
        forge(recipe, data, Asked(dials={"breadth": 2}), tmp_path / "b", quiet)
    with pytest.raises(Invalid, match="are not the model's"):
        forge(recipe, data, Asked(labels=("x", "y")), tmp_path / "b", quiet)
    with pytest.raises(Invalid, match="one class only"):
        forge(recipe, data.only([e.label == "kind1" for e in data.examples]), Asked(), tmp_path / "b", quiet)
    with pytest.raises(Invalid, match="expected 8 examples for val"):
        parts_of(data, Asked(val=0.0), quiet)
    (tmp_path / "pictures" / "good").mkdir(parents=True)
    (tmp_path / "pictures" / "good" / "a.png").write_bytes(b"x")
    with pytest.raises(Invalid, match="rows of numbers"):
        forge(recipe, data_of(tmp_path / "pictures"), Asked(), tmp_path / "b", quiet)
    np.savez(tmp_path / "two.npz", x=np.zeros((9, 2)), z=np.zeros((9, 2)), y=np.arange(9))
    with pytest.raises(Invalid, match="one array; got x, z"):
        forge(recipe, data_of(tmp_path / "two.npz"), Asked(), tmp_path / "b", quiet)


OWN = """
import torch
from skerry.forge.recipe.recipe import Recipe

class Nearest(torch.nn.Module):
    def __init__(self, x, y, labels):
        super().__init__()
        self.spread = torch.nn.Buffer(x.std(0))
        self.centres = torch.nn.Buffer(torch.stack([x[y == place].mean(0) for place in range(labels)]))

    def forward(self, x):
        away = ((x[:, None] - self.centres) / self.spread).square().sum(2)
        return {"probabilities": (-away).softmax(1)}

def train(parts, dials, watch):
    x, y = parts.rows(parts.train)
    return Nearest(x, y, len(parts.labels))

RECIPE = Recipe("nearest", train)
OTHER = 1
"""


def test_a_recipe_of_ones_own_is_forged_and_rebuilt(made, tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    recipe = recipe_at(f"{path}:RECIPE")
    found = forge(recipe, data_of(made / "rows.csv"), Asked("own"), tmp_path / "own", quiet)
    assert found.card.proven
    known = {recipe.name: recipe}
    assert rebuild(tmp_path / "own", made / "rows.csv", tmp_path / "again", quiet, known).same
    for where, kind, said in (
        (f"{path}:OTHER", Invalid, "expected a Recipe called OTHER; got int"),
        (f"{path}:none", Invalid, "got nothing"),
        (f"{path}", Invalid, "file.py:NAME"),
        (f"{tmp_path}/none.py:RECIPE", NotFound, "no file"),
        ("no_such_module:RECIPE", NotFound, "cannot be imported"),
    ):
        with pytest.raises(kind, match=said):
            recipe_at(where)
    (tmp_path / "bad.py").write_text("1 / 0")
    with pytest.raises(LoadFailed, match="ZeroDivisionError"):
        recipe_at(f"{tmp_path}/bad.py:RECIPE")


def test_a_recipe_that_has_changed_is_not_blamed_on_the_tools(made, tmp_path):
    changed = replace(TABULAR, train=lambda parts, dials, watch: TABULAR.train(parts, {**dials, "rate": 0.01}, watch))
    found = rebuild(made / "bundle", made / "rows.csv", tmp_path / "b", quiet, {"tabular": changed})
    assert not found.same
    assert "model.onnx: other bytes" in found.why
    assert "nothing that the card names is otherwise" in found.why[-1]


def test_measured_and_raced_on_a_part(made):
    bundle, rows = open_bundle(made / "bundle"), made / "rows.csv"
    part = part_of(rows, "test", Shares(), quiet)
    card = read_card((bundle.path / CARD).read_bytes())
    assert measured_on(bundle, part, quiet).accuracy().value == card.measured.accuracy.value
    assert len(part_of(rows, "all", Shares(), quiet).examples) == 360
    with pytest.raises(Invalid, match="no examples in val"):
        part_of(rows, "val", Shares(0.0, 0.2), quiet)
    with pytest.raises(Invalid, match="split: expected"):
        part_of(rows, "exam", Shares(), quiet)
    bundles, found = raced([made / "bundle", made / "bundle"], rows, 0.1, 1, quiet)
    assert [one.manifest.digest for one in bundles] == [bundle.manifest.digest] * 2
    assert found.ratios[0].value == 1
    with pytest.raises(Invalid, match="two bundles"):
        raced([made / "bundle"], rows, 0.1, 1, quiet)
    with pytest.raises(Invalid, match="threads"):
        raced([made / "bundle"] * 2, rows, 0.1, 999, quiet)


def test_what_is_asked_comes_back_from_the_card(made):
    card = read_card((made / "bundle" / CARD).read_bytes())
    asked = Asked.of(card, "clouds", 1)
    assert asked == replace(ASKED, dials={**TABULAR.dials, **QUICK})
    told = json.loads(json.dumps(card.json()))
    told["options"]["dials"]["width"] = "wide"
    with pytest.raises(Invalid, match=r"card\.options.*width: expected a number"):
        Asked.of(read_card(json.dumps(told).encode()), "clouds", 1)


def test_dials_and_shares_as_people_write_them():
    assert read_dials(("width=8", "rate=1e-2")) == {"width": 8, "rate": 0.01}
    for text in ("width", "=8", "width=wide", "width=nan"):
        with pytest.raises(Invalid, match="NAME=NUMBER"):
            read_dials((text,))
    assert [read_share(text) for text in ("", "96.5", "0.965", "96.5%", "0.5%")] == pytest.approx(
        [0, 0.965, 0.965, 0.965, 0.005]
    )
    for text in ("much", "0", "100", "-1", "nan"):
        with pytest.raises(Invalid, match="least"):
            read_share(text)


def test_an_optimised_bundle_is_made_again_without_measuring(made, tmp_path):
    found = rebuild_optimised(made / "small", made / "bundle", made / "rows.npz", tmp_path / "again", quiet)
    assert (found.same, found.why) == (True, ())
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (made / "small" / "model.onnx").read_bytes()
    with pytest.raises(Invalid, match="expected one that 'optimise' made"):
        rebuild_optimised(made / "bundle", made / "bundle", made / "rows.npz", tmp_path / "x", quiet)
    np.savez(tmp_path / "other.npz", x=np.random.default_rng(0).standard_normal((60, 4)), y=np.arange(60) % 3)
    other = rebuild_optimised(made / "small", made / "bundle", tmp_path / "other.npz", tmp_path / "x", quiet)
    assert "calibration is otherwise" in other.why[0]
