"""Steps on images, before the model: decode, resize, letterbox, normalise, layout.

Decoding is the place where bytes from outside meet a C library, so its limits stand here: what is not a
JPEG or PNG, is larger than MAX_PIXELS, or breaks off, is an error of the caller before any pixel is made.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from skerry.core.errors import Invalid, TooLarge
from skerry.core.fields import Fields, number
from skerry.core.names import shown
from skerry.engine.arrays import Array
from skerry.engine.steps.step import Trace

MAX_PIXELS = 25_000_000  # a 5,000 x 5,000 camera; an RGBA PNG took 13 bytes a pixel at its peak, so 330 MB
MAX_SIDE = 1 << 14  # pixels of a model's input side; real ones end near 2,000
FORMATS = ("JPEG", "PNG")
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    struct.error,
)  # what Pillow raises on broken files
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,
}
MODES = {"rgb": "RGB", "bgr": "RGB", "grey": "L"}

Image.MAX_IMAGE_PIXELS = None  # our own limit above comes first; Pillow's would only warn, and later


@dataclass(frozen=True)
class DecodeImage:
    """JPEG or PNG bytes to uint8 [height, width, channels]; EXIF orientation is obeyed."""

    colour: str
    name: ClassVar[str] = "decode_image"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: colour (rgb, bgr or grey; default rgb)."""
        return cls(options.choice("colour", tuple(MODES), default="rgb"))

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Return the pixels; raise Invalid or TooLarge."""
        image = open_image(value.tobytes())
        pixels = np.asarray(image.convert(MODES[self.colour]))
        trace.width, trace.height = image.size
        trace.size = image.size
        if self.colour == "grey":
            return pixels[:, :, np.newaxis]
        return pixels[:, :, ::-1] if self.colour == "bgr" else pixels


def open_image(data: bytes) -> Image.Image:
    """Return a decoded, upright image; raise Invalid for what is none, TooLarge for one over MAX_PIXELS."""
    if not data:
        raise Invalid("image: expected a JPEG or PNG; got an empty body")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise TooLarge(f"image: expected at most {MAX_PIXELS} pixels; got {image.width} x {image.height}")
            image.load()
            return _eight_bits(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise Invalid(f"image: expected a JPEG or PNG; got {len(data)} bytes beginning {shown(data[:8])}") from None
    except DAMAGED as error:
        raise Invalid(f"image: a JPEG or PNG that is damaged or incomplete: {error}") from None


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return a 16-bit grey image scaled to 8 bits, any other as it is. (Pillow's own conversion cuts at 255.)"""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def encode_png(pixels: Array) -> bytes:
    """Return uint8 [height, width, 3] as a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@dataclass(frozen=True)
class Resize:
    """To exactly width x height, the sides stretched as they must."""

    width: int
    height: int
    filter: str
    name: ClassVar[str] = "resize"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: width and height in pixels, filter (nearest, bilinear, bicubic, lanczos, area; default bilinear)."""
        return cls(*_size(options), options.choice("filter", tuple(FILTERS), default="bilinear"))

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Return uint8 [height, width, channels]."""
        height, width = value.shape[:2]
        trace.moved((self.width / width, self.height / height), (0.0, 0.0), (self.width, self.height))
        return _resized(value, self.width, self.height, self.filter)


@dataclass(frozen=True)
class Letterbox:
    """To width x height with the sides' ratio kept; what is left over is filled, equally on both sides."""

    width: int
    height: int
    fill: int
    filter: str
    name: ClassVar[str] = "letterbox"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: width, height, fill (0 to 255, default 114), filter (default bilinear)."""
        width, height = _size(options)
        fill = options.whole("fill", default=114, high=255)
        return cls(width, height, fill, options.choice("filter", tuple(FILTERS), default="bilinear"))

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Return uint8 [height, width, channels]."""
        height, width = value.shape[:2]
        scale = min(self.width / width, self.height / height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        left, top = (self.width - inner[0]) // 2, (self.height - inner[1]) // 2
        found = np.full((self.height, self.width, value.shape[2]), self.fill, dtype=np.uint8)
        found[top : top + inner[1], left : left + inner[0]] = _resized(value, *inner, self.filter)
        trace.moved((inner[0] / width, inner[1] / height), (left, top), (self.width, self.height))
        return found


@dataclass(frozen=True)
class Normalise:
    """(value * scale - mean) / std, in float32; mean and std are one number or one for each channel."""

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    name: ClassVar[str] = "normalise"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: scale (default 1/255), mean (default [0]), std (default [1], never 0)."""
        scale = options.real("scale", default=1 / 255)
        mean = options.many("mean", number, default=(0.0,), limit=4)
        std = options.many("std", number, default=(1.0,), limit=4)
        if not mean or not std or 0.0 in std:
            raise Invalid(f"{options.path('std')}: expected one number or one a channel, none of them 0")
        return cls(scale, mean, std)

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Return float32 of the same shape."""
        channels = value.shape[-1]
        if any(len(v) not in (1, channels) for v in (self.mean, self.std)):
            raise Invalid(f"step 'normalise': {len(self.mean)} means and {len(self.std)} stds for {channels} channels")
        # One multiplication and one addition a value: (x*s - m) / d = x * (s/d) - m/d.
        std = np.asarray(self.std, dtype=np.float32)
        found: Array = value * (np.float32(self.scale) / std)
        if any(self.mean):
            found -= np.asarray(self.mean, dtype=np.float32) / std
        return found


@dataclass(frozen=True)
class Layout:
    """[height, width, channels] to a batch of one, NCHW or NHWC."""

    to: str
    name: ClassVar[str] = "layout"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: to (NCHW or NHWC)."""
        return cls(options.choice("to", ("NCHW", "NHWC")))

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Return an array of four dimensions."""
        if self.to == "NCHW":
            value = np.ascontiguousarray(value.transpose(2, 0, 1))
        return value[np.newaxis]


def _resized(value: Array, width: int, height: int, kernel: str) -> Array:
    if value.dtype != np.uint8:
        raise Invalid("resize and letterbox: expected uint8 pixels; put them before 'normalise'")
    if value.shape[:2] == (height, width):
        return value
    grey = value.shape[2] == 1
    image = Image.fromarray(np.ascontiguousarray(value[:, :, 0] if grey else value))
    found = np.asarray(image.resize((width, height), FILTERS[kernel]))
    return found[:, :, np.newaxis] if grey else found


def _size(options: Fields) -> tuple[int, int]:
    return options.whole("width", low=1, high=MAX_SIDE), options.whole("height", low=1, high=MAX_SIDE)
