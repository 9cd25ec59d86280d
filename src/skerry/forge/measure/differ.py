"""How far the outputs of two models lie apart on the same inputs."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from skerry.core.card import Difference
from skerry.core.errors import Invalid
from skerry.engine.arrays import Array, to_tensor
from skerry.engine.session import Session
from skerry.engine.steps.step import Named
from skerry.forge.data.look import Watch, quiet
from skerry.forge.measure.measure import fitted

Input = bytes | dict[str, Array]


def differ(one: Session, other: Session, inputs: Iterable[Input], watch: Watch = quiet) -> Difference:
    """Return the greatest and the mean absolute difference over all numbers of all outputs.

    Encoded inputs go through each session's own steps: open both with `open_plain`. A NaN on one side alone is an
    infinite difference. Raises Invalid if the outputs cannot be compared.
    """
    greatest = total = 0.0
    numbers = count = 0
    for count, given in enumerate(inputs, 1):
        for left, right in _pairs(answers(one, given), answers(other, given)):
            away = _away(left, right)
            greatest, total, numbers = (
                max(greatest, float(away.max(initial=0.0))),
                total + float(away.sum()),
                numbers + away.size,
            )
        watch(count, count, "comparing")
    if not numbers:
        raise Invalid("differ: expected inputs; got none")
    return Difference(greatest, total / numbers, count)


def answers(session: Session, given: Input) -> Named:
    """Return a session's arrays for an encoded input or for arrays."""
    if isinstance(given, bytes):
        return session.look(given).arrays
    return session.infer([to_tensor(name, array) for name, array in fitted(session.inputs, given).items()])


def _pairs(left: Named, right: Named) -> list[tuple[Array, Array]]:
    """Return outputs side by side: by name, or by place where a converter gave other names."""
    if set(left) == set(right):
        pairs = [(left[name], right[name]) for name in left]
    elif len(left) == len(right):
        pairs = list(zip(left.values(), right.values(), strict=True))
    else:
        raise Invalid(f"differ: expected the same outputs; got {', '.join(left)} and {', '.join(right)}")
    for one, other in pairs:
        if one.shape != other.shape:
            raise Invalid(f"differ: expected outputs of one shape; got {list(one.shape)} and {list(other.shape)}; "
                          "open both without the steps after the model")  # fmt: skip
    return pairs


def _away(left: Array, right: Array) -> Array:
    if left.dtype.kind not in "fiub" or right.dtype.kind not in "fiub":
        unequal: Array = left != right
        return unequal.astype(np.float64)
    one, other = left.astype(np.float64), right.astype(np.float64)
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(invalid="ignore"):
        away: Array = np.abs(one - other)
    away[same] = 0.0
    away[np.isnan(away)] = math.inf
    return away
