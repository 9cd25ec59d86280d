"""The servers of the table, started as their users would start them, each watched for its ready line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from skerry.core.errors import PeerError
from skerry.host.process import Child
from skerry.host.settings import environment

ROOT = Path(__file__).parents[1]
READY_SECONDS = 60.0
FLASK = ("flask", "onnxruntime", "pillow", "numpy")  # what the tutorial's server needs


class Server:
    """One server process and what its ready line says."""

    def __init__(self, name: str, argv: Sequence[str], work: Path) -> None:
        log = work / f"{name}.log"
        log.unlink(missing_ok=True)
        self._child = Child(name, list(argv), log, environment())
        try:
            self.ready = self._child.ready(READY_SECONDS)
        except PeerError:
            self._child.stop()
            raise
        self.pid = self._child.pid

    @property
    def url(self) -> str:
        """Where it takes HTTP."""
        return str(self.ready["http"])

    @property
    def grpc(self) -> str | None:
        """Where it takes gRPC, as HOST:PORT; None if it does not."""
        return self.ready.get("grpc")

    def stop(self) -> None:
        """End it."""
        self._child.stop()


def node(
    paths: Sequence[Path], work: Path, extra: Sequence[str] = (), name: str = "node", http: str = "127.0.0.1:0"
) -> Server:
    """Start `skerry serve`, with more options if they are given."""
    argv = [sys.executable, "-m", "skerry", "serve", *map(str, paths), "--http", http, "--json", *extra]
    return Server(name, argv, work)


def node_has(option: str) -> bool:
    """Whether `skerry serve` knows an option."""
    environ = {**environment(), "COLUMNS": "300", "TERM": "dumb", "NO_COLOR": "1"}
    argv = [sys.executable, "-m", "skerry", "serve", "--help"]
    return option in subprocess.run(argv, capture_output=True, text=True, check=True, env=environ).stdout


def yardstick(name: str, work: Path) -> Server:
    """Start one of the servers of `yardsticks/`."""
    return Server(name, [sys.executable, "-m", f"benchmarks.yardsticks.{name}"], work)


def flask(models: Sequence[Path], work: Path) -> Server:
    """Start the tutorial's server in an environment of its own, made the first time, or raise RuntimeError."""
    python = work / "flask" / "bin" / "python"
    if (
        not python.exists()
        or subprocess.run([str(python), "-c", "import flask, onnxruntime, PIL"], check=False).returncode
    ):
        steps = [
            [sys.executable, "-m", "venv", str(work / "flask")],
            [str(python), "-m", "pip", "-q", "install", *FLASK],
        ]
        for argv in steps:
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode:
                told = " ".join(map(json.dumps, argv))
                raise RuntimeError(f"Flask's environment: {told} failed: {done.stderr[-300:]}")
    program = ROOT / "benchmarks" / "yardsticks" / "tutorial_flask.py"
    return Server("flask", [str(python), str(program), *map(str, models)], work)
