"""Results on their way from a node's journal to the hub: entries in order, with their pictures as raw bytes.

A batch is framed as `u32 little-endian header length | header (JSON) | pictures one after the other`; the
header names each entry's picture by its size. An entry is known everywhere by (node, epoch, seq).
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from skerry.core import names
from skerry.core.errors import Invalid, TooLarge
from skerry.core.fields import Fields, parse
from skerry.core.finding import Finding
from skerry.core.names import Digest, ModelName, shown

MAX_BATCH = 32 << 20  # bytes of one upload
MAX_HEADER = 8 << 20  # bytes of its JSON
MAX_PICTURE = 8 << 20  # bytes of one picture; a larger one stays with its result's sender, the result goes without
RESULT, ALARM = "result", "alarm"
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Result:
    """What one inference gave: by which bundle, what was found, on which input, how fast."""

    model: ModelName
    version: int
    digest: Digest
    source: str  # the input's name as the caller gave it (a file name, a camera), "" if none
    findings: tuple[Finding, ...]
    width: int  # pixels of the original image
    height: int
    millis: float  # the whole inference on the node, without the network

    def json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "model": self.model,
            "version": self.version,
            "digest": self.digest,
            "source": self.source,
            "findings": [f.json() for f in self.findings],
            "width": self.width,
            "height": self.height,
            "millis": self.millis,
        }

    @staticmethod
    def read(value: object) -> Result:
        """Return the result in a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "result")
        return Result(
            model=fields.read("model", names.model_name),
            version=fields.read("version", names.version),
            digest=fields.read("digest", names.digest),
            source=fields.text("source", default=""),
            findings=fields.many("findings", Finding.read, default=()),
            width=fields.whole("width"),
            height=fields.whole("height"),
            millis=fields.real("millis", low=0.0),
        )


@dataclass(frozen=True)
class Alarm:
    """A rule fired: which, on which model, on which result (its seq in the same journal), what was done."""

    rule: str
    model: ModelName
    result: int
    text: str

    def json(self) -> dict[str, Any]:
        """Return the alarm as JSON values."""
        return {"rule": self.rule, "model": self.model, "result": self.result, "text": self.text}

    @staticmethod
    def read(value: object) -> Alarm:
        """Return the alarm in a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "alarm")
        return Alarm(
            rule=fields.text("rule"),
            model=fields.read("model", names.model_name),
            result=fields.whole("result"),
            text=fields.text("text", default=""),
        )


@dataclass(frozen=True)
class Entry:
    """One line of a journal: its place, when it happened (Unix seconds), and a result or an alarm."""

    seq: int
    at: float
    body: Result | Alarm
    picture: bytes = field(default=b"", repr=False)

    @property
    def kind(self) -> str:
        """Which of the two it is, as the wire names it."""
        return RESULT if isinstance(self.body, Result) else ALARM


@dataclass(frozen=True)
class Batch:
    """Entries of one journal in order. An epoch names one opening of it: a copied or restored one is another."""

    epoch: str
    entries: tuple[Entry, ...]


def read_body(kind: str, value: object) -> Result | Alarm:
    """Return the result or alarm in a JSON value."""
    return Result.read(value) if kind == RESULT else Alarm.read(value)


def encode(batch: Batch) -> bytes:
    """Return the batch as bytes."""
    entries = [
        {"seq": e.seq, "at": e.at, "kind": e.kind, "body": e.body.json(), "picture": len(e.picture)}
        for e in batch.entries
    ]
    header = json.dumps({"epoch": batch.epoch, "entries": entries}, allow_nan=False).encode()
    return b"".join([_LENGTH.pack(len(header)), header, *(e.picture for e in batch.entries)])


def decode(data: bytes) -> Batch:
    """Return the batch in bytes; raise Invalid or TooLarge if they are not one."""
    if len(data) > MAX_BATCH:
        raise TooLarge(f"batch: expected at most {MAX_BATCH} bytes; got {len(data)}")
    if len(data) < _LENGTH.size:
        raise Invalid(f"batch: expected a header; got {len(data)} bytes")
    (length,) = _LENGTH.unpack_from(data)
    start = _LENGTH.size + length
    if start > len(data):
        raise Invalid(f"batch: expected a header of {length} bytes; got {len(data) - _LENGTH.size}")
    fields = Fields(parse(data[_LENGTH.size : start], "batch header", MAX_HEADER), "batch")
    epoch = fields.text("epoch", limit=64)
    entries = []
    for value in fields.many("entries", lambda v: v):
        one = Fields(value, "entry")
        size = one.whole("picture", default=0, high=MAX_BATCH)
        picture = data[start : start + size]
        if len(picture) != size:
            raise Invalid(f"batch: expected a picture of {size} bytes; got {len(picture)}")
        start += size
        body = read_body(one.choice("kind", (RESULT, ALARM)), one.raw("body"))
        entries.append(Entry(one.whole("seq", low=1), one.real("at"), body, picture))
    if start != len(data):
        raise Invalid(f"batch: expected {start} bytes; got {len(data)}")
    if any(b.seq != a.seq + 1 for a, b in itertools.pairwise(entries)):
        raise Invalid(f"batch: expected seq in order without gaps; got {shown([e.seq for e in entries])}")
    return Batch(epoch, tuple(entries))


@dataclass(frozen=True)
class Ack:
    """The hub's answer: it has every entry of the epoch up to and including `high`."""

    epoch: str
    high: int

    def json(self) -> Mapping[str, Any]:
        """Return the message as JSON values."""
        return {"epoch": self.epoch, "high": self.high}

    @staticmethod
    def read(value: object) -> Ack:
        """Return the message in a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "ack")
        return Ack(fields.text("epoch", limit=64), fields.whole("high"))
