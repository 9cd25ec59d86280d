"""Data as .npz: `x` (or arrays named as the model's inputs) and `y` the labels; if wanted `labels`, `group`, `name`.

The first dimension is the example. Object arrays are refused: reading one would run what it says.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from skerry.core.errors import Invalid, TooLarge
from skerry.engine.arrays import Array
from skerry.forge.data.example import ARRAYS, CLASSES, MOST_EXAMPLES, Data, Example, is_number

MAX_ARRAYS = 8 << 30  # bytes unpacked
BROKEN = (  # what zipfile, zlib and numpy's header reader raise on broken files
    OSError,
    ValueError,
    EOFError,
    KeyError,
    TypeError,
    SyntaxError,
    NotImplementedError,
    RuntimeError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_arrays(path: Path) -> Data:
    """Return the rows of the arrays; Invalid for one that is missing, ragged, no number, or holds NaN."""
    arrays = _load(path)
    if "y" not in arrays or len(arrays) < 2:
        raise Invalid(f"data {path}: expected arrays x and y; got {', '.join(arrays) or 'none'}")
    y, names = arrays.pop("y"), arrays.pop("labels", None)
    if y.ndim != 1 or not len(y):
        raise Invalid(f"data {path}: y: expected one label for each example; got the shape {list(y.shape)}")
    groups = _texts(path, "group", arrays.pop("group", np.full(len(y), "")), len(y))
    called = arrays.pop("name") if "name" in arrays and arrays["name"].dtype.kind in "US" else None
    rows = [f"row {row}" for row in range(len(y))] if called is None else _texts(path, "name", called, len(y))
    for name, array in arrays.items():
        _check(path, name, array, len(y))
    labels = _labels(path, y, names)
    examples = tuple(Example(name, label, group) for name, label, group in zip(rows, labels, groups, strict=True))
    return Data(path.stem, CLASSES, ARRAYS, examples, path.parent, arrays, tuple(range(len(y))))


def _load(path: Path) -> dict[str, Array]:
    """Return the arrays by name. Sizes are compared before memory is taken: a header of 100 bytes can ask for all."""
    try:
        with zipfile.ZipFile(path) as zipped:
            entries = zipped.infolist()
            total = sum(entry.file_size for entry in entries)
            if total > MAX_ARRAYS:
                raise TooLarge(f"data {path}: expected at most {MAX_ARRAYS} bytes unpacked; got {total}")
            return {entry.filename.removesuffix(".npy"): _array(zipped, entry) for entry in entries}
    except BROKEN as error:
        raise Invalid(f"data {path}: expected .npz of plain arrays: {error}") from None


def _array(zipped: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    with zipped.open(entry) as file:
        major, _ = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, columns, kind = header(file)
        if kind.hasobject:
            raise ValueError(f"{entry.filename} holds Python objects")
        count, left = math.prod(shape), entry.file_size - file.tell()
        if min(shape, default=0) < 0 or kind.itemsize == 0 or count * kind.itemsize != left:
            raise ValueError(f"{entry.filename} has {left} bytes for the shape {list(shape)} of {kind}")
        data = file.read(left)
    return np.frombuffer(data, kind, count).reshape(shape, order="F" if columns else "C")


def _check(path: Path, name: str, array: Array, count: int) -> None:
    if array.ndim == 0 or len(array) != count or count > MOST_EXAMPLES:
        raise Invalid(f"data {path}: {name}: expected {count} rows, as y has; got the shape {list(array.shape)}")
    if not is_number(array):
        raise Invalid(f"data {path}: {name}: expected numbers; got {array.dtype}")
    if array.dtype.kind != "f":
        return
    bad = np.flatnonzero(~np.isfinite(array.reshape(count, -1)).all(axis=1))
    if len(bad):
        raise Invalid(f"data {path}: {name}: {len(bad)} rows hold NaN or infinity, the first is row {bad[0]}")


def _texts(path: Path, name: str, array: Array, count: int) -> list[str]:
    if array.shape != (count,):
        raise Invalid(f"data {path}: {name}: expected {count} values; got the shape {list(array.shape)}")
    return [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in array.tolist()]


def _labels(path: Path, y: Array, names: Array | None) -> list[str]:
    """Return each row's label; `names` turns whole numbers into text."""
    if y.dtype.kind == "f":
        if not (np.isfinite(y).all() and (y == np.round(y)).all()):
            raise Invalid(f"data {path}: y: expected labels; got numbers with fractions or NaN")
        y = y.astype(np.int64)
    if y.dtype.kind not in "iubUS":
        raise Invalid(f"data {path}: y: expected whole numbers or text; got {y.dtype}")
    if names is None or y.dtype.kind in "US":
        return _texts(path, "y", y, len(y))
    if int(y.min()) < 0 or int(y.max()) >= len(names):
        raise Invalid(f"data {path}: y: expected places in labels, 0 to {len(names) - 1}; got {y.min()} to {y.max()}")
    return [str(names[place]) for place in y.tolist()]
