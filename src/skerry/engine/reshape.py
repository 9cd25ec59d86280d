"""Tensors that clients send and get in another shape than the model has them: `reshape` of a config.pbtxt."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from skerry.core.errors import Invalid, RunFailed
from skerry.core.tensor import Spec
from skerry.engine.arrays import Array
from skerry.engine.runners.runner import Lane, Runner
from skerry.wire.config import Reshape

Shape = tuple[int, ...]
Pairs = Mapping[str, tuple[Shape, Shape]]  # tensor -> its shape as it comes, and as it goes on


class Reshaped:
    """A runner seen with the shapes that a configuration declares."""

    def __init__(self, runner: Runner, reshapes: Iterable[Reshape], batched: bool) -> None:
        self._runner = runner
        self.remembers = runner.remembers
        front = (-1,) if batched else ()
        takes: dict[str, tuple[Shape, Shape]] = {}
        gives: dict[str, tuple[Shape, Shape]] = {}
        for one in reshapes:
            declared, own = (*front, *one.dims), (*front, *one.shape)
            if one.takes:
                takes[one.name] = declared, own
            else:
                gives[one.name] = own, declared
        self._takes, self._gives = takes, gives
        self.inputs = _seen(runner.inputs, {name: (own, seen) for name, (seen, own) in takes.items()})
        self.outputs = _seen(runner.outputs, gives)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run on reshaped feeds, and return reshaped outputs."""
        return self.through(self._runner, feeds)

    def lane(self) -> Lane:
        """Return a lane that sees the same shapes."""
        return ReshapedLane(self, self._runner.lane())

    def close(self) -> None:
        """Free the model."""
        self._runner.close()

    def through(self, lane: Lane, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run in a lane of the model."""
        given = {name: _turned(name, array, self._takes) for name, array in feeds.items()}
        try:
            return {name: _turned(name, array, self._gives) for name, array in lane.run(given).items()}
        except ValueError as error:
            raise RunFailed(f"config.pbtxt: output.reshape: {error}") from error


class ReshapedLane:
    """A lane behind the same shapes."""

    def __init__(self, whole: Reshaped, lane: Lane) -> None:
        self._whole = whole
        self._lane = lane

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return every output by name."""
        return self._whole.through(self._lane, feeds)


def _seen(specs: tuple[Spec, ...], pairs: Pairs) -> tuple[Spec, ...]:
    """Return the specs as clients see them; raise Invalid for a reshape that is not the model's own shape."""
    found = []
    for spec in specs:
        own, seen = pairs.get(spec.name, (spec.shape, spec.shape))
        fits = len(own) == len(spec.shape) and all(
            -1 in two or len(set(two)) == 1 for two in zip(own, spec.shape, strict=True)
        )
        if not fits:
            raise Invalid(f"config.pbtxt: '{spec.name}': reshape: expected {list(spec.shape)} as in the model's file; "
                          f"got {list(own)}")  # fmt: skip
        found.append(replace(spec, shape=seen))
    return tuple(found)


def _turned(name: str, array: Array, pairs: Pairs) -> Array:
    """Return an array in its other shape: free dimensions keep their sizes, one after the other."""
    pair = pairs.get(name)
    if pair is None:
        return array
    here, there = pair
    sizes = iter([got for want, got in zip(here, array.shape, strict=True) if want == -1])
    shape = tuple(next(sizes) if size == -1 else size for size in there)
    if math.prod(shape) != array.size:
        raise Invalid(f"'{name}': expected as many elements as {list(shape)}; got {list(array.shape)}")
    return array.reshape(shape)
