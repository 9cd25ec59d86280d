"""What tests of a node share: tiny models in service behind the real application, and sessions that a test holds."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto
from starlette.testclient import TestClient

from skerry.core.manifest import FileEntry, Manifest, Runtime
from skerry.core.names import Digest, ModelName
from skerry.core.tensor import DType, Spec
from skerry.engine.bundle import open_bundle
from skerry.engine.runners.fake import FakeRunner
from skerry.engine.runners.runner import Threads
from skerry.engine.session import Session, open_bare, open_session
from skerry.host.clock import Clock
from skerry.node.layers import Infer
from skerry.node.metrics import Metrics
from skerry.node.models import Models
from skerry.node.serve.rest import rest
from skerry.node.worker import Worker
from tests.core.values import DIGEST
from tests.engine.kit import HERE, identity
from tests.models import adder_onnx, brightness_bundle

X = (Spec("x", DType.FP32, (-1,)),)
Y = (Spec("y", DType.FP32, (-1,)),)


def session(name: str, version: int, function: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Session:
    """Return a session of one FP32 tensor in, one out."""
    manifest = Manifest(
        name=ModelName(name),
        version=version,
        runtime=Runtime("onnx", "model.onnx"),
        files={"model.onnx": FileEntry(Digest(DIGEST), version)},
        inputs=X,
        outputs=Y,
    )
    return Session(manifest, FakeRunner(X, Y, function), Clock())


def steady(name: str = "m", version: int = 1) -> Session:
    """Return a session that answers its version."""
    return session(name, version, lambda f: {"y": np.full(f["x"].shape, version, np.float32)})


class Held:
    """A session whose runs wait until they are let go."""

    def __init__(self, name: str = "m", version: int = 1) -> None:
        self.gate, self.entered = threading.Event(), threading.Semaphore(0)
        self.session = session(name, version, self._run)
        self.runner: Any = self.session._runner

    def _run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        self.entered.release()
        assert self.gate.wait(20)
        assert not self.runner.closed
        return {"y": np.asarray(feeds["x"])}


class Place:
    """The real application over models, and a client of it."""

    def __init__(self, models: Models, metrics: Metrics, client: TestClient) -> None:
        self.models, self.metrics, self.client = models, metrics, client

    def post(self, path: str, value: Any, **headers: str) -> tuple[int, Any]:
        """POST JSON or bytes; return status and JSON."""
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        reply = self.client.post(path, content=data, headers={k.replace("_", "-"): v for k, v in headers.items()})
        return reply.status_code, json.loads(reply.content)

    def get(self, path: str) -> tuple[int, Any]:
        """GET; return status and JSON."""
        reply = self.client.get(path)
        return reply.status_code, json.loads(reply.content)


@contextmanager
def place(layer: Callable[[Infer], Infer] = lambda inner: inner) -> Iterator[Place]:
    """Return a node's application with no model yet."""
    metrics = Metrics()
    models = Models(Clock(), metrics)
    app = rest(models, layer(models.infer), metrics, "here", lambda: None)
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
        yield Place(models, metrics, client)
    models.close()


def bare(path: Path, name: str, version: int = 1) -> Worker:
    """Return a worker of a model file."""
    return Worker(open_bare(path, ModelName(name), version, Threads(), Clock()), 16)


def put_all(found: Place, folder: Path) -> None:
    """Put the tiny models into service: brightness 3, adder 7, number (INT32), byte (UINT8), text, half, flag, wide."""
    bundle = brightness_bundle(folder / "brightness", 3)
    found.models.swap(Worker(open_session(open_bundle(bundle.path), Threads(), HERE, Clock()), 16))
    found.models.swap(bare(adder_onnx(folder / "adder.onnx"), "adder", 7))
    kinds = {"number": "INT32", "byte": "UINT8", "text": "STRING", "half": "FLOAT16", "flag": "BOOL", "wide": "DOUBLE"}
    for name, kind in kinds.items():
        shape = (-1,) if kind == "STRING" else (-1, 2)
        found.models.swap(bare(identity(folder / f"{name}.onnx", getattr(TensorProto, kind), shape), name))
