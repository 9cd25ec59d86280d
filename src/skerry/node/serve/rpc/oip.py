"""The Open Inference Protocol over gRPC, in Triton's superset."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from skerry.core import names
from skerry.core.errors import SkerryError, Unsupported
from skerry.core.version import VERSION
from skerry.node.models import Models
from skerry.node.serve.admin import Admin
from skerry.node.serve.local.memory import NO_CUDA
from skerry.node.serve.rpc.infer import Answer, Caller, Calls
from skerry.node.serve.settings import Settings
from skerry.node.worker.order import Op
from skerry.wire import oip_grpc
from skerry.wire.protos import control

SERVICE = "inference.GRPCInferenceService"


class Inference:
    """The service."""

    def __init__(self, models: Models, admin: Admin, calls: Calls) -> None:
        self._models = models
        self._admin = admin
        self._calls = calls
        self._settings = Settings(models, admin)

    def plain(self) -> dict[str, Callable[[bytes], bytes]]:
        """Return the calls that are answered at once."""
        return {
            "ServerLive": lambda _: control.encode_flag(True),
            "ServerReady": lambda _: control.encode_flag(not self._models.troubles()),
            "ModelReady": self._model_ready,
            "ServerMetadata": lambda _: control.encode_server("skerry", VERSION, self._admin.extensions),
            "ModelMetadata": self._metadata,
            "ModelConfig": self._config,
            "ModelStatistics": self._statistics,
            "SystemSharedMemoryStatus": self._regions,
            "SystemSharedMemoryRegister": self._register,
            "SystemSharedMemoryUnregister": self._unregister,
            "CudaSharedMemoryStatus": _no_cuda_regions,
            "CudaSharedMemoryRegister": _no_cuda,
            "CudaSharedMemoryUnregister": lambda _: control.EMPTY,
            "TraceSetting": self._trace,
            "LogSettings": lambda data: control.encode_log(self._settings.log(control.decode_log(data))),
        }

    async def infer(self, data: bytes, caller: Caller) -> bytes:
        """ModelInfer."""
        name, version = control.decode_named(data)
        return await self._calls.run(Op.GRPC_INFER, data, caller, name, _version(version))

    @staticmethod
    async def stream(infer: Answer, requests: AsyncIterator[bytes], caller: Caller) -> AsyncIterator[bytes]:
        """ModelStreamInfer: one answer of `infer` for each request, in order; errors are answers too."""
        async for data in requests:
            try:
                answer = await infer(data, caller)
            except SkerryError as error:
                yield oip_grpc.encode_stream_error(str(error))
            else:
                yield oip_grpc.encode_stream([answer])

    async def load(self, data: bytes, _: Caller) -> bytes:
        """RepositoryModelLoad."""
        asked = control.decode_load(data)
        await self._admin.load(asked.model, asked.parameters)
        return control.EMPTY

    async def unload(self, data: bytes, _: Caller) -> bytes:
        """RepositoryModelUnload."""
        asked = control.decode_load(data)
        await self._admin.unload(asked.model, asked.parameters)
        return control.EMPTY

    def _model_ready(self, data: bytes) -> bytes:
        name, version = control.decode_named(data)
        try:
            self._models.live(name, _version(version)).check()
        except SkerryError:
            return control.encode_flag(False)
        return control.encode_flag(True)

    def _metadata(self, data: bytes) -> bytes:
        name, version = control.decode_named(data)
        live = self._models.live(name, _version(version))
        versions = [one.manifest.version for one in self._models.generations(name)]
        return control.encode_model(name, versions, live.platform, live.inputs, live.outputs)

    def _config(self, data: bytes) -> bytes:
        name, version = control.decode_named(data)
        return control.encode_config(self._admin.config(name, _version(version)))

    def _statistics(self, data: bytes) -> bytes:
        name, version = control.decode_named(data)
        return control.encode_statistics(self._admin.statistics(name or None, _version(version)))

    def _regions(self, data: bytes) -> bytes:
        found = self._admin.regions.status(control.decode_region_name(data))
        return control.encode_regions([control.Region(*one) for one in found])

    def _register(self, data: bytes) -> bytes:
        asked = control.decode_region(data)
        self._admin.regions.register(asked.name, asked.key, asked.offset, asked.size)
        return control.EMPTY

    def _unregister(self, data: bytes) -> bytes:
        self._admin.regions.unregister(control.decode_region_name(data))
        return control.EMPTY

    def _trace(self, data: bytes) -> bytes:
        model, changes = control.decode_trace(data)
        return control.encode_trace(self._settings.trace(model, None, changes))

    async def index(self, data: bytes, _: Caller) -> bytes:
        """RepositoryIndex."""
        asked = control.decode_index(data)
        rows = await self._admin.index(asked.ready)
        return control.encode_index([control.Held(r["name"], r["version"], r["state"], r["reason"]) for r in rows])


def _no_cuda(_: bytes) -> bytes:
    raise Unsupported(NO_CUDA)


def _no_cuda_regions(data: bytes) -> bytes:
    return _no_cuda(data) if control.decode_region_name(data) else control.encode_regions([])


def _version(text: str) -> int | None:
    return names.version(text) if text else None
