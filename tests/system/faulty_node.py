"""A real node whose disk fails, or whose process dies, at its nth act: `python -m tests.system.faulty_node`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from skerry.host.files import FaultyDisk
from skerry.host.nursery import WORKERS, Nursery
from skerry.host.settings import environment, load
from skerry.node.app import serve
from skerry.node.obedient import obedient
from skerry.node.settings import NodeSettings

if __name__ == "__main__":
    file, nth, how = sys.argv[1:]
    settings = load(NodeSettings, "node", Path(file), {}, environment())

    def ready(url: str, _: str, models: list[str]) -> None:
        print(json.dumps({"event": "ready", "http": url, "models": models}), flush=True)

    serve(
        settings,
        Nursery(WORKERS, environment()),
        ready,
        lambda shared: obedient(shared, FaultyDisk(int(nth), kill=how == "kill")),
    )
