"""A runner executes one model file in one runtime. This is the seam; each runtime is one file beside it.

A runner is loaded once, runs from any number of threads, and is closed once. Nothing that one run leaves behind
is seen by the next; a model that remembers is run over several requests in a lane of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.core.tensor import Spec
from skerry.engine.arrays import Array, dtype_of

T = TypeVar("T")

MAX_ERROR = 500  # characters of a runtime's own error text that ours carries


@dataclass(frozen=True)
class Threads:
    """The thread plan of one model: threads inside one run, and runs at the same time.

    More than one thread inside a run and more than one run oversubscribe the processors, which lost 18 to
    47 % of throughput where it was measured, so one of the two numbers should be 1.
    """

    intra: int = 1
    runs: int = 1
    spinning: bool = False  # threads look for work a while before they sleep; for boxes with processors to spare


@dataclass(frozen=True)
class Wish:
    """What a manifest asks of its runtime: an accelerator it needs, and options that only the runtime knows."""

    accelerator: str = ""
    options: Mapping[str, Any] | None = None

    def fields(self) -> Fields:
        """Return the options for reading; errors name them as in the manifest."""
        return Fields(self.options or {}, "runtime")


PLAIN = Wish()


class Lane(Protocol):
    """A run of requests whose state goes from one to the next, starting at the model's own start."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return every output by name; Invalid leaves the state as it was, after RunFailed the lane is not used."""
        ...


class Runner(Protocol):
    """What every runtime can do."""

    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    remembers: bool  # whether a run changes what the next run in the same lane gives

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return every output by name; raise Invalid for feeds that are wrong, RunFailed if the model fails on them."""
        ...

    def lane(self) -> Lane:
        """Return a new lane; only for a runner that remembers."""
        ...

    def close(self) -> None:
        """Free what the runner holds; what runs now may end, a later run is RunFailed."""
        ...


class Load(Protocol):
    """How a runtime opens a model file; raises LoadFailed if it cannot."""

    def __call__(self, path: Path, threads: Threads, wish: Wish = PLAIN) -> Runner:
        """Return a runner of the file."""
        ...


def unread(fields: Fields) -> None:
    """Raise Invalid naming the options that nobody read."""
    left = fields.rest()
    if left:
        raise Invalid(f"runtime: unknown options {', '.join(sorted(left))}")


def expect(feeds: Mapping[str, Array], specs: Sequence[Spec]) -> None:
    """Raise Invalid unless the feeds are what the specs ask for; for runtimes that would take anything."""
    for spec in specs:
        array = feeds.get(spec.name)
        if array is None:
            raise Invalid(f"input '{spec.name}': expected this input; got {', '.join(feeds) or 'none'}")
        if dtype_of(array) is not spec.dtype:
            raise Invalid(f"input '{spec.name}': expected {spec.dtype.value}; got {dtype_of(array).value}")
        if not spec.fits(array.shape):
            raise Invalid(f"input '{spec.name}': expected shape {list(spec.shape)}; got {list(array.shape)}")
    if len(feeds) != len(specs):
        names = ", ".join(spec.name for spec in specs)
        raise Invalid(f"inputs: expected {names}; got {', '.join(feeds)}")


def shut(turns: SimpleQueue[T | None], runs: int) -> None:
    """Take every turn, waiting for the runs that have one, and leave None, which says that the model is closed.

    A queue of turns is taken and given in 0.1 us; a semaphore takes 1.2 us, a quarter of a small model's whole run.
    """
    for _ in range(runs):
        if turns.get() is None:
            break
    turns.put(None)
