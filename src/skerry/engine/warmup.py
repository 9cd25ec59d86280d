"""The requests of `model_warmup` in a config.pbtxt: made, and run before a model serves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from skerry.core.errors import Invalid, LoadFailed, NotFound, SkerryError, TooLarge
from skerry.core.tensor import DType, Tensor
from skerry.engine.session import Session
from skerry.host.files import read
from skerry.wire.config import WarmInput, Warmup
from skerry.wire.oip.tensors import unpacked

FOLDER = "warmup"  # in the model's folder
MAX_BYTES = 64 << 20  # of one request's input, as of any request
SEED = 20_117  # the same numbers at each load


def run_warmups(session: Session, warmups: Sequence[Warmup], batched: bool, folder: Path) -> None:
    """Run them all, each as often as it says; raise LoadFailed, naming the one that the model does not answer."""
    for warmup in warmups:
        try:
            if not batched and warmup.batch_size > 1:
                raise Invalid(f"batch_size: expected 1 for a model without max_batch_size; got {warmup.batch_size}")
            tensors = [_tensor(name, one, warmup.batch_size if batched else 0, folder / FOLDER)
                       for name, one in warmup.inputs.items()]  # fmt: skip
            for _ in range(warmup.count):
                session.infer(tensors)
        except (SkerryError, OSError) as error:
            raise LoadFailed(f"config.pbtxt: model_warmup '{warmup.name}': {error}") from error


def _tensor(name: str, one: WarmInput, rows: int, folder: Path) -> Tensor:
    """Return one input; a file holds one example, which every row of the batch gets. `rows` 0: there is no batch."""
    count = math.prod(one.dims)
    if count * max(rows, 1) * max(one.dtype.size, 1) > MAX_BYTES:
        raise TooLarge(f"input '{name}': expected at most {MAX_BYTES} bytes; {list(one.dims)} of {one.dtype.value}, "
                       f"{max(rows, 1)} times, is more")  # fmt: skip
    shape = (rows, *one.dims) if rows else one.dims
    if one.dtype is DType.BYTES:
        return Tensor(name, one.dtype, shape, _texts(name, one, count, folder) * max(rows, 1))
    if one.source == "file":
        data = _file(folder / one.file)
        if len(data) != count * one.dtype.size:
            raise Invalid(f"input '{name}': expected {count * one.dtype.size} bytes in {FOLDER}/{one.file} for "
                          f"{list(one.dims)} of {one.dtype.value}; it has {len(data)}")  # fmt: skip
    else:
        data = bytes(count * one.dtype.size) if one.source == "zero" else _random(one.dtype, count)
    return Tensor(name, one.dtype, shape, data * max(rows, 1))


def _texts(name: str, one: WarmInput, count: int, folder: Path) -> tuple[bytes, ...]:
    if one.source == "zero":
        return (b"",) * count
    if one.source == "random":
        return tuple(b"%d" % value for value in np.random.default_rng(SEED).integers(0, 1000, count).tolist())
    data = memoryview(_file(folder / one.file))
    return cast("tuple[bytes, ...]", unpacked(one.dtype, count, data, f"input '{name}': {FOLDER}/{one.file}"))


def _file(path: Path) -> bytes:
    found = read(path, MAX_BYTES)
    if found is None:
        raise NotFound(f"expected {FOLDER}/{path.name}; it is not there")
    return found


def _random(kind: DType, count: int) -> bytes:
    """Return numbers of 0 to 1, or whole ones of the type's whole range, as Triton makes them."""
    random = np.random.default_rng(SEED)
    if kind is DType.BF16:
        return (random.random(count, np.float32).view("<u4") >> 16).astype("<u2").tobytes()
    if kind is DType.BOOL:
        return random.integers(0, 2, count, np.uint8).tobytes()
    plain = np.dtype(kind.numpy)
    if plain.kind == "f":
        return random.random(count, np.float64).astype(plain.newbyteorder("<")).tobytes()
    low, high = kind.bounds
    return random.integers(low, high, count, plain, endpoint=True).astype(plain.newbyteorder("<")).tobytes()
