"""Traces of requests: a W3C traceparent in, OTLP as JSON out. A value for each request, and no library.

OTLP over HTTP takes JSON, so nobody needs the OpenTelemetry SDK to be heard by a collector. Who sends the bytes,
and when, is not decided here; nothing is kept of a request that is not sampled, and spans are made when they are sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from skerry.core.version import VERSION

# The order in which a request passes its phases; each begins where the one before ends.
ORDER = ("queue", "parse", "preprocess", "infer", "postprocess", "encode")
WAITING = 256  # requests kept for the next sending, seven spans each: a collector that is away costs no more
SERVER, INTERNAL = 2, 1  # OTLP's kinds of a span
OK, ERROR = 1, 2  # OTLP's codes of a status

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_SAMPLED = 1


@dataclass(frozen=True)
class Parent:
    """What a caller's traceparent says."""

    trace: str  # 32 hexadecimal digits
    span: str  # 16
    sampled: bool


@dataclass(frozen=True)
class Request:
    """One request that has ended, to be told."""

    model: str
    version: int
    api: str
    ended: float  # Unix seconds
    nanos: int  # in all
    phases: Mapping[str, int]  # nanoseconds by phase; empty for one that had no answer
    error: str = ""  # the class of the error, "" for an answer


@dataclass
class Sampling:
    """Which requests are told: those whose caller samples, and of those without a traceparent every so many."""

    on: bool = True
    every: int = 0  # 0: none of them
    left: int = -1  # so many more are told; -1: without end
    seen: int = 0  # without a traceparent
    own: set[str] = field(default_factory=set)  # what a model has set for itself


def parent(header: str) -> Parent | None:
    """Return what a traceparent says; None for one that the specification has one ignore."""
    found = _PARENT.fullmatch(header.strip(" \t"))
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace, 16) or not int(span, 16):
        return None
    return Parent(trace, span, bool(int(flags, 16) & _SAMPLED))


Kept = tuple[Parent, Request]


class Traces:
    """The requests that wait to be told, and which are. Used from one thread."""

    def __init__(self, random: Callable[[int], bytes], every: int = 0) -> None:
        self._random = random
        self._first = Sampling(every=every)
        self._all = replace(self._first, own=set())
        self._models: dict[str, Sampling] = {}  # those that have something of their own
        self._kept: list[Kept] = []
        self.dropped = 0

    def sampling(self, model: str = "") -> Sampling:
        """Return which requests of a model are told; of no model: of all that have nothing of their own."""
        return self._models.get(model, self._all)

    def change(self, model: str, changes: Mapping[str, bool | int | None]) -> None:
        """Set fields of a model's sampling, or of all models'; None: as the node has it, or as it began."""
        one = self._models.setdefault(model, replace(self._all, seen=0, own=set())) if model else self._all
        for name, value in changes.items():
            if model:
                (one.own.discard if value is None else one.own.add)(name)
                setattr(one, name, getattr(self._all, name) if value is None else value)
                continue
            for each in (one, *[other for other in self._models.values() if name not in other.own]):
                setattr(each, name, getattr(self._first, name) if value is None else value)
        if model and not one.own:
            del self._models[model]

    def wants(self, header: str | None, model: str = "") -> Parent | None:
        """Return where the spans of a request belong, None if nobody wants them."""
        sampling = self._models.get(model, self._all)
        if not sampling.on or not sampling.left:
            return None
        found = parent(header) if header else None
        if found is None:
            sampling.seen += 1
            if not sampling.every or sampling.seen % sampling.every:
                return None
            found = Parent(self._random(16).hex(), "", True)
        if not found.sampled:
            return None
        sampling.left -= sampling.left > 0
        return found

    def add(self, place: Parent, request: Request) -> None:
        """Keep a request until it is sent; drop it if too many wait."""
        if len(self._kept) < WAITING:
            self._kept.append((place, request))
        else:
            self.dropped += 1

    def take(self) -> list[Kept]:
        """Return the requests that wait, and wait for others."""
        kept, self._kept = self._kept, []
        return kept


def body(node: str, kept: Sequence[Kept], random: Callable[[int], bytes]) -> bytes:
    """Return the body of a POST of these requests to a collector's /v1/traces; in any thread."""
    spans = [span for place, request in kept for span in _spans(place, request, random)]
    resource = _attributes({"service.name": "skerry", "service.version": VERSION, "host.name": node})
    scope = {"scope": {"name": "skerry.node", "version": VERSION}, "spans": spans}
    value = {"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": [scope]}]}
    return json.dumps(value, separators=(",", ":")).encode()


def _spans(place: Parent, request: Request, random: Callable[[int], bytes]) -> Iterator[dict[str, Any]]:
    """Yield a request's span and one for each of its phases."""
    root, ended = random(8).hex(), round(request.ended * 1e9)
    began = ended - request.nanos
    labels: dict[str, str | int] = {
        "skerry.model": request.model,
        "skerry.version": request.version,
        "skerry.api": request.api,
    }
    yield {
        **_span(place.trace, root, f"infer {request.model}", began, ended),
        **({"parentSpanId": place.span} if place.span else {}),
        "kind": SERVER,
        "attributes": _attributes(labels),
        "status": {"code": ERROR, "message": request.error} if request.error else {"code": OK},
    }
    for phase in ORDER:
        spent = request.phases.get(phase, 0)
        if spent:
            inner = _span(place.trace, random(8).hex(), phase, began, began + spent)
            yield {**inner, "kind": INTERNAL, "parentSpanId": root}
            began += spent


def _span(trace: str, span: str, name: str, began: int, ended: int) -> dict[str, Any]:
    times = {"startTimeUnixNano": str(began), "endTimeUnixNano": str(ended)}  # 64 bits are text in JSON
    return {"traceId": trace, "spanId": span, "name": name, **times}


def _attributes(values: Mapping[str, str | int]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in values.items()
    ]
