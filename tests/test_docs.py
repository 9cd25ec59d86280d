"""The documents keep up with the code: what users meet is documented, links lead somewhere, nothing names one machine.

Each check reads the names from the code itself, so a new setting, command, route, step or error fails here until
a document mentions it.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import typer

from skerry.cli.app import app
from skerry.core import errors
from skerry.core.manifest import Manifest
from skerry.core.rollout import MOVES, NodeState
from skerry.core.rules import Rule
from skerry.core.version import VERSION
from skerry.engine.steps.table import POST, PRE
from skerry.host.clock import Clock
from skerry.hub.events import What
from skerry.hub.settings import HubSettings
from skerry.node.metrics import MachineLoad, Metrics
from skerry.node.models import Models
from skerry.node.serve.admin import Admin
from skerry.node.serve.rest import rest
from skerry.node.settings import NodeSettings
from skerry.wire import routes

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "skerry"
STEPS = [*PRE, *POST]

# Put together here, so that this file does not hold what it forbids.
MACHINES = [f"/{folder}/" for folder in ("work", "root")] + ["/".join(("..", "shared"))]
REGISTRIES = [
    ".".join(host.split())
    for host in (
        "pypi org", "pythonhosted org", "registry npmjs org", "deb debian org", "security debian org",
        "archive ubuntu com", "download pytorch org", "proxy golang org", "index crates io",
    )
]  # fmt: skip
FORBIDDEN = re.compile("|".join(map(re.escape, MACHINES + REGISTRIES)))
BINARY = {".png", ".jpg", ".jpeg", ".onnx", ".pt", ".woff2", ".ico"}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@cache
def files() -> list[Path]:
    """Return the repository's own files: tracked, or new and not ignored; a copy without git is walked."""
    argv = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"]
    try:
        listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return [p for p in ROOT.rglob("*") if p.is_file() and not _made(p.relative_to(ROOT))]
    return [path for name in listed if (path := ROOT / name).is_file()]


def _made(path: Path) -> bool:
    """Whether a path is one that git would ignore, near enough for a copy without git."""
    hidden = [part for part in path.parts if part.startswith(".") or part == "__pycache__"]
    return bool(set(hidden) - {".ci", ".github", ".gitignore", ".pre-commit-config.yaml"})


@cache
def text(path: Path) -> str:
    """Return a file as text."""
    return path.read_text(encoding="utf-8")


@cache
def docs() -> str:
    """Return every page below docs/ as one text."""
    return "\n".join(text(path) for path in sorted(DOCS.rglob("*.md")))


def rows(name: str) -> list[str]:
    """Return the rows of every table of a page, without the spaces at their ends."""
    return [line.strip() for line in text(DOCS / name).splitlines() if line.startswith("|")]


def markdown() -> list[Path]:
    """Return the repository's Markdown files."""
    return [path for path in files() if path.suffix == ".md"]


def commands(command: Any, path: tuple[str, ...] = ("skerry",)) -> list[str]:
    """Return every command below one, as it is typed."""
    below = getattr(command, "commands", None)
    if below is None:
        return [" ".join(path)]
    return [line for name, one in below.items() for line in commands(one, (*path, name))]


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as forges of code make them."""
    titles = re.findall(r"^#+ (.+)$", text(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    ("part", "page", "settings"),
    [("NODE", "operate/node.md", NodeSettings), ("HUB", "operate/hub.md", HubSettings)],
)
def test_every_setting_has_its_row(part, page, settings):
    for one in dataclasses.fields(settings):
        row = next((r for r in rows(page) if r.startswith(f"| `{one.name}` |")), None)
        assert row is not None, f"{page}: no row for the setting {one.name}"
        if one.name not in ("rules", "labels", "trials", "caps"):  # tables, told in TOML alone
            assert f"`SKERRY_{part}_{one.name.upper()}`" in row


@pytest.mark.parametrize("command", commands(typer.main.get_command(app)))
def test_every_command_is_documented(command):
    assert re.search(rf"{re.escape(command)}\b", docs()), f"docs/ does not mention '{command}'"


@pytest.mark.parametrize("route", [r for r in vars(routes).values() if isinstance(r, routes.Route)], ids=str)
def test_every_route_of_the_table_is_documented(route):
    assert re.search(rf"`{route.method} {re.escape(route.path)}[`\[?]", docs()), f"docs/ does not mention {route}"


def test_every_route_of_a_node_is_documented():
    clock, metrics, nothing = Clock(), Metrics(), cast("Any", None)
    models = Models(clock, metrics, nothing, 1)
    for route in rest(models, metrics, clock, "node", Admin(models, metrics, nothing)).table:
        path = route.path.replace("{rest...}", "models/{model}")
        found = re.search(rf"(GET|POST|DELETE) {re.escape(path)}[`\[?]", docs(), re.IGNORECASE)
        assert found, f"docs/ does not mention {path}"


@pytest.mark.parametrize("step", STEPS)
def test_every_step_and_option_has_its_row(step):
    made = ({**PRE, **POST})[step].__self__  # the class, whose fields are its options
    found = [row for row in rows("guide/bundle.md") if row.startswith(f"| `{step}` |")]
    assert found, f"guide/bundle.md: no row for the step {step}"
    options = {one.name for one in dataclasses.fields(made)}
    assert {o for row in found for o in re.findall(r"`(\w+)`", row.split("|")[2])} == options


def test_every_field_of_a_manifest_and_a_rule_is_documented():
    for kind, page, spare in ((Manifest, "guide/bundle.md", {"extra"}), (Rule, "operate/node.md", set())):
        first = {name for row in rows(page) for name in re.findall(r"`(\w+)`", row.split("|")[1])}
        assert {one.name for one in dataclasses.fields(kind)} - spare - first == set()


def test_every_metric_has_its_row():
    clock = Clock()
    metrics = Metrics(clock)
    metrics.of("parts", 1).shadow.compared(True, 1.0)
    metrics.watch(lambda: MachineLoad(0.5, 2, 1))
    page = metrics.page().decode()
    told = {name for row in rows("operate/metrics.md") for name in re.findall(r"`(:?\w[\w:]*)`", row.split("|")[1])}
    assert set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE)) - told == set()


def test_every_option_of_a_runtime_is_documented():
    for runner in ("onnx", "litert", "openvino"):
        law = text(SOURCE / "engine" / "runners" / f"{runner}.py").split('"""')[1]
        options = re.findall(r"`(\w+)`", law.partition("Options of `runtime`")[2])
        assert options, f"{runner}.py: its law names no options"
        assert {o for o in options if not any(r.startswith(f"| `{o}` |") for r in rows("guide/runtimes.md"))} == set()


def test_every_error_is_documented():
    kinds = [c.__name__ for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]
    assert "SkerryError" in kinds
    assert [kind for kind in kinds if f"`{kind}`" not in docs()] == []


def test_the_table_of_rollouts_is_the_codes():
    drawn = {tuple(re.findall(r"`([a-z ]+)`", row)) for row in rows("operate/hub.md")}
    assert {(state.value, event.value, after.value) for (state, event), after in MOVES.items()} <= drawn
    assert {(state.value,) for state in NodeState} <= drawn


def test_every_event_of_the_trail_is_documented():
    assert [what.value for what in What if f"`{what.value}`" not in docs()] == []


@pytest.mark.parametrize("page", markdown(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(page):
    prose = re.sub(r"^```.*?^```", "", text(page), flags=re.MULTILINE | re.DOTALL)
    for link in LINK.findall(prose):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


def test_the_map_in_the_readme_is_true():
    mapped = re.findall(r"^\| `([\w./-]+/)` \|", text(ROOT / "README.md"), re.MULTILINE)
    assert [folder for folder in mapped if not (ROOT / folder).is_dir()] == []
    parts = {f"src/skerry/{p.name}/" for p in SOURCE.iterdir() if any(p.rglob("*.py"))}
    assert parts - set(mapped) == set()


def test_the_version_has_its_changes():
    assert f"## [{VERSION}]" in text(ROOT / "CHANGELOG.md")


def test_no_file_names_one_machine_or_a_registry():
    found = []
    for path in files():
        if path.suffix in BINARY:
            continue
        try:
            content = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {hit}" for hit in sorted(set(FORBIDDEN.findall(content)))]
    assert found == []


def test_a_forbidden_name_would_be_found():
    assert all(FORBIDDEN.search(f"see {name}x") for name in MACHINES + REGISTRIES)
