"""What an import costs and drags in, each looked at in a fresh interpreter; and the names that users build on."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from skerry.core.version import VERSION

SOURCE = Path(__file__).parent.parent / "src"

PUBLIC = ["Answer", "Client", "Finding", "SkerryError", "__version__"]

HEAVY = {"numpy", "onnxruntime", "onnx", "torch", "sqlalchemy", "alembic", "starlette", "uvicorn", "typer", "rich"}
DEVICE_NEVER = HEAVY | {"cryptography", "PIL", "jinja2", "prometheus_client"}
NODE_NEVER = {"torch", "sqlalchemy", "alembic", "onnx", "onnxscript", "jinja2", "typer", "rich", "starlette", "uvicorn"}
HUB_NEVER = {"onnxruntime", "numpy", "torch", "onnx", "onnxscript", "PIL"}
DEVICE_SECONDS = 0.100  # processor time of `import skerry`, beyond the interpreter's own start

WHOLE_PART = """
import importlib, json, pkgutil, sys
importlib.import_module(f"skerry.{sys.argv[1]}.app")
part = importlib.import_module(f"skerry.{sys.argv[1]}")
for found in pkgutil.walk_packages(part.__path__, part.__name__ + "."):
    importlib.import_module(found.name)
print(json.dumps(sorted(sys.modules)))
"""


def fresh(code, *argv):
    """Run Python code in a new interpreter that finds this source, and return the JSON that it prints."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV_"))}
    ran = subprocess.run(
        [sys.executable, "-c", code, *argv],
        env={**environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def heads(modules):
    """Return the top-level packages of modules."""
    return {module.split(".")[0] for module in modules}


def test_the_device_imports_nothing_heavy():
    loaded = heads(fresh("import json, sys, skerry; print(json.dumps(sorted(sys.modules)))"))
    assert "skerry" in loaded
    assert not loaded & DEVICE_NEVER


def test_the_device_imports_in_under_100_ms():
    """In processor time, which other work on the machine does not lengthen much; the median of five."""
    code = "import time; a = time.process_time(); import skerry; skerry.Client; print(time.process_time() - a)"
    fresh(code)  # writes the bytecode
    assert statistics.median(fresh(code) for _ in range(5)) < DEVICE_SECONDS


@pytest.mark.parametrize(("part", "never"), [("node", NODE_NEVER), ("hub", HUB_NEVER)])
def test_a_part_never_loads_what_is_anothers(part, never):
    loaded = heads(fresh(WHOLE_PART, part))
    assert not loaded & never


def test_the_control_process_of_a_node_needs_no_arrays():
    """Workers do the arithmetic; what the control process imports is memory and time to the first answer."""
    code = "import json, sys, skerry.node.app, skerry.node.alone; print(json.dumps(sorted(sys.modules)))"
    never = {
        "numpy",
        "onnxruntime",
        "cryptography",
        "PIL",
        "simplejpeg",
        "simdjson",
        "orjson",
        "google",
        "grpc",
        "urllib3",
    }
    assert not heads(fresh(code)) & never


def test_the_command_line_starts_without_any_part():
    loaded = fresh("import json, sys, skerry.cli; print(json.dumps(sorted(sys.modules)))")
    parts = {f"skerry.{part}" for part in ("node", "hub", "forge", "cluster", "engine")}
    assert not set(loaded) & parts
    assert not heads(loaded) & {"numpy", "onnxruntime", "onnx", "torch", "sqlalchemy", "starlette"}


def test_the_public_names_are_these_and_no_others():
    code = "import json, skerry; print(json.dumps([sorted(skerry.__all__), sorted(n for n in dir(skerry))]))"
    told, there = fresh(code)
    assert told == PUBLIC
    assert set(PUBLIC) <= set(there)
    own = {name for name in there if not name.startswith("_")}
    submodules = {p.stem for p in (SOURCE / "skerry").iterdir()}
    assert own - submodules - {"annotations"} == {name for name in PUBLIC if not name.startswith("_")}


def test_the_version_is_that_of_the_project():
    version = fresh("import json, skerry; print(json.dumps(skerry.__version__))")
    assert version == VERSION == metadata.version("skerry")
