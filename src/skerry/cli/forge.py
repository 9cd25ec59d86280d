"""`skerry forge`: make and measure models."""

from __future__ import annotations

import typer

app = typer.Typer(help="Make and measure models.", no_args_is_help=True)
pcb = typer.Typer(help="PCB inspection.", no_args_is_help=True)
app.add_typer(pcb, name="pcb")
