"""Which net: the pictures' own size and the budget decide. Candidates are timed untrained, on the real runner.

What a net costs does not depend on what it has learned, so the choice stands before the training begins. INT8 comes
later and only makes it smaller and faster; the gates on the card judge what came of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch

from skerry.core.errors import Invalid
from skerry.core.names import ModelName
from skerry.engine.runners.runner import Threads
from skerry.engine.session import open_session
from skerry.forge.data.look import Watch
from skerry.forge.images.export import bundle_of, program
from skerry.forge.images.prepare import SIDES
from skerry.forge.importers.torch_source import to_onnx
from skerry.forge.measure import Lane, race
from skerry.forge.models.mobilenet import MobileNet, Shape
from skerry.host.clock import Clock
from skerry.host.machine import Machine

WIDTHS = (0.35, 0.5, 0.75, 1.0)
WIDTH = 0.75  # where no budget says otherwise: wider nets learn no more from a few hundred pictures
RACE_SECONDS = 1.5  # of one candidate: some hundred runs, so that the slowest hundredth is seen
FLOAT, WHOLE = 4.3, 1.5  # bytes of the file for a weight: in float32, and in INT8 with its scales (12 to 15 % of each)
GRAPH = 60_000  # bytes of the graph itself


@dataclass(frozen=True)
class Budget:
    """What the served model may cost; 0 is no limit."""

    p99_us: float = 0.0  # of one picture, from its file's bytes to the answer
    size: int = 0  # bytes of the model's file
    threads: int = 1
    whole: bool = True  # INT8 comes after the training


@dataclass(frozen=True)
class Chosen:
    """A net, and what was measured of it untrained (0: not measured)."""

    shape: Shape
    p99_us: float = 0.0


def weights_of(shape: Shape, classes: int) -> int:
    """Return how many weights a net has."""
    with torch.device("meta"):
        return sum(value.numel() for value in MobileNet(shape, classes).parameters())


def bytes_of(shape: Shape, classes: int, whole: bool) -> int:
    """Return about how large its file will be."""
    return int(weights_of(shape, classes) * (WHOLE if whole else FLOAT)) + GRAPH


def candidates(side: int, channels: int, width: float = 0.0) -> list[Shape]:
    """Return the nets that come into question, from the least work to the most; `width` fixes that."""
    found = [
        Shape(one, wide, channels)
        for one, wide in product((width,) if width else WIDTHS, (s for s in (*SIDES, side) if s <= side))
    ]
    return sorted(set(found), key=lambda one: (work(one), one.side))


def work(shape: Shape) -> float:
    """Return about how much work a net is, in no unit: a fine one has four times the cells."""
    return float(shape.width**1.5 * (shape.side * (2 if shape.fine else 1)) ** 2)


class Chooser:
    """Takes the largest net that fits a budget, by timing a few of them on the pictures themselves."""

    def __init__(self, labels: tuple[str, ...], budget: Budget, some: Sequence[bytes], machine: Machine) -> None:
        self._labels = labels
        self._budget = budget
        self._some = list(some)
        self._machine = machine
        self._clock = Clock()

    def largest(self, shapes: list[Shape], watch: Watch) -> Chosen:
        """Return the largest that fits, by halving: more work takes more time. Raise Invalid if not one does."""
        classes, budget = len(self._labels), self._budget
        sizes = {one: bytes_of(one, classes, budget.whole) for one in shapes}
        fitting = [one for one in shapes if not budget.size or sizes[one] <= budget.size]
        if not fitting:
            least = min(sizes.values())
            raise Invalid(f"size: the least net takes about {least:,} bytes; got {budget.size:,}")
        if not budget.p99_us:
            return Chosen(fitting[-1])
        low, high, best = 0, len(fitting) - 1, None
        fastest = 0.0
        while low <= high:
            middle = (low + high) // 2
            found = self.timed(fitting[middle], watch)
            fastest = min(fastest or found, found)
            if found <= budget.p99_us:
                best, low = Chosen(fitting[middle], found), middle + 1
            else:
                high = middle - 1
        if best is None:
            raise Invalid(f"p99: the least net takes {fastest / 1000:.2f} ms with {budget.threads} threads; "
                          f"got {budget.p99_us / 1000:g} ms")  # fmt: skip
        return best

    def timed(self, shape: Shape, watch: Watch) -> float:
        """Return the microseconds that 99 of 100 runs take at most, from a file's bytes to the answer."""
        torch.manual_seed(0)
        data = to_onnx(program(MobileNet(shape, len(self._labels)), shape))
        with tempfile.TemporaryDirectory(prefix="skerry-images-") as folder:
            bundle = bundle_of(data, ModelName("candidate"), shape, self._labels, Path(folder, "bundle"))
            threads = Threads(intra=self._budget.threads)
            with closing(open_session(bundle, threads, self._machine, self._clock)) as session:
                raced = race([Lane(session, self._some, self._budget.threads)], RACE_SECONDS, self._clock, watch)
        return raced.latencies[0].p99_us


def size_of(text: str) -> int:
    """Return bytes from "800KB", "1.5MB" or a plain number; 0 from nothing."""
    return int(_number(text, "size", {"kb": 1e3, "mb": 1e6, "b": 1.0}, "1.5MB")) if text else 0


def time_of(text: str) -> float:
    """Return microseconds from "10ms", "800us" or "1s"; 0 from nothing."""
    return _number(text, "p99", {"us": 1.0, "ms": 1e3, "s": 1e6}, "10ms") if text else 0.0


def _number(text: str, field: str, units: dict[str, float], such: str) -> float:
    plain = text.strip().lower()
    unit = next((one for one in units if plain.endswith(one)), "")
    try:
        found = float(plain.removesuffix(unit)) * (units[unit] if unit else 1.0)
    except ValueError:
        found = 0.0
    if not 0 < found < 1e12:
        raise Invalid(f"{field}: expected a number with {', '.join(units)}, as {such}; got {text!r}")
    return found
