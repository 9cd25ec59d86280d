"""The plan of a training: what is asked of it, which net, how many steps; written down before the first of them.

So a cut training goes on by the plan that it began with, whatever the machine is doing by then.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from skerry.core.card import Pass
from skerry.core.errors import Conflict, Invalid, LoadFailed
from skerry.core.fields import Fields, parse
from skerry.forge.data import Shares, data_digest
from skerry.forge.data.look import Watch
from skerry.forge.images.augment import FLIPS
from skerry.forge.images.export import started
from skerry.forge.images.pixels import kept, roomy
from skerry.forge.images.prepare import Pictures
from skerry.forge.images.size import WIDTH, Budget, Chooser, candidates
from skerry.forge.images.train import BATCH, Heard, Part, Plan, train
from skerry.forge.models.mobilenet import Shape
from skerry.host.clock import Clock
from skerry.host.files import Disk
from skerry.host.machine import Machine

PLAN, CHECKPOINT = "plan.json", "checkpoint.pt"
MAX_PLAN = 1 << 20  # bytes; it has 1,000
PROBED = 8  # steps that tell how long a step takes; the first two are not counted
ROUNDS = 150  # times through the data at most: more made nothing better where it was tried
FEW_STEPS = 2500  # that small data may have all the same
LEAST_STEPS = 40  # however little time there is
LEAST_SIDE, MOST_SIDE = 32, 1024  # pixels: the net halves them five times; of more, an epoch takes hours
LEAST_WIDTH, MOST_WIDTH = 0.1, 2.0
ROUND = 20  # steps between two looks at validation, at least
TIMED = 8  # pictures that candidates are timed on


@dataclass(frozen=True)
class Wanted:
    """What is asked of a training; 0 and "" leave the choice here."""

    minutes: float = 15.0
    seed: int = 0
    shares: Shares = field(default_factory=Shares)
    group: str = ""
    flips: str = "sides"
    width: float = 0.0
    side: int = 0
    swish: bool = False
    gates: bool = False
    weights: Path | None = None
    steps: int = 0  # in place of minutes

    def __post_init__(self) -> None:
        if self.flips not in FLIPS:
            raise Invalid(f"flips: expected {', '.join(FLIPS)}; got {self.flips!r}")
        if self.side and not LEAST_SIDE <= self.side <= MOST_SIDE:
            raise Invalid(f"side: expected {LEAST_SIDE} to {MOST_SIDE} pixels; got {self.side}")
        if self.width and not LEAST_WIDTH <= self.width <= MOST_WIDTH:
            raise Invalid(f"width: expected {LEAST_WIDTH} to {MOST_WIDTH}; got {self.width:g}")


@dataclass(frozen=True)
class Ears:
    """Who hears how far it is: work by its count, training by its losses, passes by what became of them, and texts."""

    watch: Watch
    heard: Callable[[Heard], None]
    done: Callable[[Pass], None]
    said: Callable[[str], None]


def planned(folder: Path, pictures: Pictures, wanted: Wanted, budget: Budget, machine: Machine, ears: Ears) -> Plan:
    """Return the plan of the training: the one that was begun, or a new one, written down before the first step."""
    told = _asked(pictures, wanted, budget)
    there = folder / PLAN
    if there.exists():
        fields = Fields(parse(there.read_bytes(), PLAN, MAX_PLAN), str(there))
        before = Fields(fields.raw("asked"), PLAN).rest()
        other = [key for key in told if before.get(key) != told[key]]
        if other:
            raise Conflict(f"{folder}: a training of other {', '.join(other)} was begun there; remove the folder, or "
                           f"choose another one")  # fmt: skip
        ears.said(f"going on with the training in {folder}")
        return _begun(Fields(fields.raw("plan"), PLAN).rest(), there)
    shape = chosen(pictures, wanted, budget, machine, ears)
    if wanted.weights is not None:
        started(wanted.weights, shape, len(pictures.labels))  # what is wrong with them is told now
    count = len(pictures.data.part("train").examples)
    batch = max(4, min(BATCH, count // 2))
    first = Plan(shape, len(pictures.labels), PROBED, ROUND, batch, seed=wanted.seed, flips=wanted.flips)
    through = max(1, count // batch)
    steps = wanted.steps
    if not steps:
        part = learned(folder, first.shape, pictures, ears.watch)
        seconds, threads = min((seconds_of(replace(first, threads=n), part), n) for n in {1, machine.cpus})
        first = replace(first, threads=threads)
        most = max(FEW_STEPS, ROUNDS * through)
        steps = max(LEAST_STEPS, min(math.floor(wanted.minutes * 60 / seconds), most))
        ears.said(f"training: {steps} steps of {1000 * seconds:.0f} ms, threads: {threads}")
    plan = replace(first, steps=steps, round=min(steps, max(ROUND, through)))
    Disk().write(there, json.dumps({"asked": told, "plan": asdict(plan)}, indent=1).encode())
    return plan


def chosen(pictures: Pictures, wanted: Wanted, budget: Budget, machine: Machine, ears: Ears) -> Shape:
    """Return the net for the pictures and the budget."""
    channels, side = 1 if pictures.grey else 3, wanted.side or pictures.side
    shapes = candidates(side, channels, wanted.width)
    if wanted.side:
        shapes = [one for one in shapes if one.side == side]
    if not budget.p99_us and not budget.size:
        shapes = [one for one in shapes if one.side == side and one.width <= (wanted.width or WIDTH)]
    test = pictures.data.part("test")
    some = [test.encoded(index) for index in range(min(TIMED, len(test.examples)))]
    found = Chooser(pictures.labels, budget, some, machine).largest(
        [replace(one, swish=wanted.swish, gates=wanted.gates) for one in shapes], ears.watch
    )
    ears.said(f"net: width {found.shape.width:g}, {found.shape.side} pixels, {'grey' if channels == 1 else 'colours'}"
              + (f", p99 {found.p99_us / 1000:.2f} ms untrained" if found.p99_us else ""))  # fmt: skip
    return found.shape


def seconds_of(plan: Plan, learn: Part) -> float:
    """Return the seconds of a step, by trying some.

    More threads are not always faster: where others use the processors too, two took five times as long as one.
    """
    clock, times = Clock(), list[float]()
    with tempfile.TemporaryDirectory(prefix="skerry-images-") as folder:
        prove = Part(learn.pixels[:1], learn.labels[:1])
        train(plan, learn, prove, Path(folder, CHECKPOINT), lambda _: times.append(clock.monotonic()))
    return float(np.median(np.diff(times[1:])))


def learned(folder: Path, shape: Shape, pictures: Pictures, watch: Watch) -> Part:
    """Return what is trained on, with room around it for zooming and shifting."""
    data, side = pictures.data.part("train"), roomy(shape.side)
    return Part(kept(data, side, shape.channels, folder, watch), pictures.numbers("train"))


def _begun(plan: dict[str, Any], path: Path) -> Plan:
    try:
        return Plan(**{**plan, "shape": Shape(**plan["shape"])})
    except (TypeError, KeyError):
        raise LoadFailed(f"{path}: not a plan of this version of Skerry; remove its folder") from None


def _asked(pictures: Pictures, wanted: Wanted, budget: Budget) -> dict[str, Any]:
    """Return what makes a training this one and no other."""
    told = asdict(wanted) | {"shares": wanted.shares.told("")}
    return {
        **told,
        "weights": str(wanted.weights or ""),
        "budget": asdict(budget),
        "pictures": data_digest(pictures.data),
    }
