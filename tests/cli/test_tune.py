from __future__ import annotations

import json

from typer.testing import CliRunner

from skerry.cli.app import app
from skerry.cli.tune import words
from skerry.host.machine import look
from skerry.host.profiles import Plan, Profile, Profiles, cpu
from tests.models import adder_onnx, brightness_bundle


def run(*argv: object):
    return CliRunner().invoke(app, [str(one) for one in argv])


def test_a_model_is_tuned_and_what_was_found_is_kept(tmp_path):
    model, folder = adder_onnx(tmp_path / "adder.onnx"), tmp_path / "profiles"
    result = run("tune", model, "--seconds", 1, "--profiles", folder)
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "threads runs batch" in text
    assert "Use 1 thread" in text or "Use 2 threads" in text
    assert str(folder) in result.stdout.replace("\n", "")
    assert "\x1b" not in result.output
    assert len(list(folder.glob("*.json"))) == 1


def test_a_bundle_is_tuned_for_a_machine(tmp_path):
    bundle, folder = brightness_bundle(tmp_path / "bundle"), tmp_path / "profiles"
    result = run("tune", bundle.path, "--seconds", 1, "--profiles", folder, "--favour", "latency", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["model"] == bundle.manifest.digest
    assert told["stopped"] is False
    assert told["batches"] == []  # its first dimension is fixed
    (file,) = folder.glob("*.json")
    kept = json.loads(file.read_text())
    found = Profiles(folder, cpu(look().cpus)).find(bundle.manifest.digest, kept["runtime"])
    assert found is not None
    assert found.plan.json() == told["plan"]


def test_what_cannot_be_tuned_is_an_error_of_one_line(tmp_path):
    for argv, text in (
        ([tmp_path / "none.onnx"], "no file or bundle"),
        ([adder_onnx(tmp_path / "a.onnx"), "--seconds", 99], "seconds: expected 1 to 30"),
        ([tmp_path / "a.onnx", "--slo-ms", 0], "slo-ms"),
    ):
        result = run("tune", *argv, "--profiles", tmp_path / "p")
        assert result.exit_code == 1
        assert text in result.stderr
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    assert run("tune", tmp_path / "bad.onnx").exit_code == 1
    assert run("tune", tmp_path / "a.onnx", "--favour", "both").exit_code == 2


ONE, TWO = Plan(1, 2, 8000.0, 9000.0, 250.0, 100), Plan(2, 1, 4000.0, 5000.0, 240.0, 100)


def test_the_recommendation_in_words():
    text = " ".join(words(Profile(TWO, ONE, TWO, (1, 2, 4), True), 2))
    assert "Use 2 threads inside a run and 1 at the same time: 240 runs a second." in text
    assert (
        "For one caller, 2 threads in a run: 50% less time (4.00 ms); for many, 1 x 2 gives 250 runs a second." in text
    )
    assert "up to 4 examples" in text
    assert "Spinning pays" in text
    assert "other work" not in text
    assert "other work" in " ".join(words(Profile(Plan(1, 1, 10.0, 21.0, 1.0, 1), ONE, ONE), 2))
    text = " ".join(words(Profile(ONE, ONE, ONE), 1))
    assert "does not pay" in text
    assert "one processor" in text
