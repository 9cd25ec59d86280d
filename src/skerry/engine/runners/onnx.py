"""The ONNX Runtime runner, on CPU. The only place that imports onnxruntime.

Spinning is off: an idle default session burns whole cores of a small box (3.00 CPU-seconds in the
second after one request on a 4-core N150, for no gain in latency).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from skerry.core.errors import Invalid, LoadFailed, RunFailed
from skerry.core.tensor import DType, Spec
from skerry.engine.arrays import Array
from skerry.engine.runners.runner import Threads
from skerry.host.settings import forbid_telemetry

forbid_telemetry()  # must stand before the import below

import onnxruntime as ort  # noqa: E402

ort.disable_telemetry_events()

_TYPES = {
    "tensor(bool)": DType.BOOL,
    "tensor(uint8)": DType.UINT8,
    "tensor(uint16)": DType.UINT16,
    "tensor(uint32)": DType.UINT32,
    "tensor(uint64)": DType.UINT64,
    "tensor(int8)": DType.INT8,
    "tensor(int16)": DType.INT16,
    "tensor(int32)": DType.INT32,
    "tensor(int64)": DType.INT64,
    "tensor(float16)": DType.FP16,
    "tensor(float)": DType.FP32,
    "tensor(double)": DType.FP64,
    "tensor(string)": DType.BYTES,
}
FATAL_ONLY = 4  # ONNX Runtime's log severity: what it logs as errors is in the exceptions that we raise
MAX_ERROR = 500  # characters of the runtime's own error text that ours carries


class OnnxRunner:
    """One ONNX Runtime session."""

    def __init__(self, path: Path, threads: Threads) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = FATAL_ONLY
        options.intra_op_num_threads = threads.intra
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self.inputs = tuple(map(_spec, self._session.get_inputs()))
            self.outputs = tuple(map(_spec, self._session.get_outputs()))
        except LoadFailed:
            raise
        except Exception as error:  # boundary: the binding raises a dozen unrelated classes, some bare RuntimeError
            raise LoadFailed(f"ONNX Runtime cannot load {path.name}: {str(error)[:MAX_ERROR]}") from error
        self._turn = threading.BoundedSemaphore(threads.runs)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return every output by name; raise RunFailed if the model fails on these arrays, Invalid for odd text."""
        ready = {name: _texts(name, array) for name, array in feeds.items()}
        with self._turn:
            try:
                found = self._session.run(None, ready)
            except Exception as error:  # boundary: as above
                raise RunFailed(f"ONNX Runtime: {str(error)[:MAX_ERROR]}") from error
        return {spec.name: np.asarray(value) for spec, value in zip(self.outputs, found, strict=True)}

    def close(self) -> None:
        """Free the session."""
        del self._session


def _spec(value: ort.NodeArg) -> Spec:
    if value.type not in _TYPES:
        raise LoadFailed(f"'{value.name}' is a {value.type}; this node serves plain tensors only")
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in value.shape)
    return Spec(value.name, _TYPES[value.type], shape)


def _texts(name: str, array: Array) -> Array:
    """Return byte strings as text, which is what ONNX strings are; other arrays as they are."""
    if array.dtype != object:
        return array
    try:
        flat = [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in array.reshape(-1)]
    except UnicodeDecodeError:
        raise Invalid(f"input '{name}': expected UTF-8 text, which is what ONNX strings are") from None
    found = np.empty(len(flat), dtype=object)
    found[:] = flat
    return found.reshape(array.shape)
