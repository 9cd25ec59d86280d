"""What serving adds to the runtime alone: each new generation is asked a few times for what zeros give.

The requests are real ones, binary and of Open Inference, and go the way that a client's go: through the lane if the
model has one, else through the worker. What they take beyond the run itself is what serving adds; the network and
HTTP are not in it. They are asked one after the other, while nobody else asks, and no metric counts them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import statistics
import weakref

from skerry.core.errors import SkerryError
from skerry.core.tensor import DType, Spec
from skerry.engine.free import filled
from skerry.host.clock import Clock
from skerry.node.generation import Generation, State
from skerry.node.models import Models
from skerry.node.worker.order import ENCODER, MAX_BODY, Head, Op
from skerry.node.worker.ticket import Answered, Ticket

log = logging.getLogger(__name__)

MOST, LEAST = 16, 3  # requests
BUDGET_US = 50_000  # microseconds of runs that they may take together, if LEAST of them take less
MAX_RUN_US = 500_000  # of a model that is asked: a client may have to wait for one of these runs
FIRST_SECONDS = 0.25  # after a generation came into service; by then its lane is open
AGAIN_SECONDS = 0.2  # between two looks whether nobody asks
TEXT = bytes((1, 0, 0, 0)) + b"0"  # "0" as an element of BYTES
MAX_LOOKS = 300  # looks, a minute: a node that is always busy is not measured


class Added:
    """Measures every generation once. Used from the event loop alone."""

    def __init__(self, models: Models, clock: Clock) -> None:
        self._models = models
        self._clock = clock
        self._seen: weakref.WeakSet[Generation] = weakref.WeakSet()

    def look(self) -> None:
        """Begin with the generations that are new; called whenever what is served changes."""
        for generation in self._models.generations():
            if generation not in self._seen:
                self._seen.add(generation)
                Sampling(generation, self._clock).start()


class Sampling:
    """The requests to one generation."""

    def __init__(self, generation: Generation, clock: Clock) -> None:
        self._generation = generation
        self._nanos = clock.nanos
        self._found: list[int] = []  # ns beyond the run
        self._looks = 0
        self._began = 0
        self._head = self._body = b""
        self._front = self._wanted = 0

    def start(self) -> None:
        """Begin after a while, unless the model cannot run on zeros."""
        run_us = self._generation.hello.run_us
        if not 0 < run_us <= MAX_RUN_US:
            return
        request = zeros_request(filled(self._generation.inputs, self._generation.hello.free))
        if request is None:
            return
        self._body, self._front = request
        self._head = ENCODER.encode(Head("application/octet-stream", str(self._front)))
        self._wanted = max(LEAST, min(MOST, int(BUDGET_US / run_us)))
        asyncio.get_running_loop().call_later(FIRST_SECONDS, self._ask)

    def _ask(self) -> None:
        """Ask once, or wait if somebody else does."""
        generation = self._generation
        worker = generation.queue.worker
        if generation.state is State.RETIRED or self._looks >= MAX_LOOKS:
            return
        if generation.state is not State.SERVING or worker is None or not generation.queue.idle:
            self._later()
            return
        if generation.lane is not None:
            self._ask_lane()
            return
        try:
            ticket = Ticket(Op.SAMPLE, generation.arena, len(self._body), generation.room, self._front)
        except SkerryError:
            self._later()
            return
        ticket.body[:] = self._body
        ticket.put_head(self._head)
        ticket.done = self._done
        self._began = ticket.queued = self._nanos()
        worker.send(ticket, self._began)

    def _ask_lane(self) -> None:
        lane, began = self._generation.lane, self._nanos()
        assert lane is not None
        try:
            made = lane.answer(Op.INFER, self._head, memoryview(self._body))
        except SkerryError as error:
            self._give_up(error)
            return
        self._add(self._nanos() - began - made.phases[2])

    def _done(self, ticket: Ticket, found: Answered | SkerryError) -> None:
        if isinstance(found, Answered):
            self._add(self._nanos() - self._began - ticket.times[3])
        else:
            self._give_up(found)

    def _add(self, nanos: int) -> None:
        self._found.append(nanos)
        loop = asyncio.get_running_loop()
        if len(self._found) < self._wanted:
            loop.call_soon(self._ask)  # a ticket's block is free again by then, and others have their turn
            return
        series = self._generation.series
        series.added_ms = statistics.median(self._found) / 1e6
        share = f" ({series.added_ms / series.bare_ms:.1%})".replace("%", " %") if series.bare_ms else ""
        log.info("%s: adds %.3f ms%s to the bare runtime", self._who(), series.added_ms, share)

    def _later(self) -> None:
        self._looks += 1
        asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._ask)

    def _give_up(self, error: SkerryError) -> None:
        log.info("%s: what serving adds is not measured: %s", self._who(), error)

    def _who(self) -> str:
        manifest = self._generation.manifest
        return f"{manifest.name} version {manifest.version}"


def zeros_request(specs: tuple[Spec, ...]) -> tuple[bytes, int] | None:
    """Return a binary request of zeros and the length of its JSON; None if it is too long."""
    inputs, parts = [], []
    for spec in specs:
        count = math.prod(spec.shape)
        size = count * (len(TEXT) if spec.dtype is DType.BYTES else spec.dtype.size)
        if size > MAX_BODY:
            return None
        parts.append(TEXT * count if spec.dtype is DType.BYTES else bytes(size))
        entry = {"name": spec.name, "datatype": spec.dtype.value, "shape": list(spec.shape)}
        inputs.append({**entry, "parameters": {"binary_data_size": size}})
    text = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    body = b"".join([text, *parts])
    return (body, len(text)) if len(body) <= MAX_BODY else None
