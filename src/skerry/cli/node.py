"""`skerry serve` and `skerry node`: a node alone, and a node that obeys a hub."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from skerry.cli.say import emit, errors, out, start_log

Http = Annotated[
    str | None, typer.Option("--http", help="HOST:PORT; port 0 picks a free one. [default: 127.0.0.1:8441]")
]
Grpc = Annotated[str | None, typer.Option("--grpc", help="HOST:PORT for gRPC; port 0 picks a free one. [default: off]")]
Level = Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")]
Json = Annotated[bool, typer.Option("--json", help="The ready line as JSON.")]
Threads = Annotated[
    int | None,
    typer.Option(help="Threads inside one run of a model. [default: 1, and as many runs at a time as processors]"),
]
Config = Annotated[Path | None, typer.Option(help="A TOML file with a table [node]: every other setting.")]
Trust = Annotated[list[str] | None, typer.Option(help="A publisher's public key: file or line. May be repeated.")]


def serve(
    paths: Annotated[
        list[Path], typer.Argument(help="Bundles, .onnx or .tflite files, or repositories MODEL/VERSION/model.onnx.")
    ],
    http: Http = None,
    grpc: Grpc = None,
    log_level: Level = "warning",
    json: Json = False,
    threads: Threads = None,
    trust: Trust = None,
    config: Config = None,
) -> None:
    """Serve models from this disk: a stand-alone node, no hub needed.

    Example:  skerry serve parts/ --http 0.0.0.0:8441

    Bundles from your own disk need no signature; with --trust only bundles that this key signed are served.
    """
    start_log(log_level)
    from skerry.host.nursery import WORKERS, Nursery
    from skerry.host.settings import environment, load

    with errors(), closing(Nursery(WORKERS, environment())) as nursery:
        nursery.start()  # it imports what runs models while this process imports the rest
        from skerry.node.alone import alone
        from skerry.node.app import serve as run
        from skerry.node.settings import NodeSettings

        given = {
            "paths": tuple(paths),
            "http": http,
            "grpc": grpc,
            "threads": threads,
            "trust": tuple(trust) if trust else None,
        }
        settings = replace(load(NodeSettings, "node", config, given, environment()), hub=None)
        run(
            settings,
            nursery,
            lambda url, grpc, models: _ready(url, grpc, models, json, "a model"),
            alone,
            _rpc(settings.grpc),
        )


def node(
    hub: Annotated[str | None, typer.Option(help="The hub's URL.")] = None,
    join: Annotated[
        str | None, typer.Option(help="A join token, needed the first time (see 'skerry join-token').")
    ] = None,
    trust: Trust = None,
    name: Annotated[str | None, typer.Option(help="The node's name. [default: the machine's]")] = None,
    group: Annotated[str | None, typer.Option(help="The group to join. [default: default]")] = None,
    state: Annotated[Path | None, typer.Option(help="Folder of bundles and journal. [default: skerry-node]")] = None,
    config: Config = None,
    http: Http = None,
    grpc: Grpc = None,
    log_level: Level = "warning",
    json: Json = False,
    threads: Threads = None,
) -> None:
    """Run a node that obeys a hub: pulls signed bundles, serves them, keeps results until the hub has them.

    Example:  skerry node --hub http://hub:8440 --join TOKEN --trust publisher.pub

    Every option may stand in the TOML file or in the environment (SKERRY_NODE_HUB, SKERRY_NODE_JOIN_TOKEN, …).
    """
    start_log(log_level)
    from skerry.core.errors import Invalid
    from skerry.host.nursery import WORKERS, Nursery
    from skerry.host.settings import environment, load

    with errors(), closing(Nursery(WORKERS, environment())) as nursery:
        nursery.start()
        from skerry.node.app import serve as run
        from skerry.node.obedient import obedient
        from skerry.node.settings import NodeSettings

        given = {
            "hub": hub,
            "join_token": join,
            "trust": tuple(trust) if trust else None,
            "name": name,
            "group": group,
            "state": state,
            "http": http,
            "grpc": grpc,
            "threads": threads,
        }
        settings = load(NodeSettings, "node", config, given, environment())
        if settings.hub is None:
            raise Invalid("hub: a node needs the URL of its hub (--hub, or 'skerry serve' for a node without one)")
        run(
            settings,
            nursery,
            lambda url, grpc, models: _ready(url, grpc, models, json, "the hub's orders"),
            obedient,
            _rpc(settings.grpc),
        )


def _rpc(address: str) -> Any:
    """Return what makes the gRPC server, None where there is to be none: its library costs memory and time."""
    if not address:
        return None
    from skerry.node.serve.rpc.server import GrpcServer

    return GrpcServer


def _ready(url: str, grpc: str, models: list[str], json: bool, awaited: str) -> None:
    if json:
        emit({"event": "ready", "http": url, **({"grpc": grpc} if grpc else {}), "models": models})
    else:
        what = f"serving {', '.join(models)}" if models else f"waiting for {awaited}"
        out.print(f"ready: {what} at {url}{f' and gRPC at {grpc}' if grpc else ''}")
