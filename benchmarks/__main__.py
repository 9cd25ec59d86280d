"""Measure, print the table: `make bench`, or

    python -m benchmarks [--rounds 10] [--seconds 1] [--json FILE] [--work FOLDER] [--without flask] [--client python]

All servers are up together; lanes take turns in short rounds, a different one first each time. It never fails by the
clock: only a wrong answer or a server that does not start ends it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime as ort

from benchmarks import alone, servers, table, watch
from benchmarks.lanes import Lane, Load, Up, build
from benchmarks.load import sockets
from benchmarks.load.wrk import PROGRAM, Wrk
from benchmarks.models import Models, photo, prepare
from benchmarks.servers import Server
from benchmarks.stats import Round, Spread
from benchmarks.watch import Others
from skerry.core.errors import PeerError
from skerry.host import machine

WORK = Path.home() / ".cache" / "skerry-bench"
STARTS = 3  # of a fresh node
WARM_SECONDS = 0.3  # of each lane before anything is counted


@contextlib.contextmanager
def started(models: Models, work: Path, without: set[str], missing: list[str]) -> Iterator[Up]:
    """Start all servers, and end them; what cannot be started is told in `missing`."""
    with contextlib.ExitStack() as stack:

        def keep(server: Server) -> Server:
            stack.callback(server.stop)
            return server

        grpc = ("--grpc", "127.0.0.1:0") if servers.node_has("--grpc") else ()
        if not grpc:
            missing.append("gRPC: this `skerry serve` has no --grpc")
        node = keep(servers.node([models.repository, models.bundle.path], work, grpc))
        echo = keep(servers.yardstick("echo_http", work))
        grpc_echo = flask = None
        try:
            grpc_echo = keep(servers.yardstick("echo_grpc", work))
        except PeerError as error:
            missing.append(f"gRPC echo: {str(error).splitlines()[-1]}")
        if "flask" not in without:
            try:
                flask = keep(servers.flask([models.file("tiny"), models.file("mobilenet")], work))
            except (RuntimeError, PeerError) as error:
                missing.append(str(error))
        yield Up(node, echo, grpc_echo, flask)


def put_first(up: Up) -> None:
    """Let servers and clients go before other programs."""
    for server in (up.node, up.echo, up.grpc_echo, up.flask):
        if server is not None:
            watch.put_first(server.pid)
    watch.put_first(os.getpid())


def turns(lanes: list[Lane], rounds: int, seconds: float, others: list[float]) -> dict[str, list[Round]]:
    """Return every lane's rounds; each round begins one lane later than the one before."""
    found: dict[str, list[Round]] = defaultdict(list)
    for lane in lanes:
        lane.measure(WARM_SECONDS)
    watching = Others()
    for number in range(rounds):
        first = number % len(lanes)
        for lane in lanes[first:] + lanes[:first]:
            found[lane.name].append(lane.measure(seconds))
        others.append(watching.cores())
        say(f"round {number + 1} of {rounds}")
    return {lane.name: found[lane.name] for lane in lanes}


def client(asked: str, work: Path) -> tuple[str, Load]:
    """Return the load client and its name: wrk if it is there."""
    if asked == "wrk" or (not asked and PROGRAM):
        return "wrk", Wrk(work)
    return "plain Python sockets (Debian's wrk would be fairer)", sockets.load


def say(line: str) -> None:
    """Tell how far it is."""
    print(line, file=sys.stderr, flush=True)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Do all of it; return the report."""
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    missing: list[str] = []
    models, here = prepare(work), machine.look()
    name, load = client(options.client, work)
    fresh = []
    for number in range(options.starts):
        fresh.append(alone.look(models.bundle.path, photo(), work, options.idle))
        say(f"start {number + 1} of {options.starts}")
    others: list[float] = []
    with started(models, work, set(options.without), missing) as up:
        if options.first:
            put_first(up)
        lanes = [lane for lane in build(up, models, load, work) if options.only in lane.name]
        rounds = turns(lanes, options.rounds, options.seconds, others)
    about = {
        "machine": f"{here.cpus} processors, {here.architecture}, {here.system}",
        "versions": {"python": platform.python_version(), "onnxruntime": ort.__version__},
        "client": name,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "first": options.first,
        "others": vars(Spread.of(others)),
        "missing": missing,
    }
    return table.report(rounds, fresh, about)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10, help="turns that every lane has")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one turn; wrk rounds up to whole seconds")
    parser.add_argument("--starts", type=int, default=STARTS, help="of a fresh node, for start, memory and idling")
    parser.add_argument("--idle", type=float, default=10.0, help="seconds that a fresh node is watched idling")
    parser.add_argument("--only", default="", help="only lanes with this text in their name")
    parser.add_argument("--without", action="append", default=[], choices=["flask"], help="leave a yardstick out")
    parser.add_argument(
        "--client", choices=["wrk", "python"], default="", help="the load client [default: wrk if there]"
    )
    parser.add_argument("--first", action="store_true", help="on a shared machine, as root: go before other programs")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of models, logs and Flask's environment")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    options = parser.parse_args()
    found = measure(options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(table.text(found))


if __name__ == "__main__":
    main()
