"""Plain tensors by the Open Inference Protocol, over HTTP and over gRPC, and NPY."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from skerry.core.errors import Invalid, TooLarge
from skerry.core.manifest import Manifest
from skerry.core.names import shown
from skerry.core.tensor import DType, Spec, Tensor
from skerry.engine import state
from skerry.engine.arrays import to_tensor
from skerry.engine.session import Session
from skerry.engine.steps.step import Named
from skerry.host.clock import Clock
from skerry.host.regions import Regions
from skerry.node.worker.made import Made
from skerry.node.worker.opened import Opened
from skerry.node.worker.order import MAX_BODY, Head, Kind
from skerry.node.worker.quick import Quick
from skerry.wire import npy, oip, oip_grpc
from skerry.wire.routes import JSON_LENGTH

MAX_DIGITS = 12  # of a header's length
MAX_QUICK = 5  # digits of the length of a JSON that may be known
NPY = "application/x-npy"
_NOWHERE: Mapping[str, oip.Place] = MappingProxyType({})


class Inference:
    """Answers with one session."""

    def __init__(self, session: Session, clock: Clock, regions: Regions) -> None:
        self._session = session
        self._regions = regions
        self._nanos = clock.nanos
        self._outputs = {spec.name for spec in session.outputs}
        self.quick = Quick(session, clock.nanos)

    def http(self, head: Head, body: memoryview) -> Made:
        """JSON, JSON with binary tensors, the bytes of one tensor alone, or NPY."""
        length = front(head)
        made = self.quick(length, body) if length else None
        if made is not None:
            return made
        began = self._nanos()
        shared = Inputs(self._regions)
        asked = self._asked(head, body, shared)
        parsed = self._nanos()
        arrays = self._session.infer(asked.inputs, demanded(self._session, _sequence(asked)))
        ran = self._nanos()
        made = encoded(self._session.manifest, asked, tensors_of(arrays), self._regions)
        made.phases = (parsed - began, 0, ran - parsed, 0, self._nanos() - ran)
        if length and not shared.taken:
            self.quick.learn(length, body, asked)
        return made

    def open_http(self, head: Head, body: memoryview) -> Opened:
        """What `http` takes, decoded, to be run with others."""
        asked = self._asked(head, body, Inputs(self._regions))
        sequence = _sequence(asked)
        manifest, regions = self._session.manifest, self._regions
        return Opened(asked.inputs, lambda arrays: encoded(manifest, asked, tensors_of(arrays), regions), sequence)

    def open_grpc(self, _: Head, body: memoryview) -> Opened:
        """ModelInfer."""
        asked = self._known(oip_grpc.decode_infer(body, Inputs(self._regions)).request)
        sequence = _sequence(asked)
        return Opened(asked.inputs, partial(_grpc_encoded, self._session.manifest, asked, self._regions), sequence)

    def _asked(self, head: Head, body: memoryview, shared: Inputs) -> oip.InferRequest:
        length = head.json_length
        if length is None:
            if head.content_type.startswith(NPY):
                return self._npy(body)
            return self._known(oip.decode_request(body, MAX_BODY, None, shared))
        if not length.isascii() or not length.isdecimal() or len(length) > MAX_DIGITS:
            raise Invalid(f"{JSON_LENGTH}: expected a whole number; got {shown(length)}")
        if int(length):
            return self._known(oip.decode_request(body, MAX_BODY, int(length), shared))
        return oip.decode_raw(body, self._only_input("raw binary request"))

    def _npy(self, body: memoryview) -> oip.InferRequest:
        name = self._only_input(NPY).name
        return oip.InferRequest((replace(npy.decode(body, MAX_BODY), name=name),))

    def _only_input(self, what: str) -> Spec:
        inputs, name = self._session.inputs, self._session.manifest.name
        if len(inputs) != 1:
            raise Invalid(f"{what}: expected a model of one input; {name} has {len(inputs)}")
        return inputs[0]

    def _known(self, asked: oip.InferRequest) -> oip.InferRequest:
        """Return the request; raise Invalid if it names an output that is none."""
        for output in asked.outputs:
            if output.name not in self._outputs:
                known, name = ", ".join(sorted(self._outputs)), self._session.manifest.name
                raise Invalid(f"outputs: unknown output '{output.name}'; model {name} gives {known}")
        return asked


def front(head: Head) -> int:
    """Return how many bytes of JSON stand in front of binary tensors, -1 if all is JSON, 0 for anything else."""
    length = head.json_length
    if length is None:
        return -1 if not head.content_type or head.content_type.startswith("application/json") else 0
    return int(length) if length.isdecimal() and len(length) < MAX_QUICK else 0  # '²' is a digit, and no number


class Inputs:
    """Inputs of one request that lie in shared memory: a copy of each, at most MAX_BODY bytes of them all."""

    __slots__ = ("_regions", "taken")

    def __init__(self, regions: Regions) -> None:
        self._regions = regions
        self.taken = 0  # bytes

    def __call__(self, name: str, offset: int, size: int) -> memoryview:
        """Return a copy of bytes of a region; raise NotFound, Invalid or TooLarge."""
        self.taken += size
        if self.taken > MAX_BODY:
            raise TooLarge(f"shared memory region {shown(name)}: expected at most {MAX_BODY} bytes of inputs in all")
        return memoryview(self._regions.read(name, offset, size))


def encoded(manifest: Manifest, asked: oip.InferRequest, tensors: list[Tensor], regions: Regions | None = None) -> Made:
    """Return the answer over HTTP with the outputs that are asked for."""
    outputs = _chosen(manifest, asked, tensors)
    placed = _place(asked, outputs, regions) if regions is not None and asked.outputs else _NOWHERE
    if asked.outputs:
        binary = {one.name for one in asked.outputs if one.binary}
    else:
        binary = {one.name for one in tensors} if asked.binary else set()
    body, length = oip.encode_response(manifest.name, manifest.version, asked.id, outputs, binary, placed)
    return Made(body) if length is None else Made(body, Kind.BINARY, length)


def _grpc_encoded(manifest: Manifest, asked: oip.InferRequest, regions: Regions, arrays: Named) -> Made:
    outputs = _chosen(manifest, asked, tensors_of(arrays))
    placed = _place(asked, outputs, regions)
    data = oip_grpc.encode_infer(manifest.name, manifest.version, asked.id, outputs, placed=placed)
    return Made(data, Kind.PROTO)


def _place(asked: oip.InferRequest, outputs: Sequence[Tensor], regions: Regions) -> Mapping[str, oip.Place]:
    """Write the outputs that are wanted in shared memory there; return where they lie."""
    wanted = {one.name: one.region for one in asked.outputs if one.region is not None}
    if not wanted:
        return _NOWHERE
    found = {}
    for tensor in outputs:
        place = wanted.get(tensor.name)
        if place is not None:
            data = oip.raw_bytes(tensor)
            size = data.nbytes if isinstance(data, memoryview) else len(data)
            if size > place.size:
                raise Invalid(
                    f"shared memory size specified with the request for output '{tensor.name}' ({place.size} bytes) "
                    f"should be at least {size} bytes to hold the results"
                )
            regions.write(place.region, place.offset, data)
            found[tensor.name] = replace(place, size=size)
    return found


def tensors_of(arrays: Named) -> list[Tensor]:
    """Return arrays as tensors."""
    return [to_tensor(name, array) for name, array in arrays.items()]


def _chosen(manifest: Manifest, asked: oip.InferRequest, tensors: list[Tensor]) -> list[Tensor]:
    """Return the outputs that are asked for, as their best classes where that is asked."""
    if not asked.outputs:
        return tensors
    found = {tensor.name: tensor for tensor in tensors}
    return [_output(found[one.name], one, manifest.labels) for one in asked.outputs]


def _output(tensor: Tensor, asked: oip.Asked, labels: Sequence[str]) -> Tensor:
    if not asked.classes:
        return tensor
    if tensor.dtype in (DType.BYTES, DType.BOOL):
        raise Invalid(f"output '{tensor.name}': classification wants numbers; got {tensor.dtype.value}")
    return oip.classify(tensor, asked.classes, labels)


def demanded(session: Session, sequence: state.Sequence | None) -> state.Sequence | None:
    """Return the sequence of a request; raise Invalid, as Triton does, if it has none and the model is of sequences."""
    if sequence is None and session.demands:
        raise Invalid(
            f"inference request to model '{session.manifest.name}' must specify a non-zero or non-empty correlation ID"
        )
    return sequence


def _sequence(asked: oip.InferRequest) -> state.Sequence | None:
    if not asked.parameters:
        return None
    found = asked.sequence_id
    return state.Sequence(found, asked.sequence_start, asked.sequence_end) if found else None
