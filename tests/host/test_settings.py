from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, TooLarge
from skerry.core.rules import Rule
from skerry.host.settings import MAX_TOML, environment, load
from tests.core.values import tried


@dataclass(frozen=True)
class Example:
    """One field of every type that settings have."""

    name: str = "none"
    port: int = 8080
    rate: float = 1.0
    strict: bool = False
    folder: Path = Path("data")
    key: Path | None = None
    limit: int | None = None
    hosts: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    folders: tuple[Path, ...] = ()
    rules: tuple[Rule, ...] = ()
    secret: str = field(default="", repr=False)


@dataclass(frozen=True)
class Needy:
    """A setting without a default."""

    hub: str
    also: tuple[str, ...] = field(default_factory=tuple)


def toml(tmp_path, text):
    """Write a TOML file with one table."""
    path = tmp_path / "skerry.toml"
    path.write_text(text)
    return path


WHOLE = """
[node]
name = "dock-1"
port = 1
rate = 2
strict = true
folder = "/var/lib/skerry"
key = "k.pem"
limit = 5
hosts = ["a", "b"]
ports = [1, 2]
folders = ["x"]

[[node.rules]]
name = "cracks"
model = "boards"

[hub]
anything = "of another part is not looked at"
"""


def test_defaults():
    assert load(Example, "node", None, {}, {}) == Example()


def test_a_file_is_typed(tmp_path):
    got = load(Example, "node", toml(tmp_path, WHOLE), {}, {})
    assert got == Example(
        name="dock-1",
        port=1,
        rate=2.0,
        strict=True,
        folder=Path("/var/lib/skerry"),
        key=Path("k.pem"),
        limit=5,
        hosts=("a", "b"),
        ports=(1, 2),
        folders=(Path("x"),),
        rules=(Rule("cracks", "boards", 1, 1),),
    )
    assert isinstance(got.rate, float)


def test_the_environment_is_typed():
    environ = {
        "SKERRY_NODE_NAME": "dock-2",
        "SKERRY_NODE_PORT": "9",
        "SKERRY_NODE_RATE": "0.5",
        "SKERRY_NODE_STRICT": "1",
        "SKERRY_NODE_KEY": "/k",
        "SKERRY_NODE_LIMIT": "7",
        "SKERRY_NODE_HOSTS": f"a{os.pathsep}b{os.pathsep}",
        "SKERRY_NODE_PORTS": f"1{os.pathsep}2",
        "SKERRY_NODE_FOLDERS": f"/x{os.pathsep}/y",
        "SKERRY_HUB_NAME": "not this part",
        "SKERRY_NODE_UNKNOWN": "somebody else's",
    }
    assert load(Example, "node", None, {}, environ) == Example(
        name="dock-2", port=9, rate=0.5, strict=True, key=Path("/k"), limit=7, hosts=("a", "b"), ports=(1, 2),
        folders=(Path("/x"), Path("/y")),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "want"), [("1", True), ("true", True), ("TRUE", True), ("0", False), ("False", False)]
)
def test_truth_in_the_environment(text, want):
    assert load(Example, "node", None, {}, {"SKERRY_NODE_STRICT": text}).strict is want


def test_later_sources_win(tmp_path):
    file = toml(tmp_path, "[node]\nport = 1\nname = 'file'\nlimit = 1")
    environ = {"SKERRY_NODE_PORT": "2", "SKERRY_NODE_NAME": "environment"}
    got = load(Example, "node", file, {"port": 3, "limit": None, "folder": None}, environ)
    assert (got.port, got.name, got.limit, got.folder) == (3, "environment", 1, Path("data"))


def test_a_file_without_the_table_says_nothing(tmp_path):
    assert load(Example, "node", toml(tmp_path, "[hub]\nx = 1"), {}, {}) == Example()


WRONG = [
    ("[node]\nprot = 1", "has no setting 'prot'; it has name, port, rate"),
    ("[node]\nport = '1'", "port: expected int; got '1'"),
    ("[node]\nport = 1.5", "port: expected int; got 1.5"),
    ("[node]\nport = true", "port: expected int; got True"),
    ("[node]\nrate = 'fast'", "rate: expected float; got 'fast'"),
    ("[node]\nrate = true", "rate: expected float; got True"),
    (f"[node]\nrate = 1{'0' * 400}", "rate: expected float; got 1000"),
    ("[node]\nstrict = 1", "strict: expected bool; got 1"),
    ("[node]\nfolder = 1", "folder: expected Path; got 1"),
    ("[node]\nkey = []", r"key: expected Path; got \[\]"),
    ("[node]\nhosts = 'a'", "hosts: expected tuple"),
    ("[node]\nhosts = [1]", "hosts: expected str; got 1"),
    ("[node]\nrules = [1]", "rules: expected Rule; got 1"),
    ("[[node.rules]]\nname = 'x'", "rules: rule.model: expected this field; it is missing"),
    ("node = 1", r"expected a table \[node\]; got 1"),
    ("[node", "toml: "),
    ("[node]\nport = 1\nport = 2", "toml: "),
]


@pytest.mark.parametrize(("text", "says"), WRONG, ids=[text[:30] for text, _ in WRONG])
def test_what_is_wrong_in_a_file_is_named_with_the_file(tmp_path, text, says):
    file = toml(tmp_path, text)
    with pytest.raises(Invalid, match=says) as caught:
        load(Example, "node", file, {}, {})
    assert str(caught.value).startswith(str(file))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("PORT", "x", "expected int; got 'x'"),
        ("RATE", "", "expected float; got ''"),
        ("STRICT", "yes", "expected bool; got 'yes'"),
        ("LIMIT", "none", "expected int; got 'none'"),
        ("PORTS", "1:b", "expected int; got 'b'"),
        ("RULES", "x", "expected Rule; got 'x'"),
    ],
)
def test_what_is_wrong_in_the_environment_is_named(name, text, says):
    with pytest.raises(Invalid, match=f"^SKERRY_NODE_{name}: {says}"):
        load(Example, "node", None, {}, {f"SKERRY_NODE_{name}": text})


def test_a_setting_without_a_default_is_missed_by_name(tmp_path):
    with pytest.raises(Invalid, match=r"settings: hub is missing; put it in \[node\] of .* or SKERRY_NODE_HUB"):
        load(Needy, "node", toml(tmp_path, ""), {}, {})
    assert load(Needy, "node", None, {"hub": "http://h"}, {}) == Needy("http://h")


def test_a_file_that_is_not_there_not_text_or_too_large(tmp_path):
    with pytest.raises(Invalid, match=r"settings: no file .*/nothing\.toml"):
        load(Example, "node", tmp_path / "nothing.toml", {}, {})
    with pytest.raises(Invalid, match=r"settings: .*: Is a directory"):
        load(Example, "node", tmp_path, {}, {})
    (tmp_path / "binary.toml").write_bytes(b"\xff")
    with pytest.raises(Invalid, match=r"binary.toml: 'utf-8' codec"):
        load(Example, "node", tmp_path / "binary.toml", {}, {})
    (tmp_path / "large.toml").write_bytes(b"#" * (MAX_TOML + 1))
    with pytest.raises(TooLarge, match=r"large.toml: expected at most"):
        load(Example, "node", tmp_path / "large.toml", {}, {})


@given(st.sampled_from(list(Example.__dataclass_fields__)), st.text(st.characters(exclude_characters="\0"), max_size=9))
def test_an_arbitrary_environment_raises_skerry_errors_alone(name, text):
    variable = f"SKERRY_NODE_{name.upper()}"
    found = tried(load, Example, "node", None, {}, {variable: text})
    assert isinstance(found, Example) or str(found).startswith(f"{variable}: expected ")


def test_a_secret_does_not_show():
    assert "geheim" not in repr(load(Example, "node", None, {}, {"SKERRY_NODE_SECRET": "geheim"}))


def test_the_environment_is_a_copy():
    assert environment() == dict(os.environ)
    assert environment() is not environment()


def test_telemetry_is_forbidden_to_what_comes_after(source):
    code = (
        "import os; from skerry.host.settings import *; forbid_telemetry(); print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    ran = subprocess.run([sys.executable, "-c", code], env=source, capture_output=True, text=True, check=True)
    assert ran.stdout == "1\n"
