"""The configuration of a model as Triton's `GET /v2/models/M/config` answers it, for the clients that read it.

Every plain field is there with its default, as Triton prints it; blocks only where they were asked. 64-bit
numbers are JSON numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skerry.core.tensor import DType, Spec
from skerry.wire.config.options import (
    Batching,
    Control,
    First,
    Options,
    Policy,
    Port,
    Queueing,
    Sequences,
    Signal,
    State,
    Warmup,
    Which,
)
from skerry.wire.config.runs import GPUS

_NAMES = {"onnx": ("onnxruntime_onnx", "onnxruntime"), "litert": ("", "litert"), "openvino": ("", "openvino")}
_VALUES = {DType.INT32: "int32_false_true", DType.FP32: "fp32_false_true", DType.BOOL: "bool_false_true"}
_PYTHON = {DType.INT32: int, DType.FP32: float, DType.BOOL: bool}
_INVALID = "TYPE_INVALID"


def config_json(
    name: str, options: Options, inputs: Sequence[Spec], outputs: Sequence[Spec], runtime: str = "onnx", file: str = ""
) -> dict[str, Any]:
    """Return the configuration of a model that was loaded from `file`; inputs and outputs are those that clients see.

    `replace(options, …)` first for what the node has chosen itself.
    """
    platform, backend = _NAMES.get(runtime, ("", runtime))
    size = options.max_batch_size or 0
    found: dict[str, Any] = {
        "name": name,
        "platform": platform,
        "backend": backend,
        "runtime": "",
        "version_policy": _policy(options.policy),
        "max_batch_size": size,
        "input": [_input(port) for port in _ports(options.inputs, inputs, size)],
        "output": [_output(port) for port in _ports(options.outputs, outputs, size)],
        "batch_input": [],
        "batch_output": [],
        "optimization": {
            "graph": {"level": options.graph_level},
            **_accelerators(options.accelerators),
            "priority": "PRIORITY_DEFAULT",
            "input_pinned_memory": {"enable": False},
            "output_pinned_memory": {"enable": False},
            "gather_kernel_buffer_threshold": 0,
            "eager_batching": False,
        },
    }
    if options.batching:
        found["dynamic_batching"] = _batching(options.batching)
    if options.sequences:
        found["sequence_batching"] = _sequences(options.sequences)
    return found | {
        "instance_group": [_group(name, options.instances or 1, options.gpu)],
        "default_model_filename": file or options.file,
        "cc_model_filenames": {},
        "metric_tags": {},
        "parameters": {key: {"string_value": value} for key, value in options.parameters.items()},
        "model_warmup": [_warmup(one) for one in options.warmup],
        "model_transaction_policy": {"decoupled": False},
        "response_cache": {"enable": False},
    }


def _type(dtype: DType) -> str:
    return "TYPE_STRING" if dtype is DType.BYTES else f"TYPE_{dtype.value}"


def _policy(policy: Policy) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    if policy.which is Which.LATEST:
        inner = {"num_versions": policy.count}
    elif policy.which is Which.SPECIFIC:
        inner = {"versions": list(policy.versions)}
    return {policy.which.value: inner}


def _ports(declared: Sequence[Port], specs: Sequence[Spec], size: int) -> list[Port]:
    """Return what was declared, and behind it what the file has besides."""
    names = {port.name for port in declared}
    rest = [
        Port(spec.name, spec.dtype, spec.shape[1:] if size else spec.shape) for spec in specs if spec.name not in names
    ]
    return [*declared, *rest]


def _input(port: Port) -> dict[str, Any]:
    return {
        "name": port.name,
        "data_type": _type(port.dtype),
        "format": port.format,
        "dims": list(port.dims),
        **_reshape(port),
        "is_shape_tensor": False,
        "allow_ragged_batch": False,
        "optional": port.optional,
        "is_non_linear_format_io": False,
    }


def _output(port: Port) -> dict[str, Any]:
    return {
        "name": port.name,
        "data_type": _type(port.dtype),
        "dims": list(port.dims),
        "label_filename": port.label_file,
        **_reshape(port),
        "is_shape_tensor": False,
        "is_non_linear_format_io": False,
    }


def _reshape(port: Port) -> dict[str, Any]:
    return {} if port.reshape is None else {"reshape": {"shape": list(port.reshape)}}


def _queueing(queue: Queueing) -> dict[str, Any]:
    return {
        "timeout_action": "REJECT",
        "default_timeout_microseconds": queue.timeout,
        "allow_timeout_override": queue.override,
        "max_queue_size": queue.size,
    }


def _batching(batching: Batching) -> dict[str, Any]:
    found: dict[str, Any] = {
        "preferred_batch_size": list(batching.preferred),
        "max_queue_delay_microseconds": batching.delay,
        "preserve_ordering": batching.preserve_order,
        "priority_levels": batching.levels,
        "default_priority_level": batching.level,
        "priority_queue_policy": {str(level): _queueing(queue) for level, queue in batching.queues.items()},
    }
    if batching.queue != Queueing():
        found["default_queue_policy"] = _queueing(batching.queue)
    return found


def _sequences(sequences: Sequences) -> dict[str, Any]:
    if sequences.candidates:
        strategy: dict[str, Any] = {
            "oldest": {
                "max_candidate_sequences": sequences.candidates,
                "preferred_batch_size": list(sequences.preferred),
                "max_queue_delay_microseconds": sequences.delay,
                "preserve_ordering": sequences.preserve_order,
            }
        }
    else:
        strategy = {
            "direct": {
                "max_queue_delay_microseconds": sequences.delay,
                "minimum_slot_utilization": sequences.utilization,
            }
        }
    return strategy | {
        "max_sequence_idle_microseconds": sequences.idle,
        "control_input": [{"name": one.input, "control": [_control(one)]} for one in sequences.controls],
        "state": [
            {
                "input_name": one.input,
                "output_name": one.output,
                "data_type": _type(one.dtype),
                "dims": list(one.dims),
                "initial_state": [] if one.first is None else [_first(one, one.first)],
                "use_same_buffer_for_input_output": False,
                "use_growable_memory": False,
            }
            for one in sequences.states
        ],
        "iterative_sequence": False,
    }


def _control(control: Control) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": control.signal.value, **{field: [] for field in _VALUES.values()}}
    if control.signal is Signal.CORRID:
        return found | {"data_type": _type(control.dtype)}
    return found | {"data_type": _INVALID, _VALUES[control.dtype]: [_PYTHON[control.dtype](v) for v in control.values]}


def _first(state: State, first: First) -> dict[str, Any]:
    source = {"data_file": first.file} if first.file else {"zero_data": True}
    return {"name": first.name, "data_type": _type(state.dtype), "dims": list(first.dims), **source}


def _accelerators(names: Sequence[str]) -> dict[str, Any]:
    if not names:
        return {}
    found: dict[str, list[dict[str, Any]]] = {"gpu_execution_accelerator": [], "cpu_execution_accelerator": []}
    for name in names:
        kind = "gpu" if name in GPUS else "cpu"
        found[f"{kind}_execution_accelerator"].append({"name": name, "parameters": {}})
    return {"execution_accelerators": found}


def _group(name: str, count: int, gpu: int | None) -> dict[str, Any]:
    return {
        "name": f"{name}_0",
        "kind": "KIND_CPU" if gpu is None else "KIND_GPU",
        "count": count,
        "gpus": [] if gpu is None else [gpu],
        "secondary_devices": [],
        "profile": [],
        "passive": False,
        "host_policy": "",
    }


def _warmup(warmup: Warmup) -> dict[str, Any]:
    inputs = {}
    for name, one in warmup.inputs.items():
        source = {"input_data_file": one.file} if one.source == "file" else {f"{one.source}_data": True}
        inputs[name] = {"data_type": _type(one.dtype), "dims": list(one.dims), **source}
    return {"name": warmup.name, "batch_size": warmup.batch_size, "inputs": inputs, "count": warmup.count}
