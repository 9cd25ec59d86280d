"""A node, put together: the only place where its objects meet. `serve` runs it until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import secrets
import signal
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import uvloop

from skerry.core.errors import SkerryError
from skerry.host import machine
from skerry.host.caps import Cages
from skerry.host.clock import Clock
from skerry.host.keys import read_trust
from skerry.host.nursery import Nursery
from skerry.host.process import few_heaps, listen, raise_file_limit, split_address, url_of
from skerry.host.profiles import Profiles, cpu
from skerry.node.layers import Recorded
from skerry.node.load import Loader
from skerry.node.metrics import MachineLoad, Metrics
from skerry.node.metrics.added import Added
from skerry.node.models import Models
from skerry.node.serve.access import AccessLog
from skerry.node.serve.admin import Admin, Repository
from skerry.node.serve.local.gates import Gates
from skerry.node.serve.rest import rest
from skerry.node.settings import NodeSettings, node_name
from skerry.node.trace import Traces
from skerry.node.tracing.traced import Tracing
from skerry.node.watchdog import Watchdog

log = logging.getLogger(__name__)

COLLECT = 50_000  # objects between two looks of the garbage collector, whose pauses are latency

Ready = Callable[[str, str, list[str]], None]  # (URL, gRPC's HOST:PORT or "", the models in service) -> print them


@dataclass(frozen=True)
class Shared:
    """What every life of a node is given."""

    settings: NodeSettings
    url: str
    loader: Loader
    models: Models
    metrics: Metrics
    clock: Clock


class Life(Protocol):
    """Who decides what the node serves."""

    recorded: Recorded | None  # keeps the results of images
    repository: Repository | None  # what people may ask to load and unload
    failure: SkerryError | None  # why it gave up

    def start(self, ready: Callable[[list[str]], None], give_up: Callable[[], None]) -> None:
        """Begin, without waiting."""
        ...

    def stop(self) -> None:
        """End; blocks."""
        ...


class Rpc(Protocol):
    """A second server beside HTTP."""

    async def start(self, address: str) -> int:
        """Serve; return the port."""
        ...

    async def stop(self) -> None:
        """End."""
        ...


def serve(
    settings: NodeSettings,
    nursery: Nursery,
    ready: Ready,
    live: Callable[[Shared], Life],
    rpc: Callable[[Models, Admin, Clock, Tracing | None, AccessLog | None], Rpc] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; call from the main thread. `ready` is called once; `rpc` makes the gRPC server.

    `nursery` may have been started already, so that it imports while this process does; it is closed here.

    Raises Conflict for a busy port, NotFound or Invalid for bad settings, LoadFailed if a stand-alone
    node can load none of its models.
    """
    raise_file_limit()
    few_heaps()
    clock, here = Clock(), machine.look()
    metrics = Metrics(clock)
    with contextlib.ExitStack() as undo:
        listener = undo.enter_context(contextlib.closing(listen(*split_address(settings.http))))
        undo.enter_context(contextlib.closing(nursery))
        cages = undo.enter_context(contextlib.closing(Cages(settings.caps)))
        record = settings.hub is not None
        profiles = Profiles(settings.profiles, cpu(here.cpus))
        loader = Loader(nursery, read_trust(settings.trust), here, settings.threads, record, cages, profiles)
        gates = Gates(settings, clock, undo)
        loader.regions = gates.board
        models = undo.enter_context(contextlib.closing(Models(clock, metrics, loader.again, settings.waiting)))
        models.follow(settings.labels.by_model, settings.trials.by_model)
        models.caps = cages.describe()
        log.info("caps of workers: %s", models.caps)
        metrics.watch(machine_load(machine.Meter()))
        url = url_of(listener)
        life = live(Shared(settings, url, loader, models, metrics, clock))
        nursery.start()
        admin = Admin(models, metrics, life.repository if settings.controlled else None, gates.regions)
        name = node_name(settings, here)
        tracing, teller = telling(settings, models, clock, name, admin)
        site = rest(models, metrics, clock, name, admin, life.recorded, tracing)

        async def run() -> None:
            loop, stopping = asyncio.get_running_loop(), asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stopping.set)

            def give_up() -> None:
                loop.call_soon_threadsafe(stopping.set)

            models.run_on(loop)
            models.changed.append(Added(models, clock).look)
            await gates.start(site, listener)
            watchdog = Watchdog(models, clock)
            watchdog.start()
            if teller is not None:
                teller.start()
            beside, address = (rpc(models, admin, clock, tracing, gates.access), "") if rpc is not None else (None, "")
            if beside is not None:
                address = f"{settings.grpc.rpartition(':')[0]}:{await beside.start(settings.grpc)}"
                admin.grpc = address
            gc.freeze()
            gc.set_threshold(COLLECT)
            life.start(lambda served: ready(url, address, served), give_up)
            await stopping.wait()
            await asyncio.gather(site.stop(), *([beside.stop()] if beside is not None else []))
            watchdog.stop()
            await gates.stop()
            if teller is not None:
                teller.finish()
                await loop.run_in_executor(None, teller.stop)
            await loop.run_in_executor(None, life.stop)

        uvloop.run(run())
    if life.failure is not None:
        raise life.failure


def telling(
    settings: NodeSettings, models: Models, clock: Clock, name: str, admin: Admin
) -> tuple[Tracing | None, Any]:
    """Return what makes traces and what tells a collector of them, None and None without a collector.

    The Teller's HTTP library takes 35 ms to import, which a node without one need not wait for.
    """
    if not settings.traces:
        return None, None
    admin.traces = traces = Traces(secrets.token_bytes, settings.trace_every)
    teller = import_module("skerry.node.tracing.teller").Teller(traces, settings.traces, name)
    return Tracing(traces, models, clock), teller


def machine_load(meter: machine.Meter) -> Callable[[], MachineLoad]:
    """Return what says how busy the machine is, as the pages want it."""

    def look() -> MachineLoad:
        found = meter.look()
        return MachineLoad(found.cpu, found.memory_total, found.memory_used)

    return look
