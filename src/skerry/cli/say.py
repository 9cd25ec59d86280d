"""How the command line speaks: errors, ready lines, JSON for machines, colours only on a terminal."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console

from skerry.core.errors import SkerryError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

LEVELS = ("debug", "info", "warning", "error")


@contextmanager
def errors() -> Iterator[None]:
    """Turn an error of Skerry's, a missing library or a Ctrl-C into a line and an exit status."""
    try:
        yield
    except SkerryError as error:
        fail(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("skerry"):
            raise
        fail(f"this command needs the library '{error.name}'; install it with: pip install 'skerry[all]'")
    except OSError as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None  # what shells expect after Ctrl-C


def fail(text: str) -> None:
    """Print an error and exit with status 1."""
    err.print("[bold red]error:[/]", end=" ")
    err.print(text, markup=False)
    raise typer.Exit(1) from None


def emit(value: dict[str, Any]) -> None:
    """Print one JSON line for a machine, at once."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def start_log(level: str) -> None:
    """Send the log to standard error from this level up; raise BadParameter for an unknown one."""
    if level.lower() not in LEVELS:
        raise typer.BadParameter(f"expected one of {', '.join(LEVELS)}", param_hint="--log-level")
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=level.upper(), stream=sys.stderr, format=form)
