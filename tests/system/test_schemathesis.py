"""Schemathesis reads our own OpenAPI documents and posts what they allow, and what they do not, to a real node.

Skipped where the program is not on the path. Two of its checks do not fit everywhere: a schema cannot say which tensors
which model takes, nor that 1.0 is no whole number, so a body that it allows may be refused (positive_data_acceptance);
and TensorFlow Serving answers a wrong method with 400 (unsupported_method).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.clients import Place, serving

FOUND = shutil.which("schemathesis") or shutil.which("schemathesis", path=str(Path(sys.executable).parent))
pytestmark = pytest.mark.skipif(FOUND is None, reason="no schemathesis")
EXAMPLES = "15"  # of each operation and phase
RUNS = {
    "node": ("node", "--exclude-path-regex", "predict|trial"),
    "predict": ("node", "--include-path-regex", "predict|trial", "--exclude-checks", "positive_data_acceptance"),
    "tfs status": (
        *("tfs", "--include-method", "GET", "--exclude-path-regex", "labels"),
        *("--exclude-checks", "unsupported_method"),
    ),
    "tfs labels": (  # one that no version has is a 400, TensorFlow Serving's
        *("tfs", "--include-method", "GET", "--include-path-regex", "labels"),
        *("--exclude-checks", "positive_data_acceptance,unsupported_method"),
    ),
    "tfs": (
        *("tfs", "--include-method", "POST"),
        *("--exclude-checks", "positive_data_acceptance,unsupported_method"),
    ),
    "oip": ("oip", "--exclude-path-regex", "(infer|load|logging)$|shared"),
    "logging": ("oip", "--include-path-regex", "logging$", "--exclude-checks", "positive_data_acceptance"),
    "memory": (  # what is of CUDA is a 501
        *("oip", "--include-path-regex", "systemshared"),
        *("--exclude-checks", "positive_data_acceptance"),
    ),
    "oip infer": ("oip", "--include-path-regex", "infer$", "--exclude-checks", "positive_data_acceptance"),
    "oip load": ("oip", "--include-path-regex", "load$"),  # last: models are unloaded
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    # TensorFlow Serving's JSON has no half floats, which is a 501; and what runs for seconds is not for many requests
    with serving(
        tmp_path_factory.mktemp("clients"), without=("slow", "same_fp16", "same_bf16", "same_uint16")
    ) as found:
        yield found


@pytest.mark.parametrize("what", RUNS)
def test_it_finds_nothing(place: Place, what: str, tmp_path: Path) -> None:
    name, *options = RUNS[what]
    argv = [str(FOUND), "run", "--checks", "all", "-n", EXAMPLES, "--seed", "1", "--no-color", "--url", place.url]
    done = subprocess.run(
        [*argv, f"{place.url}/openapi/{name}.json", *options],
        cwd=tmp_path,  # it keeps what it found in its folder
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
