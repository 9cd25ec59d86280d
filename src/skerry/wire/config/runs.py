"""How a config.pbtxt wants its model to be run: instances, threads, optimisation, accelerators, back end parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from skerry.core.names import shown
from skerry.wire.config.message import UINT32, Message
from skerry.wire.config.reasons import GPU, SPEED, TENSORRT

MAX_INSTANCES = 1024  # more threads than any board has use for
ACCELERATORS = (
    "cann", "coreml", "cuda", "migraphx", "openvino", "qnn", "rknpu", "tensorrt", "vitisai", "xnnpack",
)  # fmt: skip
GPUS = ("cuda", "migraphx", "tensorrt")  # of them, those of graphics cards
_KINDS = ("KIND_AUTO", "KIND_CPU", "KIND_GPU", "KIND_MODEL")
_COUNTS = ("intra_op_thread_count", "inter_op_thread_count")
_SWITCHES = ("execution_mode", "enable_mem_arena", "enable_mem_pattern")
OBEYED = (*_COUNTS, *_SWITCHES)  # parameters of Triton's ONNX Runtime back end
_REFUSED_INSTANCES = {
    "rate_limiter": "use priority_levels and a queue policy of dynamic_batching",
    "secondary_devices": GPU,
    "profile": TENSORRT,
}


@dataclass(frozen=True)
class Instances:
    """Runs at the same time, and the number of the GPU that they want, if they want one."""

    count: int = 0
    gpu: int | None = None


@dataclass(frozen=True)
class Parameters:
    """Every parameter, and what those that are known say; a later one replaces an earlier."""

    all: dict[str, str] = field(default_factory=dict)
    threads: int = 0
    inter_threads: int = 0
    parallel: bool = False
    arena: bool | None = None
    pattern: bool | None = None


def read_instances(top: Message) -> Instances:
    """Return what `instance_group` asks."""
    total, wanted = 0, set[int | None]()
    for group in top.many("instance_group"):
        group.text("name")
        wanted.add(_device(group))
        total += group.whole("count", 0, MAX_INSTANCES) or 1
        if group.flag("passive"):
            raise group.error("passive", "expected false: an instance that takes no requests is of no use")
        if group.text("host_policy"):
            group.ignore("host_policy", "threads are placed by the operating system")
        group.end(_REFUSED_INSTANCES)
    if total > MAX_INSTANCES:
        raise top.error("instance_group", f"expected at most {MAX_INSTANCES} instances; got {total}")
    if len(wanted) > 1:
        raise top.error("instance_group", "expected all groups on the processor, or all on the same GPU")
    return Instances(total, wanted.pop() if wanted else None)


def _device(group: Message) -> int | None:
    """Return the number of the GPU that a group wants, None for the processor."""
    kind, gpus = group.word("kind", _KINDS, _KINDS[0]), group.wholes("gpus", 0, 1023)
    if kind == "KIND_MODEL":
        raise group.error("kind", "expected KIND_CPU, KIND_AUTO or KIND_GPU; a model here does not choose its device")
    if kind == "KIND_GPU" and len(set(gpus)) <= 1:
        return gpus[0] if gpus else 0
    if gpus:
        raise group.error("gpus", f"expected none, or one with KIND_GPU; got {list(gpus)} with {kind}")
    return None


def read_parameters(top: Message) -> Parameters:
    """Return what `parameters` asks."""
    found: dict[str, str] = {}
    numbers: dict[str, int] = {}
    for entry in top.many("parameters"):
        key, value = entry.text("key"), entry.one("value")
        text = value.text("string_value") if value else ""
        if value:
            value.end({})
        entry.end({})
        found[key] = text
        if key in OBEYED:
            most = 1 if key in _SWITCHES else 9999
            if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) > most:
                raise entry.error("value", f"{key}: expected a whole number from 0 to {most}; got {shown(text)}")
            numbers[key] = int(text)
    switches = {key: bool(numbers[key]) for key in _SWITCHES if key in numbers}
    return Parameters(
        all=found,
        threads=numbers.get(_COUNTS[0], 0),
        inter_threads=numbers.get(_COUNTS[1], 0),
        parallel=switches.get("execution_mode", False),
        arena=switches.get("enable_mem_arena"),
        pattern=switches.get("enable_mem_pattern"),
    )


def read_optimization(top: Message) -> tuple[int, tuple[str, ...]]:
    """Return the level of the graph's optimisation, and the accelerators that are wanted."""
    block = top.one("optimization")
    if block is None:
        return 0, ()
    graph, accelerators = block.one("graph"), block.one("execution_accelerators")
    level = graph.whole("level", -1, 2) if graph else 0
    if graph:
        graph.end({})
    found = _accelerators(accelerators) if accelerators else ()
    if (
        block.word("priority", ("PRIORITY_DEFAULT", "PRIORITY_MAX", "PRIORITY_MIN"), "PRIORITY_DEFAULT")[9:]
        != "DEFAULT"
    ):
        block.ignore("priority", SPEED)
    if block.one("cuda") is not None:
        block.ignore("cuda", SPEED)
    for name in ("input_pinned_memory", "output_pinned_memory"):
        pinned = block.one(name)
        if pinned is not None:
            if pinned.flag("enable"):
                pinned.ignore("enable", SPEED)
            pinned.end({})
    if block.whole("gather_kernel_buffer_threshold", 0, UINT32):
        block.ignore("gather_kernel_buffer_threshold", SPEED)
    if block.flag("eager_batching"):
        block.ignore("eager_batching", SPEED)
    block.end({})
    return level, found


def _accelerators(block: Message) -> tuple[str, ...]:
    """Return the accelerators by their names: those of GPUs first, as Triton's back end has them."""
    found: list[str] = []
    for kind in ("gpu_execution_accelerator", "cpu_execution_accelerator"):
        for one in block.many(kind):
            name = one.text("name")
            if name not in ACCELERATORS:
                raise one.error("name", f"expected one of {', '.join(ACCELERATORS)}; got {shown(name)}")
            found.append(name)
            one.end({"parameters": "an accelerator runs with its runtime's own defaults; leave them out"})
    block.end({})
    return tuple(dict.fromkeys(found))
