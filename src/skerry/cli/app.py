"""The `skerry` command: its parts, and the version."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from skerry.cli import bundle, forge, hub, infer, keys, node, tune, up
from skerry.cli.say import INTERRUPTED, err, missing
from skerry.core.version import VERSION

EPILOG = """
Begin:  skerry up   (a hub, a node and a demo on this machine)

Own model:  skerry bundle init model.onnx --name parts --labels labels.txt -o parts/   then   skerry serve parts/
"""

app = typer.Typer(
    name="skerry",
    help="Edge AI that stands whatever the sea does: train, sign, roll out, serve in milliseconds, keep working offline.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"skerry {VERSION}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


app.command("up", rich_help_panel="Begin here")(up.up)
app.command("serve", rich_help_panel="Node")(node.serve)
app.command("node", rich_help_panel="Node")(node.node)
app.command("tune", rich_help_panel="Node")(tune.tune)
app.command("infer", rich_help_panel="Device")(infer.infer)
app.command("hub", rich_help_panel="Hub")(hub.hub)
app.command("publish", rich_help_panel="Hub")(hub.publish)
app.command("rollout", rich_help_panel="Hub")(hub.rollout)
app.command("nodes", rich_help_panel="Hub")(hub.nodes)
app.command("join-token", rich_help_panel="Hub")(hub.join_token)
app.add_typer(bundle.app, name="bundle", rich_help_panel="Models")
app.add_typer(keys.app, name="keys", rich_help_panel="Models")
app.add_typer(forge.app, name="forge", rich_help_panel="Models")


def main() -> None:
    """Run the command line; a library that is missing, and Ctrl-C, are a line and not a traceback."""
    try:
        app()
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("skerry"):
            raise
        err.print(f"error: {missing(error)}", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
