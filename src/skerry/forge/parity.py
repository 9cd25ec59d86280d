"""Whether a file that came out answers as the model that went in: inputs made up for it, and the proof.

The reference is whatever the model came from; the other side is always one of the engine's runners, which is what
a node runs. A lost parity is an error that names the output, the place and both values. Never here: conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skerry.core.errors import Invalid, ModelError, SkerryError
from skerry.core.tensor import DType
from skerry.engine.arrays import Array, dtype_of
from skerry.engine.runners.runner import Runner

Feeds = dict[str, Array]
Reference = Callable[[Feeds], Mapping[str, Array]]
Watch = Callable[[str], None]

SEED = 20_260_101  # of made-up inputs: the same model is proven on the same numbers every time
SIZES = (1, 3, 16, 96, 512)  # tried for free dimensions until two were taken; audio wants some hundred samples
ENOUGH = 2  # sizes of the free dimensions that are proven
ROUNDS = 3  # made-up inputs of each size
MAX_ELEMENTS = 1 << 26  # of one made-up input: 256 MB of float32


class ParityLost(ModelError):
    """The file that came out answers otherwise than the model that went in."""


@dataclass(frozen=True)
class Tolerance:
    """How far a value may be from the reference's: absolute + relative * |value| + spread * the output's range.

    Two float32 runtimes add in another order, which moves a value by about 1e-6 of the largest that was added.
    """

    absolute: float = 1e-4
    relative: float = 1e-3
    spread: float = 0.0  # share of the range (greatest less least) of the reference's output
    mean_spread: float = 1.0  # the same for the mean difference of an output; 1 asks nothing
    steps: int = 0  # whole numbers may be that far apart, as quantised outputs are
    unequal: float = 0.0  # share of whole numbers that may differ, as the ties of an argmax do


EXACT = Tolerance()
# INT8 has 256 steps a tensor and the errors of some ten layers add up; a wrong scale or a lost bias is far beyond.
QUANTISED = Tolerance(absolute=1e-2, relative=0.0, spread=0.3, mean_spread=0.06, unequal=0.1)


@dataclass(frozen=True)
class Asked:
    """What a model takes under one name: a dimension is its size, or the name of a free one."""

    name: str
    dtype: DType
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Difference:
    """How far one output is from the reference's, over all inputs."""

    output: str
    maximum: float
    mean: float
    values: int
    unequal: int  # whole numbers, truth values and texts that are not the same


@dataclass(frozen=True)
class Parity:
    """A proof: what was compared and how far apart it was."""

    outputs: tuple[Difference, ...]
    inputs: int  # how many inputs were run on both sides
    shapes: tuple[str, ...]  # of those inputs, each once
    made_up: bool
    tolerance: Tolerance

    def document(self) -> dict[str, Any]:
        """Return it for a card."""
        return {
            "outputs": {
                d.output: {"max": d.maximum, "mean": d.mean, "values": d.values, "unequal": d.unequal}
                for d in self.outputs
            },
            "inputs": self.inputs,
            "shapes": list(self.shapes),
            "made_up": self.made_up,
            "tolerance": {"absolute": self.tolerance.absolute, "relative": self.tolerance.relative}
            | ({"spread": self.tolerance.spread} if self.tolerance.spread else {}),
        }


def given(asked: Sequence[Asked], arrays: Mapping[str, Array], field: str) -> Feeds:
    """Return arrays from a file as feeds; raise Invalid unless they are what the model takes."""
    missing = [one.name for one in asked if one.name not in arrays]
    strange = sorted(set(arrays) - {one.name for one in asked})
    if missing or strange:
        wanted = ", ".join(one.name for one in asked)
        raise Invalid(f"{field}: expected arrays named {wanted}; got {', '.join(arrays) or 'none'}")
    found, sizes = {}, dict[str, int]()
    for one in asked:
        array = arrays[one.name]
        kind = np.dtype(one.dtype.numpy)
        if array.dtype != kind:
            if not (array.dtype.kind == kind.kind == "f"):
                raise Invalid(f"{field}: '{one.name}': expected {kind.name}; got {array.dtype.name}")
            array = array.astype(kind)
        if len(array.shape) != len(one.shape) or any(
            want != got and (isinstance(want, int) or sizes.setdefault(want, got) != got)
            for want, got in zip(one.shape, array.shape, strict=True)
        ):
            raise Invalid(f"{field}: '{one.name}': expected shape {_text(one.shape)}; got {list(array.shape)}")
        found[one.name] = np.ascontiguousarray(array)
    return found


def made_up(asked: Sequence[Asked], size: int, turn: int) -> Feeds:
    """Return inputs of which every free dimension has about that size; the same call gives the same numbers.

    Pictures have values from 0 to 1 (0 to 255 as bytes), other numbers a normal distribution; whole numbers are
    0 or 1, which are good places in any table.
    """
    random = np.random.default_rng((SEED, size, turn))
    names = list(dict.fromkeys(d for one in asked for d in one.shape if isinstance(d, str)))
    sizes = {name: size + 2 * place * (size > 1) for place, name in enumerate(names)}  # apart, so that none is mistaken
    found = {}
    for one in asked:
        shape = tuple(d if isinstance(d, int) else sizes[d] for d in one.shape)
        if np.prod(shape, dtype=object) > MAX_ELEMENTS:
            raise Invalid(f"input '{one.name}': {list(shape)} is too large to be made up; give inputs or a shape")
        found[one.name] = _values(random, one.dtype, shape)
    return found


def _values(random: np.random.Generator, kind: DType, shape: tuple[int, ...]) -> Array:
    picture = len(shape) == 4 and (shape[1] in (1, 3) or shape[3] in (1, 3))
    if kind is DType.BYTES:
        texts = np.empty(shape, dtype=object)
        texts.reshape(-1)[:] = [str(v) for v in random.integers(0, 10, shape).reshape(-1)]
        return texts
    if kind in (DType.FP16, DType.FP32, DType.FP64):
        return (random.random(shape) if picture else random.standard_normal(shape)).astype(kind.numpy)
    if kind is DType.BF16:
        raise Invalid("inputs: bfloat16 has no numpy type here; import a model with float32 inputs")
    if picture and kind in (DType.UINT8, DType.INT8):
        low, high = kind.bounds
        return random.integers(low, high + 1, shape).astype(kind.numpy)
    return random.integers(0, 2, shape).astype(kind.numpy)


def rounds(asked: Sequence[Asked]) -> Iterator[list[Feeds]]:
    """Yield made-up inputs, size by size; one size if no dimension is free. `prove` takes ENOUGH of them."""
    free = any(isinstance(d, str) for one in asked for d in one.shape)
    for size in SIZES if free else SIZES[:1]:
        yield [made_up(asked, size, turn) for turn in range(ROUNDS)]


def prove(reference: Reference, runner: Runner, feeds: Sequence[Feeds], tolerance: Tolerance = EXACT) -> Parity:
    """Return the proof on given inputs; raise ParityLost, or what either side raises."""
    return _prove([(one, reference(one)) for one in feeds], runner, tolerance, made_up=False)


def prove_made_up(reference: Reference, runner: Runner, asked: Sequence[Asked], tolerance: Tolerance = EXACT) -> Parity:
    """Return the proof on made-up inputs, of the first sizes that the reference takes; raise as `prove`."""
    pairs: list[tuple[Feeds, Mapping[str, Array]]] = []
    taken, refused = 0, ""
    for group in rounds(asked):
        try:
            pairs += [(one, reference(one)) for one in group]
        except SkerryError as error:  # this size is not for this model
            refused = refused or str(error)
            continue
        taken += 1
        if taken == ENOUGH:
            break
    if not pairs:
        raise Invalid(f"inputs: the model takes none that were made up; give inputs, or shapes. It said: {refused}")
    return _prove(pairs, runner, tolerance, made_up=True)


def _prove(
    pairs: Sequence[tuple[Feeds, Mapping[str, Array]]], runner: Runner, tolerance: Tolerance, made_up: bool
) -> Parity:
    if not pairs:
        raise Invalid("inputs: expected at least one")
    sums = {
        name: _Sum(name, [np.asarray(wanted[name]) for _, wanted in pairs if name in wanted]) for name in pairs[0][1]
    }
    shapes: dict[str, None] = {}
    for index, (one, wanted) in enumerate(pairs):
        answers = runner.run(one)
        if set(answers) != set(wanted):
            raise ParityLost(f"outputs: expected {', '.join(wanted)}; got {', '.join(answers)}")
        shapes[" ".join(f"{name}{_text(array.shape)}" for name, array in one.items())] = None
        for name, answer in wanted.items():
            got, want = answers[name], np.asarray(answer)
            _alike(name, index, want, got)
            sums[name].add(index, want, got, tolerance)
    return Parity(
        outputs=tuple(total.close(tolerance) for total in sums.values()),
        inputs=len(pairs),
        shapes=tuple(shapes),
        made_up=made_up,
        tolerance=tolerance,
    )


def _alike(name: str, index: int, want: Array, got: Array) -> None:
    if want.shape != got.shape:
        raise ParityLost(f"output '{name}', input {index}: expected shape {list(want.shape)}; got {list(got.shape)}")
    if dtype_of(want) is not dtype_of(got):
        raise ParityLost(f"output '{name}', input {index}: expected {want.dtype.name}; got {got.dtype.name}")


class _Sum:
    """What is known of one output so far; its range is that of all the reference's answers."""

    def __init__(self, name: str, wanted: Sequence[Array]) -> None:
        self.name = name
        floats = [array[np.isfinite(array)] for array in wanted if array.dtype.kind == "f" and array.size]
        self.floats = bool(floats)
        self.low = min((float(array.min()) for array in floats if array.size), default=0.0)
        self.high = max((float(array.max()) for array in floats if array.size), default=0.0)
        self.spread = (self.high - self.low) or abs(self.high)  # one value has no range
        self.values = self.unequal = 0
        self.total = self.maximum = 0.0
        self.first = ""

    def add(self, index: int, want: Array, got: Array, tolerance: Tolerance) -> None:
        """Take one answer in; raise ParityLost for one float that is too far off."""
        self.values += want.size
        if want.dtype.kind != "f":
            wrong = np.asarray(_same_text(want) != _same_text(got))
            if tolerance.steps and want.dtype.kind in "iu":
                wrong = np.abs(want.astype(np.int64) - got.astype(np.int64)) > tolerance.steps
            self.unequal += int(wrong.sum())
            if wrong.any() and not self.first:
                self.first = _place(wrong, index, want, got)
            if want.dtype.kind in "iu" and want.size:
                apart = np.abs(want.astype(np.float64) - got.astype(np.float64))
                self.maximum, self.total = max(self.maximum, float(apart.max())), self.total + float(apart.sum())
            return
        wide, other = want.astype(np.float64), got.astype(np.float64)
        strange = ~(np.isfinite(wide) & np.isfinite(other))
        lost = strange & ~((wide == other) | (np.isnan(wide) & np.isnan(other)))  # infinities of one sign are equal
        if lost.any():
            raise ParityLost(f"output '{self.name}', {_place(lost, index, want, got)}")
        plain = np.where(strange, 0.0, wide)
        apart = np.abs(plain - np.where(strange, 0.0, other))
        far = apart > tolerance.absolute + tolerance.relative * np.abs(plain) + tolerance.spread * self.spread
        self.maximum = max(self.maximum, float(apart.max(initial=0.0)))
        self.total += float(apart.sum())
        if far.any():
            worst = apart == apart[far].max()
            raise ParityLost(f"output '{self.name}', {_place(worst, index, want, got)}")

    def close(self, tolerance: Tolerance) -> Difference:
        """Return what is known; raise ParityLost if too many whole numbers differ, or the mean does."""
        if self.unequal > tolerance.unequal * self.values:
            raise ParityLost(
                f"output '{self.name}': {self.unequal} of {self.values} are not equal (an argmax may tie); {self.first}"
            )
        mean = self.total / self.values if self.values else 0.0
        if self.floats and mean > tolerance.absolute + tolerance.mean_spread * self.spread:
            raise ParityLost(
                f"output '{self.name}': mean difference {mean:.3g}, of values from {self.low:.6g} to {self.high:.6g}"
            )
        return Difference(self.name, self.maximum, mean, self.values, self.unequal)


def _same_text(array: Array) -> Array:
    """Return text as str, whichever way a runtime gives it; other arrays as they are."""
    if array.dtype.kind not in "OSU":
        return array
    texts = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in array.reshape(-1).tolist()]
    found: NDArray[Any] = np.empty(array.shape, dtype=object)
    found.reshape(-1)[:] = texts
    return found


def _place(wrong: NDArray[np.bool_], index: int, want: Array, got: Array) -> str:
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f"input {index}, index {list(place)}: expected {want[place]!s}; got {got[place]!s}"


def _text(shape: Sequence[int | str]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
