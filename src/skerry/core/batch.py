"""Who runs together: which requests one run of a model may answer, and which sizes of such runs pay. Pure rules.

Requests run together if their inputs agree in all but the first dimension. A run has one of the sizes that the
model was warmed for, so that no request meets a size for the first time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence

from skerry.core.tensor import DType, Spec, Tensor

SIZES = (1, 2, 4, 8, 16, 32)  # examples in one run that are tried; above 32 nothing gained 10 % where it was measured
LEAST_GAIN = 0.10  # of throughput over the next smaller size; less is lost again in waiting and copying

Alike = tuple[tuple[str, DType, tuple[int, ...]], ...]  # what the inputs of requests that run together have in common


def joins(inputs: Sequence[Spec], outputs: Sequence[Spec]) -> bool:
    """Whether a model's shapes let requests be put together and its answers be cut apart again."""
    specs = (*inputs, *outputs)
    return bool(inputs) and bool(outputs) and all(spec.shape and spec.shape[0] == -1 for spec in specs)


def load_of(tensors: Sequence[Tensor]) -> tuple[Alike, int] | None:
    """Return what a request must have in common with others, and how many examples it has; None if it runs alone.

    Whoever has too few or too many bytes for his shape runs alone: what is put together cannot be told apart.
    """
    if not tensors:
        return None
    shape = tensors[0].shape
    rows = shape[0] if shape else 0
    if rows < 1:
        return None
    found = []
    for tensor in tensors:
        size = math.prod(tensor.shape) * (tensor.dtype.size or 1)
        if not tensor.shape or tensor.shape[0] != rows or len(tensor.data) != size:
            return None
        found.append((tensor.name, tensor.dtype, tensor.shape[1:]))
    if len(found) > 1:
        found.sort(key=lambda one: one[0])
        if any(one[0] == after[0] for one, after in itertools.pairwise(found)):
            return None  # the same input twice: it is refused alone
    return tuple(found), rows


def groups(loads: Sequence[tuple[Alike, int] | None], sizes: Collection[int]) -> list[list[int]]:
    """Return who runs together, as places in `loads`: every one once, each group in the order in which they came.

    A group of several has one of the sizes; as many as fit are taken from the front. None runs alone.
    """
    waiting: dict[Alike, list[int]] = {}
    found: list[list[int]] = []
    for place, load in enumerate(loads):
        if load is None:
            found.append([place])
        else:
            waiting.setdefault(load[0], []).append(place)
    rows = [0 if load is None else load[1] for load in loads]
    for places in waiting.values():
        start = 0
        while start < len(places):
            count = _front([rows[place] for place in places[start:]], sizes)
            found.append(places[start : start + count])
            start += count
    return sorted(found)


def _front(rows: Sequence[int], sizes: Collection[int]) -> int:
    """Return how many from the front make the greatest allowed size, at least 1."""
    best, total, most = 1, 0, max(sizes, default=0)
    for count, more in enumerate(rows, 1):
        total += more
        if total > most:
            break
        if total in sizes:
            best = count
    return best


def full(rows: int, sizes: Collection[int], preferred: Collection[int]) -> bool:
    """Whether to wait for no more: the greatest size or a preferred one has come together."""
    return rows >= max(sizes, default=0) or rows in preferred


def allowed(most: int, preferred: Collection[int] = ()) -> tuple[int, ...]:
    """Return the sizes up to `most`: powers of two, the preferred ones, and `most` itself; none if that is below 2."""
    if most < 2:
        return ()
    powers = {1 << bit for bit in range(most.bit_length())}
    return tuple(sorted({1, most, *powers, *(size for size in preferred if 1 <= size <= most)}))


def paying(
    medians: Mapping[int, float], tails: Mapping[int, float] | None = None, slo: float | None = None
) -> tuple[int, ...]:
    """Return the sizes that pay, from 1 up: each gives LEAST_GAIN more throughput than the one before.

    `medians` and `tails` are how long a run of each size takes; the first size whose tail is over the `slo`, or that
    gains too little, ends the row. Empty: nothing but 1 pays.
    """
    found: list[int] = []
    for size in sorted(medians):
        tail = (tails or medians)[size]
        if found and (slo is not None and tail > slo):
            break
        if found and size / medians[size] < (1 + LEAST_GAIN) * found[-1] / medians[found[-1]]:
            break
        found.append(size)
    return tuple(found) if len(found) > 1 else ()
