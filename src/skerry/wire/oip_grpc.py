"""The Open Inference Protocol over gRPC: ModelInfer and ModelStreamInfer, from bytes to typed values and back.

Large fields never become Python objects: raw contents are views into the request, typed contents are read by numpy.
What describes an input or an output is the same in most requests, so it is remembered by its bytes.
Sources: kserve/open-inference-protocol, specification/protocol/open_inference_grpc.proto;
triton-inference-server/server, src/grpc/infer_handler.cc.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from skerry.core.errors import Invalid
from skerry.core.names import shown
from skerry.core.tensor import DType, Tensor, elements
from skerry.wire.oip import MAX_CLASSES, MAX_TENSORS, Asked, InferRequest, Parameter, Place, Regions
from skerry.wire.protos.pool import message, read
from skerry.wire.protos.scan import Data, field, joined, lift, number, packed, text

MAX_FIELDS = 8 * MAX_TENSORS  # of a request's own fields; each tensor has at most a description and its bytes
REMEMBERED = 512  # requests whose inputs, and whose outputs, are remembered as they were described
MAX_REMEMBERED = 1024  # bytes of those of one request; so the memory has a bound of its own

Parameters = Mapping[str, Parameter]

_REQUEST = message("inference.ModelInferRequest")
_INPUT = message("inference.ModelInferRequest.InferInputTensor")
_OUTPUT = message("inference.ModelInferRequest.InferRequestedOutputTensor")
_CONTENTS = message("inference.InferTensorContents")
_RESPONSE = message("inference.ModelInferResponse")
_TENSOR = message("inference.ModelInferResponse.InferOutputTensor")
_PARAMETER = message("inference.InferParameter")

_MODEL, _VERSION, _ID, _PARAMETERS, _INPUTS, _OUTPUTS, _RAW = (number << 3 | 2 for number in range(1, 8))
_LIFTED = frozenset((_MODEL, _VERSION, _ID, _INPUTS, _OUTPUTS, _RAW))
_CONTENTS_TAG = 5 << 3 | 2  # in an input
_CONTENTS_TAGS = frozenset(number << 3 | 2 for number in range(1, 9))
_BYTES_TAG = 8 << 3 | 2
_SIZE = struct.Struct("<I")  # in front of each element of a raw BYTES tensor

_PLACING = frozenset({"shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"})
_WHOLE = frozenset({"sequence_id", "priority", "timeout"})  # a sequence's may be text too
_FLAGS = frozenset({"sequence_start", "sequence_end"})
_NONE: Mapping[str, Any] = MappingProxyType({})
_KINDS = {kind.value: kind for kind in DType}
_FIELDS = {  # which contents hold which types
    "bool_contents": (1, ("BOOL",)),
    "int_contents": (2, ("INT8", "INT16", "INT32")),
    "int64_contents": (3, ("INT64",)),
    "uint_contents": (4, ("UINT8", "UINT16", "UINT32")),
    "uint64_contents": (5, ("UINT64",)),
    "fp32_contents": (6, ("FP32",)),
    "fp64_contents": (7, ("FP64",)),
    "bytes_contents": (8, ("BYTES",)),
}
_FIELD_OF = {kind: (name, at << 3 | 2) for name, (at, kinds) in _FIELDS.items() for kind in kinds}


class Call(NamedTuple):
    """What a ModelInfer request asks for; `version` is "" where it names none."""

    model: str
    version: str
    request: InferRequest


class _Input(NamedTuple):
    """An input as its description has it.

    `total` elements are `size` bytes, None for BYTES; `typed` is what its contents hold, None where it has none.
    """

    name: str
    kind: DType
    shape: tuple[int, ...]
    total: int
    size: int | None
    place: Place | None
    parameters: Parameters  # but for those that place it
    typed: Data | tuple[bytes, ...] | None

    @property
    def where(self) -> str:
        """How an error names it."""
        return f"input '{self.name}'"


_Described = tuple[tuple[_Input, ...], Mapping[str, Parameters]]


def decode_infer(data: Data, regions: Regions | None = None) -> Call:
    """Return what a ModelInferRequest asks for; its tensors are views into `data` where that is large.

    `regions` finds the shared memory that an input may lie in; without it there is none.
    """
    rest, found = lift(data, _LIFTED, MAX_FIELDS)
    raws = found.get(_RAW, ())
    described = found.get(_INPUTS, ())
    inputs, parameters = (
        _known_inputs(tuple(map(bytes, described))) if raws and _small(described) else _inputs(described)
    )
    asked = found.get(_OUTPUTS, ())
    outputs = _known_outputs(tuple(map(bytes, asked))) if _small(asked) else _outputs(asked)
    request = InferRequest(
        _tensors(inputs, raws, regions),
        outputs,
        text(found, _ID, "id"),
        True,
        _judged(_values(read(_REQUEST, rest).parameters, "parameters")) if rest else _NONE,
        parameters,
    )
    return Call(text(found, _MODEL, "model_name"), text(found, _VERSION, "model_version"), request)


def encode_infer(
    model: str,
    version: int,
    request_id: str,
    outputs: Sequence[Tensor],
    parameters: Parameters = _NONE,
    placed: Mapping[str, Place] = _NONE,
) -> bytes:
    """Return a ModelInferResponse with its tensors in raw_output_contents; see `infer_parts`."""
    return b"".join(infer_parts(model, version, request_id, outputs, parameters, placed))


def infer_parts(
    model: str,
    version: int,
    request_id: str,
    outputs: Sequence[Tensor],
    parameters: Parameters = _NONE,
    placed: Mapping[str, Place] = _NONE,
) -> list[Data]:
    """Return a ModelInferResponse as the pieces of which it is made, tensors not copied.

    Outputs named in `placed` have been written to shared memory by the caller: the answer says where.
    """
    parts: list[Data] = [_named(model, version)]
    if request_id:
        parts.append(field(_ID, request_id.encode()))
    if parameters:
        parts.append(_RESPONSE(parameters=_choices(parameters)).SerializeToString())
    tail: list[Data] = []
    for tensor in outputs:
        if tensor.name in placed:
            parts.append(_elsewhere(tensor, placed[tensor.name]))
            tail.append(b"\x32\x00")  # empty, so that entries and outputs go on matching one to one
            continue
        parts.append(_described(tensor.name, tensor.dtype, tensor.shape))
        data = tensor.data if not isinstance(tensor.data, tuple) else _lengths(tensor.data)
        tail.append(b"\x32" + number(data.nbytes if isinstance(data, memoryview) else len(data)))
        tail.append(data)
    return parts + tail


def encode_stream(response: Sequence[Data]) -> bytes:
    """Return a ModelStreamInferResponse around the pieces of a ModelInferResponse."""
    size = sum(part.nbytes if isinstance(part, memoryview) else len(part) for part in response)
    return b"".join((b"\x12", number(size), *response))


def encode_stream_error(text: str, request_id: str = "") -> bytes:
    """Return a ModelStreamInferResponse that says what failed, and in which request."""
    named = field(_ID, request_id.encode()) if request_id else b""
    return field(0x0A, text.encode()) + field(0x12, named)


def _small(parts: Sequence[Data]) -> bool:
    """Whether descriptions are so small that they may be remembered."""
    return sum(map(len, parts)) <= MAX_REMEMBERED


def _inputs(parts: Sequence[Data]) -> _Described:
    if len(parts) > MAX_TENSORS:
        raise Invalid(f"inputs: expected at most {MAX_TENSORS}; got {len(parts)}")
    found = tuple([_input(part) for part in parts])
    if len({one.name for one in found}) < len(found):
        raise Invalid(f"inputs: expected each name once; got {shown([one.name for one in found])}")
    return found, {one.name: one.parameters for one in found if one.parameters}


@lru_cache(REMEMBERED)
def _known_inputs(parts: tuple[bytes, ...]) -> _Described:
    return _inputs(parts)


def _input(part: Data) -> _Input:
    rest, found = lift(part, (_CONTENTS_TAG,))
    given = read(_INPUT, rest)
    where = f"input '{given.name}'"
    kind, shape = _KINDS.get(given.datatype), tuple(given.shape)
    if kind is None:
        raise Invalid(f"{where}: datatype: expected one of {' '.join(_KINDS)}; got {shown(given.datatype)}")
    count = elements(shape, where)
    parameters = _values(given.parameters, f"{where}: parameters")
    typed = _typed(joined(found[_CONTENTS_TAG]), kind, count, where) if found else None
    size = None if kind is DType.BYTES else count * kind.size
    place = _place(parameters, where) if parameters else None
    if place:
        parameters = {name: value for name, value in parameters.items() if name not in _PLACING}
    return _Input(given.name, kind, shape, count, size, place, parameters, typed)


def _tensors(inputs: Sequence[_Input], raws: Sequence[Data], regions: Regions | None) -> tuple[Tensor, ...]:
    """Return the inputs with their data: raw contents in the inputs' order, typed ones, or shared memory."""
    tensors, taken = [], 0
    for one in inputs:
        if one.typed is not None and (raws or one.place):
            raise Invalid(
                f"{one.where}: expected either contents or {'shared memory' if one.place else 'raw_input_contents'}"
            )
        if one.place:
            data = _raw(one, _shared(one, one.place, regions))
        elif raws:
            if taken == len(raws):
                raise Invalid(f"{one.where}: expected an entry of raw_input_contents; there are {len(raws)}")
            data = _raw(one, raws[taken])
            taken += 1
        elif one.typed is not None:
            data = one.typed
        elif one.total:
            raise Invalid(f"{one.where}: expected {one.total} values for shape {list(one.shape)}; got 0")
        else:
            data = () if one.size is None else b""
        tensors.append(Tensor(one.name, one.kind, one.shape, data))
    if taken < len(raws):
        raise Invalid(f"raw_input_contents: expected {taken} entries, one for each such input; got {len(raws)}")
    return tuple(tensors)


def _raw(one: _Input, data: Data) -> Data | tuple[bytes, ...]:
    """Return raw bytes as a tensor has them; raise Invalid unless they hold exactly the input's elements."""
    if one.size is not None:
        if len(data) != one.size:
            raise Invalid(f"{one.where}: expected {one.size} bytes for {one.total} {one.kind.value}; got {len(data)}")
        return data
    found: list[bytes] = []
    at = 0
    while at < len(data):
        if at + _SIZE.size > len(data):
            raise Invalid(f"{one.where}: the length of element {len(found)} is cut off")
        (size,) = _SIZE.unpack_from(data, at)
        at += _SIZE.size
        if at + size > len(data):
            raise Invalid(f"{one.where}: element {len(found)}: expected {size} bytes; {len(data) - at} are left")
        found.append(bytes(data[at : at + size]))
        at += size
    if len(found) != one.total:
        raise Invalid(f"{one.where}: expected {one.total} byte strings; got {len(found)}")
    return tuple(found)


def _shared(one: _Input, place: Place, regions: Regions | None) -> memoryview:
    if regions is None:
        raise Invalid(f"{one.where}: shared_memory_region: none is registered; got {shown(place.region)}")
    return regions(place.region, place.offset, place.size)


def _place(parameters: Parameters, where: str) -> Place | None:
    """Return where in shared memory a tensor lies, None if it does not."""
    if "shared_memory_region" not in parameters:
        return None
    name = parameters["shared_memory_region"]
    if not isinstance(name, str):
        raise Invalid(f"{where}: shared_memory_region: expected a name; got {shown(name)}")
    size = _whole(parameters.get("shared_memory_byte_size"), f"{where}: shared_memory_byte_size")
    return Place(name, _whole(parameters.get("shared_memory_offset", 0), f"{where}: shared_memory_offset"), size)


def _judged(parameters: Parameters) -> Parameters:
    """Return a request's parameters; raise Invalid if one of the protocol's own is not what it should be."""
    for name, value in parameters.items():
        if name in _WHOLE and not (name == "sequence_id" and isinstance(value, str)):
            _whole(value, f"parameters: {name}")
        if name in _FLAGS and not isinstance(value, bool):
            raise Invalid(f"parameters: {name}: expected true or false; got {shown(value)}")
    return parameters


def _whole(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Invalid(f"{where}: expected a whole number of 0 or more; got {shown(value)}")
    return value


def _typed(contents: Data, kind: DType, count: int, where: str) -> Data | tuple[bytes, ...] | None:
    """Return what typed contents hold, None if they hold nothing; raise Invalid unless it is `count` elements."""
    rest, found = lift(contents, _CONTENTS_TAGS)
    if (
        rest
    ):  # numbers that are not packed, or fields that are not known here: protobuf packs the one, we ignore the other
        _, found = lift(read(_CONTENTS, contents).SerializeToString(), _CONTENTS_TAGS)
    held = [tag for tag, parts in found.items() if tag == _BYTES_TAG or any(map(len, parts))]
    if not held:
        return None
    if kind.value not in _FIELD_OF:
        raise Invalid(f"{where}: {kind.value} goes in raw_input_contents alone; got contents")
    name, tag = _FIELD_OF[kind.value]
    if held != [tag]:
        raise Invalid(f"{where}: expected {kind.value} in contents.{name} alone; got {_given(held)}")
    if kind is DType.BYTES:
        values: Data | tuple[bytes, ...] = tuple(bytes(part) for part in found[tag])
        got = len(values)
    else:
        values = packed(kind, found[tag], where)
        got = len(values) // kind.size
    if got != count:
        raise Invalid(f"{where}: expected {count} values in contents.{name}; got {got}")
    return values


def _given(tags: Sequence[int]) -> str:
    return ", ".join(name for name, (at, _) in _FIELDS.items() if at << 3 | 2 in tags)


def _outputs(parts: Sequence[Data]) -> tuple[Asked, ...]:
    if len(parts) > MAX_TENSORS:
        raise Invalid(f"outputs: expected at most {MAX_TENSORS}; got {len(parts)}")
    found = tuple([_asked(part) for part in parts])
    if len({one.name for one in found}) < len(found):
        raise Invalid(f"outputs: expected each name once; got {shown([one.name for one in found])}")
    return found


@lru_cache(REMEMBERED)
def _known_outputs(parts: tuple[bytes, ...]) -> tuple[Asked, ...]:
    return _outputs(parts)


def _asked(part: Data) -> Asked:
    given = read(_OUTPUT, part)
    where = f"output '{given.name}'"
    parameters = _values(given.parameters, f"{where}: parameters")
    classes = _whole(parameters.get("classification", 0), f"{where}: classification")
    if classes > MAX_CLASSES:
        raise Invalid(f"{where}: classification: expected at most {MAX_CLASSES}; got {classes}")
    place = _place(parameters, where)
    if place and classes:
        raise Invalid(f"{where}: expected either classification or shared memory")
    return Asked(given.name, place is None, classes, place)


def _values(given: Any, where: str) -> Parameters:
    """Return parameters by name."""
    found: dict[str, Parameter] = {}
    for name in given:
        choice = given[name].WhichOneof("parameter_choice")
        if choice is None:
            raise Invalid(f"{where}: {shown(name)}: expected a value; got none")
        found[name] = getattr(given[name], choice)
    return found


def _choices(parameters: Parameters) -> dict[str, Any]:
    """Return parameters as protobuf has them."""
    return {name: _PARAMETER(**{_choice(value): value}) for name, value in parameters.items()}


def _choice(value: Parameter) -> str:
    if isinstance(value, bool):
        return "bool_param"
    if isinstance(value, int):
        return "int64_param" if value < 1 << 63 else "uint64_param"
    return "string_param" if isinstance(value, str) else "double_param"


@lru_cache(REMEMBERED)
def _named(model: str, version: int) -> bytes:
    return field(_MODEL, model.encode()) + field(_VERSION, str(version).encode())


@lru_cache(REMEMBERED)
def _described(name: str, kind: DType, shape: tuple[int, ...]) -> bytes:
    return field(_INPUTS, _TENSOR(name=name, datatype=kind.value, shape=shape).SerializeToString())


def _elsewhere(tensor: Tensor, place: Place) -> bytes:
    """Return the description of an output that lies in shared memory."""
    found: dict[str, Parameter] = {"shared_memory_region": place.region, "shared_memory_byte_size": place.size}
    if place.offset:
        found["shared_memory_offset"] = place.offset
    one = _TENSOR(name=tensor.name, datatype=tensor.dtype.value, shape=tensor.shape, parameters=_choices(found))
    return field(_INPUTS, one.SerializeToString())


def _lengths(values: Sequence[bytes]) -> bytes:
    return b"".join([part for value in values for part in (_SIZE.pack(len(value)), value)])
