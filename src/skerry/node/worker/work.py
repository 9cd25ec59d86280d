"""A worker's life: load and prove one generation of a model, say hello, answer calls, end with the parent.

Run as a module it is the nursery: `python -m skerry.node.worker.work FD`.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import re
import signal
import socket
import statistics
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from skerry.core.errors import LoadFailed, PeerError, RunFailed, SkerryError
from skerry.core.manifest import Manifest
from skerry.core.names import ModelName
from skerry.core.tensor import DType, Spec, Tensor
from skerry.core.trust import Trust
from skerry.engine.bundle import open_bundle, verify
from skerry.engine.control import Asked
from skerry.engine.free import FREE, filled
from skerry.engine.golden import check_goldens
from skerry.engine.runners.onnx_file import arithmetic
from skerry.engine.runners.runner import Threads
from skerry.engine.runners.table import load as preload
from skerry.engine.session import Session, open_bare, open_session
from skerry.engine.warmup import run_warmups
from skerry.host import keys, machine
from skerry.host.clock import Clock
from skerry.host.nursery import end_with, may_rise, name_process, read_message, rise, send_message, serve_births, sink
from skerry.host.process import trim_heap
from skerry.host.regions import Regions
from skerry.host.shared import Channel, map_arena
from skerry.node.worker.answer import Answers
from skerry.node.worker.batch import OP, Call, Gather, Together, choose
from skerry.node.worker.beside.compare import shadow
from skerry.node.worker.made import Made
from skerry.node.worker.order import (
    ANSWER,
    CALL,
    DONE,
    ENCODER,
    NO_ROOM,
    ORDERS,
    Hello,
    Op,
    Order,
    status_of,
)
from skerry.wire.oip import spec_json

log = logging.getLogger(__name__)

WARM_RUNS = 32  # at most; enough for a median
WARM_SECONDS = 0.05  # at most, after the first run
MAX_FREE = 16 << 20  # bytes of an input whose free dimensions are not 1; a picture of 512 x 512 has 3 MB
TINY_US = 200.0  # microseconds of a run, below which the rest of a request takes as long
LONG_US = 8000.0  # microseconds of a run, above which one caller gains more by threads than several lose
SMALL = 64 << 10  # bytes, which fit any socket's buffer
MAX_ERROR = 4000  # bytes of an error's text
_MEMORY = re.compile(r"bad.?alloc|allocate|out of memory|MemoryError", re.IGNORECASE)  # as runtimes say it


def live(parent: socket.socket, fds: list[int]) -> None:
    """Be a worker until the parent is gone."""
    memory, go, back, arena = fds
    order = ORDERS.decode(read_message(parent))
    name_process(f"sk:{order.name}")
    found: list[Session | Hello] = []
    loading = threading.Thread(target=_load_into, args=(order, found), name="load")
    loading.start()
    loading.join()
    session, hello = (found[1], found[0]) if len(found) == 2 else (None, found[0])
    assert isinstance(hello, Hello)
    if isinstance(session, Session):
        work = Work(session, Channel(CALL, ANSWER, (memory, go, back)), map_arena(arena), order, hello)
        # Two threads of a tiny model only take the interpreter from one another.
        for number in range(1 if 0 < hello.run_us < TINY_US else hello.runs):
            threading.Thread(target=work.run, name=f"run-{number}", daemon=True).start()
    told_parent = ENCODER.encode(hello)
    send_message(parent, told_parent)
    if session is None:
        return
    if len(told_parent) < SMALL:
        end_with(parent)
    try:
        while True:
            read_message(parent)
    except PeerError:
        os._exit(0)  # nobody waits for an answer any more


def _load_into(order: Order, found: list[Session | Hello]) -> None:
    if order.gentle and (may_rise() or order.intra == 1):
        sink()
    clock = Clock()
    began = clock.monotonic()
    try:
        session, goldens = load(order, clock)
        run_warmups(session, order.beside.warmup, order.beside.most > 0, Path(order.beside.folder))
        runs, free = warm(session, clock)
        if order.wide > order.intra and min(runs, default=0.0) > LONG_US and (may_rise() or not order.gentle):
            session.close()
            order = order.planned(order.wide, 1, order.gentle)
            session, goldens = load(order, clock)
            runs, free = warm(session, clock)
        run_us = statistics.median(runs) if runs else 0.0
        hello = Hello(
            manifest=session.manifest.json(),
            inputs=tuple(map(spec_json, session.inputs)),
            outputs=tuple(map(spec_json, session.outputs)),
            images=session.takes_images,
            arithmetic=session.manifest.runtime.name == "onnx" and arithmetic(_model_file(order, session)),
            remembers=session.remembers,
            goldens=goldens,
            intra=order.intra,
            runs=order.runs,
            seconds=clock.monotonic() - began,
            run_us=run_us,
            free=free,
            sizes=choose(order, session, clock, run_us),
            slowest_us=max(runs, default=0.0),
        )
        gc.collect()
        gc.freeze()
        trim_heap()  # what loading took and gave back
        found += [hello, session]
    except (SkerryError, OSError, MemoryError) as error:
        kind = type(error).__name__ if isinstance(error, SkerryError) else LoadFailed.__name__
        found.append(Hello(error=kind, text=str(told(error, order.cap))))
    if order.gentle and may_rise():
        rise()


def _model_file(order: Order, session: Session) -> Path:
    return Path(order.path) if order.bare else Path(order.path) / session.manifest.runtime.file


def load(order: Order, clock: Clock) -> tuple[Session, int]:
    """Return the session of an order and how many goldens it passed; raise TrustError or ModelError."""
    threads = Threads(order.intra, order.runs, order.spinning)
    if order.bare:
        name, beside = ModelName(order.name), order.beside
        folder, shown = Path(beside.folder), frozenset(beside.shown)
        asked = Asked(beside.options, beside.sequences, beside.most > 0, shown, folder, beside.reshapes)
        session = open_bare(Path(order.path), name, order.version, threads, clock, order.labels, asked)
        session.most = beside.most
        return session, 0
    bundle = open_bundle(Path(order.path))
    verify(bundle, None if order.trust is None else Trust(order.trust, keys.verify))
    session = open_session(bundle, threads, machine.look(), clock)
    session.most = order.beside.most
    return session, check_goldens(session, bundle.path)


def zeros(specs: tuple[Spec, ...]) -> tuple[Tensor, ...]:
    """Return an input of zeros for a model: what warms it and asks whether it still runs. No dimension is free."""
    found = []
    for spec in specs:
        count = math.prod(spec.shape)
        data = (b"0",) * count if spec.dtype is DType.BYTES else bytes(count * spec.dtype.size)
        found.append(Tensor(spec.name, spec.dtype, spec.shape, data))
    return tuple(found)


def warm(session: Session, clock: Clock) -> tuple[list[float], int]:
    """Run the model on zeros a few times; return the microseconds of each run, none if it cannot run on zeros.

    And the size of its free dimensions that it ran with.
    """
    for free in FREE:
        specs = filled(session.inputs, free)
        if free > 1 and (specs == session.inputs or _bytes(specs) > MAX_FREE):
            break
        try:
            return _timed(session, clock, zeros(specs)), free
        except SkerryError as error:
            log.info("%s: not warmed with zeros, free dimensions as %d: %s", session.manifest.name, free, error)
    return [], 1


def _timed(session: Session, clock: Clock, tensors: tuple[Tensor, ...]) -> list[float]:
    found: list[float] = []
    began = clock.monotonic()
    session.infer(tensors)
    while len(found) < WARM_RUNS and (clock.monotonic() - began < WARM_SECONDS or not found):
        start = clock.monotonic()
        session.infer(tensors)
        found.append((clock.monotonic() - start) * 1e6)
    return found


def _bytes(specs: tuple[Spec, ...]) -> int:
    return sum(math.prod(spec.shape) * max(spec.dtype.size, 1) for spec in specs)


def told(error: SkerryError | OSError | MemoryError, cap: str) -> SkerryError:
    """Return an error as it is told: one of memory says what the worker may take of that."""
    said = str(error) or type(error).__name__
    if cap and (isinstance(error, MemoryError) or _MEMORY.search(said)):
        said = f"{said}; this worker may take {cap}"
    if isinstance(error, SkerryError):
        return error if said == str(error) else type(error)(said)
    return RunFailed(said)


class Work:
    """Answers calls from the channel; each of its threads runs `run`."""

    def __init__(self, session: Session, channel: Channel, arena: memoryview, order: Order, hello: Hello) -> None:
        sizes, proved = hello.sizes, hello.run_us > 0
        self._session = session
        self._clock = Clock()
        self._regions = Regions(order.regions)
        self._answers = Answers(session, self._clock, order.record, self._regions)
        self._channel = channel
        self._cap = order.cap
        self._arena = arena
        self._path = Path(order.path)
        self._lock = threading.Lock()
        self._gather = Gather(channel, self._lock, order, sizes) if sizes else None
        self._together = Together(self._answers, session, arena, sizes)
        self._kept: dict[int, tuple[int, Made]] = {}  # ticket -> when it was taken, and what found no room
        self._proof = zeros(filled(session.inputs, hello.free)) if proved and not self._manifest.goldens else ()

    @property
    def _manifest(self) -> Manifest:
        return self._session.manifest

    def run(self) -> None:
        """Answer calls until told to stop."""
        if self._gather is not None:
            while self._answer_all(self._gather()):
                pass
            return
        while True:
            self._channel.wait()
            with self._lock:
                call = self._channel.take()
            if not self._answer(call, self._clock.nanos()):
                return

    def _answer_all(self, calls: Sequence[Call]) -> bool:
        """Answer calls that were taken together; false if one of them says to stop."""
        taken = self._clock.nanos()
        going = True
        if calls[-1][OP] < Op.INFER:  # it is quick, or stands for one that has waited already
            going = self._answer(calls[-1], taken)
            calls = calls[:-1]
        if len(calls) == 1:
            return self._answer(calls[0], taken) and going
        for call, made in self._together(calls):
            if made is None:
                going = self._answer(call, taken) and going
            else:
                self._put(call[0], taken, call[7], call[8], made)
        return going

    def _answer(self, call: Call, taken: int) -> bool:
        """Answer one call; false if it says to stop."""
        ticket, at, head, op, _, body_at, body, room_at, room = call
        if op == Op.STOP:
            self._put(ticket, taken, room_at, 0, Made(b""))
            return False
        try:
            if op >= Op.INFER:
                made = self._answers(op, self._arena[at : at + head], self._arena[body_at : body_at + body])
            elif op == Op.SAMPLE:
                made = self._answers(Op.INFER, self._arena[at : at + head], self._arena[body_at : body_at + body])
            elif op == Op.FETCH:
                taken, made = self._kept.pop(ticket)
                if not room:  # there is none for it: nobody waits for this answer any more
                    return True
            elif op == Op.SHADOW:
                arena, labels = self._arena, len(self._manifest.labels)
                made = shadow(self._answers, labels, arena, arena[at : at + head], arena[body_at : body_at + body])
            else:
                made = self._small(op)
            self._put(ticket, taken, room_at, room, made)
        except (SkerryError, MemoryError) as error:
            self._fail(ticket, taken, room_at, room, told(error, self._cap))
        except Exception as error:  # boundary: a fault of ours in one request must not end the worker
            log.exception("%s: a fault of Skerry's own", self._manifest.name)
            self._fail(ticket, taken, room_at, room, RunFailed(f"internal error: {type(error).__name__}"))
        return True

    def _small(self, op: int) -> Made:
        self._regions.refresh()
        if op == Op.GOLDEN:
            check_goldens(self._session, self._path, 1)
            if self._proof:  # it has none, and ran on zeros when it was loaded
                self._session.infer(self._proof)
        return Made(b"")

    def _put(self, ticket: int, taken: int, room_at: int, room: int, made: Made) -> None:
        size, notes = len(made.body), len(made.notes)
        status = DONE
        if size + notes > room:
            status = NO_ROOM
            self._kept[ticket] = (taken, made)
        else:
            self._arena[room_at : room_at + size] = made.body
            if notes:
                self._arena[room_at + size : room_at + size + notes] = made.notes
        with self._lock:
            self._channel.answer(
                ticket, status, made.kind, made.json_length, size, notes, taken, *made.phases, made.batch, made.company
            )

    def _fail(self, ticket: int, taken: int, room_at: int, room: int, error: SkerryError) -> None:
        text = str(error).encode("utf-8", "replace")[: min(room, MAX_ERROR)]
        self._arena[room_at : room_at + len(text)] = text
        with self._lock:
            self._channel.answer(ticket, status_of(error), 0, 0, len(text), 0, taken, 0, 0, 0, 0, 0, 1, 0)


def _died(pid: int, status: int) -> None:
    if status and status != -signal.SIGKILL:  # by which every worker is let go of; an unexpected one its owner tells
        log.error("worker process %d ended with %s", pid, f"signal {-status}" if status < 0 else f"status {status}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    name_process("sk-nursery")
    preload("onnx")
    gc.collect()
    gc.freeze()  # what children share with this process is not looked through, and so not copied, by their collectors
    serve_births(int(sys.argv[1]), live, _died)
