"""`skerry forge look`, `tabular`, `train`, `card`, `measure`, `race` and `rebuild`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from skerry.cli.app import app
from tests.forge.recipe.kit import clouds
from tests.models import brightness_bundle


def run(*argv: object):
    return CliRunner().invoke(app, ["forge", *(str(one) for one in argv)])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, and the bundle that the command made of it."""
    folder = tmp_path_factory.mktemp("forging")
    clouds(folder / "rows.csv")
    result = run(
        "tabular", folder / "rows.csv", "-o", folder / "b", "--dial", "width=16", "--dial", "epochs=12", "--least", "80"
    )
    assert result.exit_code == 0, result.output
    text = result.stdout.replace("\n", " ")
    assert "pass  accuracy" in text
    assert ">= 80 % is proven" in text
    assert "Next:  skerry serve" in text
    return folder


def test_a_card_is_told_in_words_and_as_a_page(made, tmp_path):
    result = run("card", made / "b", "--html", tmp_path / "card.html")
    assert result.exit_code == 0, result.output
    for word in ("recipe  tabular", "data  train:", "accuracy  top-1", "parity  PyTorch", "pass"):
        assert word in result.stdout
    assert "Content-Security-Policy" in (tmp_path / "card.html").read_text()
    told = json.loads(run("card", made / "b", "--json").stdout)
    assert told["recipe"] == "tabular"


def test_a_bundle_is_measured_and_its_card_agrees(made):
    result = run("measure", made / "b", "--data", made / "rows.csv")
    assert result.exit_code == 0, result.output
    assert "kind0" in result.stdout
    told = json.loads(run("measure", made / "b", "--data", made / "rows.csv", "--json").stdout)
    card = json.loads(run("card", made / "b", "--json").stdout)
    assert told["accuracy"]["value"] == card["measured"]["accuracy"]["value"]
    assert sum(map(sum, told["confusion"])) == told["accuracy"]["count"]


def test_bundles_race(made):
    told = json.loads(
        run("race", made / "b", made / "b", "--data", made / "rows.csv", "--seconds", 0.1, "--json").stdout
    )
    assert told["race"][0]["ratio"]["value"] == 1
    result = run("race", made / "b", made / "b", "--data", made / "rows.csv", "--seconds", 0.1)
    assert result.exit_code == 0, result.output
    assert "p50 us" in result.stdout


def test_a_bundle_is_rebuilt_or_it_says_why_not(made, tmp_path):
    result = run("rebuild", made / "b", "--data", made / "rows.csv", "-o", tmp_path / "again")
    assert result.exit_code == 0, result.output
    assert "same bytes" in result.stdout
    clouds(tmp_path / "other.csv", seed=3)
    result = run("rebuild", made / "b", "--data", tmp_path / "other.csv", "-o", tmp_path / "no")
    assert result.exit_code == 1
    assert "train is otherwise" in result.stdout
    assert "error: not the same bytes" in result.stderr
    result = run("rebuild", made / "b", "--data", tmp_path / "other.csv", "-o", tmp_path / "no", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["same"] is False


def test_data_are_looked_at(made, tmp_path):
    result = run("look", made / "rows.csv")
    assert result.exit_code == 0, result.output
    assert "leaks: none" in result.stdout
    assert "kind1" in result.stdout
    for place, label in enumerate(("good", "bad", "good", "good", "good", "good")):
        folder = tmp_path / "photos" / label
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (place // 2 * 90, 10, 200)).save(folder / f"{place}.png")
    (tmp_path / "photos" / "bad" / "x.png").write_bytes(b"no picture")
    result = run("look", tmp_path / "photos", "--html", tmp_path / "page.html")
    assert result.exit_code == 0, result.output
    assert "pixels: 40 x 30" in result.stdout
    assert "doubled: 3" in result.stdout
    assert "broken: 1" in result.stdout
    assert "is labelled otherwise" in result.stdout
    assert "data:image" in (tmp_path / "page.html").read_text()
    told = json.loads(run("look", tmp_path / "photos", "--json").stdout)
    assert told["contradictions"] == 1
    assert told["labels"] == {"bad": 1, "good": 5}
    assert told["pixels"]["median"] == [40, 30]


def test_a_recipe_of_ones_own_is_run(made, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\nfrom skerry.forge.tabular.recipe import TABULAR\n"
        "MINE = replace(TABULAR, name='mine')\n"
    )
    result = run("train", f"{tmp_path}/mine.py:MINE", "--data", made / "rows.csv", "--dial", "epochs=3", "-o",
                 tmp_path / "b")  # fmt: skip
    assert result.exit_code == 0, result.output
    result = run("rebuild", tmp_path / "b", "--data", made / "rows.csv", "--recipe", f"{tmp_path}/mine.py:MINE", "-o",
                 tmp_path / "again")  # fmt: skip
    assert "same bytes" in result.stdout, result.output


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("look", "none"), "nothing at none"),
        (("card", "none"), "no manifest.json"),
        (("measure", "none", "--data", "none"), "no manifest.json"),
        (("race", "none", "--data", "none"), "two bundles"),
        (("tabular", "none.csv", "-o", "b"), "nothing at none.csv"),
        (("tabular", "none.csv", "-o", "b", "--dial", "x"), "NAME=NUMBER"),
        (("train", "none.py:R", "--data", "none", "-o", "b"), "no file none.py"),
        (("rebuild", "none", "--data", "none", "-o", "b"), "no manifest.json"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, monkeypatch, argv, said):
    monkeypatch.chdir(tmp_path)
    result = run(*argv)
    assert result.exit_code == 1, (result.output, result.exception)
    assert result.stderr.startswith("error: ")
    assert said in result.stderr


def test_a_bundle_without_a_card_says_so(tmp_path):
    bundle = brightness_bundle(tmp_path / "bundle")
    assert "no card.json in it" in run("card", bundle.path).stderr


def test_a_gate_that_fails_is_the_exit_status(tmp_path):
    clouds(tmp_path / "noise.csv", apart=0.0)
    result = run("tabular", tmp_path / "noise.csv", "-o", tmp_path / "b", "--dial", "epochs=1", "--least", "95")
    assert result.exit_code == 1
    assert "fail  accuracy" in result.stdout
