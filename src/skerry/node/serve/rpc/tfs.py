"""TensorFlow Serving over gRPC: PredictionService and ModelService."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from skerry.core import names
from skerry.core.errors import Invalid, NotFound
from skerry.core.names import shown
from skerry.node.models import Models
from skerry.node.repository import Source
from skerry.node.serve.admin import Admin
from skerry.node.serve.rpc.infer import Caller, Calls
from skerry.node.serve.tfs import statuses
from skerry.node.worker.order import Op
from skerry.wire import tfs_grpc
from skerry.wire.config import Policy, Which
from skerry.wire.protos import examples
from skerry.wire.tfs_grpc import Chosen, Status

PREDICTION = "tensorflow.serving.PredictionService"
MODEL = "tensorflow.serving.ModelService"


class Serving:
    """Both services."""

    def __init__(self, models: Models, calls: Calls, admin: Admin) -> None:
        self._models = models
        self._calls = calls
        self._admin = admin

    def plain(self) -> dict[str, Callable[[bytes], bytes]]:
        """Return the calls that are answered at once."""
        return {
            f"{PREDICTION}/GetModelMetadata": self._metadata,
            f"{MODEL}/GetModelStatus": self._status,
        }

    def inference(self) -> dict[str, Op]:
        """Return the calls that a worker answers."""
        return {
            f"{PREDICTION}/Predict": Op.GRPC_PREDICT,
            f"{PREDICTION}/Classify": Op.GRPC_CLASSIFY,
            f"{PREDICTION}/Regress": Op.GRPC_REGRESS,
            f"{PREDICTION}/MultiInference": Op.GRPC_MULTI,
        }

    async def infer(self, op: Op, data: bytes, caller: Caller) -> bytes:
        """Predict, Classify, Regress or MultiInference."""
        chosen = examples.decode_tasks(data)[0].chosen if op == Op.GRPC_MULTI else tfs_grpc.decode_chosen(data)
        try:
            return await self._calls.run(op, data, caller, chosen.model, chosen.version, chosen.label)
        except NotFound:
            raise NotFound(f"Servable not found for request: {_which(chosen)}") from None

    def _metadata(self, data: bytes) -> bytes:
        chosen = tfs_grpc.decode_metadata(data)
        try:
            live = self._models.live(chosen.model, chosen.version, chosen.label)
        except NotFound:
            raise NotFound(f"Servable not found for request: {_which(chosen)}") from None
        signature = tfs_grpc.Signature(live.inputs, live.outputs)
        return tfs_grpc.encode_metadata(chosen.model, live.manifest.version, {tfs_grpc.SIGNATURE: signature})

    def _status(self, data: bytes) -> bytes:
        chosen = tfs_grpc.decode_status(data)
        rows = statuses(self._models, chosen.model, chosen.version, chosen.label)
        return tfs_grpc.encode_status([Status(*row) for row in rows])

    async def reload(self, data: bytes, _: Caller) -> bytes:
        """HandleReloadConfigRequest: from now on these models are served, and no others."""
        await self._admin.reload([_source(one) for one in tfs_grpc.decode_reload(data)])
        return tfs_grpc.encode_reload()


def _source(one: tfs_grpc.Listed) -> Source:
    policy = Policy(Which(one.policy.kind), one.policy.newest, one.policy.versions)
    return Source(_path(one), names.model_name(one.name), policy, one.labels)


def _path(one: tfs_grpc.Listed) -> Path:
    """Return where a model lies: a path, or file:// and an absolute one, which TensorFlow reads without decoding it."""
    path = one.base_path.removeprefix("file://")
    if path != one.base_path and not path.startswith("/"):
        raise Invalid(f"model {one.name}: base_path: expected a path or file:///PATH; got {shown(one.base_path)}")
    return Path(path)


def _which(chosen: Chosen) -> str:
    if chosen.label is not None:
        return f"Latest({chosen.model})"
    return f"Latest({chosen.model})" if chosen.version is None else f"Specific({chosen.model}, {chosen.version})"
