"""Steps on detections, after the model: decoders of the forms that published detectors give.

As those in detect.py they give `boxes` (left, top, right, bottom in pixels of the model's input), `scores` and
`classes`, best first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Self

import numpy as np

from skerry.core.errors import Invalid
from skerry.core.fields import Fields, number
from skerry.core.names import shown
from skerry.engine.arrays import Array
from skerry.engine.steps.detect import MAX_BOXES, Floats, check_numbers
from skerry.engine.steps.step import Named, Trace, named

MAX_STRIDES = 8
MAX_SIZES = 16  # priors of one cell


@dataclass(frozen=True)
class DecodeFound:
    """A detector that has chosen its boxes itself, as TFLite's detection post-processing: boxes, classes, scores.

    `boxes` is [1, n, 4], `classes` and `scores` [1, n]; `count`, if the model gives it, holds how many are meant.
    """

    boxes: str
    classes: str
    scores: str
    count: str
    order: str
    unit: str
    threshold: float
    name: ClassVar[str] = "decode_found"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: boxes, classes, scores, count (names of arrays), order, unit, threshold."""
        return cls(
            boxes=options.text("boxes"),
            classes=options.text("classes"),
            scores=options.text("scores"),
            count=options.text("count", default=""),
            order=options.choice("order", ("xyxy", "yxyx"), default="yxyx"),
            unit=options.choice("unit", ("pixels", "share"), default="share"),
            threshold=options.real("threshold", default=0.5, low=0.0, high=1.0),
        )

    def __call__(self, values: Named, trace: Trace) -> Named:
        """Return boxes, scores and classes."""
        boxes = named(values, self.boxes, self.name).astype(np.float32)
        scores = named(values, self.scores, self.name).astype(np.float32).reshape(-1)
        classes = named(values, self.classes, self.name).reshape(-1)
        if boxes.shape[-1:] != (4,) or boxes.size != 4 * len(scores) or len(classes) != len(scores):
            raise Invalid(f"step '{self.name}': expected as many boxes of 4 numbers as classes and scores; got "
                          f"{list(boxes.shape)}, {len(classes)} and {len(scores)}")  # fmt: skip
        boxes = boxes.reshape(-1, 4)
        if self.count:
            meant = named(values, self.count, self.name).reshape(-1)
            if len(meant) != 1 or not 0 <= meant[0] <= len(scores):
                raise Invalid(
                    f"step '{self.name}': expected a count of 0 to {len(scores)}; got {shown(meant.tolist())}"
                )
            boxes, scores, classes = (a[: int(meant[0])] for a in (boxes, scores, classes))
        for array in (boxes, scores, classes):
            check_numbers(array, self.name)
        order = np.flatnonzero(scores >= self.threshold)
        order = order[np.argsort(-scores[order], kind="stable")[:MAX_BOXES]]
        found = boxes[order][:, [1, 0, 3, 2] if self.order == "yxyx" else [0, 1, 2, 3]]
        if self.unit == "share":
            found = found * np.asarray([*trace.size, *trace.size], dtype=np.float32)
        return {"boxes": found, "scores": scores[order], "classes": classes[order].astype(np.int64)}


@dataclass(frozen=True)
class DecodeRows:
    """A detector of the YOLO family: one array whose rows are a box (x, y, width, height) and scores.

    `layout` says whether the rows come as [1, n, numbers] or, as columns, as [1, numbers, n]. With `objectness` the
    fifth number is how sure the model is of any object, and a score is its product with the class's. With `strides`
    (YOLOX) a box is told from its cell: centre = (cell + x, y) * stride, size = exp(width, height) * stride, the cells
    of each stride row by row, the strides one after the other.
    """

    output: str
    layout: str
    objectness: bool
    strides: tuple[int, ...]
    unit: str
    threshold: float
    limit: int
    name: ClassVar[str] = "decode_rows"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: output (name of the array), layout, objectness, strides (none: boxes as they are), unit, ..."""
        return cls(
            output=options.text("output"),
            layout=options.choice("layout", ("rows", "columns"), default="rows"),
            objectness=options.flag("objectness", default=True),
            strides=options.many("strides", _stride, default=(), limit=MAX_STRIDES),
            unit=options.choice("unit", ("pixels", "share"), default="pixels"),
            threshold=options.real("threshold", default=0.5, low=0.0, high=1.0),
            limit=options.whole("limit", default=200, low=1, high=MAX_BOXES),
        )

    def __call__(self, values: Named, trace: Trace) -> Named:
        """Return boxes, scores and classes."""
        array = named(values, self.output, self.name)
        if array.ndim != 3 or len(array) != 1:
            raise Invalid(f"step '{self.name}': expected [1, n, numbers]; got {list(array.shape)}")
        table = array[0].T if self.layout == "rows" else array[0]  # [numbers, n]: each number of all boxes at once
        first = 5 if self.objectness else 4
        if len(table) <= first:
            raise Invalid(f"step '{self.name}': expected more than {first} numbers for a box; got {len(table)}")
        check_numbers(table, self.name)
        sure = table[4].astype(np.float32) if self.objectness else None
        order, scores, classes = best_scores(table[first:], sure, self.threshold, self.limit)
        x, y, wide, high = table[:4, order].astype(np.float32)
        if self.strides:
            across, down, stride = self._cells(trace.size, table.shape[1], order)
            x, y = (across + x) * stride, (down + y) * stride
            with np.errstate(over="ignore"):  # what is not finite is refused with the findings
                wide, high = np.exp(wide) * stride, np.exp(high) * stride
        boxes = np.stack([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], axis=1)
        if self.unit == "share":
            boxes = boxes * np.asarray([*trace.size, *trace.size], dtype=np.float32)
        return {"boxes": boxes, "scores": scores, "classes": classes}

    def _cells(self, size: tuple[int, int], count: int, order: Array) -> tuple[Floats, Floats, Floats]:
        """Return column, row and stride of the cells of these rows."""
        grids = [(size[0] // stride, size[1] // stride, stride) for stride in self.strides]
        if sum(columns * rows for columns, rows, _ in grids) != count:
            want = " + ".join(f"{columns} x {rows}" for columns, rows, _ in grids)
            raise Invalid(f"step '{self.name}': expected {want} rows for the strides; got {count}")
        told = [np.stack([np.tile(np.arange(columns), rows), np.repeat(np.arange(rows), columns),
                          np.full(columns * rows, stride)]) for columns, rows, stride in grids]  # fmt: skip
        across, down, stride = np.concatenate(told, axis=1)[:, order].astype(np.float32)
        return across, down, stride


@dataclass(frozen=True)
class DecodeGrid:
    """An anchor-free detector of one grid, as FastestDet: [1, 5 + classes, h, w].

    The numbers of a cell are how sure the model is of an object, the offset of the box's centre from the cell (tanh, in
    cells), the box's width and height (sigmoid, shares of the sides), and the class's scores. A score is
    object ** (1 - weight) * class ** weight.
    """

    output: str
    weight: float
    threshold: float
    limit: int
    name: ClassVar[str] = "decode_grid"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: output (name of the array), weight (of the class, default 0.4), threshold, limit."""
        return cls(
            output=options.text("output"),
            weight=options.real("weight", default=0.4, low=0.0, high=1.0),
            threshold=options.real("threshold", default=0.5, low=0.0, high=1.0),
            limit=options.whole("limit", default=200, low=1, high=MAX_BOXES),
        )

    def __call__(self, values: Named, trace: Trace) -> Named:
        """Return boxes, scores and classes."""
        array = named(values, self.output, self.name)
        if array.ndim != 4 or len(array) != 1 or array.shape[1] < 6:
            raise Invalid(f"step '{self.name}': expected [1, 5 + classes, h, w]; got {list(array.shape)}")
        rows, columns = array.shape[2:]
        table = array[0].reshape(array.shape[1], -1).astype(np.float32)
        check_numbers(table, self.name)
        if (table[0] < 0).any() or (table[5:] < 0).any():  # a power of it would be no number
            least = min(table[0].min(), table[5:].min())
            raise Invalid(f"step '{self.name}': expected scores of 0 or more; got {least}")
        sure = table[0] ** np.float32(1 - self.weight)
        order, scores, classes = best_scores(table[5:], sure, self.threshold, self.limit, self.weight)
        x, y, wide, high = table[1:5, order]
        centre = (order % columns + np.tanh(x)) / columns, (order // columns + np.tanh(y)) / rows
        half = _sigmoid(wide) / 2, _sigmoid(high) / 2
        sides = [centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]]
        boxes = np.stack(sides, axis=1) * np.asarray([*trace.size, *trace.size])
        return {"boxes": boxes.astype(np.float32), "scores": scores, "classes": classes}


@dataclass(frozen=True)
class DecodePriors:
    """A detector of the SSD family: boxes told from priors, squares of given sizes around the cells of several grids.

    `boxes` is [1, n, 4] (offset of the centre, in priors; size, as a logarithm), `scores` [1, n, classes]. The grids
    come one after the other, each row by row, a cell's priors in the order of `sizes`, one list for each stride.
    """

    boxes: str
    scores: str
    strides: tuple[int, ...]
    sizes: tuple[tuple[int, ...], ...]
    variances: tuple[float, ...]
    background: int
    threshold: float
    limit: int
    name: ClassVar[str] = "decode_priors"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: boxes, scores (names of arrays), strides, sizes (pixels), variances, background, ..."""
        found = cls(
            boxes=options.text("boxes"),
            scores=options.text("scores"),
            strides=options.many("strides", _stride, limit=MAX_STRIDES),
            sizes=options.many("sizes", _sizes, limit=MAX_STRIDES),
            variances=options.many("variances", number, default=(0.1, 0.2), limit=2),
            background=options.whole("background", default=0, low=-1),
            threshold=options.real("threshold", default=0.5, low=0.0, high=1.0),
            limit=options.whole("limit", default=200, low=1, high=MAX_BOXES),
        )
        if len(found.sizes) != len(found.strides) or not found.strides:
            raise Invalid(f"{options.path('sizes')}: expected one list for each of {len(found.strides)} strides")
        if len(found.variances) != 2:
            raise Invalid(f"{options.path('variances')}: expected two numbers; got {len(found.variances)}")
        return found

    def __call__(self, values: Named, trace: Trace) -> Named:
        """Return boxes, scores and classes."""
        boxes, scores = named(values, self.boxes, self.name), named(values, self.scores, self.name)
        priors = priors_of(trace.size, self.strides, self.sizes)
        if boxes.shape != (1, len(priors), 4) or scores.ndim != 3 or scores.shape[:2] != boxes.shape[:2]:
            raise Invalid(f"step '{self.name}': expected [1, {len(priors)}, 4] and [1, {len(priors)}, classes]; got "
                          f"{list(boxes.shape)} and {list(scores.shape)}")  # fmt: skip
        check_numbers(scores, self.name)
        table = scores[0].T.astype(np.float32)
        if 0 <= self.background < len(table):
            table = np.delete(table, self.background, axis=0)  # labels do not list the background
        if not len(table):
            raise Invalid(f"step '{self.name}': expected a class beside the background; got {list(scores.shape)}")
        order, best, classes = best_scores(table, None, self.threshold, self.limit)
        told, prior = boxes[0, order].astype(np.float32), priors[order]
        centre = prior[:, :2] + told[:, :2] * np.float32(self.variances[0]) * prior[:, 2:]
        with np.errstate(over="ignore"):  # what is not finite is refused with the findings
            half = prior[:, 2:] * np.exp(told[:, 2:] * np.float32(self.variances[1])) / 2
        found = np.concatenate([centre - half, centre + half], axis=1)
        return {"boxes": found, "scores": best, "classes": classes}


@lru_cache(maxsize=16)
def priors_of(size: tuple[int, int], strides: tuple[int, ...], sizes: tuple[tuple[int, ...], ...]) -> Floats:
    """Return the priors as float32 [n, 4]: centre, width and height in pixels of an input of this width and height."""
    found = []
    for stride, sides in zip(strides, sizes, strict=True):
        columns, rows = -(-size[0] // stride), -(-size[1] // stride)
        x = (np.arange(columns) + 0.5) * stride
        y = (np.arange(rows) + 0.5) * stride
        cells = np.stack([*np.meshgrid(x, y)], axis=-1).reshape(-1, 1, 2).repeat(len(sides), axis=1)
        squares = np.broadcast_to(np.asarray(sides)[np.newaxis, :, np.newaxis], cells.shape)
        found.append(np.concatenate([cells, squares], axis=2).reshape(-1, 4))
    return np.concatenate(found).astype(np.float32)


def best_scores(
    scores: Array, sure: Floats | None, threshold: float, limit: int, power: float = 1.0
) -> tuple[Array, Floats, Array]:
    """Return which of n boxes pass the threshold, best first, with score and class; `scores` is [classes, n].

    The greatest class is looked for among the boxes alone that can still pass.
    """
    best = scores.max(axis=0).astype(np.float32) ** np.float32(power)
    if sure is not None:
        best = best * sure
    order = np.flatnonzero(best >= threshold)
    order = order[np.argsort(-best[order], kind="stable")[:limit]]
    return order, best[order], scores[:, order].argmax(axis=0).astype(np.int64)


def _sigmoid(values: Floats) -> Floats:
    found: Floats = 0.5 * np.tanh(0.5 * values) + 0.5  # never overflows, as exp would
    return found


def _stride(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1024:
        return value
    raise Invalid(f"expected a whole number from 1 to 1024; got {shown(value)}")


def _sizes(value: object) -> tuple[int, ...]:
    if isinstance(value, list) and 1 <= len(value) <= MAX_SIZES:
        return tuple(map(_stride, value))
    raise Invalid(f"expected a list of 1 to {MAX_SIZES} sizes; got {shown(value)}")
