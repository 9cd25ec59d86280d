"""What a config.pbtxt may ask of a node, as values. An absent field has Triton's default unless said otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from skerry.core.tensor import DType

SEQUENCE_IDLE = 1_000_000  # microseconds after which a silent sequence is forgotten, unless the model says


class Which(Enum):
    """Which versions of a model serve."""

    LATEST = "latest"
    ALL = "all"
    SPECIFIC = "specific"


@dataclass(frozen=True)
class Policy:
    """The `count` highest versions, or all of them, or those of `versions`."""

    which: Which = Which.LATEST
    count: int = 1
    versions: tuple[int, ...] = ()

    def chosen(self, have: Iterable[int]) -> tuple[int, ...]:
        """Return those of the versions that serve, lowest first."""
        found = sorted(set(have))
        if self.which is Which.LATEST:
            return tuple(found[-self.count :])
        return tuple(v for v in found if self.which is Which.ALL or v in self.versions)


@dataclass(frozen=True)
class Queueing:
    """How long a request may wait, and how many may. 0 is no limit."""

    timeout: int = 0  # microseconds, after which it is refused
    override: bool = False  # whether a request may ask for less than `timeout`
    size: int = 0  # requests


@dataclass(frozen=True)
class Batching:
    """Requests that run together. `levels` 0: no priorities; 1 is the highest."""

    preferred: tuple[int, ...] = ()  # sizes that run at once
    delay: int = 0  # microseconds that a request may wait for others
    preserve_order: bool = False
    levels: int = 0
    level: int = 0  # of a request that names none
    queue: Queueing = Queueing()
    queues: Mapping[int, Queueing] = field(default_factory=dict, hash=False)  # of single levels

    @property
    def strict(self) -> bool:
        """Whether it says more of who waits than that they wait."""
        return self.levels > 1 or any(one.timeout or one.size for one in (self.queue, *self.queues.values()))


class Signal(Enum):
    """What a control input tells the model."""

    START = "CONTROL_SEQUENCE_START"
    READY = "CONTROL_SEQUENCE_READY"
    END = "CONTROL_SEQUENCE_END"
    CORRID = "CONTROL_SEQUENCE_CORRID"


@dataclass(frozen=True)
class Control:
    """A model's input that the node fills. `values` are the numbers for false and true; CORRID has none."""

    input: str
    signal: Signal
    dtype: DType
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class First:
    """What a state begins with: the bytes of a file in the model's folder `initial_state`, or zeros."""

    name: str
    dims: tuple[int, ...]
    file: str = ""


@dataclass(frozen=True)
class State:
    """An output that becomes an input of the sequence's next request."""

    input: str
    output: str
    dtype: DType
    dims: tuple[int, ...]
    first: First | None = None  # None: it begins with zeros, of which free dimensions are 1


@dataclass(frozen=True)
class Sequences:
    """Requests that belong together, one after the other. `candidates` 0: each has a slot of its own (direct)."""

    idle: int = SEQUENCE_IDLE  # microseconds
    controls: tuple[Control, ...] = ()
    states: tuple[State, ...] = ()
    candidates: int = 0
    preferred: tuple[int, ...] = ()
    delay: int = 0  # microseconds
    preserve_order: bool = False
    utilization: float = 0.0  # share of the slots that must be ready before `delay` has passed


@dataclass(frozen=True)
class WarmInput:
    """One input of a warm-up: zeros, random numbers, or the bytes of a file in the model's folder `warmup`."""

    dtype: DType
    dims: tuple[int, ...]
    source: str  # "zero", "random" or "file"
    file: str = ""


@dataclass(frozen=True)
class Warmup:
    """A request that a new model answers `count` times before it serves."""

    name: str
    batch_size: int
    inputs: Mapping[str, WarmInput] = field(hash=False)
    count: int = 1


@dataclass(frozen=True)
class Port:
    """A declared input or output; `dims` are without the batch where the model has one."""

    name: str
    dtype: DType
    dims: tuple[int, ...]
    optional: bool = False
    format: str = "FORMAT_NONE"
    label_file: str = ""
    reshape: tuple[int, ...] | None = None  # what the model has in place of `dims`


@dataclass(frozen=True)
class Reshape:
    """A tensor that clients have with `dims` and the model with `shape`, the batch left out of both."""

    name: str
    takes: bool  # an input
    dims: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Options:
    """All that was asked of one model; `Options()` asks for nothing."""

    max_batch_size: int | None = None  # None: not said; 0: requests are never joined, dims hold the whole shape
    policy: Policy = Policy()
    instances: int = 0  # runs at the same time; 0: the node's choice
    batching: Batching | None = None
    sequences: Sequences | None = None
    warmup: tuple[Warmup, ...] = ()
    threads: int = 0  # inside one run (intra_op_thread_count); 0: the node's choice
    inter_threads: int = 0  # inter_op_thread_count; 0: the node's choice
    parallel: bool = False  # execution_mode 1: operators that do not need one another run side by side
    arena: bool | None = None  # enable_mem_arena; None: the node's choice
    pattern: bool | None = None  # enable_mem_pattern; None: the node's choice
    graph_level: int = 0  # 0: all optimisations, 1: basic and extended, -1: basic, 2: none (as Triton's ONNX backend)
    accelerators: tuple[str, ...] = ()  # best first, by the names of a manifest's needs
    gpu: int | None = None  # the number of the GPU that the instances want (KIND_GPU)
    runtime: str = ""  # "onnx", "litert" or "openvino"; empty: the file's suffix says
    file: str = ""  # default_model_filename
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False)  # all of them, known here or not
    ignored: tuple[str, ...] = ()  # what stands in the file and changes nothing here: the field, and why

    @property
    def reshapes(self) -> tuple[Reshape, ...]:
        """The tensors that are not declared with the shape that the model has."""
        ports = [(port, True) for port in self.inputs] + [(port, False) for port in self.outputs]
        return tuple(
            Reshape(port.name, takes, port.dims, port.reshape) for port, takes in ports if port.reshape is not None
        )
