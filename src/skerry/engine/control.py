"""What a config.pbtxt asks of a bare model: runtime options, shapes, and inputs that the node fills for a sequence.

Such an input tells the model that its sequence starts, ends or is ready, or which one it is; callers do not see it.
State tensors are kept by state.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from skerry.core.errors import Invalid
from skerry.core.tensor import DType, Spec
from skerry.engine.arrays import Array, numpy_of
from skerry.engine.reshape import Reshaped
from skerry.engine.runners.runner import Lane, Runner
from skerry.engine.state import MAX_STATE, Limits, Linked, Sequence, linked
from skerry.host.files import read
from skerry.wire.config import Control, Reshape, Sequences, State
from skerry.wire.config.options import Signal

WHERE = "config.pbtxt: sequence_batching"
FOLDER = "initial_state"  # in the model's folder
MAX_LIVE = 1024  # sequences, unless the file asks for more; they end by themselves after a second without a request
BUDGET = 256 << 20  # bytes that the states of all sequences may take
_MICRO = 1e6


@dataclass(frozen=True)
class Asked:
    """What is asked of a bare model."""

    options: Mapping[str, Any] = field(default_factory=dict)  # as in `runtime` of a manifest
    sequences: Sequences | None = None
    batched: bool = False  # the first dimension of every tensor is the batch
    shown: frozenset[str] = frozenset()  # outputs that are declared: callers see them even if they are states
    folder: Path = Path()  # the model's
    reshapes: tuple[Reshape, ...] = ()


def controlled(runner: Runner, asked: Asked, name: str) -> tuple[Runner, Limits]:
    """Return the runner as callers see it, and what its sequences must keep; raise Invalid if the two do not fit."""
    seen, limits = _of_sequences(runner, asked, name)
    if asked.reshapes:
        seen = Reshaped(seen, asked.reshapes, asked.batched)
    return seen, limits


def _of_sequences(runner: Runner, asked: Asked, name: str) -> tuple[Runner, Limits]:
    wish = asked.sequences
    if wish is None:
        return runner, Limits()
    if wish.states:
        if runner.remembers:
            raise Invalid(f"{WHERE}.state: this model remembers by itself")
        pairs = [_pair(state, asked) for state in wish.states]
        links = linked(runner, f"{WHERE}.state", pairs)
        for state, link in zip(wish.states, links, strict=True):
            if link.input.dtype is not state.dtype:
                raise Invalid(f"{WHERE}.state: '{state.input}': expected {link.input.dtype.value} as in the model's "
                              f"file; got {state.dtype.value}")  # fmt: skip
        runner, size = Linked(runner, links), sum(link.first.nbytes for link in links)
    else:
        size = 0
    seen = Controlled(runner, wish.controls, asked.batched, name)
    most = max(1, min(max(wish.candidates, MAX_LIVE), BUDGET // max(size, 1)))
    return seen, Limits(most, wish.idle / _MICRO, demanded=True, fill=seen.fill)


def _pair(state: State, asked: Asked) -> tuple[str, str, tuple[int, ...], bytes, bool]:
    dims = tuple(1 if size < 0 else size for size in state.dims) if state.first is None else state.first.dims
    shape = (1, *dims) if asked.batched else dims
    first = b""
    if state.first is not None and state.first.file:
        first = read(asked.folder / FOLDER / state.first.file, MAX_STATE) or b""
        if not first:
            raise Invalid(f"{WHERE}.state: '{state.input}': {FOLDER}/{state.first.file} is empty, or not there")
    return state.input, state.output, shape, first, state.output in asked.shown


class Controlled:
    """A runner seen without the inputs that tell it about sequences. Without state in it, every lane is the runner."""

    remembers = True

    def __init__(self, runner: Runner, controls: tuple[Control, ...], batched: bool, name: str) -> None:
        self._runner = runner
        self._name = name
        self._batched = batched
        self._shape = (1, 1) if batched else (1,)
        filled = {control.input: control for control in controls}
        self.inputs = tuple(spec for spec in runner.inputs if spec.name not in filled)
        self.outputs = runner.outputs
        _check(runner, controls, self._shape)
        self._flags = {
            control.signal: (control.input, [self._array(control.dtype, value) for value in control.values])
            for control in controls
            if control.signal is not Signal.CORRID
        }
        self._corrid = next((control for control in controls if control.signal is Signal.CORRID), None)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run as a sequence of one request."""
        return self._runner.run(self.fill(feeds, Sequence(0, start=True, end=True)))

    def lane(self) -> Lane:
        """Return a lane; what runs in it must be filled."""
        return self._runner.lane() if self._runner.remembers else self._runner

    def close(self) -> None:
        """Free the model."""
        self._runner.close()

    def fill(self, feeds: Mapping[str, Array], sequence: Sequence) -> Mapping[str, Array]:
        """Return the feeds with what the model is told; raise Invalid for more than one example, as Triton does."""
        if self._batched and any(array.shape[:1] != (1,) for array in feeds.values()):
            raise Invalid(
                f"inference request to model '{self._name}' must specify batch-size 1 due to requirements of sequence "
                "batcher"
            )
        says = {Signal.START: sequence.start, Signal.END: sequence.end, Signal.READY: True}
        told = {name: arrays[says[signal]] for signal, (name, arrays) in self._flags.items()}
        if self._corrid is not None:
            told[self._corrid.input] = self._named(self._corrid, sequence.id)
        return {**feeds, **told}

    def _named(self, control: Control, found: int | str) -> Array:
        kind = control.dtype
        if kind is DType.BYTES:
            return self._array(kind, str(found).encode())
        low, high = kind.bounds
        if not isinstance(found, int) or not low <= found <= high:
            raise Invalid(
                f"sequence_id: model {self._name} is told it as {kind.value}: expected a whole number from {low} to "
                f"{high}; got {found!r}"
            )
        return self._array(kind, found)

    def _array(self, kind: DType, value: object) -> Array:
        found: Array = np.empty(self._shape, numpy_of(kind))
        found[...] = value
        return found


def _check(runner: Runner, controls: tuple[Control, ...], shape: tuple[int, ...]) -> None:
    """Raise Invalid unless the model has these inputs."""
    specs: dict[str, Spec] = {spec.name: spec for spec in runner.inputs}
    for control in controls:
        spec = specs.get(control.input)
        if spec is None:
            raise Invalid(f"{WHERE}.control_input: no input '{control.input}'; the model has {', '.join(specs)}")
        if spec.dtype is not control.dtype or not spec.fits(shape):
            raise Invalid(
                f"{WHERE}.control_input: '{control.input}': expected {spec.dtype.value} {list(spec.shape)} as in the "
                f"model's file; {control.signal.value} is {control.dtype.value} {list(shape)}"
            )
