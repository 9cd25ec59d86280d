"""Requests while a model is swapped: how many fail, and what the tail is then beside the steady time before and after.

    python -m benchmarks.swap [--by poll|load|restart|none] [--swaps 20 [--bad 2]] [--window 5] [--share 0.5] [--json F]

Poisson load at a share of the node's capacity, open loop. Steady windows and windows with one swap alternate; each swap
window is compared with its two neighbours, so that a machine whose mood drifts does not decide. `none` and `restart`
are controls: nothing happens (the ratio must be about 1), and a node that is stopped and started (requests must fail).
Of the swaps by `load`, `--bad` are of a file that is cut off: that the node refuses it is checked, too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import shutil
import socket
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks import bodies, servers, watch
from benchmarks.__main__ import WORK, client
from benchmarks.load import open_loop
from benchmarks.load.open_loop import OpenLoop, Shot
from benchmarks.models import image, prepare
from benchmarks.names import CNN, MANY
from benchmarks.stats import Spread, against_neighbours, counted, percentile

Swap = Callable[[int], None]  # makes the given version serve; returns when it does

CAPACITY_SECONDS = 3.0
MAX_KINDS = 5  # of failures that are told
KEPT = 4  # versions on the disk
CUT = 0.5  # of a broken file, what is there
SWAP_SECONDS = 60.0  # until a new version must serve
LOOK = 0.05  # seconds between two looks whether it does
WARM = 2.0  # seconds of load before the first window


@dataclass(frozen=True)
class Window:
    """A piece of the run: its time by the loop's clock, how long the swap in it took, the memory at its end."""

    start: float
    end: float
    swap: float  # seconds; 0 in a steady window
    memory: int

    def micros(self, shots: Sequence[Shot]) -> dict[int, int]:
        """Return the latencies of the requests that were due in it."""
        return dict(counted(int(s.took * 1e9) for s in shots if self.start <= s.due < self.end and not s.failure))


async def measure(loop: OpenLoop, swap: Swap, swaps: int, seconds: float, pid: Callable[[], int]) -> list[Window]:
    """Load, and swap in every second window; return the windows. The first and the last are steady."""
    stop, windows = asyncio.Event(), []
    clock = asyncio.get_running_loop()
    load = clock.create_task(loop.run(stop))
    try:
        await asyncio.sleep(WARM)
        for number in range(2 * swaps + 1):
            start, took = clock.time(), 0.0
            if number % 2:
                await clock.run_in_executor(None, swap, 2 + number // 2)
                took = clock.time() - start
            await asyncio.sleep(max(0.0, start + seconds - clock.time()))
            end = clock.time()
            windows.append(Window(start, end, took, await clock.run_in_executor(None, watch.memory, pid(), "Rss")))
            print(f"window {number + 1} of {2 * swaps + 1}", file=sys.stderr, flush=True)
    finally:
        stop.set()
        await load
    return windows


def by_poll(url: str, folder: Path, model: str) -> Swap:
    """Swap by a new version in the repository that the node looks at."""

    def swap(version: int) -> None:
        install(folder, version)
        wait(url, model, version)

    return swap


def by_load(url: str, folder: Path, model: str, bad: range) -> Swap:
    """Swap by a new version and the Open Inference Protocol's repository extension, which says so at once."""
    ask = bodies.Request(f"{url}/v2/repository/models/{model}/load", b"{}").ask

    def swap(version: int) -> None:
        if version not in bad:
            install(folder, version)
            ask()
            wait(url, model, version)
            return
        install(folder, version, CUT)
        before = serving(url, model)
        with contextlib.suppress(RuntimeError):
            ask()
            raise AssertionError(f"version {version} is cut off, and the node says that it has loaded it")
        assert serving(url, model) == before

    return swap


def bad_ones(swaps: int, bad: int) -> range:
    """Return the versions that are broken: evenly among those of so many swaps, the first of which makes version 2."""
    return range(0) if not bad else range(2 + swaps // bad // 2, 2 + swaps, swaps // bad)


def install(folder: Path, version: int, cut: float = 1.0) -> None:
    """Put a copy of version 1 beside it, in one move; of its model only a part if it is to be cut off.

    Old versions are taken away, as those who publish one each day do.
    """
    fresh = folder / f".{version}.new"
    shutil.copytree(folder / "1", fresh)
    model = fresh / "model.onnx"
    os.truncate(model, int(model.stat().st_size * cut))
    fresh.rename(folder / str(version))
    if version - KEPT > 1:  # the first is what the others are made of
        shutil.rmtree(folder / str(version - KEPT), ignore_errors=True)


def wait(url: str, model: str, version: int) -> None:
    """Wait until a version serves; raise RuntimeError if it does not in time."""
    end = time.monotonic() + SWAP_SECONDS
    while serving(url, model) != str(version):
        if time.monotonic() > end:
            raise RuntimeError(f"version {version} does not serve after {SWAP_SECONDS:.0f} s")
        time.sleep(LOOK)


def serving(url: str, model: str) -> str:
    """Return the highest version of a model that serves."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=SWAP_SECONDS)
    connection.request("GET", f"/v2/models/{model}")
    versions: list[str] = json.loads(connection.getresponse().read()).get("versions", ["0"])
    connection.close()
    return max(versions, key=int)


class Restarting:
    """A node that is stopped and started: what a swap costs without one."""

    def __init__(self, paths: Sequence[Path], work: Path, extra: Sequence[str], first: bool) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._address = f"127.0.0.1:{free.getsockname()[1]}"
        self._paths, self._work, self._extra, self._first = paths, work, extra, first
        self.server = self._start()

    def __call__(self, _: int) -> None:
        """Restart it."""
        self.server.stop()
        self.server = self._start()

    def _start(self) -> servers.Server:
        server = servers.node(self._paths, self._work, self._extra, name="node-swap", http=self._address)
        if self._first:
            watch.put_first(server.pid)
        return server


def report(shots: Sequence[Shot], windows: Sequence[Window]) -> dict[str, Any]:
    """Return what the run says."""
    p99 = [percentile(window.micros(shots), 0.99) for window in windows]
    p50 = [percentile(window.micros(shots), 0.5) for window in windows]
    ratio = against_neighbours(p99[::2], p99[1::2])
    failures = Counter(shot.failure for shot in shots if shot.failure)
    return {
        "requests": len(shots),
        "failed": failures.total(),
        "failures": dict(failures.most_common(MAX_KINDS)),
        "swap_s": asdict(Spread.of([window.swap for window in windows[1::2]])),
        "swaps": len(windows) // 2,
        "p50_us": asdict(Spread.of(p50[::2])),
        "p99_steady_us": asdict(Spread.of(p99[::2])),
        "p99_swapping_us": asdict(Spread.of(p99[1::2])),
        "ratio": asdict(ratio),
        "slowest_us": max(shot.took for shot in shots) * 1e6,
        "memory_mb": [round(window.memory / 1e6, 1) for window in windows],
    }


def text(found: dict[str, Any]) -> str:
    """Return a report as people read it."""
    steady, swapping, ratio = found["p99_steady_us"], found["p99_swapping_us"], found["ratio"]
    memory = found["memory_mb"]
    asked = f"{found['requests']} requests at {found['rate']:.0f} a second (capacity {found['capacity']:.0f})"
    lines = [f"{asked}; {found['swaps']} swaps by '{found['by']}' of {found['swap_s']['median']:.2f} s each"]
    lines += [f"failed: {found['failed']}", *(f"  {count} x {why}" for why, count in found["failures"].items())]
    tail = f"p99 steady {steady['median']:.0f} us, p99 in swap windows {swapping['median']:.0f} us"
    lines += [f"of the answered: p50 {found['p50_us']['median']:.0f} us, slowest {found['slowest_us']:.0f} us, {tail}"]
    lines += [
        f"p99 of a swap window / its neighbours: {ratio['median']:.2f} ({ratio['low']:.2f} .. {ratio['high']:.2f})"
    ]
    # Not PSS: that of one program grows when another that maps the same libraries ends.
    steady = memory[::2]
    tenth = max(1, len(steady) // 10)
    first, last = statistics.median(steady[:tenth]), statistics.median(steady[-tenth:])
    ends = f"median of the first tenth {first:.1f} MB, of the last {last:.1f} MB ({last / first - 1:+.1%})"
    lines.append(f"memory (RSS of all processes): {ends}; {max(memory)} MB at most, while there are two versions")
    return "\n".join(lines)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Start a node and do all of it."""
    options.work.mkdir(parents=True, exist_ok=True)
    if options.first:
        watch.put_first(os.getpid())
    models = prepare(options.work)
    repository = options.work / "swap"
    shutil.rmtree(repository, ignore_errors=True)
    shutil.copytree(models.repository / CNN, repository / CNN)
    node = Restarting([repository], options.work, options.serve, options.first)
    try:
        url = node.server.url
        request = bodies.oip_binary(url, CNN, "image", image(1))
        ways: dict[str, Swap] = {
            "load": by_load(url, repository / CNN, CNN, bad_ones(options.swaps, options.bad)),
            "poll": by_poll(url, repository / CNN, CNN),
            "restart": node,
            "none": lambda _: None,
        }
        capacity = client("", options.work)[1](request, MANY, CAPACITY_SECONDS).rate
        loop = OpenLoop(request, capacity * options.share)
        swap = ways[options.by]
        windows = open_loop.run(measure(loop, swap, options.swaps, options.window, lambda: node.server.pid))
    finally:
        node.server.stop()
    about = {"by": options.by, "capacity": capacity, "rate": capacity * options.share, "window_s": options.window}
    return {**report(loop.shots, windows), **about}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.swap", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--by", choices=["poll", "load", "restart", "none"], default="poll", help="how it is swapped")
    parser.add_argument("--swaps", type=int, default=20, help="how often")
    parser.add_argument("--bad", type=int, default=0, help="how many of the swaps by `load` are of a broken file")
    parser.add_argument("--window", type=float, default=5.0, help="seconds of one window")
    parser.add_argument("--share", type=float, default=0.5, help="of the node's capacity that is asked")
    parser.add_argument("--serve", action="append", default=[], help="one more word for `skerry serve`, as --serve=--x")
    parser.add_argument("--first", action="store_true", help="on a shared machine, as root: go before other programs")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of models and logs")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    options = parser.parse_args()
    found = run(options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(text(found))


if __name__ == "__main__":
    main()
