"""A node under everything at once, for hours: the test before a box goes to the edge.

    python -m benchmarks.soak --hours 72 [--serve 'skerry serve'] [--out DIR] [--swap 60] [--kill 600] [--every 10]
    python -m benchmarks.soak --hours 0.1 --leaky       the negative control: a node that leaks must be found out

Clients ask by every protocol while others crash, models are swapped (each third new version is corrupt) and workers
are killed. It ends with PASS or FAIL and report.html; Ctrl-C ends it early, with the report so far. Exit status: 0 for
PASS (with --leaky: if the leak was found), else 1.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import platform
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks import bodies, graphs, models, report
from benchmarks.names import CNN, PICTURES, TINY
from benchmarks.soaking.lanes import Lane, over_grpc, over_http
from benchmarks.soaking.sample import Sample, Sampler
from benchmarks.soaking.strain import Strain
from benchmarks.soaking.verdict import Verdict, judge
from skerry.core.errors import PeerError
from skerry.host.process import Child
from skerry.host.settings import environment

ROOT = Path(__file__).parents[1]
READY_SECONDS = 120.0  # for a slow board to load three models
END_SECONDS = 20.0  # for threads to end
PAUSE_SECONDS = 5.0  # that a look may be late on a busy machine
SWAPPED = "swapped"
RATES = {"json": 20.0, "binary": 2.0, "jpeg": 3.0, "grpc": 10.0, "swapped": 10.0}  # requests a second
SAVE = 30  # looks between two reports that are written meanwhile


@dataclass(frozen=True)
class Wishes:
    """What was asked for."""

    seconds: float
    every: float
    swap: float
    kill: float
    serve: list[str]
    out: Path
    leaky: bool


class Soak:
    """One run."""

    def __init__(self, wishes: Wishes, work: Path) -> None:
        self._wishes = wishes
        self._repository = work / "models"
        self.samples: list[Sample] = []
        self.stop = threading.Event()
        environ = environment()
        if wishes.leaky:
            environ = {**environ, "PYTHONPATH": str(ROOT / "benchmarks" / "leaky")}
        pictures = put(self._repository, work)
        argv = [*wishes.serve, str(self._repository), str(pictures), "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
        self._work = work
        self.node = Child("node", [*argv, "--json"], wishes.out / "node.log", environ)
        ready = self.node.ready(READY_SECONDS)
        self.lanes = lanes(str(ready["http"]), str(ready["grpc"]))
        every = {"swap": wishes.swap, "kill": wishes.kill}
        self.strain = Strain(str(ready["http"]), lambda: self.node.pid, self._repository / SWAPPED, every)
        self._url = str(ready["http"])

    def run(self) -> Verdict:
        """Run until the time is over, the node ends, or somebody stops it; return the verdict."""
        threads = [threading.Thread(target=lane.run, args=(self.stop,), daemon=True) for lane in self.lanes]
        threads += self.strain.threads(self.stop)
        for thread in threads:
            thread.start()
        sampler, until = Sampler(self.node.pid, self.lanes, self._work), time.monotonic() + self._wishes.seconds
        with (self._wishes.out / "samples.jsonl").open("w") as file:
            while time.monotonic() < until and self.node.running and not self.stop.wait(self._wishes.every):
                self.samples.append(sampler.look())
                file.write(json.dumps(asdict(self.samples[-1])) + "\n")
                file.flush()
                if len(self.samples) % SAVE == 0:
                    self.save(judge(self.samples, self.strain.faults, True))
        alive = self.node.running
        ready = alive and self._ready()
        self.stop.set()
        until = time.monotonic() + END_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        faults = [*self.strain.faults, *([] if ready or not alive else ["in the end the node is not ready"])]
        return judge(self.samples, faults, alive)

    def save(self, verdict: Verdict) -> None:
        """Write the report."""
        about = {
            "machine": f"{platform.node()}, {platform.machine()}, {platform.release()}",
            "time": report.spoken(self.samples[-1].at if self.samples else 0.0),
            "disturbed by": ", ".join(f"{count} {what}" for what, count in self.strain.counts.items()) or "nothing",
            "new versions served after": _seconds(self.strain.swaps),
            "killed workers were back after": _seconds(self.strain.backs),
            "machine stood still": self._pauses(),
            **({"negative control": "this node leaks on purpose; FAIL is right"} if self._wishes.leaky else {}),
        }
        fresh = self._wishes.out / ".report.html"
        fresh.write_text(report.page(self.samples, verdict, about))
        fresh.rename(self._wishes.out / "report.html")

    def _pauses(self) -> str:
        """Return how often and how long nothing ran at all, as on a virtual machine that is held."""
        every = self._wishes.every
        late = [b.at - a.at - every for a, b in pairwise(self.samples) if b.at - a.at > 2 * every + PAUSE_SECONDS]
        return f"{len(late)} times, {sum(late):.0f} s in all" if late else "never"

    def _ready(self) -> bool:
        line = http.client.HTTPConnection(self._url.removeprefix("http://"), timeout=READY_SECONDS)
        with contextlib.closing(line), contextlib.suppress(OSError, http.client.HTTPException):
            line.request("GET", "/ready")
            return line.getresponse().status == 200
        return False


def put(repository: Path, work: Path) -> Path:
    """Write the models; return the bundle that takes pictures."""
    for name in (TINY, SWAPPED):
        (repository / name / "1").mkdir(parents=True)
        graphs.mlp(repository / name / "1" / "model.onnx")
    (repository / CNN / "1").mkdir(parents=True)
    graphs.mobilenet(repository / CNN / "1" / "model.onnx")
    return models.pictures(repository / CNN / "1" / "model.onnx", work).path


def lanes(url: str, grpc: str) -> list[Lane]:
    """Return the clients; each has asked once, and knows the answer."""
    few = np.random.default_rng(1).standard_normal((1, graphs.WIDTH)).astype(np.float32)
    many = models.image(1)
    asked = {
        "json": over_http(bodies.oip_json(url, TINY, "x", few), bodies.numbers),
        "binary": over_http(bodies.oip_binary(url, CNN, "image", many), bodies.numbers),
        "jpeg": over_http(bodies.jpeg(url, PICTURES, models.photo()), lambda a: np.array([bodies.best_class(a)])),
        "grpc": over_grpc(grpc, bodies.infer_message(TINY, "x", few)),
        "swapped": over_http(bodies.oip_json(url, SWAPPED, "x", few), bodies.numbers),
    }
    return [Lane(lane, ask, ask()(), RATES[lane]) for lane, ask in asked.items()]


def wishes(argv: Sequence[str] | None = None) -> Wishes:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two looks")
    parser.add_argument("--swap", type=float, default=60.0, help="seconds between two new versions")
    parser.add_argument("--kill", type=float, default=600.0, help="seconds between two killed workers")
    parser.add_argument("--serve", help="the command that serves, as one text", default="")
    parser.add_argument("--out", type=Path, default=Path("soak-report"))
    parser.add_argument("--leaky", action="store_true", help="the negative control")
    given = parser.parse_args(argv)
    serve = shlex.split(given.serve) or [sys.executable, "-m", "skerry", "serve"]
    return Wishes(given.hours * 3600, given.every, given.swap, given.kill, serve, given.out, given.leaky)


def _seconds(values: Sequence[float]) -> str:
    found = sorted(values)
    return f"{found[len(found) // 2]:.1f} s (at most {found[-1]:.1f} s, {len(found)} times)" if found else "–"


def main() -> None:
    """Run, report, and exit with 0 or 1."""
    asked = wishes()
    asked.out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="skerry-soak-"))
    try:
        soak = Soak(asked, work)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: soak.stop.set())
        try:
            verdict = soak.run()
            soak.save(verdict)
        finally:
            soak.node.stop()
    except PeerError as error:
        sys.exit(f"soak: {error}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print("PASS" if verdict.passed else "FAIL", *verdict.reasons, sep="\n  ")
    print(f"report: {asked.out / 'report.html'}")
    sys.exit(0 if (bool(verdict.leaks) if asked.leaky else verdict.passed) else 1)


if __name__ == "__main__":
    main()
