"""A stand-alone node as a process, with its other ways in: shared memory, the UNIX socket, the access log."""

from __future__ import annotations

import array
import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import TensorProto

from skerry.host.process import Child
from skerry.host.settings import environment
from tests.engine.kit import identity

SECONDS = 60.0  # to start
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


@dataclass
class Node:
    """Where a node is."""

    child: Child
    http: str  # HOST:PORT
    grpc: str
    folder: Path

    @property
    def local(self) -> Path:
        """Its UNIX socket."""
        return self.folder / "node.sock"

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What its access log says so far."""
        return [json.loads(line) for line in (self.folder / "access.log").read_text().splitlines()]


def put(repository: Path, name: str, version: int, kind: int, shape: tuple[int, ...]) -> None:
    """Write a model that gives back what it takes."""
    path = repository / name / str(version) / "model.onnx"
    path.parent.mkdir(parents=True)
    identity(path, kind, shape)


@contextmanager
def node(folder: Path, **settings: str) -> Iterator[Node]:
    """Serve bytes (UINT8, any size), pair (FP32 [n, 4], versions 1 and 2) and text (BYTES)."""
    models = folder / "models"
    put(models, "bytes", 1, TensorProto.UINT8, (-1,))
    put(models, "pair", 1, TensorProto.FLOAT, (-1, 4))
    put(models, "pair", 2, TensorProto.FLOAT, (-1, 4))
    put(models, "text", 1, TensorProto.STRING, (-1,))
    environ = {f"SKERRY_NODE_{name.upper()}": value for name, value in settings.items()}
    argv = [sys.executable, "-m", "skerry", "serve", str(models), "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
    child = Child("serve", [*argv, "--json", "--log-level", "info"], folder / "log", {**environment(), **environ})
    try:
        ready = child.ready(SECONDS)
        yield Node(child, ready["http"].removeprefix("http://"), ready["grpc"], folder)
    finally:
        child.stop()


def memory(size: int, seals: int = SEALS) -> int:
    """Return a memfd of that many bytes."""
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


class Passing:
    """A program's connection to the socket for memory."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SECONDS)
        self.socket.connect(str(path) + ".fd")

    def ask(self, value: Any, *fds: int) -> dict[str, Any]:
        """Send a line, with file descriptors; return the answer."""
        line = value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n"
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([line], ancillary)
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Return the next answer."""
        data = b""
        while not data.endswith(b"\n"):
            piece = self.socket.recv(4096)
            assert piece, "hung up"
            data += piece
        return dict(json.loads(data))

    def close(self) -> None:
        """Hang up."""
        self.socket.close()
