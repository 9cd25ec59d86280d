"""How long a model's runs take: inputs made up for it, runs of several sizes, and whether its examples are independent.

Short looks, for when a model is loaded; the long one is `tune`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from skerry.core.batch import SIZES, joins, paying
from skerry.core.tensor import DType, Spec, Tensor
from skerry.engine.arrays import Array, to_tensor
from skerry.engine.session import Session
from skerry.host.clock import Clock

SEED = 20_117  # the same inputs each time: a model that is joined today is joined tomorrow
NEAR = 1e-3  # of the greatest value: other sums of the same numbers differ by 1e-6, a coupling by far more
TURNS = 5  # of each size in a short look; the least of them counts, for what else runs only ever adds
LOOK_SECONDS = 0.15  # after which no further size is begun, so that a look stays under 0.3 s
MAX_INPUT = 64 << 20  # bytes of the inputs of one run


def made_up(specs: Sequence[Spec], rows: int) -> tuple[Tensor, ...]:
    """Return inputs for a model with `rows` examples where the first dimension is free, other free ones as 1.

    Numbers are of a normal distribution, whole ones 0 or 1, which are good places in any table.
    """
    random = np.random.default_rng(SEED)
    found = []
    for spec in specs:
        shape = tuple(size if size != -1 else rows if place == 0 else 1 for place, size in enumerate(spec.shape))
        whole = random.integers(0, 2, shape)
        if spec.dtype is DType.BYTES:
            data = tuple(b"%d" % value for value in whole.reshape(-1).tolist())
            found.append(Tensor(spec.name, spec.dtype, shape, data))
        elif spec.dtype is DType.BF16:
            bits = (random.standard_normal(shape).astype("<f4").view("<u4") >> 16).astype("<u2")
            found.append(Tensor(spec.name, spec.dtype, shape, bits.tobytes()))
        else:
            kind = np.dtype(spec.dtype.numpy)
            array: Array = (random.standard_normal(shape) if kind.kind == "f" else whole).astype(kind)
            found.append(Tensor(spec.name, spec.dtype, shape, to_tensor(spec.name, array).data))
    return tuple(found)


def can_join(session: Session) -> bool:
    """Whether requests of this model may be put together, as far as its shapes say."""
    return not session.remembers and joins(session.inputs, session.outputs)


def independent(session: Session, rows: int = 2) -> bool:
    """Whether the model answers each example as if it came alone; raises what the session raises.

    A model whose examples see one another (a mean over them, a scale taken from all of them) must not be joined.
    """
    whole = made_up(session.inputs, rows)
    together = session.infer(whole)
    for row in range(rows):
        alone = session.infer([_row(tensor, row) for tensor in whole])
        for name, array in together.items():
            if array.shape[:1] != (rows,) or not _near(alone[name], array[row : row + 1]):
                return False
    return True


def sizes_that_pay(session: Session, clock: Clock, sizes: Iterable[int] = SIZES) -> tuple[int, ...]:
    """Return the sizes of runs that pay here, from 1 up; () if joining does not. Ends at the first that does not."""
    least: dict[int, float] = {}
    end = clock.monotonic() + LOOK_SECONDS
    for size in sizes:
        tensors = made_up(session.inputs, size)
        if clock.monotonic() > end or sum(len(tensor.data) for tensor in tensors) > MAX_INPUT:
            break
        least[size] = _least(session, clock, tensors)
        if size > 1 and size not in paying(least):
            break
    return paying(least)


def _least(session: Session, clock: Clock, tensors: Sequence[Tensor]) -> float:
    session.infer(tensors)
    found = []
    for _ in range(TURNS):
        began = clock.nanos()
        session.infer(tensors)
        found.append(clock.nanos() - began)
    return max(1.0, min(found))


def _row(tensor: Tensor, row: int) -> Tensor:
    data, rows = tensor.data, tensor.shape[0]
    step = len(data) // rows
    return Tensor(tensor.name, tensor.dtype, (1, *tensor.shape[1:]), data[row * step : (row + 1) * step])


def _near(one: Array, other: Array) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.kind != "f":
        return bool((one == other).all())
    scale = float(np.abs(one).max(initial=0.0))
    return bool(np.allclose(one, other, rtol=NEAR, atol=NEAR * scale, equal_nan=True))
