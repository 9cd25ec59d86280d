"""A fresh node with one model: how soon it answers, what memory it takes, what it does when nobody asks."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks import bodies, servers, watch
from benchmarks.names import PICTURES

ASKED = 20  # requests before the memory is looked at: what is made lazily is then made
SETTLE = 2.0  # seconds before idling is counted


def look(bundle: Path, photo: bytes, work: Path, idle_seconds: float) -> dict[str, float]:
    """Start a node once; return `start` (s, from exec to the first answer), `memory` (MB) and `idle` (% of a core)."""
    started = time.perf_counter()
    server = servers.node([bundle], work, name="node-alone")
    try:
        request = bodies.jpeg(server.url, PICTURES, photo)
        request.ask()
        first = time.perf_counter() - started
        for _ in range(ASKED):
            request.ask()
        memory = watch.memory(server.pid) / 1e6
        processes = len(watch.tree(server.pid))
        time.sleep(SETTLE)
        before, since = watch.processor_seconds(server.pid), time.perf_counter()
        time.sleep(idle_seconds)
        used = watch.processor_seconds(server.pid) - before
        idle = used / (time.perf_counter() - since) * 100
    finally:
        server.stop()
    return {"start": first, "memory": memory, "processes": processes, "idle": idle}
