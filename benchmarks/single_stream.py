"""One stream of JPEGs: `POST /v2/models/pcb/infer` on a node, beside the same work in this process.

Both run the same bundle with the same thread plan, in turns within one run, so that the machine's mood is the
same for both; what counts is the ratio, not the times. Run it with `make bench`.

    python benchmarks/single_stream.py [--samples 400] [--rounds 8] [--json]
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image

from skerry.cli.demo_run import DEMO, boards
from skerry.engine.bundle import open_bundle
from skerry.engine.session import open_session, plan_threads
from skerry.host import machine
from skerry.host.clock import Clock
from skerry.host.process import Child
from skerry.host.settings import environment

READY_SECONDS = 60.0
WARM = 10  # calls before anything is counted


def jpegs() -> list[bytes]:
    """Return the demo's boards as JPEGs of quality 90."""
    found = []
    for path in boards(DEMO / "boards"):
        file = io.BytesIO()
        Image.open(path).convert("L").save(file, "JPEG", quality=90)
        found.append(file.getvalue())
    return found


def timed(call: Callable[[bytes], object], pictures: list[bytes], count: int) -> list[float]:
    """Return the milliseconds of `count` calls, one after the other."""
    spent = []
    for n in range(count):
        started = time.perf_counter()
        call(pictures[n % len(pictures)])
        spent.append((time.perf_counter() - started) * 1000)
    return spent


def over_http(url: str) -> Callable[[bytes], object]:
    """Return a call that asks the node over one connection that stays open."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)

    def call(data: bytes) -> bytes:
        connection.request("POST", "/v2/models/pcb/infer", data, {"Content-Type": "image/jpeg"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"the node answered {answer.status}: {body[:200]!r}")
        return body

    return call


def measure(samples: int, rounds: int) -> dict[str, object]:
    """Return percentiles of both ways, their ratio and the overhead."""
    here, bundle = machine.look(), open_bundle(DEMO / "pcb")
    session = open_session(bundle, plan_threads(here), here, Clock())
    pictures = jpegs()
    spent: dict[str, list[float]] = {"node": [], "in-process": []}
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "skerry", "serve", str(DEMO / "pcb"), "--http", "127.0.0.1:0", "--json"]
        child = Child("node", argv, Path(folder) / "node.log", environment())
        try:
            ways = {"node": over_http(child.ready(READY_SECONDS)["http"]), "in-process": session.look}
            for call in ways.values():
                timed(call, pictures, WARM)
            for _ in range(rounds):
                for name, call in ways.items():
                    spent[name] += timed(call, pictures, samples // rounds)
        finally:
            child.stop()
    report: dict[str, object] = {"cpus": here.cpus, "threads": plan_threads(here).intra, "bytes": len(pictures[0])}
    for name, values in spent.items():
        cuts = statistics.quantiles(values, n=100)
        report[name] = {"samples": len(values), "p50_ms": round(cuts[49], 3), "p99_ms": round(cuts[98], 3)}
    node, bound = statistics.median(spent["node"]), statistics.median(spent["in-process"])
    return {**report, "overhead_ms": round(node - bound, 3), "ratio": round(node / bound, 3)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=400, help="calls of each way")
    parser.add_argument("--rounds", type=int, default=8, help="turns that they are made in")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    report = measure(options.samples, options.rounds)
    if options.json:
        print(json.dumps(report))
        return
    print(f"640x640 JPEG of {report['bytes']} bytes, {report['cpus']} processors, {report['threads']} threads a run")
    for name in ("node", "in-process"):
        row = report[name]
        assert isinstance(row, dict)
        print(f"  {name:<11} p50 {row['p50_ms']:8.3f} ms   p99 {row['p99_ms']:8.3f} ms   {row['samples']} samples")
    print(f"  overhead of the node: {report['overhead_ms']} ms at the median, {report['ratio']} of the bare work")


if __name__ == "__main__":
    main()
