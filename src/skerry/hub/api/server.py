"""Serving on a socket until a signal says stop. uvicorn speaks HTTP; how it ends is decided here."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import uvicorn

from skerry.host.process import on_stop
from skerry.hub.api.web import Web

GRACE = 5  # s for requests in flight; host.process.Child waits 10 before it kills
IDLE = 75  # s a silent connection is kept: above the 60 s of common load balancers


class _Server(uvicorn.Server):
    """uvicorn, which raises the signal again once it has stopped; a clean stop should exit with 0 instead."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(asgi: Web, listening: socket.socket, stopping: threading.Event) -> None:
    """Serve until SIGTERM or SIGINT: `stopping` is set, no request is begun, those in flight have `GRACE` seconds."""
    config = uvicorn.Config(
        asgi,
        access_log=False,  # a console asks every second; and a log of URLs helps nobody to debug
        log_level="warning",
        lifespan="off",
        server_header=False,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=GRACE,
    )
    server = _Server(config)

    def stop() -> None:
        stopping.set()
        server.should_exit = True

    on_stop(stop)
    server.run(sockets=[listening])
