"""`skerry tune`: measure a model on this machine, and keep what the node should do with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from skerry.cli.say import emit, errors, out, watching

BUSY = 2.0  # times as long as the median takes 1 run in 100 where something else runs; 1.2 to 1.6 on quiet machines

Folder = Annotated[
    Path | None, typer.Option("--profiles", help="Where profiles are kept. [default: ~/.cache/skerry/profiles]")
]


def tune(
    path: Annotated[Path, typer.Argument(help="A bundle, or a model file.")],
    seconds: Annotated[float, typer.Option(help="How long to measure, 1 to 30.")] = 20.0,
    slo_ms: Annotated[float | None, typer.Option(help="A run (99 of 100) may take this many ms at most.")] = None,
    favour: Annotated[
        str | None, typer.Option(help="latency (one caller) or throughput (many). [default: what loses least]")
    ] = None,
    profiles: Folder = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON line.")] = False,
) -> None:
    """Find the best threads, runs at the same time and batch sizes of a model on this machine.

    Example:  skerry tune parts/ --seconds 20

    The node uses what is found when it next loads the model. Ctrl-C ends early with what is known.
    """
    from skerry.engine.tune import Tune, Wishes, checked
    from skerry.engine.tuned import open_model
    from skerry.host import machine
    from skerry.host.clock import Clock
    from skerry.host.files import Disk
    from skerry.host.profiles import HOME, Profiles, cpu

    with errors():
        if favour not in (None, "latency", "throughput"):
            raise typer.BadParameter("expected latency or throughput", param_hint="--favour")
        wishes = checked(Wishes(seconds, slo_ms, None if favour is None else favour == "latency"))
        here = machine.look()
        model = open_model(path, here, Clock())
        with watching(json) as watch:
            tuned = Tune(
                model.opening, here.cpus, wishes, Clock(), lambda share, what: watch(int(share * 1000), 1000, what)
            )
            profile = tuned.run()
        kept = Profiles(profiles or HOME, cpu(here.cpus)).keep(model.digest, model.runtime, profile, Disk())
        if json:
            emit({**profile.json(), "model": model.digest, "stopped": tuned.stopped, "kept": str(kept)})
            return
        _table(tuned)
        for line in words(profile, here.cpus):
            out.print(line, markup=False)
        out.print(f"kept in {kept}", markup=False)


def words(profile: Any, cpus: int) -> Iterator[str]:
    """Yield the recommendation, a sentence a line."""
    plan, latency, most = profile.plan, profile.best_latency, profile.best_throughput
    yield f"Use {_threads(plan.intra)} inside a run and {plan.runs} at the same time: {plan.rate:.0f} runs a second."
    if latency.intra != most.intra:
        sooner = max(0.0, 1 - latency.p50_us / max(most.p50_us, 1e-9))
        yield (f"For one caller, {_threads(latency.intra)} in a run: {sooner:.0%} less time ({latency.p50_us / 1000:.2f} ms); "
               f"for many, {most.intra} x {most.runs} gives {most.rate:.0f} runs a second.")  # fmt: skip
    if profile.batches:
        yield f"Joining requests pays: up to {profile.batches[-1]} examples in a run."
    else:
        yield "Joining requests does not pay (or the model does not allow it): each runs alone."
    if profile.spinning:
        yield "Spinning pays: threads look for work before they sleep."
    if latency.p99_us > BUSY * latency.p50_us:
        yield "The machine had other work to do, which blurs what was measured: tune again when it is quiet."
    if cpus == 1:
        yield "This machine has one processor: there is no choice of threads."


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _table(tuned: Any) -> None:
    from rich.table import Table

    from skerry.engine.tune import rows

    table = Table(box=None, pad_edge=False)
    for title in ("look at", "threads", "runs", "batch", "spin", "p50 ms", "p99 ms", "runs/s", "examples/s", "samples"):
        table.add_column(title, justify="right")
    for trial, one in rows(tuned.timed.items()):
        table.add_row(
            trial.phase, str(trial.intra), str(trial.runs), str(trial.batch), "yes" if trial.spinning else "",
            f"{one.p50_us / 1000:.3f}", f"{one.p99_us / 1000:.3f}", f"{one.rate:.0f}",
            f"{one.rate * trial.batch:.0f}", str(one.runs),
        )  # fmt: skip
    out.print(table)
