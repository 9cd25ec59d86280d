"""The ONNX Runtime runner. The only place that imports onnxruntime.

Spinning is off: an idle default session burns whole cores of a small box (3.00 CPU-seconds in the
second after one request on a 4-core N150, for no gain in latency). The memory arena is off: it gave no speed
(0 % on five models) and kept what the largest batch needed (77 MB against 23 MB after one batch of 64).

Options of `runtime` in a manifest: `providers` (names of ONNX Runtime's, or of accelerators, or [name, options]),
`spinning`, `arena`, `memory_pattern`, `denormals_as_zero` (counts for the first model of a process), `optimisation`
(none, basic, extended, all), `affinities`, `block_base`, `free_dimensions`, `parallel` (operators side by side) with
`inter_threads`.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from skerry.core.errors import Invalid, LoadFailed, RunFailed
from skerry.core.fields import Fields, string
from skerry.core.names import shown
from skerry.core.tensor import DType, Spec
from skerry.engine.arrays import BF16, Array, dtype_of
from skerry.engine.runners.onnx_file import unranked
from skerry.engine.runners.runner import MAX_ERROR, PLAIN, Lane, Threads, Wish, shut, unread
from skerry.host.settings import forbid_telemetry

forbid_telemetry()  # must stand before the import below

import onnxruntime as ort  # noqa: E402
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument  # noqa: E402

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
    "tensor(bfloat16)": DType.BF16,
    "tensor(float)": DType.FP32,
    "tensor(double)": DType.FP64,
    "tensor(string)": DType.BYTES,
}
# "file:line function(arguments)" of ONNX Runtime's build, before what it has to say
_SOURCES = re.compile(r"/\S*onnxruntime\S*\.(?:h|cc|cpp):\d+ [^()]*\([^()]*\)(?: const)? ")
FATAL_ONLY = 4  # ONNX Runtime's log severity: what it logs as errors is in the exceptions that we raise
ONNX_BF16 = 16  # TensorProto.BFLOAT16
CPU = "CPUExecutionProvider"
ACCELERATORS = {  # a manifest's need -> what must be in this build of ONNX Runtime
    "cann": "CANNExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "rknpu": "RknpuExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "vitisai": "VitisAIExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
}
LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
Provider = tuple[str, dict[str, Any]]


class OnnxRunner:
    """One ONNX Runtime session. Reads of the same session run side by side, `threads.runs` of them."""

    remembers = False

    def __init__(self, path: Path, threads: Threads, wish: Wish = PLAIN) -> None:
        fields = wish.fields()
        providers = _providers(fields, wish.accelerator)
        options = _options(fields, threads)
        unread(fields)
        try:
            session = ort.InferenceSession(str(path), options, providers=providers)
            session.disable_fallback()
            self.inputs = tuple(map(_spec, session.get_inputs()))
            self.outputs = tuple(map(_spec, session.get_outputs()))
        except LoadFailed:
            raise
        except Exception as error:  # boundary: the binding raises a dozen unrelated classes, some bare RuntimeError
            raise LoadFailed(f"ONNX Runtime cannot load {path.name}: {_said(error)}") from error
        _ranked(path, self.inputs)
        # The public `run` checks the names once more and costs 1 us, a quarter of a small model's whole run.
        self._run = session._sess.run if hasattr(session, "_sess") else session.run
        self._session = session
        self._names = [spec.name for spec in self.outputs]
        self._texts = any(spec.dtype is DType.BYTES for spec in self.inputs)
        self._values = any(spec.dtype is DType.BF16 for spec in (*self.inputs, *self.outputs))
        self._runs = threads.runs
        self._turns: SimpleQueue[bool | None] = SimpleQueue()  # None: closed
        for _ in range(threads.runs):
            self._turns.put(True)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return every output by name; raise Invalid for feeds that the model cannot take, RunFailed if it fails."""
        if len(feeds) != len(self.inputs):  # ONNX Runtime names a strange input, but not a missing one
            missing = ", ".join(spec.name for spec in self.inputs if spec.name not in feeds) or "none"
            raise Invalid(f"inputs: expected {len(self.inputs)}, missing {missing}; got {', '.join(feeds) or 'none'}")
        if self._texts:
            feeds = {name: _texts(name, array) for name, array in feeds.items()}
        turn = self._turns.get()
        try:
            if turn is None:
                raise RunFailed("ONNX Runtime: the model has been closed")
            if self._values:
                return self._run_values(feeds)
            return dict(zip(self._names, self._run(self._names, feeds, None), strict=True))
        except InvalidArgument as error:
            raise Invalid(f"inputs: ONNX Runtime: {_said(error)}") from error
        except (Invalid, RunFailed):
            raise
        except Exception as error:  # boundary: as above
            raise RunFailed(f"ONNX Runtime: {_said(error)}") from error
        finally:
            self._turns.put(turn)

    def lane(self) -> Lane:
        """Never: an ONNX model's state is in its inputs and outputs."""
        raise RunFailed("ONNX Runtime: a model keeps no state by itself")

    def close(self) -> None:
        """Free the session when no run is in it any more."""
        shut(self._turns, self._runs)
        self._run = self._session = None

    def _run_values(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run on ONNX Runtime's own values, which know bfloat16."""
        given = {name: _value(array) for name, array in feeds.items()}
        found = self._session.run_with_ort_values(self._names, given)
        return {name: _array(value) for name, value in zip(self._names, found, strict=True)}


def _spec(value: ort.NodeArg) -> Spec:
    known = _TYPES.get(value.type)
    if known is None:
        raise LoadFailed(f"'{value.name}' is a {value.type}; this node serves plain tensors only")
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in value.shape)
    return Spec(value.name, known, shape)


def _said(error: Exception) -> str:
    """Return what ONNX Runtime says, without the lines of its own sources."""
    return _SOURCES.sub("", str(error))[:MAX_ERROR]


def _ranked(path: Path, inputs: tuple[Spec, ...]) -> None:
    """Raise LoadFailed for an input of unknown rank, which ONNX Runtime shows like a scalar."""
    doubtful = {spec.name for spec in inputs if not spec.shape}
    if doubtful:
        for name in sorted(doubtful & unranked(path)):
            raise LoadFailed(f"{path.name}: input '{name}' says not how many dimensions it has; export it with a shape")


def _providers(fields: Fields, accelerator: str) -> list[Provider]:
    """Return what may run the model, best first and the processor last."""
    wanted = list(fields.many("providers", _provider, default=(), limit=16))
    if accelerator:
        if accelerator not in ACCELERATORS:
            known = ", ".join(sorted(ACCELERATORS))
            raise LoadFailed(f"runtime onnx: unknown accelerator '{accelerator}'; it knows {known}")
        wanted.insert(0, (ACCELERATORS[accelerator], {}))
    there = ort.get_available_providers()
    for name, _ in wanted:
        if name not in there:
            raise LoadFailed(f"runtime onnx: needs {name}; here are {', '.join(there)}")
    found = {name: (name, options) for name, options in reversed([*wanted, (CPU, {})])}
    last = found.pop(CPU)
    return [*reversed(found.values()), last]


def _provider(value: object) -> Provider:
    if isinstance(value, str):
        return ACCELERATORS.get(value, value), {}
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], Mapping):
        return ACCELERATORS.get(value[0], value[0]), dict(value[1])
    raise Invalid(f"expected a provider's name, or a list of its name and its options; got {shown(value)}")


def _options(fields: Fields, threads: Threads) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    options.intra_op_num_threads = threads.intra
    parallel = fields.flag("parallel", default=False)
    options.execution_mode = ort.ExecutionMode.ORT_PARALLEL if parallel else ort.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = fields.whole("inter_threads", default=threads.intra if parallel else 1, high=1024)
    options.enable_cpu_mem_arena = fields.flag("arena", default=False)
    options.enable_mem_pattern = fields.flag("memory_pattern", default=True)
    options.graph_optimization_level = LEVELS[fields.choice("optimisation", tuple(LEVELS), default="all")]
    entry = options.add_session_config_entry
    spinning = str(int(fields.flag("spinning", default=threads.spinning)))
    entry("session.intra_op.allow_spinning", spinning)
    entry("session.inter_op.allow_spinning", spinning)
    entry("session.set_denormal_as_zero", str(int(fields.flag("denormals_as_zero", default=False))))
    affinities = fields.text("affinities", default="")
    if affinities:
        entry("session.intra_op_thread_affinities", affinities)
    block = fields.whole("block_base", default=0, high=1024)
    if block:
        entry("session.dynamic_block_base", str(block))
    sizes = Fields(fields.raw("free_dimensions", {}), "runtime.free_dimensions")
    for name in sizes.rest():
        options.add_free_dimension_override_by_name(string(name), sizes.whole(name, low=1, high=1 << 30))
    return options


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


def _value(array: Array) -> ort.OrtValue:
    if dtype_of(array) is not DType.BF16:
        return ort.OrtValue.ortvalue_from_numpy(array)
    plain = np.array(array, dtype=np.uint16, order="C")  # a copy: ONNX Runtime wants to own or to write it
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(plain, ONNX_BF16)


def _array(value: ort.OrtValue) -> Array:
    if value.element_type() != ONNX_BF16:
        return np.asarray(value.numpy())
    shape = tuple(value.shape())
    data = ctypes.string_at(value.data_ptr(), int(np.prod(shape)) * BF16.itemsize)
    return np.frombuffer(data, BF16).reshape(shape)
