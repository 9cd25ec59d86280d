"""Environments for heavy frameworks: made once, never taken half-made; a child's crash is a clear error."""

from __future__ import annotations

import base64
import hashlib
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from skerry.core.errors import LoadFailed, RunFailed
from skerry.forge.importers.tools import Toolset, python_of, run

START = """
import sys
from pathlib import Path
from skerry.forge.importers.tools import Toolset, python_of
print("on", flush=True)
python_of(Toolset("tiny", (sys.argv[1],), ("skerry_tiny_tool",), 20), Path(sys.argv[2]), lambda line: None)
"""


def wheel(folder: Path) -> str:
    """Write a wheel with one module in it, so that nothing is fetched."""
    path = folder / "skerry_tiny_tool-1.0-py3-none-any.whl"
    info = "skerry_tiny_tool-1.0.dist-info"
    files = {
        "skerry_tiny_tool.py": b"ANSWER = 42\n",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: skerry-tiny-tool\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [
        f"{n},sha256={base64.urlsafe_b64encode(hashlib.sha256(d).digest()).rstrip(b'=').decode()},{len(d)}"
        for n, d in files.items()
    ]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,"]) + "\n")
    return str(path)


def test_an_environment_is_made_after_a_kill_and_used_again(tmp_path: Path) -> None:
    tools = Toolset("tiny", (wheel(tmp_path),), ("skerry_tiny_tool",), 20)
    folder = tmp_path / "tools"
    home = folder / f"tiny-{tools.digest}"
    with subprocess.Popen([sys.executable, "-c", START, tools.requirements[0], str(folder)]) as process:
        end = time.monotonic() + 30
        while not (home / "bin" / "python").exists() and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert home.exists()
    assert not (home / "whole.json").exists()
    said: list[str] = []
    python = python_of(tools, folder, said.append)
    assert any("not finished" in line for line in said)
    assert any(line.startswith("pip: ") for line in said)
    answer = subprocess.check_output([python, "-c", "import skerry_tiny_tool; print(skerry_tiny_tool.ANSWER)"])
    assert answer.strip() == b"42"
    made = (home / "whole.json").stat().st_mtime_ns
    again: list[str] = []
    assert python_of(tools, folder, again.append) == python
    assert again == []
    assert (home / "whole.json").stat().st_mtime_ns == made


def test_what_cannot_be_installed_is_named_and_not_whole(tmp_path: Path) -> None:
    tools = Toolset("none", (str(tmp_path / "no_such_wheel-1.0-py3-none-any.whl"),), ("no_such_module",), 1)
    with pytest.raises(LoadFailed, match="pip could not install"):
        python_of(tools, tmp_path / "tools", lambda _: None)
    assert not list((tmp_path / "tools").glob("*/whole.json"))


def test_without_a_folder_only_what_is_here_is_used() -> None:
    assert python_of(Toolset("ours", ("numpy",), ("numpy", "onnx"), 1), None, lambda _: None) == Path(sys.executable)
    with pytest.raises(LoadFailed, match=r"not installed here \(no_such_module\); name a folder"):
        python_of(Toolset("none", ("none==1",), ("no_such_module",), 1), None, lambda _: None)


@pytest.mark.parametrize(
    ("code", "error", "text"),
    [
        ("import os; os.abort()", RunFailed, f"status -{signal.SIGABRT}"),
        ("raise SystemExit('it is too hot')", RunFailed, "it is too hot"),
        ("import time; time.sleep(60)", RunFailed, "did not become ready in 1 s"),
        ("print('no json')", RunFailed, "did not become ready"),
        ('print(\'{"error": "bad layer", "kind": "LoadFailed"}\')', LoadFailed, "bad layer"),
        ("print('{}')", RunFailed, "expected what was done"),
    ],
)
def test_a_child_that_fails_is_a_clear_error(tmp_path: Path, code: str, error: type[Exception], text: str) -> None:
    script = tmp_path / "child.py"
    script.write_text(code)
    began = time.monotonic()
    with pytest.raises(error, match=text):
        run(Path(sys.executable), str(script), {}, 1.0, print)
    assert time.monotonic() - began < 10


def test_a_child_tells_of_its_progress(tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(
        "import sys, time, json\nprint('> half way', file=sys.stderr, flush=True)\nprint('noise', file=sys.stderr)\n"
        "time.sleep(0.5)\nprint(json.dumps({'done': {'n': json.load(open(sys.argv[1]))['n'] + 1}}))"
    )
    said: list[str] = []
    assert run(Path(sys.executable), str(script), {"n": 1}, 20.0, said.append) == {"n": 2}
    assert said == ["half way"]
