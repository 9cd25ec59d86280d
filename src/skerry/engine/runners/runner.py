"""A runner executes one model file in one runtime. This is the seam; each runtime is one file beside it.

A runner is loaded once, runs from any number of threads, and is closed once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from skerry.core.tensor import Spec
from skerry.engine.arrays import Array


@dataclass(frozen=True)
class Threads:
    """The thread plan of one model: threads inside one run, and runs at the same time.

    More than one thread inside a run and more than one run oversubscribe the processors, which lost 18 to
    47 % of throughput where it was measured, so one of the two numbers should be 1.
    """

    intra: int = 1
    runs: int = 1


class Runner(Protocol):
    """What every runtime can do."""

    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return every output by name; raise RunFailed if the model fails on these arrays."""
        ...

    def close(self) -> None:
        """Free what the runner holds; it is not used after that."""
        ...


class Load(Protocol):
    """How a runtime opens a model file; raises LoadFailed if it cannot."""

    def __call__(self, path: Path, threads: Threads) -> Runner:
        """Return a runner of the file."""
        ...
