"""`skerry up`: the whole of Skerry on this machine, on real input, with a table of what happens."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skerry.cli.say import emit, errors, out

if TYPE_CHECKING:
    from skerry.wire.answer import Answer

PAUSE_SECONDS = 0.7  # between boards, so that a person can read along


def up(
    once: Annotated[
        bool, typer.Option("--once", help="End when all was seen to work (0), or with the reason (1).")
    ] = False,
    images: Annotated[
        Path | None, typer.Option(help="A folder of boards. [default: rendered boards that come along]")
    ] = None,
    state: Annotated[Path, typer.Option(help="Folder of keys, hub and node.")] = Path(".skerry"),
    hub_http: Annotated[str, typer.Option(help="HOST:PORT of the hub; port 0 picks one.")] = "127.0.0.1:8440",
    node_http: Annotated[str, typer.Option(help="HOST:PORT of the node; port 0 picks one.")] = "127.0.0.1:8441",
    json: Annotated[bool, typer.Option("--json", help="One JSON line a step.")] = False,
) -> None:
    """Start a hub and a node here, roll out the PCB bundle, and inspect boards.

    Example:  skerry up        (stays up until Ctrl-C)

    Example:  skerry up --once --hub-http 127.0.0.1:0 --node-http 127.0.0.1:0
    """
    with errors():
        from skerry.cli.demo_run import DEMO, Demo, boards
        from skerry.host.process import on_stop

        def say(event: str, text: str, **facts: Any) -> None:
            if json:
                emit({"event": event, "text": text, **facts})
            else:
                style = "bold red" if event == "alarm" else "green"
                out.print(f"[{style}]{'!' if event == 'alarm' else '✓'}[/] ", end="")
                out.print(text, markup=False)

        pictures = boards(images or DEMO / "boards")
        stopped = threading.Event()
        on_stop(lambda: _interrupt(stopped))
        demo = Demo(state, say)
        try:
            demo.start_hub(hub_http)
            demo.start_node(node_http)
            demo.roll_out(demo.publish())
            answers = _inspect(demo, pictures, 0.0 if once else PAUSE_SECONDS, json)
            demo.delivered(answers, demo.alarms(answers))
            say("console", f"console: {demo.console}", url=demo.console)
            if not once:
                _stay(demo, stopped, json)
        except KeyboardInterrupt:
            if once:
                raise
        finally:
            if not json:
                out.print("stopping")
            demo.stop()


def _interrupt(stopped: threading.Event) -> None:
    if not stopped.is_set():
        stopped.set()
        raise KeyboardInterrupt


def _inspect(demo: Any, paths: list[Path], pause: float, json: bool) -> list[Answer]:
    """Send the boards and print a line for each as it comes."""

    width = max(len(path.name) for path in paths)
    if not json:
        title = f"{'image':<{width}}  {'latency':>9}  {'found':<5}  what and where (left, top)"
        out.print(f"[bold]{title:<70}[/]  node, model")
    answers: list[Answer] = []
    for path, answer in demo.send(paths, pause):
        answers.append(answer)
        if json:
            emit({"event": "answer", "image": path.name, **answer.json()})
            continue
        found = ", ".join(f"{f.label} {f.score:.2f}" + (f" ({f.box[0]:.0f}, {f.box[1]:.0f})" if f.box else "")
                          for f in answer.findings[:3])  # fmt: skip
        more = f" and {len(answer.findings) - 3} more" if len(answer.findings) > 3 else ""
        colour = "yellow" if answer.findings else "green"
        out.print(f"{path.name:<{width}}  {answer.millis['total']:6.1f} ms  [{colour}]{len(answer.findings):^5}[/]  "
                  f"{found or 'good'}{more}  [dim]{answer.node}, {answer.model} {answer.version}[/]")  # fmt: skip
    return answers


def _stay(demo: Any, stopped: threading.Event, json: bool) -> None:
    if not json:
        out.print(f"\nAsk the node yourself:  skerry infer --node {demo.node_url} --model pcb board.png")
        out.print("Ctrl-C ends everything.")
    while not stopped.is_set():
        demo.watch()
        time.sleep(0.2)
