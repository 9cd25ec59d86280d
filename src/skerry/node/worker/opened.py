"""A request that is decoded and has not run: what several of them need to run as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from skerry.core.tensor import Tensor
from skerry.engine import state
from skerry.engine.steps.step import Named
from skerry.node.worker.made import Made


@dataclass(slots=True)
class Opened:
    """A request of plain tensors that is decoded and has not run; `close` makes its answer of the model's outputs."""

    inputs: Sequence[Tensor]
    close: Callable[[Named], Made]
    sequence: state.Sequence | None = None
