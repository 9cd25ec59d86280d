"""The block `sequence_batching` of a config.pbtxt: inputs that the node fills, outputs that come back as inputs."""

from __future__ import annotations

from skerry.core.names import shown
from skerry.core.tensor import MAX_ELEMENTS, MAX_RANK, DType
from skerry.wire.config.message import INT32, UINT64, Message
from skerry.wire.config.options import SEQUENCE_IDLE, Control, First, Sequences, Signal, State
from skerry.wire.config.ports import PLAIN
from skerry.wire.config.reasons import SPEED

MAX_CANDIDATES = 1 << 20  # sequences; each holds its state in memory
_CORRID = (DType.UINT64, DType.INT64, DType.UINT32, DType.INT32, DType.BYTES)


def read_sequences(block: Message, size: int) -> Sequences:
    """Return what the block asks; `size` is the model's max_batch_size."""
    direct, oldest = block.one("direct"), block.one("oldest")
    if direct and oldest:
        raise block.error("oldest", "expected it or direct, not both")
    if block.flag("iterative_sequence"):
        raise block.error("iterative_sequence", "true is not supported by this node: a request runs once")
    chosen = direct or oldest
    candidates, utilization = 0, 0.0
    preferred: tuple[int, ...] = ()
    if oldest:
        candidates = oldest.whole("max_candidate_sequences", 1, MAX_CANDIDATES)
        preferred = oldest.wholes("preferred_batch_size", 1, INT32)
        if not candidates:
            raise oldest.error("max_candidate_sequences", f"expected a whole number from 1 to {MAX_CANDIDATES}")
        if any(one > size for one in preferred):
            raise oldest.error("preferred_batch_size", f"expected at most max_batch_size, {size}")
    if direct:
        shares = direct.reals("minimum_slot_utilization") or (0.0,)
        if len(shares) != 1 or not 0.0 <= shares[0] <= 1.0:
            raise direct.error("minimum_slot_utilization", f"expected a number from 0 to 1; got {list(shares)}")
        utilization = shares[0]
    found = Sequences(
        idle=block.whole("max_sequence_idle_microseconds", 0, UINT64) or SEQUENCE_IDLE,
        controls=_controls(block),
        states=tuple(map(_state, block.many("state"))),
        candidates=candidates,
        preferred=tuple(sorted(set(preferred))),
        delay=chosen.whole("max_queue_delay_microseconds", 0, UINT64) if chosen else 0,
        preserve_order=oldest is not None and oldest.flag("preserve_ordering"),
        utilization=utilization,
    )
    if chosen:
        chosen.end({})
    block.end({})
    return found


def _controls(block: Message) -> tuple[Control, ...]:
    found: dict[Signal, Control] = {}
    for one in block.many("control_input"):
        name = one.text("name")
        if not name:
            raise one.error("name", "expected the name of an input; it is missing")
        signals = one.many("control")
        one.end({})
        if len(signals) != 1 or name in {control.input for control in found.values()}:
            raise one.error("control", f"expected one control for each input; '{name}' has another number of them")
        for signal in signals:
            control = _control(signal, name)
            if control.signal in found:
                raise signal.error("kind", f"expected each once; got {control.signal.value} again")
            found[control.signal] = control
    return tuple(found.values())


def _control(block: Message, name: str) -> Control:
    signal = Signal(block.word("kind", tuple(s.value for s in Signal), Signal.START.value))
    ways: dict[DType, tuple[float, ...]] = {
        DType.INT32: block.wholes("int32_false_true", -INT32 - 1, INT32),
        DType.FP32: block.reals("fp32_false_true"),
        DType.BOOL: block.flags("bool_false_true"),
    }
    given = [(kind, values) for kind, values in ways.items() if values]
    if signal is Signal.CORRID:
        kind = block.dtype("data_type")
        if kind not in _CORRID or given:
            raise block.error("data_type", "expected TYPE_UINT64, INT64, UINT32, INT32 or STRING, and no false_true")
        block.end({})
        return Control(name, signal, kind)
    if len(given) != 1 or len(given[0][1]) != 2:
        raise block.error("kind", "expected one of int32_false_true, fp32_false_true, bool_false_true, of two values")
    block.end({"data_type": f"it belongs to {Signal.CORRID.value} alone"})
    return Control(name, signal, given[0][0], tuple(map(float, given[0][1])))


def _state(block: Message) -> State:
    name, output = block.text("input_name"), block.text("output_name")
    if not name or not output:
        raise block.error("input_name", f"expected input_name and output_name; got {shown(name)} and {shown(output)}")
    dims = block.wholes("dims", -1, MAX_ELEMENTS)
    if len(dims) > MAX_RANK or 0 in dims:
        raise block.error("dims", f"expected at most {MAX_RANK} dimensions of 1 or more, or -1; got {list(dims)}")
    kind = block.dtype("data_type")
    found = State(name, output, kind, dims, _first(block, kind))
    for field in ("use_same_buffer_for_input_output", "use_growable_memory"):
        if block.flag(field):
            block.ignore(field, SPEED)
    block.end({})
    if found.first is not None and not _begins(found.first.dims, dims):
        raise block.error("initial_state", f"expected dims that are those of the state, {list(dims)}, without free "
                          f"ones; got {list(found.first.dims)}")  # fmt: skip
    return found


def _first(block: Message, kind: DType) -> First | None:
    """Return what a state begins with, None if the file does not say."""
    entries = block.many("initial_state")
    if len(entries) > 1:
        raise block.error("initial_state", f"expected it once; got {len(entries)}")
    if not entries:
        return None
    entry = entries[0]
    name, file = entry.text("name"), entry.text("data_file")
    if not name:
        raise entry.error("name", "expected a name; it is missing")
    if entry.has("zero_data") == entry.has("data_file"):
        raise entry.error("zero_data", "expected one of zero_data and data_file")
    if entry.has("data_file") and not PLAIN.fullmatch(file):
        raise entry.error("data_file", f"expected the name of a file in the folder 'initial_state'; got {shown(file)}")
    entry.flag("zero_data")
    if entry.dtype("data_type") is not kind:
        raise entry.error("data_type", f"expected that of the state, {kind.value}")
    found = First(name, entry.wholes("dims", 1, MAX_ELEMENTS), file)
    entry.end({})
    return found


def _begins(first: tuple[int, ...], dims: tuple[int, ...]) -> bool:
    return len(first) == len(dims) and all(one in (-1, size) for one, size in zip(dims, first, strict=True))
