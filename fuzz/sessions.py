"""Targets of what a worker does with a whole request: bodies in codings and forms, the quick way against the usual."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from skerry.core.errors import RequestError, SkerryError
from skerry.core.manifest import FileEntry, Manifest, Runtime, StepEntry
from skerry.core.names import Digest, ModelName
from skerry.core.tensor import DType, Spec
from skerry.engine.arrays import Array
from skerry.engine.runners.fake import FakeRunner
from skerry.engine.session import Session
from skerry.host.clock import Clock, FakeClock
from skerry.node.worker.answer import Answers
from skerry.node.worker.body import first_file, inflated
from skerry.node.worker.made import Made
from skerry.node.worker.order import ENCODER, Head, Op

DIGEST = Digest("sha256:" + "0" * 64)
CLOCK = FakeClock()
KINDS = (DType.FP32, DType.INT32, DType.FP64, DType.UINT8)
OPS = tuple(op for op in Op if op >= Op.INFER)
CODINGS = ("gzip", "deflate", "identity", "br")
TYPES = (
    "", "application/json", "application/octet-stream", "image/jpeg", "application/x-npy", "audio/wav",
    "multipart/form-data; boundary=b", "application/json; charset=utf-8",
)  # fmt: skip
LENGTHS = (None, "0", "-1", "\u00b2", "1e3", "99999999999999", "4", "007")


def session(inputs: tuple[Spec, ...], outputs: Mapping[str, str], images: bool = False) -> Session:
    """Return a session whose outputs are its inputs: `outputs` has the input of each; of images, their mean."""
    specs = {spec.name: spec for spec in inputs}
    gives = tuple(Spec(name, specs[of].dtype, specs[of].shape) for name, of in outputs.items())
    pre = (StepEntry("decode_image"), StepEntry("resize", {"width": 8, "height": 8})) if images else ()
    manifest = Manifest(
        name=ModelName("m"),
        version=1,
        runtime=Runtime("onnx", "model.onnx"),
        files={"model.onnx": FileEntry(DIGEST, 1)},
        inputs=inputs,
        outputs=gives,
        pre=pre,
        labels=("a", "b"),
    )

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {name: np.asarray(feeds[of]) for name, of in outputs.items()}

    return Session(manifest, FakeRunner(inputs, gives, run), Clock())


def tensors(kind: DType, two: bool) -> Session:
    """Return a model of plain tensors."""
    x = Spec("x", kind, (-1,))
    inputs = (x, Spec("z", kind, (-1, 2))) if two else (x,)
    return session(inputs, {"y": "x", "w": "z"} if two else {"y": "x"})


PLAIN = tensors(DType.FP32, two=False)
TEXT = session((Spec("x", DType.BYTES, (-1,)),), {"y": "x"})
IMAGES = session((Spec("x", DType.UINT8, (8, 8, 3)),), {"y": "x"}, images=True)


def coded(data: bytes) -> None:
    """A body in a content coding: the same as zlib makes of it, or refused."""
    if not data:
        return
    coding, body = CODINGS[data[0] % len(CODINGS)], data[1:]
    try:
        found = bytes(inflated(memoryview(body), coding))
    except RequestError:
        return
    window = {"gzip": 31, "deflate": 15}.get(coding)
    assert found == (body if window is None else zlib.decompressobj(window).decompress(body))


def form(data: bytes) -> None:
    """A form with a file: what comes out was in it."""
    kind, _, body = data.partition(b"\n")
    try:
        found, name = first_file(kind.decode("latin-1"), memoryview(body))
    except RequestError:
        return
    assert found in body
    assert isinstance(name, str)


def answers(data: bytes) -> None:
    """Any operation on any bytes under any head: an answer, or an error that the caller is told."""
    if len(data) < 5:
        return
    op, kind, length, coding, model = data[:5]
    head = Head(
        TYPES[kind % len(TYPES)],
        str(length - 16) if length & 1 else LENGTHS[length // 2 % len(LENGTHS)],
        ("", *CODINGS)[coding % 5] if coding & 64 else "",
        accept="gzip" if coding & 128 else "",
    )
    found = (PLAIN, TEXT, IMAGES)[model % 3]
    answering = Answers(found, CLOCK, record=bool(model & 128))
    number, packed, body = OPS[op % len(OPS)], ENCODER.encode(head), memoryview(data)[5:]
    refused = _tried(answering, number, packed, body)
    if not isinstance(refused, Made):
        assert isinstance(refused, RequestError), repr(refused)
    with contextlib.suppress(RequestError):
        answering.open(number, packed, body)


def quick(data: bytes) -> None:
    """A request like an earlier one: the quick way says what the usual way says, or nothing.

    The first bytes say how the second request differs from the first: so many left out at a place, others put there.
    """
    if len(data) < 8:
        return
    how, cut, put = data[0], data[3] % 32, data[4] % 32
    inserted, body = data[5 : 5 + put], data[5 + put :]
    at = int.from_bytes(data[1:3], "little") % (len(body) + 1)
    other = body[:at] + inserted + body[at + cut :]
    made = tensors(KINDS[how % 4], two=bool(how & 4))
    length = body.find(b"\n") if how & 8 else None
    head = ENCODER.encode(Head("application/json", None if length is None else str(max(length, 0))))
    learning = Answers(made, CLOCK, record=False)
    for _, asked in pairwise((b"", body, other, body)):
        number = -1 if length is None else max(length, 0)
        found = learning.quick(number, memoryview(asked)) if number else None
        usual = _tried(Answers(made, CLOCK, record=False), Op.INFER, head, memoryview(asked))
        if found is not None:
            assert isinstance(usual, Made), f"taken: {asked!r}; {usual!r}"
            assert (found.body, found.kind, found.json_length) == (usual.body, usual.kind, usual.json_length), asked
        _tried(learning, Op.INFER, head, memoryview(asked))


def _tried(answering: Answers, op: int, head: bytes, body: memoryview) -> Made | SkerryError:
    try:
        return answering(op, head, body)
    except SkerryError as error:
        return error
