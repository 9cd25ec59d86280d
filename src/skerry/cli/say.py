"""How the command line speaks: errors, ready lines, JSON for machines, colours only on a terminal."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console

from skerry.core.errors import SkerryError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

INTERRUPTED = 130  # the exit status that shells expect after Ctrl-C
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
        fail(missing(error))
    except OSError as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def missing(error: ModuleNotFoundError) -> str:
    """Return what to do about a library that is not installed: the base install is the device SDK alone."""
    library = (error.name or "").partition(".")[0]
    return f"this command needs the library '{library}'; install it with: pip install 'skerry[all]'"


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


@contextmanager
def watching(quiet: bool = False) -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar of how far long work is (done, of how many, what), on a terminal; nothing elsewhere."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total or None, description=what)
