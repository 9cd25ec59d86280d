"""Triton's perf_analyzer against a real node; skipped where the program is not on the path.

Its last build for old C libraries is inside the tritonclient 2.51.0 wheel; it needs libcudart.so.12 and libb64.so.0d.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.system.clients import Place, serving

PROGRAM = shutil.which("perf_analyzer")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no perf_analyzer")
# Whether it is stable says how busy the machine is: we ask only that it measures.
QUICK = [
    "--measurement-interval",
    "1000",
    "--stability-percentage",
    "500",
    "--max-trials",
    "6",
    "--concurrency-range",
    "2",
]
RATE = re.compile(r"throughput: ([\d.]+) infer/sec")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with serving(tmp_path_factory.mktemp("clients")) as found:
        yield found


@pytest.mark.parametrize(
    "how",
    [
        "-i http -m adder",
        "-i grpc -m adder",
        "-i grpc -m adder --streaming --async",
        "--service-kind tfserving -i grpc -m adder",
    ],
)
def test_it_measures(place: Place, how: str) -> None:
    where = place.http if "http" in how else place.grpc
    argv = [str(PROGRAM), *how.split(), "-u", where, "--shape", "x:1,3", "--shape", "y:1,3", *QUICK]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(RATE.search(done.stdout)[1]) > 10  # type: ignore[index]
    if "tfserving" not in how:
        assert "Successful request count" in done.stdout  # it read our statistics
