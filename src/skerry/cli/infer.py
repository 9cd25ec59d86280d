"""`skerry infer`: ask a node about images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skerry.cli.say import emit, errors, out


def infer(
    images: Annotated[list[Path], typer.Argument(help="JPEG or PNG files.")],
    node: Annotated[str, typer.Option(help="The node's URL.")] = "http://127.0.0.1:8441",
    model: Annotated[str, typer.Option(help="The model's name.")] = "pcb",
    json: Annotated[bool, typer.Option("--json", help="One JSON line an image.")] = False,
) -> None:
    """Ask a node what it sees in images.

    Example:  skerry infer --node http://127.0.0.1:8441 --model pcb board.png --json
    """
    from skerry.device.client import Client

    with errors():
        client = Client(node)
        for image in images:
            answer = client.infer(model, image)
            if json:
                emit({"image": str(image), **answer.json()})
                continue
            out.print(f"{image}  {answer.width}x{answer.height}  {answer.millis.get('total', 0.0):.1f} ms"
                      f"  {answer.model} version {answer.version} on {answer.node}", markup=False)  # fmt: skip
            for found in answer.findings:
                where = "" if found.box is None else "  at " + " ".join(f"{side:.0f}" for side in found.box)
                out.print(f"  {found.score:5.3f}  {found.label}{where}", markup=False)
            if not answer.findings:
                out.print("  nothing found")
