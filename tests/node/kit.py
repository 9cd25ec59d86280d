"""What tests of a node share: the real site on a real port, models in real workers, sessions that a test holds."""

from __future__ import annotations

import asyncio
import atexit
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import numpy as np
import uvloop
from onnx import TensorProto

from skerry.core.errors import LoadFailed, SkerryError
from skerry.core.manifest import FileEntry, Manifest, Runtime
from skerry.core.names import Digest, ModelName
from skerry.core.tensor import DType, Spec
from skerry.engine.bundle import open_bundle
from skerry.engine.runners.fake import FakeRunner
from skerry.engine.session import Session
from skerry.host.clock import Clock
from skerry.host.nursery import Nursery
from skerry.host.process import listen
from skerry.host.settings import environment
from skerry.host.shared import Arena
from skerry.node.layers import Recorded
from skerry.node.load import Loader
from skerry.node.metrics import Metrics
from skerry.node.models import Models
from skerry.node.repository import Found
from skerry.node.serve.admin import Admin
from skerry.node.serve.rest import rest
from skerry.node.serve.site import Site
from skerry.node.worker.fake import FakeWorker
from skerry.node.worker.life import Worker
from skerry.node.worker.order import ENCODER, Head, Op, Order
from skerry.node.worker.ticket import Answered, Ticket
from tests.core.values import DIGEST
from tests.engine.kit import HERE, identity
from tests.models import adder_onnx, brightness_bundle

T = TypeVar("T")

X = (Spec("x", DType.FP32, (-1,)),)
Y = (Spec("y", DType.FP32, (-1,)),)
SECONDS = 40.0  # that anything may take on a busy machine


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
        assert self.gate.wait(SECONDS)
        assert not self.runner.closed
        return {"y": np.asarray(feeds["x"])}


@cache
def nursery() -> Nursery:
    """The process that all real workers of this run of tests are born from."""
    found = Nursery("skerry.node.worker.work", environment())
    atexit.register(found.close)
    return found


def loader(trust: Any = None, runs: int = 1, record: bool = False) -> Loader:
    """Return a loader of real workers."""
    return Loader(nursery(), trust, HERE, runs, record)


def until(what: str, look: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Return the first true value of `look`; fail the test if none comes."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.005)
    return found


class Loop:
    """A uvloop event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self.faults: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, told: self.faults.append(told))
        self._thread = threading.Thread(target=self.loop.run_forever, name="loop", daemon=True)
        self._thread.start()

    def do(self, call: Callable[[], T]) -> T:
        """Call a function on the loop, and return what it returned."""

        async def run() -> T:
            return call()

        return self.wait(run())

    def wait(self, awaited: Awaitable[T]) -> T:
        """Return what a coroutine returned on the loop."""
        return asyncio.run_coroutine_threadsafe(awaited, self.loop).result(SECONDS)  # type: ignore[arg-type]

    def close(self) -> None:
        """End it; whatever nobody caught on it fails the test."""
        self.wait(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(SECONDS)
        self.loop.close()
        assert self.faults == []


@contextmanager
def looping() -> Iterator[Loop]:
    """Return a loop that runs."""
    found = Loop()
    try:
        yield found
    finally:
        found.close()


@dataclass
class Nest:
    """A worker that died is born again from here, by its order; what nobody put here cannot be."""

    born: dict[tuple[str, int], Callable[[Order, Arena], Worker]] = field(default_factory=dict)
    asked: list[Order] = field(default_factory=list)

    def __call__(self, order: Order, arena: Arena) -> Worker:
        self.asked.append(order)
        if order.path != "fake":
            return loader().again(order, arena)
        make = self.born.get((order.name, order.version))
        if make is None:
            raise LoadFailed(f"{order.name}: nobody bears it again")
        return make(order, arena)


@dataclass
class Reply:
    """What came back of a request without HTTP."""

    body: bytes
    value: Any

    @property
    def version(self) -> int:
        """Of the model that answered."""
        return int(self.value["model_version"])

    @property
    def y(self) -> Any:
        """The values of the first output."""
        return self.value["outputs"][0]["data"]


class Live:
    """Models in service on a loop, without a site."""

    def __init__(self, clock: Clock | None = None, waiting: int = 64) -> None:
        self.clock = clock or Clock()
        self.running = Loop()
        self.metrics = Metrics()
        self.nest = Nest()
        self.models = Models(self.clock, self.metrics, self.nest, waiting)
        self.models.run_on(self.running.loop)
        self.fakes: list[FakeWorker] = []

    def put(self, found: Session, keep: tuple[int, ...] = (), depth: int | None = None, **order: Any) -> FakeWorker:
        """Put a session into service behind a fake worker."""
        manifest = found.manifest
        made = Order(path="fake", name=manifest.name, version=manifest.version, **order)
        worker = FakeWorker(found, made, depth)
        self.fakes.append(worker)
        self.models.swap(worker, keep)
        return worker

    def put_file(self, path: Path, name: str, version: int = 1, keep: tuple[int, ...] = (), runs: int = 1) -> None:
        """Put a model file into service in a real worker."""
        one = Found(ModelName(name), version, path, True)
        self.models.swap(loader(runs=runs).bare(one, self.models.arena(name)), keep)

    def put_bundle(self, path: Path, runs: int = 1, record: bool = False) -> None:
        """Put a bundle into service in a real worker."""
        bundle = open_bundle(path)
        worker = loader(runs=runs, record=record).bundle(bundle, self.models.arena(bundle.manifest.name))
        self.models.swap(worker)

    def submit(
        self,
        name: str = "m",
        body: bytes = b"",
        op: Op = Op.INFER,
        version: int | None = None,
        head: Head | None = None,
        **wishes: Any,
    ) -> Future[Answered]:
        """Submit a ticket on the loop; its future has the answer or the error. Without a body one of ones is sent."""
        found: Future[Answered] = Future()
        data = body or json.dumps({"inputs": [ONE_JSON]}).encode()

        def done(_: Ticket, answer: Answered | SkerryError) -> None:
            if isinstance(answer, Answered):
                found.set_result(answer)
            else:
                found.set_exception(answer)

        def act() -> None:
            generation = self.models.live(name, version)
            ticket = Ticket(op, generation.arena, len(data), generation.room)
            ticket.body[:] = data
            ticket.put_head(ENCODER.encode(head or Head("application/json")))
            ticket.done = done
            for wish, value in wishes.items():
                setattr(ticket, wish, value)
            found.ticket = ticket  # type: ignore[attr-defined]
            try:
                generation.queue.submit(ticket)
            except SkerryError:
                ticket.close()
                raise

        self.running.do(act)
        return found

    def ask(self, name: str = "m", version: int | None = None, **more: Any) -> Reply:
        """Ask and wait."""
        body = self.submit(name, version=version, **more).result(SECONDS).body
        return Reply(body, json.loads(body))

    def cancel(self, future: Any) -> None:
        """Give a ticket up, as a client that hangs up does."""
        self.running.do(lambda: future.ticket.queue.cancel(future.ticket))

    def quiet(self) -> None:
        """Wait until nothing is under way, and check that nothing is held."""
        for generation in self.models.generations():
            until("the arena to be free", lambda g=generation: self.running.do(lambda: g.arena.used) == 0)
            assert self.running.do(lambda g=generation: (g.series.pending, g.queue.length)) == (0, 0)

    def close(self) -> None:
        """End everything."""
        self.running.do(self.models.close)
        self.running.close()


@contextmanager
def living(clock: Clock | None = None, waiting: int = 64) -> Iterator[Live]:
    """Return models in service, none yet."""
    found = Live(clock, waiting)
    try:
        yield found
    finally:
        found.close()


ONE_JSON = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}


class Place(Live):
    """The real site over models, and a client of it; not before `serve`."""

    site: Site

    def serve(self, recorded: Recorded | None = None) -> None:
        """Begin."""
        listener = listen("127.0.0.1", 0)
        self.address: tuple[str, int] = listener.getsockname()[:2]
        admin = Admin(self.models, self.metrics, None)
        self.site = rest(self.models, self.metrics, self.clock, "here", admin, recorded)
        self.running.wait(self.site.start(listener))
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{self.address[1]}", timeout=SECONDS)

    def line(self) -> socket.socket:
        """Return a connection of its own, for talking by hand."""
        return socket.create_connection(self.address, timeout=SECONDS)

    def post(self, path: str, value: Any, **headers: str) -> tuple[int, Any]:
        """POST JSON or bytes; return status and JSON."""
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        reply = self.client.post(path, content=data, headers={k.replace("_", "-"): v for k, v in headers.items()})
        return reply.status_code, json.loads(reply.content)

    def get(self, path: str) -> tuple[int, Any]:
        """GET; return status and JSON."""
        reply = self.client.get(path)
        return reply.status_code, json.loads(reply.content)

    def close(self) -> None:
        """End everything."""
        if hasattr(self, "site"):
            self.client.close()
            self.running.wait(self.site.stop())
        super().close()


@contextmanager
def place(clock: Clock | None = None, waiting: int = 64, recorded: Recorded | None = None) -> Iterator[Place]:
    """Return a node's site with no model yet."""
    found = Place(clock, waiting)
    try:
        found.serve(recorded)
        yield found
    finally:
        found.close()


def put_all(found: Live, folder: Path) -> None:
    """Put the tiny models into service: brightness 3, adder 7, number (INT32), byte (UINT8), text, half, flag, wide."""
    found.put_bundle(brightness_bundle(folder / "brightness", 3).path)
    found.put_file(adder_onnx(folder / "adder.onnx"), "adder", 7)
    kinds = {"number": "INT32", "byte": "UINT8", "text": "STRING", "half": "FLOAT16", "flag": "BOOL", "wide": "DOUBLE"}
    for name, kind in kinds.items():
        shape = (-1,) if kind == "STRING" else (-1, 2)
        found.put_file(identity(folder / f"{name}.onnx", getattr(TensorProto, kind), shape), name)
