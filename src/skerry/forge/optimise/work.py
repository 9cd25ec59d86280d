"""What a pass is given and what it says: the data to calibrate with, the time there is, who watches.

A pass is a value that turns a model into a new one and never touches the one it was given. It answers None where
there is nothing to do, and puts the reason in `said`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from skerry.core.errors import Invalid
from skerry.host.clock import Clock

Feeds = dict[str, NDArray[np.generic]]
Watch = Callable[[int, int, str], None]  # done, total, what is being done

SAMPLES = 256  # feeds that a pass reads at most; ranges no longer move after 200 to 300


def _unwatched(done: int, total: int, what: str) -> None:
    """Nobody looks."""


@dataclass
class Work:
    """The means of a pass. `feeds` can be gone through more than once (a list, or an object that starts again)."""

    feeds: Iterable[Feeds] = ()
    seed: int = 0
    watch: Watch = _unwatched
    deadline: float = float("inf")  # of the clock's monotonic seconds
    clock: Clock = field(default_factory=Clock)
    samples: int = SAMPLES
    said: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Keep one line for the card."""
        self.said.append(text)

    def late(self) -> bool:
        """Whether the time is over."""
        return self.clock.monotonic() >= self.deadline

    def each(self, what: str, least: int = 1) -> Iterator[Feeds]:
        """Yield the feeds, at most `samples`, and no more than `least` once the time is over; Invalid for none."""
        done = 0
        for feeds in islice(iter(self.feeds), self.samples):
            if done >= least and self.late():
                self.say(f"{what}: the time was over after {done} samples")
                break
            yield feeds
            done += 1
            self.watch(done, self.samples, what)
        if done == 0:
            raise Invalid(f"{what}: expected at least one sample to calibrate with; got none")


class Pass(Protocol):
    """One change of a model."""

    @property
    def name(self) -> str:
        """What tables and cards call it."""
        ...

    def __call__(self, model: onnx.ModelProto, work: Work) -> onnx.ModelProto | None:
        """Return the changed model, or None."""
        ...
