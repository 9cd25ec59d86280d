"""What goes wrong while a soak runs: clients that die or stop half-way, new versions, bad files, killed workers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import watch

CLIENTS_SECONDS = 5.0  # between two batches of clients that behave badly
CLIENTS = 5  # of each kind in a batch
RESET = struct.pack("ii", 1, 0)  # close with RST
CORRUPT = 3  # each third new version is no model
SERVED_SECONDS = 60.0  # until a new version must serve
BACK_SECONDS = 20.0  # until a model whose worker was killed must answer again
LOOK = 0.1
KILLED = "killed workers"
SEED = 7


class Strain:
    """The disturbances, each on a thread of its own; what must not be is kept in `faults`."""

    def __init__(self, url: str, pid: Callable[[], int], folder: Path, every: Mapping[str, float]) -> None:
        """`folder` is that of the model whose versions come and go; `every` has the seconds of "swap" and "kill"."""
        parts = urlsplit(url)
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.swaps: list[float] = []  # seconds until a new version served
        self.backs: list[float] = []  # seconds until a killed worker's model answered
        self._address = (str(parts.hostname), int(parts.port or 80))
        self._pid = pid
        self._folder = folder
        self._every = every
        self._random = random.Random(SEED)
        self._version = 1

    def threads(self, stop: threading.Event) -> list[threading.Thread]:
        """Return the threads, not started."""
        work = (
            (self._clients, CLIENTS_SECONDS),
            (self._swap, self._every["swap"]),
            (self._kill, self._every["kill"]),
        )
        return [threading.Thread(target=self._again, args=(*one, stop), daemon=True) for one in work]

    def _again(self, act: Callable[[threading.Event], None], seconds: float, stop: threading.Event) -> None:
        while not stop.wait(seconds):
            try:
                act(stop)
            except (OSError, http.client.HTTPException) as error:
                if not stop.is_set():
                    self.faults.append(f"{act.__name__.strip('_')}: {type(error).__name__}: {error}")

    def _clients(self, _: threading.Event) -> None:
        """Clients that are killed in the middle of a body, stop in a head, and say no more."""
        for number in range(CLIENTS):
            head = b"POST /v2/models/mobilenet/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 600000\r\n\r\n"
            self._send(head + bytes(self._random.randrange(500_000)), killed=True)
            self._send(head[: self._random.randrange(len(head))], killed=bool(number % 2))
            self._send(self._random.randbytes(200) + b"\r\n\r\n", killed=False)
        self.counts["bad clients"] += 3 * CLIENTS

    def _send(self, data: bytes, killed: bool) -> None:
        with socket.create_connection(self._address, timeout=10) as line, contextlib.suppress(ConnectionError):
            line.sendall(data)
            if killed:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def _swap(self, stop: threading.Event) -> None:
        """Put a new version beside the old ones, each third a corrupt one; the last good ones before it go."""
        self._version += 1
        good = self._version % CORRUPT != 0
        fresh = self._folder / f".{self._version}.new"
        shutil.copytree(self._folder / "1", fresh)
        if not good:
            file = fresh / "model.onnx"
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        fresh.rename(self._folder / str(self._version))
        began = time.monotonic()
        if good:
            while not stop.is_set() and self._status(f"swapped/versions/{self._version}/ready") != 200:
                if time.monotonic() - began > SERVED_SECONDS:
                    self.faults.append(f"version {self._version} did not serve in {SERVED_SECONDS:.0f} s")
                    return
                time.sleep(LOOK)
            self.swaps.append(time.monotonic() - began)
        elif not stop.wait(min(5.0, self._every["swap"] / 2)):
            if self._status(f"swapped/versions/{self._version}/ready") == 200:
                self.faults.append(f"version {self._version} serves, though its file is cut in half")
            if self._status("swapped/ready") != 200:
                self.faults.append(f"a corrupt version {self._version} took the good one out of service")
        for old in self._folder.glob("[0-9]*"):
            if 1 < int(old.name) < self._version - CORRUPT:
                shutil.rmtree(old)
        self.counts["new versions" if good else "corrupt versions"] += 1

    def _kill(self, stop: threading.Event) -> None:
        """Kill one worker."""
        found = {name.removeprefix("sk:"): pid for pid, name in names(self._pid()).items() if name.startswith("sk:")}
        if not found:
            return
        model = sorted(found)[self.counts[KILLED] % len(found)]  # in turn: three deaths in a minute are a quarantine
        os.kill(found[model], signal.SIGKILL)
        began = time.monotonic()
        self.counts[KILLED] += 1
        while not stop.is_set() and not self._is_back(model, found[model]):
            if time.monotonic() - began > BACK_SECONDS:
                self.faults.append(f"{model} did not serve {BACK_SECONDS:.0f} s after its worker was killed")
                return
            time.sleep(LOOK)
        self.backs.append(time.monotonic() - began)

    def _is_back(self, model: str, dead: int) -> bool:
        there = [pid for pid, name in names(self._pid()).items() if name == f"sk:{model}" and pid != dead]
        return bool(there) and self._status(f"{model}/ready") == 200

    def _status(self, path: str) -> int:
        line = http.client.HTTPConnection(*self._address, timeout=10)
        try:
            line.request("GET", f"/v2/models/{path}")
            found = line.getresponse()
            json.loads(found.read() or b"{}")
            return found.status
        finally:
            line.close()


def names(pid: int) -> dict[int, str]:
    """Return the processes of a node by number: their names."""
    found = {}
    for one in watch.tree(pid):
        with contextlib.suppress(OSError):
            found[one] = (watch.PROC / str(one) / "comm").read_text().strip()
    return found
