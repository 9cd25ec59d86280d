"""Running a model that is still in memory on the engine's own runner, with any of its tensors as further outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from skerry.core.tensor import Spec
from skerry.engine.arrays import numpy_of
from skerry.engine.runners.onnx import OnnxRunner
from skerry.engine.runners.runner import Threads, Wish
from skerry.forge.optimise.work import Feeds

FREE = 1  # the size that a free dimension has in made-up inputs


class Observed:
    """A session over a model; close it, or use it as a context."""

    def __init__(
        self, model: onnx.ModelProto, tensors: Iterable[str] = (), threads: int = 1, level: str = "basic"
    ) -> None:
        """`tensors` are given beside the outputs. Above `basic`, operators are joined for this very processor."""
        with ExitStack() as held:
            path = Path(held.enter_context(TemporaryDirectory(prefix="skerry-forge-")), "model.onnx")
            path.write_bytes(shown(model, tensors).SerializeToString())
            self._runner = OnnxRunner(path, Threads(intra=threads), Wish(options={"optimisation": level}))
            held.callback(self._runner.close)
            self._held = held.pop_all()
        self.inputs: Sequence[Spec] = self._runner.inputs

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """Return every output by name."""
        return self._runner.run(feeds)

    def close(self) -> None:
        """Free the session and its file."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def shown(model: onnx.ModelProto, tensors: Iterable[str]) -> onnx.ModelProto:
    """Return the model with these tensors among its outputs; their types are the runtime's to find."""
    there = {value.name for value in model.graph.output}
    wanted = [name for name in dict.fromkeys(tensors) if name not in there]
    if not wanted:
        return model
    found = onnx.ModelProto()
    found.CopyFrom(model)
    known = {value.name: value for value in found.graph.value_info}
    for name in wanted:
        found.graph.output.append(known[name] if name in known else helper.make_empty_tensor_value_info(name))
    return found


def made_up(model: onnx.ModelProto, seed: int, count: int = 2) -> list[Feeds]:
    """Return random feeds, where there is no data: normal for floats, all values for bytes, else 0 and 1."""
    random = np.random.default_rng(seed)
    with Observed(model) as session:
        return [{spec.name: _random(spec, random) for spec in session.inputs} for _ in range(count)]


def _random(spec: Spec, random: np.random.Generator) -> NDArray[Any]:
    shape = tuple(FREE if size < 0 else size for size in spec.shape)
    kind = numpy_of(spec.dtype)
    if kind.kind == "f":
        return random.standard_normal(shape).astype(kind)
    if kind in (np.uint8, np.int8):
        ends = np.iinfo(kind)
        return random.integers(ends.min, ends.max, shape, dtype=kind, endpoint=True)
    return random.integers(0, 2, shape).astype(kind)
