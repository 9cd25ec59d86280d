"""Raw frames, as a camera or a video decoder gives them: bytes of a declared size and format to uint8 pixels.

The YUV formats are those of video, BT.601: `limited` has luma of 16 to 235 (what cameras and H.264 mostly give), `full`
0 to 255 (JPEG, many USB cameras). Colour is not smoothed between its samples: each covers two by two pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.engine.arrays import Array
from skerry.engine.steps.image import MAX_PIXELS, MAX_SIDE
from skerry.engine.steps.step import Trace

BYTES = {"rgb": 3.0, "bgr": 3.0, "grey": 1.0, "nv12": 1.5, "i420": 1.5}  # of one pixel
SHIFT = 13  # bits after the point in the sums of int32: 255 times the greatest factor, and the rest, stay below 2**31
BLOCK = 16  # pairs of rows at a time: what is worked on at 1,920 pixels a row stays in a processor's own memory
# Range -> (luma's zero, its factor, and the factors: red of V, green of U, green of V, blue of U), ITU-R BT.601
FACTORS = {
    "limited": (16, 255 / 219, 1.402 * 255 / 224, 0.344136 * 255 / 224, 0.714136 * 255 / 224, 1.772 * 255 / 224),
    "full": (0, 1.0, 1.402, 0.344136, 0.714136, 1.772),
}


@dataclass(frozen=True)
class DecodeRaw:
    """The bytes of one frame to uint8 [height, width, channels]: RGB, or one channel for `grey`."""

    width: int
    height: int
    format: str
    range: str
    name: ClassVar[str] = "decode_raw"
    takes: ClassVar[str] = "raw"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: width and height in pixels, format (rgb, bgr, grey, nv12, i420), range (of the YUV formats)."""
        width, height = (options.whole(side, low=1, high=MAX_SIDE) for side in ("width", "height"))
        kind = options.choice("format", tuple(BYTES), default="rgb")
        ranged = options.choice("range", tuple(FACTORS), default="limited")
        if width * height > MAX_PIXELS:
            raise Invalid(f"{options.path('width')}: expected at most {MAX_PIXELS} pixels; got {width} x {height}")
        if BYTES[kind] == 1.5 and (width % 2 or height % 2):
            raise Invalid(f"{options.path('width')}: expected even sides for {kind}; got {width} x {height}")
        return cls(width, height, kind, ranged)

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Return the pixels; raise Invalid unless there are exactly as many bytes as one frame has."""
        want = int(self.width * self.height * BYTES[self.format])
        if value.nbytes != want:
            frame = f"{self.width} x {self.height} pixels of {self.format}"
            raise Invalid(f"frame: expected {want} bytes, {frame}; got {value.nbytes}")
        trace.width, trace.height = trace.size = (self.width, self.height)
        if BYTES[self.format] == 1.5:
            return self._yuv(value)
        pixels = value.reshape(self.height, self.width, -1)
        return pixels[:, :, ::-1] if self.format == "bgr" else pixels

    def _yuv(self, value: Array) -> Array:
        size, rows, columns = self.width * self.height, self.height // 2, self.width // 2
        if self.format == "nv12":
            pairs = value[size:].reshape(rows, columns, 2)
            u, v = pairs[:, :, 0], pairs[:, :, 1]
        else:
            u, v = value[size:].reshape(2, rows, columns)
        table = _table(self.range)
        luma = value[:size].reshape(rows, 2, self.width)
        found = np.empty((rows, 2, self.width, 3), np.uint8)
        for start in range(0, rows, BLOCK):
            part = slice(start, start + BLOCK)
            _convert(luma[part], u[part], v[part], table, found[part])
        return found.reshape(self.height, self.width, 3)


def _table(ranged: str) -> tuple[int, ...]:
    """Return luma's zero, and the factors as whole numbers of SHIFT bits after the point."""
    zero, *factors = FACTORS[ranged]
    return zero, *(round(factor * (1 << SHIFT)) for factor in factors)


def _convert(luma: Array, u: Array, v: Array, table: tuple[int, ...], found: Array) -> None:
    """Write the RGB of pairs of rows; luma is [pairs, 2, width], u and v [pairs, width / 2]."""
    zero, gain, red, green_u, green_v, blue = table
    bright = luma.astype(np.int32)
    bright -= zero
    bright *= gain
    bright += 1 << SHIFT - 1  # rounds the shift below
    u, v = u.astype(np.int32) - 128, v.astype(np.int32) - 128
    for channel, colour in enumerate((red * v, -green_u * u - green_v * v, blue * u)):
        plane = (
            bright + colour.repeat(2, axis=1)[:, np.newaxis]
        )  # whole rows: pairs of columns would take 5 times as long
        plane >>= SHIFT
        found[..., channel] = np.clip(plane, 0, 255, out=plane)
