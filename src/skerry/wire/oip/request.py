"""Requests of the Open Inference Protocol: bytes to typed values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from msgspec import Struct

from skerry.core.errors import Invalid, TooLarge
from skerry.core.fields import Fields
from skerry.core.names import shown
from skerry.core.tensor import DType, Spec, Tensor
from skerry.wire.oip.envelope import MAX_TENSORS, Output, Parameter, flag, option, read, read_input, text, whole
from skerry.wire.oip.tensors import Reader, Regions

MAX_CLASSES = 10_000  # best classes that an output may be asked as


@dataclass(frozen=True)
class Place:
    """Where in shared memory a tensor lies or is wanted."""

    region: str
    offset: int  # bytes
    size: int  # bytes


class Asked(Struct, frozen=True):
    """One output that a request names: how it is to be sent, and whether as its best `classes`."""

    name: str
    binary: bool
    classes: int = 0  # 0: the tensor itself
    region: Place | None = None  # shared memory that it is to be written to


class InferRequest(Struct, frozen=True):  # a Struct is made in 0.2 us, a frozen dataclass of six fields in 1.2
    """An inference request: input tensors, and the outputs asked for (all, if none is named).

    Parameters are strings, numbers and booleans as they came; the protocol's own have been checked.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Asked, ...] = ()
    id: str = ""
    binary: bool = False  # how outputs go that are not named
    parameters: Mapping[str, Parameter] = {}
    input_parameters: Mapping[str, Mapping[str, Parameter]] = {}  # by input; none that places

    @property
    def sequence_id(self) -> int | str:
        """The sequence that the request belongs to; 0 and "" are none."""
        found = self.parameters.get("sequence_id", 0)
        return found if isinstance(found, str) else int(found)

    @property
    def sequence_start(self) -> bool:
        """Whether it is the first of its sequence."""
        return bool(self.parameters.get("sequence_start", False))

    @property
    def sequence_end(self) -> bool:
        """Whether it is the last of its sequence."""
        return bool(self.parameters.get("sequence_end", False))

    @property
    def priority(self) -> int:
        """How urgent it is: 1 is the most, 0 is the model's default."""
        return int(self.parameters.get("priority", 0))

    @property
    def timeout(self) -> int:
        """Microseconds that it may wait; 0 is the model's default."""
        return int(self.parameters.get("timeout", 0))


def decode_request(
    data: bytes | memoryview, limit: int, header: int | None = None, regions: Regions | None = None
) -> InferRequest:
    """Return the request in a body of at most `limit` bytes; raise Invalid or TooLarge.

    `header` is the length of the JSON where binary tensors follow it (extension "binary_tensor_data");
    None where the whole body is JSON. `regions` finds shared memory; it raises Invalid or NotFound itself.
    Binary tensors are views of `data`, at whatever alignment the JSON leaves them.
    """
    if len(data) > limit:
        raise TooLarge(f"request: expected at most {limit} bytes; got {len(data)}")
    if header is not None and not 0 <= header <= len(data):
        raise Invalid(f"inference header size should be in range (0, {len(data)}), got: {header}")
    envelope = read(data if header is None else data[:header])
    parameters = envelope.parameters
    binary = _judge(parameters) if parameters else False
    reader = Reader(memoryview(b"" if header is None else data)[header or 0 :], regions)
    inputs = tuple([reader.tensor(entry) for entry in envelope.inputs])
    if reader.left:
        raise Invalid(f"request: {reader.left} bytes follow the last binary tensor")
    outputs = tuple([_asked(entry, binary) for entry in envelope.outputs])
    _check_names("inputs", inputs)
    _check_names("outputs", outputs)
    return InferRequest(inputs, outputs, envelope.id, binary, parameters, reader.parameters)


def decode_raw(data: bytes | memoryview, spec: Spec) -> InferRequest:
    """Return the request of a body that is one input's bytes alone (header length 0), a batch of one.

    The input may have one free dimension beside the batch, which the bytes decide; BYTES has one element.
    """
    if spec.dtype is DType.BYTES:
        return InferRequest((Tensor(spec.name, spec.dtype, (1,) * len(spec.shape), (bytes(data),)),), binary=True)
    shape = list(spec.shape)
    if shape and shape[0] == -1:
        shape[0] = 1
    if shape.count(-1) > 1:
        raise Invalid(f"input '{spec.name}': its shape {list(spec.shape)} cannot be told from raw bytes alone")
    known = math.prod(size for size in shape if size != -1) * spec.dtype.size
    if -1 in shape:
        if not known or len(data) % known:
            raise Invalid(f"input '{spec.name}': expected a multiple of {known} bytes; got {len(data)}")
        shape[shape.index(-1)] = len(data) // known
    elif len(data) != known:
        raise Invalid(f"input '{spec.name}': expected {known} bytes for shape {shape}; got {len(data)}")
    return InferRequest((Tensor(spec.name, spec.dtype, tuple(shape), data),), binary=True)


def read_tensors(value: object) -> tuple[Tensor, ...]:
    """Return tensors from a JSON list of the protocol's form."""
    reader = Reader(memoryview(b""), None)
    return Fields({"tensors": value}, "").many("tensors", lambda one: reader.tensor(read_input(one)), limit=MAX_TENSORS)


def _check_names(what: str, found: tuple[Tensor, ...] | tuple[Asked, ...]) -> None:
    if len(found) > 1 and len({one.name for one in found}) != len(found):
        raise Invalid(f"{what}: expected each name once; got {shown([one.name for one in found])}")


def _sequence(value: object) -> int | str:
    return value if isinstance(value, str) else whole(value)


_JUDGES: Mapping[str, Callable[[object], object]] = {
    "binary_data_output": flag,
    "sequence_id": _sequence,
    "sequence_start": flag,
    "sequence_end": flag,
    "priority": whole,
    "timeout": whole,
}


def _judge(parameters: Mapping[str, Parameter]) -> bool:
    """Raise Invalid for a parameter of the protocol that is not what it should be; return "binary_data_output"."""
    for key, value in parameters.items():
        judge = _JUDGES.get(key)
        if judge is not None and not (judge is flag and value is True):  # "binary_data_output": true is all but always
            option(parameters, key, judge, "")
    return bool(parameters.get("binary_data_output", False))


def _asked(entry: Output, binary: bool) -> Asked:
    given = entry.parameters
    if not given:
        return Asked(entry.name, binary)
    where = f"output '{entry.name}'"
    wanted = option(given, "binary_data", flag, where)
    classes = option(given, "classification", whole, where) or 0
    if classes > MAX_CLASSES:
        raise Invalid(
            f"{where}: parameters.classification: expected a whole number from 0 to {MAX_CLASSES}; got {classes}"
        )
    region = option(given, "shared_memory_region", text, where)
    if region is None:
        return Asked(entry.name, binary if wanted is None else wanted, classes)
    if classes:
        raise Invalid(f"{where}: expected either 'classification' or 'shared_memory_region'")
    size = option(given, "shared_memory_byte_size", whole, where)
    if size is None:
        raise Invalid(f"{where}: parameters.shared_memory_byte_size: expected this field; it is missing")
    place = Place(region, option(given, "shared_memory_offset", whole, where) or 0, size)
    return Asked(entry.name, binary=False, region=place)
