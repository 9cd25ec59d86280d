"""Requests that differ from an earlier one in their numbers alone: the common case of a client in a loop.

What stands around the numbers is remembered by its bytes, and so is what stands around the answer's; then a request
costs little more than the run. Only plain ones are remembered: numbers in binary both ways, or one input as JSON and
all outputs as JSON; no id, no sequence, no shared memory. Whatever is not exactly as remembered goes the usual way.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from skerry.core.errors import SkerryError
from skerry.core.tensor import DType, Tensor
from skerry.engine.arrays import Array, numpy_of
from skerry.engine.session import Session
from skerry.engine.steps.step import Named
from skerry.node.worker.made import Made
from skerry.node.worker.order import Kind
from skerry.wire import numbers, oip

MAX_JSON = 1024  # bytes of a JSON in front of binary tensors, or around numbers, that is remembered
MAX_BODY = 16 << 10  # bytes of a body of JSON; in larger ones the numbers are what costs
MAX_KNOWN = 256  # of each kind
DATA = b'"data":'
SHORT = 1024  # bytes of a tensor whose numbers may become Python's on the way
FLOATS = msgspec.json.Decoder(list[float])


@dataclass(frozen=True, slots=True)
class Slot:
    """One input: its bytes lie at `start` behind the JSON."""

    name: str
    kind: DType
    numpy: np.dtype[np.generic]
    shape: tuple[int, ...]
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Known:
    """What a JSON meant: its inputs; of binary ones the outputs in their order, of JSON what follows the numbers."""

    slots: tuple[Slot, ...]
    outputs: tuple[str, ...]
    size: int  # bytes of all inputs
    rest: bytes = b""


class Quick:
    """The memory of one session."""

    def __init__(self, session: Session, nanos: Callable[[], int]) -> None:
        self._session = session
        self._nanos = nanos
        self._names = tuple(spec.name for spec in session.outputs)
        kinds = [spec.dtype for spec in (*session.inputs, *session.outputs)]
        self._able = sys.byteorder == "little" and not {DType.BYTES, DType.BF16} & set(kinds) and not session.remembers
        self._known: dict[bytes, Known] = {}
        self._binary: dict[tuple[object, ...], bytes] = {}
        self._json: dict[tuple[object, ...], tuple[bytes, ...]] = {}

    def __call__(self, length: int, body: memoryview) -> Made | None:
        """Return the answer, None if the request is not known.

        `length` is that of the JSON in front of binary tensors, -1 where all is JSON.
        """
        began = self._nanos()
        found = self._feeds_json(body) if length < 0 else self._feeds_binary(length, body)
        if found is None:
            return None
        known, feeds = found
        parsed = self._nanos()
        try:
            arrays = self._session.feed(feeds)
        except SkerryError:
            return None  # the usual way says what is wrong
        ran = self._nanos()
        made = self._made_json(arrays) if length < 0 else self._made_binary(known, arrays)
        if made is not None:
            made.phases = (parsed - began, 0, ran - parsed, 0, self._nanos() - ran)
        return made

    def learn(self, length: int, body: memoryview, asked: oip.InferRequest) -> None:
        """Remember what stands around the numbers of a request that has been answered, if it is plain."""
        if not self._able or asked.id or asked.sequence_id or not asked.inputs or len(asked.parameters) > 1:
            return
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        if length < 0:
            self._learn_json(bytes(body), asked)
        elif 0 < length <= MAX_JSON:
            self._learn_binary(bytes(body[:length]), asked)

    def _learn_binary(self, text: bytes, asked: oip.InferRequest) -> None:
        plain = all(one.binary and not one.classes and one.region is None for one in asked.outputs)
        if plain and (asked.outputs or asked.binary):
            known = self._describe(asked, tuple(one.name for one in asked.outputs) or self._names)
            if known.size + len(text) == len(text) + sum(len(tensor.data) for tensor in asked.inputs):
                self._known[text] = known

    def _learn_json(self, text: bytes, asked: oip.InferRequest) -> None:
        start = _numbers_at(text)
        if len(text) > MAX_BODY or asked.outputs or asked.binary or len(asked.inputs) != 1 or text.count(DATA) != 1:
            return
        end = _list_end(text, start)
        if end and start + len(text) - end <= MAX_JSON and numbers.read(text[start:end], asked.inputs[0].dtype):
            self._known[text[:start]] = self._describe(asked, self._names, text[end:])

    @staticmethod
    def _describe(asked: oip.InferRequest, outputs: tuple[str, ...], rest: bytes = b"") -> Known:
        slots, at = [], 0
        for tensor in asked.inputs:
            size = math.prod(tensor.shape) * tensor.dtype.size
            slots.append(Slot(tensor.name, tensor.dtype, numpy_of(tensor.dtype), tensor.shape, at, size))
            at += size
        return Known(tuple(slots), outputs, at, rest)

    def _feeds_binary(self, length: int, body: memoryview) -> tuple[Known, dict[str, Array]] | None:
        known = self._known.get(bytes(body[:length]))
        if known is None or len(body) - length != known.size:
            return None
        return known, {s.name: np.ndarray(s.shape, s.numpy, body, length + s.start) for s in known.slots}

    def _feeds_json(self, body: memoryview) -> tuple[Known, dict[str, Array]] | None:
        if len(body) > MAX_BODY:
            return None
        text = bytes(body)
        start = _numbers_at(text)
        known = self._known.get(text[:start])
        if known is None or not text.endswith(known.rest):
            return None
        slot = known.slots[0]
        data = _read(text[start : len(text) - len(known.rest)], slot)
        return None if data is None else (known, {slot.name: np.ndarray(slot.shape, slot.numpy, data)})

    def _made_binary(self, known: Known, arrays: Named) -> Made:
        wanted = [arrays[name] for name in known.outputs]
        key = (known.outputs, *[array.shape for array in wanted])
        text = self._binary.get(key)
        if text is None:
            text = self._binary[key] = self._front(known.outputs, wanted)
            if len(self._binary) > MAX_KNOWN:
                self._binary.clear()
        return Made(b"".join([text, *[array.tobytes() for array in wanted]]), Kind.BINARY, len(text))

    def _made_json(self, arrays: Named) -> Made | None:
        key = tuple([array.shape for array in arrays.values()])
        around = self._json.get(key)
        if around is None:
            around = self._json[key] = self._around(arrays)
            if len(self._json) > MAX_KNOWN:
                self._json.clear()
        parts = [around[0]]
        for array, after in zip(arrays.values(), around[1:], strict=True):
            data = numbers.dumps(np.ascontiguousarray(array).reshape(-1))
            if data is None:
                return None  # NaN or infinity: the usual way writes them
            parts += (data, after)
        return Made(b"".join(parts))

    def _front(self, names: tuple[str, ...], wanted: list[Array]) -> bytes:
        """Return the JSON in front of binary outputs, as the usual way writes it."""
        manifest = self._session.manifest
        tensors = [_empty(name, array) for name, array in zip(names, wanted, strict=True)]
        body, length = oip.encode_response(manifest.name, manifest.version, "", tensors, set(names))
        assert length is not None
        return body[:length]

    def _around(self, arrays: Named) -> tuple[bytes, ...]:
        """Return what stands around the numbers of an answer in JSON, as the usual way writes it."""
        manifest = self._session.manifest
        tensors = [_empty(name, array) for name, array in arrays.items()]
        body, _ = oip.encode_response(manifest.name, manifest.version, "", tensors)
        pieces, at = [], 0
        for _ in tensors:
            start = body.index(DATA, at) + len(DATA)
            pieces.append(body[at:start])
            at = _list_end(body, start)
        return (*pieces, body[at:])


def _read(text: bytes, slot: Slot) -> bytes | memoryview | None:
    """Return the bytes of numbers in JSON, None if they are not exactly what the slot wants."""
    if slot.kind is DType.FP32 and slot.size <= SHORT:  # 0.7 us for 16 numbers; `numbers.read` takes 3
        try:
            values = FLOATS.decode(text)
            return struct.pack(f"<{slot.size // 4}f", *values)
        except (msgspec.DecodeError, struct.error, OverflowError):  # nested, too many, too great: looked at below
            pass
    found = numbers.read(text, slot.kind)
    if found is None or len(found[1]) != slot.size or found[0] not in (slot.shape, (math.prod(slot.shape),)):
        return None
    return found[1]


def _numbers_at(text: bytes) -> int:
    """Return where the value of the first "data" begins; some clients write a space before it."""
    start = text.find(DATA) + len(DATA)
    return start + 1 if text[start : start + 1] == b" " else start


def _empty(name: str, array: Array) -> Tensor:
    """Return a tensor of zeros of an array's type and shape."""
    return Tensor(name, _KINDS[array.dtype.name], array.shape, bytes(array.nbytes))


_KINDS = {kind.numpy: kind for kind in DType if kind is not DType.BF16}


def _list_end(text: bytes, start: int) -> int:
    """Return where the JSON list of numbers at `start` ends, 0 if there is none."""
    depth = 0
    for at in range(start, len(text)):
        if text[at] == 91:
            depth += 1
        elif text[at] == 93:
            depth -= 1
            if depth == 0:
                return at + 1
        elif depth == 0:
            return 0
    return 0
