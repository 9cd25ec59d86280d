"""`skerry hub`, and what people ask of a hub: publish, rollout, nodes, join-token."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from skerry.cli.say import emit, errors, out, start_log

Hub = Annotated[str, typer.Option("--hub", envvar="SKERRY_HUB", help="The hub's URL.")]
Token = Annotated[str, typer.Option("--token", envvar="SKERRY_TOKEN", help="Your token; better in SKERRY_TOKEN.")]
Json = Annotated[bool, typer.Option("--json", help="JSON for machines.")]

DEFAULT_HUB = "http://127.0.0.1:8440"
MARKS = {"waiting": "…", "running": "…", "done": "✓", "failed": "✗", "cancelled": "–"}


def hub(
    http: Annotated[str | None, typer.Option(help="HOST:PORT; port 0 picks one. [default: 127.0.0.1:8440]")] = None,
    state: Annotated[Path | None, typer.Option(help="Folder of database and blobs. [default: skerry-hub]")] = None,
    trust: Annotated[
        list[str] | None, typer.Option(help="Take only bundles that this public key signed (file or line).")
    ] = None,
    new_admin_token: Annotated[
        bool, typer.Option("--new-admin-token", help="Make and show another admin token, and end.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="A TOML file with a table [hub].")] = None,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")] = "warning",
    json: Annotated[bool, typer.Option("--json", help="The ready line as JSON.")] = False,
) -> None:
    """Run a hub: models, nodes, rollouts, results and the console on one port.

    Example:  skerry hub --http 0.0.0.0:8440 --state /var/lib/skerry-hub

    At its first start it makes an admin token and shows it once. Keep it.
    """
    from skerry.host.settings import environment, load
    from skerry.hub.app import build, serve
    from skerry.hub.console.routes import console_routes
    from skerry.hub.settings import HubSettings

    def ready(url: str, token: str | None) -> None:
        if json:
            emit({"event": "ready", "http": url} | ({"admin_token": token} if token else {}))
            return
        out.print(f"ready: hub and console at {url}")
        if token:
            out.print(f"admin token, shown this once: [bold]{token}[/]")

    start_log(log_level)
    with errors():
        given = {"http": http, "state": state, "trust": tuple(trust) if trust else None}
        settings = load(HubSettings, "hub", config, given, environment())
        if new_admin_token:
            made = build(settings)
            out.print(made.rooms.people.new_admin_token(), markup=False)
            made.close()
            return
        serve(settings, ready, console_routes())


def publish(
    bundle: Annotated[Path, typer.Argument(help="A signed bundle's folder.")],
    hub: Hub = DEFAULT_HUB,
    token: Token = "",
    json: Json = False,
) -> None:
    """Publish a signed bundle as a version of its model.

    Example:  skerry publish parts/ --hub http://hub:8440
    """
    from rich.progress import Progress

    from skerry.cli.operator import Operator
    from skerry.engine.bundle import open_bundle, verify

    with errors():
        found = open_bundle(bundle)
        verify(found)
        with Progress(console=out, disable=json or not out.is_terminal, transient=True) as bars:
            task = bars.add_task("publishing", total=found.manifest.size)
            version = Operator(hub, token).publish(bundle, lambda size: bars.advance(task, size))
        if json:
            emit(version)
        else:
            out.print(f"published {version['model']} version {version['version']}  {version['digest']}")


def rollout(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    version: Annotated[int, typer.Argument(help="The version to move to.")],
    node: Annotated[str | None, typer.Option(help="Move this node.")] = None,
    group: Annotated[str | None, typer.Option(help="Move every node of this group.")] = None,
    wait: Annotated[float, typer.Option(help="Wait so many seconds for its end; 0 returns at once.")] = 60.0,
    hub: Hub = DEFAULT_HUB,
    token: Token = "",
    json: Json = False,
) -> None:
    """Move a node or a group to a version, and say how it ended. Exit status 1 if it is not done in time.

    Example:  skerry rollout parts 2 --group line-3
    """
    from skerry.cli.operator import Operator
    from skerry.core import names
    from skerry.wire.registry import RollOut
    from skerry.wire.routes import ROLLOUT

    with errors():
        order = RollOut.read({k: v for k, v in {"model": names.model_name(model), "version": version,
                                                "node": node, "group": group}.items() if v is not None})  # fmt: skip
        operator = Operator(hub, token)
        found = operator.roll_out(order)
        deadline = time.monotonic() + wait
        while found["state"] in ("waiting", "running") and time.monotonic() < deadline:
            time.sleep(0.5)
            found = operator.ask(ROLLOUT, rollout=found["id"])
        if json:
            emit(found)
        else:
            _print_rollout(found)
        if wait and found["state"] != "done":
            raise typer.Exit(1)


def nodes(hub: Hub = DEFAULT_HUB, token: Token = "", json: Json = False) -> None:
    """List the nodes: what each serves, and how much it has yet to upload.

    Example:  skerry nodes --hub http://hub:8440
    """
    from skerry.cli.operator import Operator
    from skerry.wire.routes import NODES

    with errors():
        found = Operator(hub, token).ask(NODES)
        if json:
            emit(found)
            return
        for node in found["nodes"]:
            served = [f"{r['model']} {r['version']}" for r in node["reports"] if r["state"] == "serving"]
            out.print("[green]●[/] online " if node["online"] else "[red]○[/] offline", end="")
            out.print(f"  {node['name']}  group {node['group']}  serves {', '.join(served) or 'nothing'}"
                      f"  backlog {node['backlog']}  {node['url']}", markup=False)  # fmt: skip
        if not found["nodes"]:
            out.print("no node yet; make a token with 'skerry join-token' and start one with 'skerry node'")


def join_token(
    hours: Annotated[
        float | None, typer.Option(help="How long it lets nodes in. [default: until it is used up]")
    ] = None,
    uses: Annotated[int | None, typer.Option(help="How many nodes it lets in. [default: any number]", min=1)] = None,
    hub: Hub = DEFAULT_HUB,
    token: Token = "",
    json: Json = False,
) -> None:
    """Make a join token, with which nodes enrol. It is shown once.

    Example:  skerry join-token --hub http://hub:8440
    """
    from skerry.cli.operator import Operator

    with errors():
        found = Operator(hub, token).join_token(hours, uses)
        if json:
            emit({"token": found})
        else:
            out.print(found, markup=False)


def _print_rollout(found: dict[str, Any]) -> None:
    target = f"node {found['node']}" if found["node"] else f"group {found['group']}"
    state = found["state"]
    out.print(f"{MARKS[state]} rollout {found['id']}: {found['model']} version {found['version']} to {target}: {state}")
    for node in found["nodes"]:
        out.print(f"    {node['node']}: {node['state']} {node['reason']}", markup=False)
