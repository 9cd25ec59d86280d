"""Clients that behave: each asks at an even pace for as long as the soak runs, and knows what the answer must be."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import grpc
import numpy as np

from benchmarks import bodies

SECONDS = 30.0  # that an answer may take
TOLERANCE = 1e-4  # of an answer's numbers: two versions of a runtime's kernels may differ by that
BUSY = "busy"  # the one failure that is allowed: 503, or gRPC's UNAVAILABLE

Ask = Callable[[], Any]  # returns an answer's numbers; raises Refused, OSError or HTTPException


class Refused(Exception):
    """The node answered with an error, of this kind."""


@dataclass
class Tally:
    """What a lane saw since somebody last looked."""

    millis: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)


class Lane:
    """One client on a thread of its own."""

    def __init__(self, name: str, ask: Callable[[], Ask], want: np.ndarray, rate: float) -> None:
        """`ask` opens a connection and returns what asks over it; `rate` is requests a second."""
        self.name = name
        self.done = 0
        self._open = ask
        self._want = want
        self._pause = 1 / rate
        self._tally = Tally()
        self._lock = threading.Lock()

    def run(self, stop: threading.Event) -> None:
        """Ask until told to stop. A late answer is not made up for: the pace begins again."""
        ask: Ask | None = None
        due = time.monotonic()
        while not stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._pause, time.monotonic())
            began, failure = time.perf_counter(), ""
            try:
                ask = ask or self._open()
                failure = "" if same(ask(), self._want) else "wrong answer"
            except Refused as error:
                failure = str(error)
            except (OSError, http.client.HTTPException) as error:
                failure, ask = type(error).__name__, None
            self._note((time.perf_counter() - began) * 1000, failure)

    def take(self) -> Tally:
        """Return what was seen since the last call."""
        with self._lock:
            found, self._tally = self._tally, Tally()
        return found

    def _note(self, millis: float, failure: str) -> None:
        with self._lock:
            if failure:
                self._tally.failures[failure] += 1
            else:
                self._tally.millis.append(millis)
                self.done += 1


def same(found: np.ndarray, want: np.ndarray) -> bool:
    """Whether an answer is the one that was given first."""
    return found.shape == want.shape and bool(np.allclose(found, want, rtol=TOLERANCE, atol=TOLERANCE))


def over_http(request: bodies.Request, read: Callable[[Any], Any]) -> Callable[[], Ask]:
    """Return what opens a kept connection and asks this over it."""
    parts = urlsplit(request.url)

    def opened() -> Ask:
        line = http.client.HTTPConnection(parts.netloc, timeout=SECONDS)

        def ask() -> Any:
            line.request("POST", parts.path, request.body, dict(request.headers))
            answer = line.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise Refused(BUSY if answer.status == 503 else f"status {answer.status}")
            return read((body, {name.lower(): value for name, value in answer.getheaders()}))

        return ask

    return opened


def over_grpc(target: str, message: bytes) -> Callable[[], Ask]:
    """Return what opens a channel and asks this over it."""

    def opened() -> Ask:
        call = grpc.insecure_channel(target).unary_unary(bodies.INFER, None, None)

        def ask() -> Any:
            try:
                return bodies.infer_numbers(call(message, timeout=SECONDS))
            except grpc.RpcError as error:
                code = error.code().name
                raise Refused(BUSY if code == "UNAVAILABLE" else f"gRPC {code}") from None

        return ask

    return opened
