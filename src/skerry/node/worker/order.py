"""What the control process and a worker tell each other. Calls and answers go over a channel, the rest over a socket.

A call is a ticket, an operation, and where in the model's arena its head and body lie and its answer may be put.
The head is what the protocol's headers said; the body is as the client sent it: the worker decodes it.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any

import msgspec

from skerry.core import errors
from skerry.core.batch import SIZES
from skerry.core.errors import SkerryError
from skerry.wire.config import Reshape, Sequences, Warmup

# ticket, block at, head bytes, operation, flags, body at, body bytes, room at, room bytes
CALL = struct.Struct("<QQIHHQQQQ")
# ticket, status, kind, bytes of JSON in front, bytes of answer, bytes of notes after it, taken at (monotonic ns),
# then ns of parse, preprocess, infer, postprocess, encode, examples in the request, and of the run if it had company
# (see `Made`)
ANSWER = struct.Struct("<QHHIQQQQQQQQIi")
MAX_BODY = 64 << 20  # bytes, as Triton's default; a 2,000 x 2,000 x 3 float tensor is 48 MB
HEAD_ROOM = 1024  # bytes in front of a body; a longer head is an error of the client
VERDICT_ROOM = 1024  # bytes of an encoded verdict of a shadow, at most
DONE, NO_ROOM, FAILED = 0, 1, 2  # statuses; FAILED + i is the error KINDS[i], and the answer its text


class Op(IntEnum):
    """What a worker can be asked."""

    FETCH = 0  # the answer that did not fit, now that there is room
    STOP = 1  # one thread ends
    PING = 2  # nothing: are you there?
    GOLDEN = 3  # the first golden again: do you still tell the truth?
    SHADOW = 4  # a request that another version has answered: would you have said the same?
    SAMPLE = 5  # a request of INFER that is not counted: how long does one take?
    INFER = 10  # Open Inference Protocol over HTTP, and what else may be posted there
    PREDICT = 11  # an image; findings
    TFS_PREDICT = 12
    TFS_CLASSIFY = 13
    TFS_REGRESS = 14
    GRPC_INFER = 20
    GRPC_PREDICT = 21  # TensorFlow Serving's
    GRPC_CLASSIFY = 22
    GRPC_REGRESS = 23
    GRPC_MULTI = 24


class Kind(IntEnum):
    """What an answer is."""

    JSON = 0
    BINARY = 1  # JSON and binary tensors
    PROTO = 2  # one protocol buffer


CONTENT_TYPES = {
    Kind.JSON: b"application/json",
    Kind.BINARY: b"application/octet-stream",
    Kind.PROTO: b"application/grpc",
}


class Head(msgspec.Struct, array_like=True, frozen=True, omit_defaults=True):
    """What stood around a body."""

    content_type: str = ""
    json_length: str | None = None  # Inference-Header-Content-Length, as it came
    encoding: str = ""  # Content-Encoding
    source: str = ""  # the input's name as the caller gave it
    version: str = ""  # asked for; the answer says it back
    accept: str = ""  # the coding that a large answer is wanted in
    insists: bool = False  # on it, for binary tensors too


class Beside(msgspec.Struct, frozen=True):
    """What a config.pbtxt beside a model asks of its worker."""

    folder: str = ""  # the model's
    options: dict[str, Any] = {}  # of the runtime of a bare file, as in a manifest
    most: int = 0  # examples of one request; 0: as many as it likes, and the first dimension is no batch
    sequences: Sequences | None = None
    shown: tuple[str, ...] = ()  # outputs that are declared
    warmup: tuple[Warmup, ...] = ()
    reshapes: tuple[Reshape, ...] = ()
    strict: bool = False  # it has levels of priority, or bounds on how many wait and how long


class Order(msgspec.Struct, frozen=True):
    """What a new worker is to load, and how."""

    path: str
    name: str = ""
    version: int = 0
    bare: bool = False  # a model file without a bundle
    runtime: str = "onnx"  # of a bare file
    labels: tuple[str, ...] = ()  # of a bare file
    trust: tuple[bytes, ...] | None = None  # publishers' public keys; None: unsigned is served
    intra: int = 1
    runs: int = 1
    gentle: bool = False  # others are serving: load only with what they leave over
    record: bool = False  # results of images are wanted beside the answers
    sizes: tuple[int, ...] = SIZES  # examples that one run of several requests may have; none: each runs alone
    measure: bool = True  # of the sizes, take those that pay on this machine; false: all of them
    delay: int = 0  # microseconds that a request may wait for others
    preferred: tuple[int, ...] = ()  # sizes that run at once
    spinning: bool = False  # threads look for work a while before they sleep
    regions: str = ""  # the board of shared memory (host.regions); "": this node shares none
    wide: int = 0  # threads of a run instead, one run at a time, if a run turns out to be long; 0: as planned
    cap: str = ""  # what it may take of the machine, in words; "": what there is
    beside: Beside = Beside()

    def planned(self, intra: int, runs: int, gentle: bool) -> Order:
        """Return the same order with a plan of threads."""
        return msgspec.structs.replace(self, intra=intra, runs=runs, gentle=gentle)

    def widened(self, threads: int) -> Order:
        """Return the same order with the threads of a run that turns out to be long."""
        return msgspec.structs.replace(self, wide=threads)

    def tuned(self, sizes: tuple[int, ...], spinning: bool) -> Order:
        """Return the same order with what was measured on this machine before."""
        return msgspec.structs.replace(self, sizes=sizes, measure=False, spinning=spinning)

    def joining(self, sizes: tuple[int, ...], delay: int = 0, preferred: tuple[int, ...] = ()) -> Order:
        """Return the same order with the joining of requests that a configuration asks for."""
        return msgspec.structs.replace(self, sizes=sizes, measure=False, delay=delay, preferred=preferred)

    def here(self, regions: str, cap: str) -> Order:
        """Return the same order with what holds for every worker of this node."""
        return msgspec.structs.replace(self, regions=regions, cap=cap)


class Hello(msgspec.Struct, frozen=True):
    """What a worker says when it has loaded and proved its model, or why it could not."""

    error: str = ""  # a class of core.errors
    text: str = ""
    manifest: dict[str, Any] | None = None
    inputs: tuple[dict[str, Any], ...] = ()
    outputs: tuple[dict[str, Any], ...] = ()
    images: bool = False
    arithmetic: bool = False  # the model does nothing but arithmetic on dense floats
    remembers: bool = False  # a request may change what later ones of its sequence give
    goldens: int = 0
    intra: int = 0  # threads of a run, and runs at a time, as it was loaded at last
    runs: int = 0
    seconds: float = 0.0  # to load and prove it
    run_us: float = 0.0  # median of a warm run, alone; 0: it does not run on zeros
    free: int = 1  # the size of free dimensions that it ran on zeros with (see engine.free)
    slowest_us: float = 0.0  # of the warm runs
    sizes: tuple[int, ...] = ()  # examples that one run of several requests has; none: each runs alone


class Mirror(msgspec.Struct, array_like=True, frozen=True):
    """A request that another version has answered: where it lies, and what its answer is, which is the body."""

    op: int
    head_at: int
    head_size: int
    body_at: int
    body_size: int
    kind: int  # of the answer, with its coding
    json_length: int
    rule: str  # see core.agreement.Terms
    tolerance: float


class Verdict(msgspec.Struct, array_like=True, frozen=True):
    """What came of a comparison."""

    agreed: bool = False
    why: str = ""  # it did not agree
    failed: str = ""  # the error of the one that was asked again
    worst: float | None = None  # the greatest difference of two numbers; None where there are none to compare
    same_top: bool | None = None  # whether the greatest of each row stands in the same place; None without such rows
    nanos: int = 0  # of parse to encode
    skipped: bool = False  # it was not asked: its answer would have gone where the client looks


class Note(msgspec.Struct, array_like=True, frozen=True):
    """One result of one image, for the journal. `picture` is None where the body is the picture."""

    result: bytes  # JSON
    picture: bytes | None = None


ENCODER = msgspec.msgpack.Encoder()
HEADS = msgspec.msgpack.Decoder(Head)
ORDERS = msgspec.msgpack.Decoder(Order)
HELLOS = msgspec.msgpack.Decoder(Hello)
NOTES = msgspec.msgpack.Decoder(list[Note])
MIRRORS = msgspec.msgpack.Decoder(Mirror)
VERDICTS = msgspec.msgpack.Decoder(Verdict)

KINDS: tuple[type[SkerryError], ...] = tuple(
    kind for _, kind in sorted(vars(errors).items()) if isinstance(kind, type) and issubclass(kind, SkerryError)
)
_STATUS = {kind: FAILED + index for index, kind in enumerate(KINDS)}


def status_of(error: SkerryError) -> int:
    """Return the status that carries an error's class."""
    return _STATUS[type(error)]


def error_of(status: int, text: str) -> SkerryError:
    """Return the error that a status and its text carry."""
    return KINDS[status - FAILED](text)


def error_named(name: str, text: str) -> SkerryError:
    """Return the error of that class; an unknown name is a fault of the worker."""
    return next((kind for kind in KINDS if kind.__name__ == name), errors.LoadFailed)(text)
