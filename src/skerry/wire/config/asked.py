"""What a config.pbtxt asks of the runtime that runs its model, in the words of a bundle's manifest."""

from __future__ import annotations

from typing import Any

from skerry.core.errors import Invalid
from skerry.core.names import shown
from skerry.wire.config.options import Options
from skerry.wire.config.runs import OBEYED
from skerry.wire.config.text import FILE

_LEVELS = {-1: "basic", 0: "all", 1: "extended", 2: "none"}  # as Triton's back end hands them to ONNX Runtime
_ACCELERATORS = "optimization.execution_accelerators"


def asked_of(options: Options, runtime: str) -> dict[str, Any]:
    """Return what stands in `runtime` of a manifest that asks the same; raise Invalid for what no runtime here does."""
    if runtime == "onnx":
        return _onnx(options)
    found: dict[str, Any] = {}
    rest = set(options.accelerators)
    if runtime == "litert":
        rest -= {"xnnpack"}  # which it runs with anyway
    if rest:
        raise Invalid(f"{FILE}: {_ACCELERATORS}: runtime {runtime} has no {', '.join(sorted(rest))}")
    if options.gpu is not None:
        if runtime != "openvino":
            raise Invalid(f"{FILE}: instance_group.kind: KIND_GPU: runtime {runtime} runs on the processor")
        found["device"] = f"GPU.{options.gpu}"
    return found


def unused(options: Options, runtime: str) -> tuple[str, ...]:
    """Return what stands in the file and means nothing to the runtime, each with why."""
    known = OBEYED if runtime == "onnx" else ("intra_op_thread_count",)
    strange = [f"parameters {shown(key)}: runtime {runtime} has no such parameter" for key in options.parameters
               if key not in known]  # fmt: skip
    level = options.graph_level and runtime != "onnx"
    return (*strange, *([f"optimization.graph.level: runtime {runtime} has no levels"] if level else []))


def wanted(options: Options) -> str:
    """Return what of this machine the file insists on, "" if the processor will do."""
    if options.accelerators:
        return f"{FILE}: {_ACCELERATORS}: {', '.join(options.accelerators)}"
    return "" if options.gpu is None else f"{FILE}: instance_group.kind: KIND_GPU"


def _onnx(options: Options) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if options.graph_level:
        found["optimisation"] = _LEVELS[options.graph_level]
    if options.inter_threads:
        found["inter_threads"] = options.inter_threads
    if options.parallel:
        found["parallel"] = True
    if options.arena is not None:
        found["arena"] = options.arena
    if options.pattern is not None:
        found["memory_pattern"] = options.pattern
    providers: list[Any] = list(options.accelerators)
    if options.gpu is not None and "cuda" not in providers:
        providers.append("cuda")
    if options.gpu:
        providers = [[name, {"device_id": str(options.gpu)}] if name in ("cuda", "tensorrt") else name
                     for name in providers]  # fmt: skip
    return found | ({"providers": providers} if providers else {})
