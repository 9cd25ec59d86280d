"""The fake runner: a function on arrays, for tests of everything above a runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from skerry.core.tensor import Spec
from skerry.engine.arrays import Array


class FakeRunner:
    """Runs `function`; `closed` says whether it was closed."""

    def __init__(
        self,
        inputs: tuple[Spec, ...],
        outputs: tuple[Spec, ...],
        function: Callable[[Mapping[str, Array]], dict[str, Array]],
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.closed = False
        self._function = function

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return what the function returns."""
        return self._function(feeds)

    def close(self) -> None:
        """Remember it."""
        self.closed = True
