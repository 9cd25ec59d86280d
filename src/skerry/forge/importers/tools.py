"""Environments for frameworks that clash with ours or weigh gigabytes, and the child processes that run in them.

An environment is made on first use with pinned requirements and is used from then on. Its mark is written last, so
a half-made one is never taken for whole. Without a folder for them, only what is installed here is used.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry.core.errors import Invalid, LoadFailed, PeerError, RunFailed
from skerry.forge.importers.what import Watch
from skerry.forge.parity import ParityLost
from skerry.host.files import Disk, lock
from skerry.host.process import Child
from skerry.host.settings import environment

HERE = Path(__file__).parent / "children"
INSTALL_SECONDS = 3600.0  # gigabytes over a slow link; 22 s and 73 s from a local index
LOOK_SECONDS = 0.2  # between looks into a child's log for its progress
MAX_LOG = 64 << 10  # bytes of new log shown at once
PLAIN = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "PYTHONNOUSERSITE": "1",
}
OURS = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")  # of our environment: a child has its own


@dataclass(frozen=True)
class Toolset:
    """One environment: its name, what pip installs, and the modules that show that it is there."""

    name: str
    requirements: tuple[str, ...]
    modules: tuple[str, ...]
    size: int  # MB on disk, measured

    @property
    def digest(self) -> str:
        """What the environment is named by: other requirements are another environment."""
        text = "\n".join((*self.requirements, f"{sys.version_info[0]}.{sys.version_info[1]}"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


TENSORFLOW = Toolset(
    "tensorflow",
    (
        "tensorflow-cpu==2.21.0; platform_machine == 'x86_64'",
        "tensorflow==2.21.0; platform_machine != 'x86_64'",
        "keras==3.15.1",
        "tf2onnx==1.17.0",
        "onnx==1.23.2",
        "numpy==2.4.6",
    ),
    ("tensorflow", "keras", "tf2onnx"),
    1600,
)
LITERT = Toolset(
    "litert",
    ("torch==2.13.0", "litert-torch==0.10.0", "ai-edge-quantizer==0.10.0", "numpy==2.4.6"),
    ("litert_torch", "ai_edge_quantizer"),
    2150,
)


def python_of(tools: Toolset, folder: Path | None, watch: Watch, disk: Disk | None = None) -> Path:
    """Return the Python that has a toolset: ours, one made before, or one made now; raise LoadFailed if none can be."""
    if all(importlib.util.find_spec(module) for module in tools.modules):
        return Path(sys.executable)
    if folder is None:
        wanted = " ".join(f"'{r}'" for r in tools.requirements)
        raise LoadFailed(
            f"{tools.name}: not installed here ({', '.join(tools.modules)}); name a folder for tools, where an "
            f"environment of {tools.size} MB is made once, or: pip install {wanted}"
        )
    disk = disk or Disk()
    home = folder.absolute() / f"{tools.name}-{tools.digest}"
    mark = home / "whole.json"
    python = home / "bin" / "python"
    if mark.is_file() and python.exists():
        return python
    disk.folder(folder.absolute())
    with lock(folder / f"{home.name}.lock"):
        if mark.is_file() and python.exists():
            return python
        if home.exists():
            watch(f"{tools.name}: an environment that was not finished is made again")
            disk.remove(home)
        free = disk.free(folder) >> 20
        if free < 2 * tools.size:
            raise LoadFailed(f"{tools.name}: {2 * tools.size} MB are needed in {folder}; {free} MB are free")
        watch(f"{tools.name}: an environment of about {tools.size} MB is made in {home}")
        task = {"home": str(home), "requirements": list(tools.requirements)}
        found = run(Path(sys.executable), "install.py", task, INSTALL_SECONDS, watch)
        disk.write(mark, json.dumps({"requirements": task["requirements"], **found}, indent=1).encode())
    return python


def run(python: Path, script: str, task: dict[str, Any], seconds: float, watch: Watch) -> dict[str, Any]:
    """Run a script of this folder on a task and return what it says; its crash, error or lateness is an error of ours.

    The script gets the task as a JSON file and prints one line of JSON; what it logs goes to `watch`.
    """
    with tempfile.TemporaryDirectory(prefix="skerry-") as scratch:
        asked = Path(scratch) / "task.json"
        asked.write_text(json.dumps(task))
        environ = {k: v for k, v in environment().items() if k not in OURS} | PLAIN
        log = Path(scratch) / "log"
        child = Child(script.removesuffix(".py"), [str(python), str(HERE / script), str(asked)], log, environ)
        try:
            found = _watched(lambda: child.ready(seconds), log, watch)
        except PeerError as error:
            raise RunFailed(str(error)) from None
        finally:
            child.stop()  # by SIGTERM: a child may have children
    return _answer(found, script)


def _answer(found: dict[str, Any], script: str) -> dict[str, Any]:
    errors = {"Invalid": Invalid, "LoadFailed": LoadFailed, "RunFailed": RunFailed, "ParityLost": ParityLost}
    if "error" in found:
        raise errors.get(str(found.get("kind")), RunFailed)(str(found["error"])[:2000])
    if not isinstance(found.get("done"), dict):
        raise RunFailed(f"{script}: expected what was done; got {str(found)[:200]}")
    return dict(found["done"])


def _watched(work: Callable[[], dict[str, Any]], log: Path, watch: Watch) -> dict[str, Any]:
    """Return what the work gives, while new lines of the log that begin with '> ' go to `watch`."""
    results: list[dict[str, Any] | PeerError] = []

    def go() -> None:
        try:
            results.append(work())
        except PeerError as error:
            results.append(error)

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    with log.open("rb") as file:
        while thread.is_alive():
            thread.join(LOOK_SECONDS)
            for line in file.read(MAX_LOG).decode("utf-8", "replace").splitlines():
                if line.startswith("> "):
                    watch(line[2:202])
    if not results:
        raise RunFailed("a child process ended in a way that was not foreseen")
    if isinstance(results[0], PeerError):
        raise results[0]
    return results[0]
