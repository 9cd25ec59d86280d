"""A config.pbtxt becomes options: what this node does is read, everything else is refused by its name.

Sizes and rules are those of Triton: what it would refuse is refused here, with the line.
"""

from __future__ import annotations

from dataclasses import replace

from skerry.core.names import MAX_VERSION, shown
from skerry.wire.config.message import INT32, UINT32, UINT64, Message
from skerry.wire.config.options import Batching, Options, Policy, Queueing, Which
from skerry.wire.config.ports import PLAIN, read_ports, read_warmup
from skerry.wire.config.reasons import RAGGED, SPEED
from skerry.wire.config.runs import read_instances, read_optimization, read_parameters
from skerry.wire.config.sequences import read_sequences
from skerry.wire.config.text import read_text

MAX_LEVELS = 1024  # of priority; each may have a queue of its own
_RUNTIMES = {
    "onnxruntime_onnx": "onnx",
    "onnxruntime": "onnx",
    "tensorflow_lite": "litert",
    "tensorflowlite": "litert",
    "tflite": "litert",
    "litert": "litert",
    "armnn_tflite": "litert",
    "openvino": "openvino",
}
_SUFFIXES = (".onnx", ".tflite", ".xml")
_REFUSED = {
    "ensemble_scheduling": "one model, one runtime; call the models one after the other",
    "runtime": "the file's suffix says what runs it; leave it out",
    "batch_input": RAGGED,
    "batch_output": RAGGED,
    "cc_model_filenames": "it is for GPUs; name the file in default_model_filename",
    "metric_tags": "metrics carry model and version; leave it out",
    "model_operations": "no code is loaded from a model's folder",
    "model_repository_agents": "no code is run on a model's folder; sign a bundle instead",
    "model_metrics": "the buckets of the metrics are fixed; leave it out",
}


def read_config(data: bytes, folder: str = "") -> Options:
    """Return what the bytes of a config.pbtxt ask; `folder` is the name that the model's folder has, if any.

    Raises Invalid with the line and the field for what is malformed, unknown or not done by this node.
    """
    top = Message(read_text(data))
    name = top.text("name")
    asked = (("platform", top.text("platform")), ("backend", top.text("backend")))
    size = top.whole("max_batch_size", 0, INT32) if top.has("max_batch_size") else None
    batching, sequences = top.one("dynamic_batching"), top.one("sequence_batching")
    parameters, instances = read_parameters(top), read_instances(top)
    level, accelerators = read_optimization(top)
    options = Options(
        max_batch_size=size,
        policy=_policy(top),
        instances=instances.count,
        batching=_batching(batching, size or 0) if batching else None,
        sequences=read_sequences(sequences, size or 0) if sequences else None,
        warmup=tuple(map(read_warmup, top.many("model_warmup"))),
        threads=parameters.threads,
        inter_threads=parameters.inter_threads,
        parallel=parameters.parallel,
        arena=parameters.arena,
        pattern=parameters.pattern,
        graph_level=level,
        accelerators=accelerators,
        gpu=instances.gpu,
        file=_file(top),
        inputs=read_ports(top, "input"),
        outputs=read_ports(top, "output"),
        parameters=parameters.all,
    )
    _switched_off(top)
    top.end(_REFUSED)
    if batching and sequences:
        raise top.error("sequence_batching", "expected it or dynamic_batching, not both")
    if name and folder and name != folder:
        raise top.error("name", f"expected the name of the folder, {shown(folder)}; got {shown(name)}")
    return replace(options, runtime=_runtime(top, asked), ignored=tuple(top.ignored))


def _runtime(top: Message, asked: tuple[tuple[str, str], ...]) -> str:
    found = set()
    for field, value in asked:
        if value and value not in _RUNTIMES:
            raise top.error(field, f"expected one of {', '.join(_RUNTIMES)}; got {shown(value)}")
        found |= {_RUNTIMES[value]} if value else set()
    if len(found) > 1:
        raise top.error("backend", f"expected the one that platform names; got {shown(asked[1][1])}")
    return found.pop() if found else ""


def _policy(top: Message) -> Policy:
    block = top.one("version_policy")
    if block is None:
        return Policy()
    latest, everything, specific = block.one("latest"), block.one("all"), block.one("specific")
    block.end({})
    if sum(one is not None for one in (latest, everything, specific)) > 1:
        raise top.error("version_policy", "expected one of latest, all and specific")
    policy = Policy()
    if latest:
        policy = Policy(count=latest.whole("num_versions", 0, UINT32) or 1)
    elif everything:
        policy = Policy(Which.ALL)
    elif specific:
        versions = specific.wholes("versions", 1, MAX_VERSION)
        if not versions:
            raise specific.error("versions", "expected at least one version")
        policy = Policy(Which.SPECIFIC, versions=tuple(sorted(set(versions))))
    for one in (latest, everything, specific):
        if one:
            one.end({})
    return policy


def _batching(block: Message, size: int) -> Batching:
    preferred = block.wholes("preferred_batch_size", 1, INT32)
    if any(one > size for one in preferred):
        raise block.error("preferred_batch_size", f"expected at most max_batch_size, {size}; got {list(preferred)}")
    levels = block.whole("priority_levels", 0, MAX_LEVELS)
    default = block.one("default_queue_policy")
    queues = {}
    for entry in block.many("priority_queue_policy"):
        value = entry.one("value")
        queues[entry.whole("key", 1, max(levels, 1))] = _queueing(value) if value else Queueing()
        entry.end({})
    batching = Batching(
        preferred=tuple(sorted(set(preferred))),
        delay=block.whole("max_queue_delay_microseconds", 0, UINT64),
        preserve_order=block.flag("preserve_ordering"),
        levels=levels,
        level=block.whole("default_priority_level", 1 if levels else 0, levels),
        queue=_queueing(default) if default else Queueing(),
        queues=queues,
    )
    block.end({})
    if levels and not batching.level:
        raise block.error("default_priority_level", f"expected a level from 1 to {levels}; it is missing")
    if batching.preserve_order and levels > 1:
        raise block.error("preserve_ordering", "expected at most one priority level with it")
    return batching


def _queueing(block: Message) -> Queueing:
    if block.word("timeout_action", ("REJECT", "DELAY")) == "DELAY":
        raise block.error("timeout_action", "DELAY is not supported by this node: what waited too long is refused")
    queueing = Queueing(
        timeout=block.whole("default_timeout_microseconds", 0, UINT64),
        override=block.flag("allow_timeout_override"),
        size=block.whole("max_queue_size", 0, UINT32),
    )
    block.end({})
    return queueing


def _file(top: Message) -> str:
    name = top.text("default_model_filename")
    if name and not (PLAIN.fullmatch(name) and name.lower().endswith(_SUFFIXES)):
        expected = f"the name of a file that ends in {', '.join(_SUFFIXES)}"
        raise top.error("default_model_filename", f"expected {expected}; got {shown(name)}")
    return name


def _switched_off(top: Message) -> None:
    """One switch may stand in the file as long as it is off, the other whatever it says."""
    policy, cache = top.one("model_transaction_policy"), top.one("response_cache")
    if policy is not None:
        if policy.flag("decoupled"):
            raise policy.error("decoupled", "true is not supported by this node: each request has exactly one answer")
        policy.end({})
    if cache is not None:
        if cache.flag("enable"):
            cache.ignore("enable", SPEED)
        cache.end({})
