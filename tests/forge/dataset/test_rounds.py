"""Data that grow over three rounds: pulled, trained on, tested against the suite; each round works like the first."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from skerry.cli.app import app
from skerry.core.errors import Conflict, Invalid, NotFound, SkerryError
from skerry.core.gate import Outcome
from skerry.engine.bundle import open_bundle
from skerry.forge.data import Shares, look, split
from skerry.forge.dataset.pull import ABOUT, ROWS, pull
from skerry.forge.dataset.remember import remember
from skerry.forge.dataset.source import FolderSource, Sample, row_of, source_at
from skerry.forge.recipe.forge import forge
from skerry.forge.recipe.recipe import Asked
from skerry.forge.tabular.recipe import TABULAR
from skerry.forge.tabular.rows import data_of
from tests.forge.recipe.kit import clouds

QUICK = {"width": 16, "epochs": 12, "dropout": 0.1}


def quiet(done: int, total: int, what: str) -> None:
    pass


def npy(row) -> bytes:
    out = io.BytesIO()
    np.save(out, np.asarray(row, np.float32))
    return out.getvalue()


def offer(folder: Path, table: Path, wrong: bool = False) -> None:
    """Put a table's rows into a folder of samples, as a hub would; add to what is there."""
    folder.mkdir(exist_ok=True)
    data = data_of(table)
    begun = len(list(folder.glob("*.npy")))
    with (folder / "samples.jsonl").open("a") as file:
        for place, example in enumerate(data.examples):
            name = f"{begun + place}"
            (folder / f"{name}.npy").write_bytes(npy(data.arrays["x"][place]))
            label = f"kind{(int(example.label[-1]) + 1) % 3}" if wrong else example.label
            line = {"name": name, "label": label, "file": f"{name}.npy", "hard": place % 5 == 0}
            file.write(json.dumps(line) + "\n")


def add(folder: Path, name: str, content: bytes, **line: object) -> None:
    (folder / f"{name}.npy").write_bytes(content)
    with (folder / "samples.jsonl").open("a") as file:
        file.write(json.dumps({"name": name, "file": f"{name}.npy", **line}) + "\n")


def test_three_rounds_and_nothing_is_forgotten(tmp_path):
    suite = data_of(clouds(tmp_path / "suite.csv", seed=90, count=240))
    hub, before, parents = tmp_path / "hub", clouds(tmp_path / "first.csv", count=240), []
    forge(TABULAR, data_of(before), Asked("clouds", dials=QUICK), tmp_path / "model-0", quiet)
    tested: set[str] = set()
    for turn in (1, 2, 3):
        offer(hub, clouds(tmp_path / f"field-{turn}.csv", seed=turn, count=60))
        version = pull(FolderSource(hub), before, tmp_path / f"data-{turn}", quiet, tmp_path / "suite.csv")
        assert version.round == turn
        assert version.counts["new"] == 60
        assert version.counts["doubled"] == 60 * (turn - 1)  # what the hub still has from the rounds before
        assert version.refused == ()
        parents.append((version.parent, version.digest))
        data = data_of(version.path / ROWS)
        parted = split(look(data).data, Shares())
        now = {example.digest for example in parted.part("test").examples}
        assert tested <= now  # the tests of the rounds before
        tested, before = now, version.path
        candidate = forge(TABULAR, data, Asked("clouds", turn + 1, dials=QUICK), tmp_path / f"model-{turn}", quiet)
        assert candidate.card.data[0].files > 0
        last = open_bundle(tmp_path / f"model-{turn - 1}")
        found = remember(last, candidate.bundle, suite, 0.05, quiet)
        assert found.verdict.outcome is not Outcome.FAIL
        assert found.after.value > 0.85
    assert [parent for parent, _ in parents[1:]] == [digest for _, digest in parents[:-1]]
    spoilt = tmp_path / "spoilt"
    offer(spoilt, clouds(tmp_path / "wrong.csv", seed=9, count=1500), wrong=True)
    version = pull(FolderSource(spoilt), before, tmp_path / "data-4", quiet)
    candidate = forge(TABULAR, data_of(version.path / ROWS), Asked("clouds", 5, dials=QUICK), tmp_path / "bad", quiet)
    found = remember(last, candidate.bundle, suite, 0.05, quiet)
    assert found.verdict.outcome is Outcome.FAIL
    assert len(found.forgotten) > 100


def test_what_is_not_taken_is_counted_or_told(tmp_path):
    first = tmp_path / "first.csv"
    first.write_text("label,a,b\nx,1,2\ny,3,4\n")
    (tmp_path / "suite.csv").write_text("label,a,b\nx,7,7\ny,8,8\n")
    hub = tmp_path / "hub"
    hub.mkdir()
    add(hub, "new", npy([5, 6]), label="x", group="day 2", hard=True)
    add(hub, "same", npy([1, 2]), label="x")
    add(hub, "other", npy([3, 4]), label="x")
    add(hub, "nobody", npy([9, 9]))
    add(hub, "kept", npy([7, 7]), label="y")
    add(hub, "wide", npy([1, 2, 3]), label="y")
    add(hub, "broken", b"\x93NUMPY", label="y")
    add(hub, "odd", npy([6, 6]), label="y\nz")
    version = pull(source_at(f"file://{hub}"), first, tmp_path / "out", quiet, tmp_path / "suite.csv")
    assert version.counts == {"new": 1, "hard": 1, "doubled": 1, "unlabelled": 1, "suite": 1}
    assert [line.split(":")[0] for line in version.refused] == [
        "sample other", "sample wide", "sample broken", "sample odd"
    ]  # fmt: skip
    assert "is 'y' already" in version.refused[0]
    assert (version.path / ROWS).read_text() == "label,group,x0,x1\nx,,1.0,2.0\ny,,3.0,4.0\nx,day 2,5.0,6.0\n"
    assert json.loads((version.path / ABOUT).read_text()) == version.json()
    again = pull(source_at(str(hub)), first, tmp_path / "again", quiet, tmp_path / "suite.csv")
    assert (again.path / ROWS).read_bytes() == (version.path / ROWS).read_bytes()
    assert again.digest == version.digest


def test_what_cannot_be_pulled_says_why(tmp_path):
    hub = tmp_path / "hub"
    with pytest.raises(NotFound, match="no folder"):
        source_at(str(hub))
    with pytest.raises(Invalid, match="hubs do not give out samples yet"):
        source_at("https://hub.example")
    hub.mkdir()
    with pytest.raises(NotFound, match=r"no samples\.jsonl"):
        pull(FolderSource(hub), None, tmp_path / "out", quiet)
    (hub / "samples.jsonl").write_text("")
    with pytest.raises(Invalid, match="nothing to write"):
        pull(FolderSource(hub), None, tmp_path / "out", quiet)
    for line, said in (("{", "line 1"), ('{"file":"../x","name":"a"}', "below"), ('{"file":"x","name":"a"}', "read")):
        (hub / "samples.jsonl").write_text(line)
        with pytest.raises(Invalid, match=said):
            pull(FolderSource(hub), None, tmp_path / "out", quiet)
    (hub / "samples.jsonl").write_text("")
    add(hub, "a", npy([1, 2]), label="x")
    pull(FolderSource(hub), None, tmp_path / "out", quiet)
    with pytest.raises(Conflict):
        pull(FolderSource(hub), None, tmp_path / "out", quiet)
    (tmp_path / "out" / ROWS).write_text("label,a,b\ny,1,2\n")
    with pytest.raises(Invalid, match=r"not what data\.json says"):
        pull(FolderSource(hub), tmp_path / "out", tmp_path / "next", quiet)
    assert not (tmp_path / "next").exists()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_row_or_an_error_of_ours(content):
    for data in (content, b"\x93NUMPY\x01\x00" + content):
        try:
            row = row_of(Sample("a", "x", data))
        except SkerryError:
            continue
        assert row.ndim == 1
        assert np.isfinite(row).all()


def test_a_row_is_numbers():
    for array in (
        np.array(["a"]),
        np.zeros((2, 2)),
        np.zeros(0),
        np.array([np.nan]),
        np.array([1e300]),
        np.array([1j]),
    ):
        out = io.BytesIO()
        np.save(out, array)
        with pytest.raises(Invalid):
            row_of(Sample("a", "x", out.getvalue()))
    assert row_of(Sample("a", "x", npy([[1], [2]]))).tolist() == [1, 2]


def test_the_commands(tmp_path):
    hub = tmp_path / "hub"
    offer(hub, clouds(tmp_path / "field.csv", seed=1, count=90))
    clouds(tmp_path / "suite.csv", seed=5, count=60)

    def run(*argv: object):
        return CliRunner().invoke(app, ["forge", *map(str, argv)])

    result = run("dataset", "pull", "--hub", hub, "-o", tmp_path / "v1")
    assert result.exit_code == 0, result.output
    assert "round 1, 90 new, 18 hard" in result.stdout
    told = json.loads(run("dataset", "pull", "--hub", hub, "--from", tmp_path / "v1", "-o", tmp_path / "v2",
                          "--json").stdout)  # fmt: skip
    assert told["counts"]["doubled"] == 90
    assert told["parent"] == told["digest"]  # nothing new: the same data
    for name, epochs in (("one", 12), ("two", 12)):
        made = run("tabular", tmp_path / "v2" / ROWS, "-o", tmp_path / name, "--dial", f"epochs={epochs}")
        assert made.exit_code == 0, made.output
    argv = ("dataset", "check", tmp_path / "two", "--before", tmp_path / "one", "--data", tmp_path / "suite.csv")
    result = run(*argv, "--max-loss", "10pt")
    assert result.exit_code == 0, result.output
    assert "pass  loss" in result.stdout
    assert json.loads(run(*argv, "--json").stdout)["forgotten"] == []
