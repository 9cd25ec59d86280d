"""Several calls answered with one run of the model: taken from the channel, put together, run, cut apart again.

A thread takes what waits only when no other thread is free to take it, so that joining never leaves a processor idle;
if the configuration gives a delay, it waits so long for more. What goes wrong in company is answered alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence

from skerry.core.batch import full, groups, load_of
from skerry.core.errors import RunFailed, SkerryError
from skerry.core.tensor import DType, Tensor
from skerry.engine.probe import can_join, independent, made_up, sizes_that_pay
from skerry.engine.session import Session
from skerry.host.clock import Clock
from skerry.host.shared import Channel
from skerry.node.worker.answer import Answers
from skerry.node.worker.made import Made
from skerry.node.worker.opened import Opened
from skerry.node.worker.order import Op, Order

log = logging.getLogger(__name__)

MAX_LOOK_US = 15_000  # microseconds of a run; above, a look costs over 0.3 s, and models of that size are convolutions,
# which gain nothing (measured: 34 us to 7.3 ms, at most 1.11 for 2 examples)
OP = 3  # a call's place of the operation

Call = tuple[int, ...]  # see order.CALL


class Gather:
    """Takes calls from the channel for the threads of a worker."""

    def __init__(self, channel: Channel, lock: threading.Lock, order: Order, sizes: Sequence[int]) -> None:
        self._channel = channel
        self._lock = lock
        self._sizes = sizes
        self._delay = order.delay * 1000  # ns
        self._preferred = order.preferred
        self._nanos = Clock().nanos
        self._idle = 0  # threads that wait for a call

    def __call__(self) -> list[Call]:
        """Wait for a call, and return it with those that may be answered with it; only the last may be no inference."""
        channel, lock = self._channel, self._lock
        with lock:
            self._idle += 1
        channel.wait()
        with lock:
            self._idle -= 1
            found = [channel.take()]
        until = self._nanos() + self._delay
        while len(found) < self._sizes[-1] and found[-1][OP] >= Op.INFER:
            if not self._delay and self._idle:
                break  # a thread that has nothing to do takes it
            if not channel.more() and not self._waited(len(found), until):
                break
            with lock:
                found.append(channel.take())
        return found

    def _waited(self, count: int, until: int) -> bool:
        if not self._delay or full(count, self._sizes, self._preferred):
            return False
        while (left := until - self._nanos()) > 0:
            if self._channel.more(left / 1e9):
                return True
        return False


class Together:
    """Answers calls with as few runs as the sizes allow."""

    def __init__(self, answers: Answers, session: Session, arena: memoryview, sizes: Sequence[int]) -> None:
        self._answers = answers
        self._session = session
        self._arena = arena
        self._sizes = frozenset(sizes)
        self._nanos = Clock().nanos

    def __call__(self, calls: Sequence[Call]) -> Iterator[tuple[Call, Made | None]]:
        """Yield each call with its answer; None for one that must be answered alone."""
        opened = [self._open(call) for call in calls]
        loads = [None if one is None or one[0].sequence else load_of(one[0].inputs) for one in opened]
        for group in groups(loads, self._sizes):
            requests = [(opened[place], loads[place]) for place in group]
            joined = [(one[0], one[1], load[1]) for one, load in requests if one is not None and load is not None]
            made = self._run(joined) if joined else [None] * len(group)
            yield from zip([calls[place] for place in group], made, strict=True)

    def _open(self, call: Call) -> tuple[Opened, int] | None:
        _, at, head, op, _, body_at, body, _, _ = call
        if op < Op.INFER:
            return None
        began = self._nanos()
        try:
            opened = self._answers.open(op, self._arena[at : at + head], self._arena[body_at : body_at + body])
        except Exception:  # boundary: whatever is wrong with it is found again, and said, when it is answered alone
            return None
        return None if opened is None else (opened, self._nanos() - began)

    def _run(self, requests: Sequence[tuple[Opened, int, int]]) -> Iterator[Made | None]:
        total = sum(rows for _, _, rows in requests)
        began = self._nanos()
        try:
            arrays = self._session.infer(joined([opened.inputs for opened, _, _ in requests]))
            if any(array.shape[:1] != (total,) for array in arrays.values()):
                raise RunFailed(f"its outputs have not the {total} examples of its inputs")
        except SkerryError as error:
            log.debug("%s: %d examples could not be run together: %s", self._session.manifest.name, total, error)
            yield from [None] * len(requests)
            return
        ran, start, company = self._nanos() - began, 0, total if len(requests) > 1 else 0
        for opened, parse, rows in requests:
            closing = self._nanos()
            part = arrays if rows == total else {name: a[start : start + rows] for name, a in arrays.items()}
            start += rows
            try:
                made = opened.close(part)
            except Exception:  # boundary: as in `_open`
                yield None
                continue
            made.phases = (parse, 0, ran, 0, self._nanos() - closing)
            if company:
                made.batch, made.company = rows, company
                company = -total
            yield made


def joined(requests: Sequence[Sequence[Tensor]]) -> Sequence[Tensor]:
    """Return one request's inputs with the examples of all, in order; they must be alike (see core.batch)."""
    if len(requests) == 1:
        return requests[0]
    columns = [sorted(tensors, key=_name) if len(tensors) > 1 else tensors for tensors in requests]
    return [_stacked([tensors[place] for tensors in columns]) for place in range(len(columns[0]))]


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    first = parts[0]
    shape = (sum([part.shape[0] for part in parts]), *first.shape[1:])
    if first.dtype is DType.BYTES:
        return Tensor(first.name, first.dtype, shape, tuple(text for part in parts for text in part.data))  # type: ignore[misc]
    return Tensor(first.name, first.dtype, shape, b"".join([part.data for part in parts]))  # type: ignore[misc]


def _name(tensor: Tensor) -> str:
    return tensor.name


def choose(order: Order, session: Session, clock: Clock, run_us: float) -> tuple[int, ...]:
    """Return the sizes of runs of several requests, each warmed; () if every request is to run alone.

    That is so unless the model takes plain tensors, its examples are independent, and joining pays on this machine or
    was asked for.
    """
    name = session.manifest.name
    if len(order.sizes) < 2 or session.takes_images or not can_join(session):
        return ()
    if order.measure and not 0 < run_us < MAX_LOOK_US:
        return ()
    try:
        sizes = sizes_that_pay(session, clock, order.sizes) if order.measure else order.sizes
        if not sizes:
            return ()
        if not independent(session):
            if not order.measure:
                log.warning("%s: its requests are not joined: an example's answer depends on the others'", name)
            return ()
        for size in sizes:
            session.infer(made_up(session.inputs, size))
    except SkerryError as error:
        log.info("%s: its requests are not joined: it does not run on made-up inputs: %s", name, error)
        return ()
    log.info("%s: up to %d examples run together", name, sizes[-1])
    return tuple(sizes)
