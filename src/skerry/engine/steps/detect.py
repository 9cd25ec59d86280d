"""Steps on detections, after the model: decode what a detector gives, keep the best of overlapping boxes, map back.

A decoder gives the arrays `boxes` (float32 [n, 4]: left, top, right, bottom in pixels of the model's input),
`scores` (float32 [n]) and `classes` (int64 [n]), best first; the steps after it keep that order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.engine.steps.step import Named, Trace, named

Floats = NDArray[np.float32]
Wholes = NDArray[np.int64]
MAX_BOXES = 1000  # boxes that a decoder may let through; suppression may take as many rounds


@dataclass(frozen=True)
class DecodeHeatmap:
    """An anchor-free detector: a heat map for each class and the distances to the four sides of the box.

    `heat` is [1, classes, h, w] with values 0 to 1; `box` is [1, 4, h, w]: pixels of the input from the
    centre of the cell, ((x + 0.5) * stride, (y + 0.5) * stride), to the left, top, right and bottom side.
    A cell counts when it is the greatest of its 3 x 3 neighbours (Zhou et al., "Objects as Points", 2019;
    the sides as in Tian et al., "FCOS", 2019).
    """

    heat: str
    box: str
    stride: int
    threshold: float
    limit: int
    name: ClassVar[str] = "decode_heatmap"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: heat, box (names of arrays), stride (pixels), threshold (0 to 1), limit (default 100 boxes)."""
        return cls(
            heat=options.text("heat", default="heat"),
            box=options.text("box", default="box"),
            stride=options.whole("stride", low=1, high=128),
            threshold=options.real("threshold", default=0.3, low=0.0, high=1.0),
            limit=options.whole("limit", default=100, low=1, high=MAX_BOXES),
        )

    def __call__(self, values: Named, trace: Trace) -> Named:
        """Return boxes, scores and classes."""
        heat, box = named(values, self.heat, self.name), named(values, self.box, self.name)
        if heat.ndim != 4 or box.ndim != 4 or box.shape[1] != 4 or heat.shape[2:] != box.shape[2:]:
            raise Invalid(f"step '{self.name}': expected [1, classes, h, w] and [1, 4, h, w]; got "
                          f"{list(heat.shape)} and {list(box.shape)}")  # fmt: skip
        check_numbers(heat, self.name)
        return decode_heatmap(heat[0], box[0], self.stride, self.threshold, self.limit)


def decode_heatmap(heat: Floats, box: Floats, stride: int, threshold: float, limit: int) -> Named:
    """Return the boxes, scores and classes of heat [classes, h, w] and box [4, h, w]; see DecodeHeatmap."""
    classes, rows, columns = np.nonzero(heat >= threshold)  # few of many cells: the 3 x 3 test runs on these alone
    scores = heat[classes, rows, columns]
    padded = np.pad(heat, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    peak = np.ones(len(scores), dtype=bool)
    for down in range(3):
        for right in range(3):
            peak &= scores >= padded[classes, rows + down, columns + right]
    order = np.flatnonzero(peak)
    order = order[np.argsort(-scores[order], kind="stable")[:limit]]
    classes, rows, columns = classes[order], rows[order], columns[order]
    sides = box[:, rows, columns]
    x, y = (columns + 0.5) * stride, (rows + 0.5) * stride
    boxes = np.stack([x - sides[0], y - sides[1], x + sides[2], y + sides[3]], axis=1)
    return {"boxes": boxes.astype(np.float32), "scores": scores[order].astype(np.float32), "classes": classes}


def check_numbers(scores: Floats, step: str) -> None:
    """Raise Invalid for a NaN: it is below every threshold, so a broken model would look like a good board."""
    if np.isnan(scores).any():
        raise Invalid(f"step '{step}': the model gave scores that are not numbers")


@dataclass(frozen=True)
class DecodeBoxes:
    """A detector that gives boxes and scores: [1, n, 4] and [1, n, classes].

    `form` says what the four numbers are: corners (left, top, right, bottom) or centre (x, y, width,
    height); `unit` says whether they are pixels of the input or shares of its sides. `background` is the
    column of the scores that means "nothing", if there is one.
    """

    boxes: str
    scores: str
    form: str
    unit: str
    background: int
    threshold: float
    limit: int
    name: ClassVar[str] = "decode_boxes"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: boxes, scores (names of arrays), form, unit, background (-1: none), threshold, limit."""
        return cls(
            boxes=options.text("boxes", default="boxes"),
            scores=options.text("scores", default="scores"),
            form=options.choice("form", ("corners", "centre"), default="corners"),
            unit=options.choice("unit", ("pixels", "share"), default="pixels"),
            background=options.whole("background", default=-1, low=-1),
            threshold=options.real("threshold", default=0.5, low=0.0, high=1.0),
            limit=options.whole("limit", default=200, low=1, high=MAX_BOXES),
        )

    def __call__(self, values: Named, trace: Trace) -> Named:
        """Return boxes, scores and classes."""
        boxes, scores = named(values, self.boxes, self.name), named(values, self.scores, self.name)
        boxes = boxes.reshape(-1, boxes.shape[-1]).astype(np.float32)
        scores = scores.reshape(len(boxes), -1).astype(np.float32).copy()
        if boxes.shape[1] != 4:
            raise Invalid(f"step '{self.name}': expected boxes [1, n, 4]; got a last dimension of {boxes.shape[1]}")
        check_numbers(scores, self.name)
        if self.background >= 0:
            scores[:, self.background] = -np.inf
        classes = scores.argmax(axis=1)
        best = scores[np.arange(len(scores)), classes]
        order = np.flatnonzero(best >= self.threshold)
        order = order[np.argsort(-best[order], kind="stable")[: self.limit]]
        found = boxes[order]
        if self.form == "centre":
            half = found[:, 2:] / 2
            found = np.concatenate([found[:, :2] - half, found[:, :2] + half], axis=1)
        if self.unit == "share":
            found = found * np.asarray([*trace.size, *trace.size], dtype=np.float32)
        classes = classes[order]
        if self.background >= 0:
            classes = classes - (classes > self.background)  # labels do not list the background
        return {"boxes": found, "scores": best[order], "classes": classes.astype(np.int64)}


@dataclass(frozen=True)
class Suppress:
    """Non-maximum suppression: of boxes that overlap by more than `iou`, keep the best; by class or over all."""

    iou: float
    by_class: bool
    name: ClassVar[str] = "nms"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: iou (0 to 1, default 0.5), by_class (default true)."""
        return cls(options.real("iou", default=0.5, low=0.0, high=1.0), options.flag("by_class", default=True))

    def __call__(self, values: Named, trace: Trace) -> Named:
        """Return the boxes, scores and classes that stay."""
        boxes, classes = named(values, "boxes", self.name), named(values, "classes", self.name)
        kept = suppress(boxes, classes if self.by_class else np.zeros_like(classes), self.iou)
        return {name: values[name][kept] for name in ("boxes", "scores", "classes")}


def suppress(boxes: Floats, classes: Wholes, iou: float) -> Wholes:
    """Return the indices of the boxes that stay; the boxes come best first.

    Each box that stays is compared with those after it that are still left: 1,000 boxes of 20 objects take 1 ms.
    """
    left, top, right, bottom = np.ascontiguousarray(boxes.T)
    areas = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    rest, kept = np.arange(len(boxes)), []
    with np.errstate(invalid="ignore"):  # two boxes without area: 0 / 0 is over no threshold
        while len(rest):
            best, rest = rest[0], rest[1:]
            kept.append(best)
            wide = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
            high = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
            shared = np.maximum(wide, 0) * np.maximum(high, 0)
            over = shared / (areas[best] + areas[rest] - shared) > iou
            rest = rest[~(over & (classes[rest] == classes[best]))]
    return np.asarray(kept, dtype=np.int64)


def overlaps(one: Floats, other: Floats) -> Floats:
    """Return the intersection over union of every box [n, 4] with every other [m, 4], as [n, m]."""
    start = np.maximum(one[:, np.newaxis, :2], other[np.newaxis, :, :2])
    end = np.minimum(one[:, np.newaxis, 2:], other[np.newaxis, :, 2:])
    shared = np.clip(end - start, 0, None).prod(axis=2)
    areas = [np.clip(b[:, 2:] - b[:, :2], 0, None).prod(axis=1) for b in (one, other)]
    union = areas[0][:, np.newaxis] + areas[1][np.newaxis] - shared
    found: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return found


@dataclass(frozen=True)
class MapBack:
    """Boxes from pixels of the model's input to pixels of the original image, cut at its edges."""

    name: ClassVar[str] = "map_back"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """No options."""
        return cls()

    def __call__(self, values: Named, trace: Trace) -> Named:
        """Return the arrays with `boxes` mapped."""
        boxes = named(values, "boxes", self.name)
        offset = np.asarray([*trace.offset, *trace.offset], dtype=np.float32)
        scale = np.asarray([*trace.scale, *trace.scale], dtype=np.float32)
        edge = np.asarray([trace.width, trace.height] * 2, dtype=np.float32)
        return {**values, "boxes": np.clip((boxes - offset) / scale, 0, edge)}
