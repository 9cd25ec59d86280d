"""The gRPC client as the benchmark calls it: a program of its own, so that grpcio's threads and forks stay apart."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.stats import Round

ROOT = Path(__file__).parents[2]


def call(target: str, method: str, body: Path, seconds: float) -> tuple[Round, bytes]:
    """Call one after the other for so long; return what was measured and the last reply."""
    argv = [sys.executable, "-m", "benchmarks.load.grpc_client", target, method, str(body), str(seconds)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"gRPC client on {target}{method}: {done.stderr[-500:]}")
    found = json.loads(done.stdout)
    micros = {int(value): count for value, count in found["micros"].items()}
    return Round(found["seconds"], found["done"], micros), base64.b64decode(found["reply"])
