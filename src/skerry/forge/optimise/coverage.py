"""What really runs: the share of multiplications in INT8 kernels, where the time goes, how often numbers change type.

The runtime's own profile tells which kernels ran on which shapes, so a graph that only looks like INT8 is found out.
Besides the engine's runners, this is the one file that opens ONNX Runtime itself: a runner does not profile.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx

from skerry.core.errors import LoadFailed
from skerry.engine.runners.onnx import LEVELS
from skerry.engine.runners.runner import MAX_ERROR
from skerry.forge.optimise.rewrites.net import constant_value
from skerry.forge.optimise.work import Feeds
from skerry.host.settings import forbid_telemetry

forbid_telemetry()  # must stand before the import below

import onnxruntime as ort  # noqa: E402

RUNS = 12  # profiled; medians of a node's time
FATAL_ONLY = 4  # ONNX Runtime's log severity

CONVS = {"Conv", "FusedConv", "NhwcFusedConv", "QLinearConv", "ConvInteger", "ConvTranspose"}
GEMMS = {"Gemm", "FusedGemm", "QGemm"}
PRODUCTS = {
    *("MatMul", "FusedMatMul", "TransposeMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
    *("QLinearMatMul", "MatMulNBits"),
}
CELLS = {"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"}
INTEGER = {
    *("QLinearConv", "ConvInteger", "QGemm", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
    *("QLinearMatMul", "DynamicQuantizeLSTM"),
}
CONVERSIONS = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}


@dataclass(frozen=True)
class Kernel:
    """One operator that ran."""

    node: str  # as the runtime calls it, which for joined nodes is the name of the one with the weights
    kind: str
    macs: int  # multiplications with an addition
    micros: float  # the median of its runs


@dataclass(frozen=True)
class Coverage:
    """What a model's operators did in one run."""

    kernels: tuple[Kernel, ...]
    static_pairs: tuple[int, int] = field(default=(0, 0))  # QuantizeLinear and DequantizeLinear in the file

    @property
    def macs(self) -> int:
        """Multiplications of a run."""
        return sum(kernel.macs for kernel in self.kernels)

    @property
    def share(self) -> float:
        """The share of them in INT8 kernels, 0 to 1; 0 where there are none."""
        return sum(k.macs for k in self.kernels if k.kind in INTEGER) / self.macs if self.macs else 0.0

    @property
    def conversions(self) -> int:
        """Operators that ran only to change numbers from float to INT8 and back."""
        return sum(kernel.kind in CONVERSIONS for kernel in self.kernels)

    @property
    def micros(self) -> float:
        """Microseconds in operators; a profiled run is slower than others by some percent."""
        return sum(kernel.micros for kernel in self.kernels)

    def kinds(self) -> dict[str, tuple[int, float]]:
        """Return how often each kind ran and its microseconds, the longest first."""
        times: Counter[str] = Counter()
        counts = Counter(kernel.kind for kernel in self.kernels)
        for kernel in self.kernels:
            times[kernel.kind] += kernel.micros  # type: ignore[assignment]
        return {kind: (counts[kind], float(time)) for kind, time in times.most_common()}


def cover(model: onnx.ModelProto, feeds: Feeds, runs: int = RUNS, level: str = "extended") -> Coverage:
    """Profile a model on one sample, one thread. Above `extended` weights lie otherwise and cannot be counted."""
    with TemporaryDirectory(prefix="skerry-forge-") as folder:
        options = ort.SessionOptions()
        options.log_severity_level = FATAL_ONLY
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.graph_optimization_level = LEVELS[level]
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "profile"))
        try:
            session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            for _ in range(runs):
                session.run(None, feeds)
        except Exception as error:  # boundary: the binding raises a dozen unrelated classes
            raise LoadFailed(f"ONNX Runtime cannot run the model: {str(error)[:MAX_ERROR]}") from error
        events = json.loads(Path(session.end_profiling()).read_text())
    kinds = Counter(node.op_type for node in model.graph.node)
    return Coverage(_kernels(events, _weights(model)), (kinds["QuantizeLinear"], kinds["DequantizeLinear"]))


def _weights(model: onnx.ModelProto) -> dict[str, list[tuple[int, ...]]]:
    """Return the shapes of each node's constants. The profile leaves out those that a kernel has packed for itself."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in shapes:
            shapes[node.output[0]] = shapes[node.input[0]]
        elif node.op_type == "Constant":
            value = constant_value(node)
            shapes |= {} if value is None else {node.output[0]: value.shape}
    return {node.name: [shapes[name] for name in node.input if name in shapes] for node in model.graph.node}


def _kernels(events: Sequence[Mapping[str, Any]], weights: Mapping[str, list[tuple[int, ...]]]) -> tuple[Kernel, ...]:
    found: dict[str, tuple[str, int, list[float]]] = {}
    for event in events:
        if event.get("cat") != "Node" or not str(event.get("name", "")).endswith("_kernel_time"):
            continue
        facts = event["args"]
        kind, name = str(facts["op_name"]), str(event["name"]).removesuffix("_kernel_time")
        key = f"{facts.get('node_index', '')} {name}"
        given = [_shape(value) for value in facts.get("input_type_shape", [])]
        answers = [_shape(value) for value in facts.get("output_type_shape", [])]
        own = weights.get(name) or [shape for shape in given[1:] if len(shape) > 1]
        found.setdefault(key, (kind, macs(kind, given, own, answers), []))[2].append(float(event["dur"]))
    return tuple(
        Kernel(key.partition(" ")[2], kind, count, sorted(times)[len(times) // 2])
        for key, (kind, count, times) in found.items()
    )


def _shape(value: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    return tuple(next(iter(value.values()), ()))


Shapes = Sequence[tuple[int, ...]]


def macs(kind: str, inputs: Shapes, weights: Shapes, outputs: Shapes) -> int:
    """Return the multiplications of one run of an operator on these shapes; `weights` are those of its constants."""
    if not inputs or not outputs:
        return 0
    if kind in CONVS and weights:
        base = inputs[0] if kind == "ConvTranspose" else outputs[0]
        return prod(base) * prod(weights[0][1:])
    if kind in GEMMS and outputs[0]:
        return prod(outputs[0]) * prod(inputs[0]) // max(1, outputs[0][0])
    if kind in PRODUCTS and inputs[0]:
        return prod(outputs[0]) * inputs[0][-1]
    if kind in CELLS and len(weights) > 1 and len(inputs[0]) == 3:
        return inputs[0][0] * inputs[0][1] * (prod(weights[0]) + prod(weights[1]))
    return 0
