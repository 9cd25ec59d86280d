"""The command line: help, bundles, keys; errors on standard error, status 1, no colours but on a terminal."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import click
import pytest
import typer.main
from typer.testing import CliRunner

from skerry import __version__
from skerry.cli.app import app
from skerry.engine.bundle import open_bundle
from skerry.host.ed25519 import PrivateKey
from tests.engine.kit import mean_model
from tests.models import adder_onnx, brightness_bundle, brightness_onnx, grey_png


def run(*argv):
    """Run the command line in this process."""
    return CliRunner().invoke(app, [str(a) for a in argv])


def failed(result, text):
    """Check that a command failed with one plain line on standard error."""
    assert result.exit_code == 1, (result.output, result.exception)
    assert text in result.stderr
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.output
    assert "\x1b" not in result.output


def commands(group=None, path=()):
    """Yield the path of every command and group."""
    group = group or typer.main.get_command(app)
    yield path, group
    for name, one in getattr(group, "commands", {}).items():
        yield from commands(one, (*path, name))


ALL = {" ".join(path): one for path, one in commands()}


@pytest.mark.parametrize("path", ALL)
def test_every_command_has_help(path):
    for flag in ("--help", "-h"):
        result = run(*path.split(), flag)
        assert result.exit_code == 0
        assert "Usage: " in result.output
        assert "\x1b" not in result.output
    if not hasattr(ALL[path], "commands"):
        text = run(*path.split(), "--help").output
        assert "Example" in text, f"skerry {path} has no example"
        assert f"skerry {path}" in " ".join(text.split())


def test_every_option_says_what_it_is():
    for path, one in ALL.items():
        for parameter in one.params:
            if isinstance(parameter, click.Option) and path:
                assert parameter.help, f"skerry {path} {parameter.name}"


def test_version_and_unknown_commands():
    assert run("--version").output == f"skerry {__version__}\n"
    assert run("frobnicate").exit_code == 2
    assert run("bundle", "init").exit_code == 2


# --- bundle ---


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("dark\n\n bright \n", "utf-8")
    return path


def test_a_bundle_from_model_to_check(tmp_path, labels):
    model, out = brightness_onnx(tmp_path / "bright.onnx"), tmp_path / "parts"
    golden = tmp_path / "g.png"
    golden.write_bytes(grey_png(200))
    result = run("bundle", "init", model, "--labels", labels, "--version", 3, "-o", out, "--golden", golden,
                 "--mean", "0.1,0.2,0.3", "--std", "2", "--scale", "1")  # fmt: skip
    assert result.exit_code == 0, result.output
    manifest = open_bundle(out).manifest
    assert (manifest.name, manifest.version, manifest.labels) == ("bright", 3, ("dark", "bright"))
    assert manifest.pre[2].options == {"scale": 1.0, "mean": [0.1, 0.2, 0.3], "std": [2.0]}
    assert f"skerry serve {out}" in result.stdout
    shown = run("bundle", "show", out)
    wanted = ("bright version 3", manifest.digest, "in      image  FP32 [1, 3, 8, 8]", "before  resize", "goldens 1")
    for text in wanted:
        assert text in shown.stdout
    value = json.loads(run("bundle", "show", out, "--json").stdout)
    assert value == {"digest": manifest.digest, "manifest": manifest.json()}
    checked = run("bundle", "check", out)
    assert (checked.exit_code, checked.stdout) == (0, f"{out}: files good (3), goldens passed (1)\n")
    key, other = tmp_path / "a.key", tmp_path / "b.key"
    for path in (key, other):
        assert run("keys", "new", path).exit_code == 0
    failed(run("bundle", "check", out, "--trust", tmp_path / "a.pub"), "not signed")
    assert "signed sha256:" in run("bundle", "sign", out, "--key", key).stdout
    assert "signature good" in run("bundle", "check", out, "--trust", tmp_path / "a.pub").stdout
    line = (tmp_path / "a.pub").read_text().strip()
    assert run("bundle", "check", out, "--trust", line).exit_code == 0
    failed(run("bundle", "check", out, "--trust", tmp_path / "b.pub"), "trusted here")
    (out / "model.onnx").write_bytes(b"x")
    failed(run("bundle", "check", out), "file model.onnx: expected")
    failed(run("bundle", "sign", out, "--key", key), "file model.onnx: expected")


def test_plain_tensors_are_said_to_be_such(tmp_path):
    result = run("bundle", "init", adder_onnx(tmp_path / "adder.onnx"), "-o", tmp_path / "b")
    assert result.exit_code == 0
    assert "no image steps" in result.stdout


def test_init_takes_a_size(tmp_path):
    model = mean_model(tmp_path / "m.onnx", [1, 3, "h", "w"])
    failed(run("bundle", "init", model, "-o", tmp_path / "b"), "choose one with --size WIDTHxHEIGHT")
    assert run("bundle", "init", model, "-o", tmp_path / "b", "--size", "20x10", "--letterbox").exit_code == 0
    assert open_bundle(tmp_path / "b").manifest.pre[1].options == {"width": 20, "height": 10}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--size", "20"], "--size: expected WIDTHxHEIGHT such as 640x480; got '20'"),
        (["--mean", "a"], "--mean: expected numbers with commas between them; got 'a'"),
        (["--std", "0"], "none of them 0"),
        (["--mean", "nan"], "nan"),
        (["--name", "a b"], "model name: expected"),
        (["--version", "0"], "version: expected a whole number"),
        (["--colour", "cmyk"], "colour: expected one of rgb, bgr, grey"),
        (["--threshold", "nan"], "threshold"),
        (["--labels", "none.txt"], "none.txt"),
        (["--golden", "none.png"], "none.png"),
    ],
)
def test_init_names_the_wish_that_is_wrong(tmp_path, options, text):
    from tests.engine.kit import detector

    model = brightness_onnx(tmp_path / "m.onnx")
    if options[0] == "--threshold":
        model = detector(tmp_path / "m.onnx", [[0, 0, 1, 1]], [[0.9, 0.1]])
    failed(run("bundle", "init", model, "-o", tmp_path / "b", *options), text)
    assert not (tmp_path / "b").exists()


def test_init_refuses_what_is_no_model_or_no_text(tmp_path):
    failed(run("bundle", "init", tmp_path / "none.onnx", "-o", tmp_path / "b"), "model: no file")
    (tmp_path / "x.onnx").write_bytes(b"hello")
    failed(run("bundle", "init", tmp_path / "x.onnx", "-o", tmp_path / "b"), "cannot load x.onnx")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    model = brightness_onnx(tmp_path / "m.onnx")
    failed(run("bundle", "init", model, "-o", tmp_path / "b", "--labels", tmp_path / "latin.txt"), "expected UTF-8")
    (tmp_path / "b").mkdir()
    failed(run("bundle", "init", model, "-o", tmp_path / "b"), "there is something already")


@pytest.mark.parametrize("command", [["show"], ["show", "--json"], ["check"], ["sign", "--key", "k"]])
def test_a_folder_without_a_bundle_is_named(tmp_path, command):
    failed(run("bundle", command[0], tmp_path, *command[1:]), f"bundle {tmp_path}: no manifest.json in it")


# --- keys ---


def test_new_keys_are_private_and_never_overwrite(tmp_path):
    path = tmp_path / "publisher.key"
    result = run("keys", "new", path)
    assert result.exit_code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "publisher.pub").stat().st_mode) == 0o644
    assert (tmp_path / "publisher.pub").read_text().startswith("skerry-ed25519 ")
    before = path.read_bytes()
    assert before not in result.output.encode()
    failed(run("keys", "new", path), "publisher.key exists already; a key is never overwritten")
    path.unlink()
    failed(run("keys", "new", path), "publisher.pub exists already")
    assert not path.exists()
    failed(run("keys", "new", tmp_path / "new.pub"), "this is where the public key goes")
    assert not (tmp_path / "new.pub").exists()


def test_sign_wants_a_private_key(tmp_path):
    bundle = brightness_bundle(tmp_path / "b")
    run("keys", "new", tmp_path / "a.key")
    failed(run("bundle", "sign", bundle.path, "--key", tmp_path / "a.pub"), "expected an unencrypted PKCS#8 PEM file")
    failed(run("bundle", "sign", bundle.path, "--key", tmp_path / "none"), "make one with 'skerry keys new")
    assert PrivateKey.load(tmp_path / "a.key").public


# --- errors of the commands that talk to others ---


@pytest.mark.parametrize("argv", [["publish", "B"], ["rollout", "m", "1", "--node", "n"], ["nodes"], ["join-token"]])
def test_a_hub_that_is_away_is_one_line(tmp_path, argv):
    from tests.link.test_http import closed_port

    argv = [str(brightness_bundle(tmp_path / "b", key=PrivateKey.make()).path) if a == "B" else a for a in argv]
    url = closed_port()
    failed(run(*argv, "--hub", url, "--token", "t"), url)


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["serve", "none"], "none: no such file or folder"),
        (["serve", "."], "neither a bundle"),
        (["node"], "hub: a node needs the URL of its hub"),
        (["node", "--config", "none.toml"], "settings: no file none.toml"),
        (["infer", "none.png"], "none.png"),
        (["infer", "--node", "nowhere:1", "x.png"], "node URL: expected http://HOST:PORT"),
        (["rollout", "m", "0", "--node", "n"], "version"),
        (["rollout", "m", "1"], "node"),
    ],
)
def test_bad_arguments_are_one_line(tmp_path, monkeypatch, argv, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.png").write_bytes(b"x")
    for name in [n for n in os.environ if n.startswith("SKERRY_") and n != "SKERRY_TEST_DATA"]:
        monkeypatch.delenv(name)
    failed(run(*argv), text)


def test_an_unknown_log_level_is_told():
    result = run("serve", ".", "--log-level", "loud")
    assert result.exit_code == 2
    assert "debug, info, warning, error" in " ".join(result.stderr.split())


LACKING = [("uvloop", ["serve", "x.onnx"]), ("cryptography", ["keys", "new", "k"])]


@pytest.mark.parametrize(("library", "command"), LACKING)
def test_a_library_that_is_not_installed_is_named(library, command):
    code = f"import sys; sys.modules[{library!r}] = None; sys.argv = ['skerry', *{command!r}]\n"
    argv = [sys.executable, "-c", code + "from skerry.cli import main; main()"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"needs the library '{library}'" in done.stderr
    assert "Traceback" not in done.stderr
