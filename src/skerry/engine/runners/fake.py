"""The fake runner: a function on arrays, for tests of everything above a runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from skerry.core.errors import RunFailed
from skerry.core.tensor import Spec
from skerry.engine.arrays import Array

Function = Callable[[Mapping[str, Array]], dict[str, Array]]


class FakeRunner:
    """Runs `function`; `closed` says whether it was closed. `remembering` makes the function of each lane."""

    def __init__(
        self,
        inputs: tuple[Spec, ...],
        outputs: tuple[Spec, ...],
        function: Function,
        remembering: Callable[[], Function] | None = None,
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.remembers = remembering is not None
        self.closed = False
        self._function = function
        self._remembering = remembering

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return what the function returns."""
        if self.closed:
            raise RunFailed("the fake runner is closed")
        return self._function(feeds)

    def lane(self) -> FakeLane:
        """Return a lane with a function of its own."""
        assert self._remembering is not None
        return FakeLane(self._remembering())

    def close(self) -> None:
        """Remember it."""
        self.closed = True


class FakeLane:
    """A lane that calls its function."""

    def __init__(self, function: Function) -> None:
        self.run = function
