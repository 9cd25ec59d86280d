"""What a step is, and what passes between steps.

Before the model, a step takes an array and gives an array. The first one takes the encoded bytes; a step that can
says of what in its `takes` (image, raw or audio). After the model, a step takes the named arrays so far and gives the
named arrays that go on. `Trace` remembers how the image was moved, so that boxes can be mapped back to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, Self

from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.core.manifest import StepEntry
from skerry.engine.arrays import Array

Named = dict[str, Array]


@dataclass
class Trace:
    """How one image was moved on its way to the model: model pixel = original pixel * scale + offset."""

    width: int = 0  # pixels of the original image
    height: int = 0
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    size: tuple[int, int] = field(default=(0, 0))  # width and height now

    def moved(self, scale: tuple[float, float], offset: tuple[float, float], size: tuple[int, int]) -> None:
        """Add one more scaling and shift after those so far."""
        self.scale = (self.scale[0] * scale[0], self.scale[1] * scale[1])
        self.offset = (self.offset[0] * scale[0] + offset[0], self.offset[1] * scale[1] + offset[1])
        self.size = size


class Step(Protocol):
    """A declared operation: its name in manifests, and how it is read from one."""

    name: ClassVar[str]

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Return the step with these options; raise Invalid naming the option that is wrong."""
        ...


class PreStep(Step, Protocol):
    """A step before the model."""

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Return the next array."""
        ...


class PostStep(Step, Protocol):
    """A step after the model."""

    def __call__(self, values: Named, trace: Trace) -> Named:
        """Return the next named arrays."""
        ...


def read_step(entry: StepEntry, among: Mapping[str, Callable[[Fields], Step]], where: str) -> Step:
    """Return the step that an entry declares; an unknown one is an Invalid that says what there is."""
    if entry.step not in among:
        raise Invalid(f"{where}: unknown step '{entry.step}'; this node can do: {', '.join(sorted(among))}")
    fields = Fields(entry.options, f"{where} step '{entry.step}'")
    step = among[entry.step](fields)
    if fields.rest():
        raise Invalid(f"{where} step '{entry.step}': unknown options {', '.join(sorted(fields.rest()))}")
    return step


def named(values: Named, name: str, step: str) -> Array:
    """Return the array of that name; raise Invalid saying which there are."""
    if name not in values:
        raise Invalid(f"step '{step}': no array '{name}'; there are {', '.join(sorted(values))}")
    return values[name]
