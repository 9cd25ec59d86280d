"""A node, put together: the only place where its objects meet. `serve` runs it until it is told to stop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from skerry.core.errors import Invalid
from skerry.host import machine
from skerry.host.clock import Clock
from skerry.host.files import Disk
from skerry.host.keys import read_trust
from skerry.host.process import listen, on_stop, split_address, url_of
from skerry.node.alone import Alone
from skerry.node.load import Loader
from skerry.node.metrics import Metrics
from skerry.node.models import Models
from skerry.node.obedient import Obedient, node_name
from skerry.node.repository import find
from skerry.node.serve.http1 import Http1
from skerry.node.serve.rest import rest
from skerry.node.settings import NodeSettings

IDLE_SECONDS = 75  # that a silent connection is kept; a camera that asks once a minute keeps its own
GRACE_SECONDS = 5  # for requests in flight when the node is told to stop

Ready = Callable[[str, list[str]], None]  # (URL, the models in service) -> print them


def serve(settings: NodeSettings, ready: Ready, disk: Disk | None = None) -> None:
    """Serve until SIGTERM or SIGINT; call from the main thread. `ready` is called once.

    Raises Conflict for a busy port, NotFound or Invalid for bad settings, LoadFailed if a stand-alone
    node can load none of its models.
    """
    found = find(settings.paths)
    if not found and settings.hub is None:
        raise Invalid("nothing to serve: give a bundle, a model file or a repository, or the URL of a hub")
    clock, metrics, here = Clock(), Metrics(), machine.look()
    models = Models(clock, metrics)
    loader = Loader(read_trust(settings.trust), here, clock, settings.threads, settings.waiting)
    with contextlib.closing(listen(*split_address(settings.http))) as listener:
        url = url_of(listener)
        life: Alone | Obedient
        if settings.hub is None:
            life = Alone(found, loader, models)
        else:
            life = Obedient(settings, url, models, metrics, loader, disk or Disk())

        def stop() -> None:
            server.should_exit = True

        def started() -> None:
            life.start(lambda served: ready(url, served), stop)

        server = uvicorn.Server(_config(rest(models, life.infer, metrics, node_name(settings, here), started)))
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]  # on_stop does it
        on_stop(stop)
        server.run(sockets=[listener])
        life.stop()
    models.close()
    if life.failure is not None:
        raise life.failure


def _config(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Http1,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
