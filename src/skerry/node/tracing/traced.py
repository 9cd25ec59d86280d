"""Requests of inference that are told to a collector. Used only where traces are on: the rest pays nothing."""

from __future__ import annotations

from collections.abc import Sequence

from skerry.core.errors import SkerryError
from skerry.host.clock import Clock
from skerry.node.generation import Generation
from skerry.node.lane import Lane
from skerry.node.metrics import PHASES
from skerry.node.models import Models
from skerry.node.queue import API
from skerry.node.serve.http.exchange import Exchange
from skerry.node.serve.inference import Finish, Inference, Target
from skerry.node.trace import Parent, Request, Traces
from skerry.node.worker.order import Op
from skerry.node.worker.ticket import Answered, Ticket

PARENT = b"traceparent"


class Tracing:
    """What turns an ended request into a trace."""

    def __init__(self, traces: Traces, models: Models, clock: Clock) -> None:
        self.traces = traces
        self._models = models
        self._clock = clock

    def tell(self, place: Parent, op: Op, target: tuple[str, int | None], began: int, end: object) -> None:
        """Keep a request that began at `began` ns; `end` is the nanoseconds by phase, or the error."""
        name, version = target
        if version is None:
            generations = self._models.generations(name)
            version = generations[-1].manifest.version if generations else 0
        times = end if isinstance(end, Sequence) else ()
        request = Request(
            name,
            version,
            API[op],
            self._clock.now(),
            self._clock.nanos() - began,
            dict(zip(PHASES, times, strict=False)),
            type(end).__name__ if isinstance(end, SkerryError) else "",
        )
        self.traces.add(place, request)


class TracedInference(Inference):
    """One request, told when it has ended."""

    __slots__ = ("_began", "_tracing")

    def __init__(
        self,
        models: Models,
        target: Target,
        exchange: Exchange,
        clock: Clock,
        finish: Finish | None,
        *,
        tracing: Tracing,
    ) -> None:
        self._tracing = tracing
        self._began = clock.nanos()
        super().__init__(models, target, exchange, clock, finish)

    def again(self, exchange: Exchange) -> Inference:
        """Return the same for another exchange with the same head."""
        other = super().again(exchange)
        assert isinstance(other, TracedInference)
        other._tracing, other._began = self._tracing, self._clock.nanos()
        return other

    @property
    def lasting(self) -> bool:
        """Whether the same head will come again: not where each names another trace."""
        return self._target.lasting and PARENT not in self._exchange.headers

    def complete(self, exchange: Exchange) -> None:
        """Queue the request, or answer it at once."""
        try:
            super().complete(exchange)
        except SkerryError as error:
            self._tell(error)
            raise

    def _in_lane(self, generation: Generation, lane: Lane, body: memoryview) -> tuple[int, ...]:
        times = super()._in_lane(generation, lane, body)
        self._tell(times)
        return times

    def _done(self, ticket: Ticket, found: Answered | SkerryError) -> None:
        super()._done(ticket, found)
        self._tell(ticket.times if isinstance(found, Answered) else found)

    def _tell(self, end: object) -> None:
        target = self._target
        place = self._tracing.traces.wants(self._exchange.header(PARENT) or None, target.model)
        if place is not None:
            self._tracing.tell(place, target.op, (target.model, target.version), self._began, end)
