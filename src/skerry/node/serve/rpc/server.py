"""The gRPC server: one table from method to what answers. Messages stay bytes; workers decode them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection

from skerry.core.errors import Conflict, NotFound, SkerryError
from skerry.host.clock import Clock
from skerry.host.process import listen, split_address
from skerry.node.models import Models
from skerry.node.serve.access import AccessLog
from skerry.node.serve.admin import Admin
from skerry.node.serve.rpc.infer import Answer, Caller, Calls, code_of, refuse
from skerry.node.serve.rpc.oip import SERVICE, Inference
from skerry.node.serve.rpc.tfs import MODEL, PREDICTION, Serving
from skerry.node.tracing.traced import Tracing
from skerry.node.worker.order import MAX_BODY
from skerry.wire.protos import control
from skerry.wire.protos.pool import POOL

GRACE_SECONDS = 5.0  # for calls in flight when the node is told to stop
HEALTH = "grpc.health.v1.Health"
WATCH_SECONDS = 1.0  # between two looks at what a watcher of health is told
OPTIONS = [
    ("grpc.max_receive_message_length", MAX_BODY + (1 << 20)),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # a second node on the port is an error, not half of the requests
]


class GrpcServer(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs alone
    """Open Inference, TensorFlow Serving, health and reflection on one port."""

    def __init__(
        self, models: Models, admin: Admin, clock: Clock, tracing: Tracing | None = None,
        access: AccessLog | None = None,
    ) -> None:  # fmt: skip
        calls = Calls(models, clock, tracing)
        self._models = models
        inference, serving = Inference(models, admin, calls), Serving(models, calls, admin)
        calls_by_path: dict[str, Answer] = {
            f"/{SERVICE}/ModelInfer": inference.infer,
            f"/{SERVICE}/RepositoryModelLoad": inference.load,
            f"/{SERVICE}/RepositoryModelUnload": inference.unload,
            f"/{SERVICE}/RepositoryIndex": inference.index,
            f"/{MODEL}/HandleReloadConfigRequest": serving.reload,
            f"/{HEALTH}/Check": _plain(self._health),
        }
        calls_by_path |= {f"/{SERVICE}/{name}": _plain(call) for name, call in inference.plain().items()}
        calls_by_path |= {f"/{name}": _plain(call) for name, call in serving.plain().items()}
        calls_by_path |= {f"/{name}": partial(serving.infer, op) for name, op in serving.inference().items()}
        stream = f"/{SERVICE}/ModelStreamInfer"
        infer: Answer = inference.infer
        if access is not None:
            calls_by_path = {path: access.noted(path, call, _code) for path, call in calls_by_path.items()}
            infer = access.noted(stream, infer, _code)
        self._table: dict[str, Any] = {path: _unary(call) for path, call in calls_by_path.items()}
        self._table[stream] = grpc.stream_stream_rpc_method_handler(partial(inference.stream, infer))
        self._table[f"/{HEALTH}/Watch"] = grpc.unary_stream_rpc_method_handler(self._watch)
        self._server: grpc.aio.Server | None = None

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return what answers a method, None if nothing does."""
        return self._table.get(handler_call_details.method)

    async def start(self, address: str) -> int:
        """Serve on HOST:PORT; return the port. Raises Conflict if it is taken."""
        host, port = split_address(address)
        listen(host, port).close()  # it says what is wrong with a port; gRPC logs lines of its own, and a hint to debug
        self._server = grpc.aio.server(options=OPTIONS)
        self._server.add_generic_rpc_handlers((self,))
        reflection.enable_server_reflection([SERVICE, PREDICTION, MODEL, HEALTH], self._server, pool=POOL)
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError:  # it was taken since
            raise Conflict(f"port {port} on {host}: not free; stop what uses it, or choose another") from None
        await self._server.start()
        return port

    async def stop(self) -> None:
        """Take no more calls; give those in flight GRACE_SECONDS."""
        if self._server is not None:
            await self._server.stop(GRACE_SECONDS)

    def _health(self, data: bytes) -> bytes:
        return control.encode_health(self._status(control.decode_health(data)))

    async def _watch(self, data: bytes, _: Caller) -> AsyncIterator[bytes]:
        service, last = control.decode_health(data), ""
        while True:
            try:
                status = self._status(service)
            except NotFound:
                status = "SERVICE_UNKNOWN"
            if status != last:
                last = status
                yield control.encode_health(status)
            await asyncio.sleep(WATCH_SECONDS)

    def _status(self, service: str) -> str:
        """Return the health of the node (""), a service, or a model by its name."""
        if service in ("", SERVICE, PREDICTION, MODEL):
            return "NOT_SERVING" if self._models.troubles() else "SERVING"
        try:
            self._models.live(service).check()
        except NotFound:
            raise
        except SkerryError:
            return "NOT_SERVING"
        return "SERVING"


def _code(error: SkerryError) -> str:
    return str(code_of(error).name)


def _plain(call: Callable[[bytes], bytes]) -> Answer:
    async def answer(data: bytes, _: Caller) -> bytes:
        return call(data)

    return answer


def _unary(call: Answer) -> Any:
    async def answer(data: bytes, caller: Caller) -> bytes:
        try:
            return await call(data, caller)
        except SkerryError as error:
            await refuse(caller, error)
            raise

    return grpc.unary_unary_rpc_method_handler(answer)
