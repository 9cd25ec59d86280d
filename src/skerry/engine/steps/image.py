"""Steps on images, before the model: decode, resize, letterbox, normalise, quantise, layout.

Decoding is the place where bytes from outside meet C libraries, so its limits stand here: what is not a JPEG, PNG or
WebP, is larger than MAX_PIXELS, or breaks off, is an error of the caller before any pixel is made.
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
from skerry.engine.steps.jpeg import JPEG, Inner, Shot, decode
from skerry.engine.steps.step import Trace

MAX_PIXELS = 25_000_000  # a 5,000 x 5,000 camera; an RGBA PNG took 13 bytes a pixel at its peak, so 330 MB
MAX_SIDE = 1 << 14  # pixels of a model's input side; real ones end near 2,000
FORMATS = ("JPEG", "PNG", "WEBP")
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
    """JPEG, PNG or WebP bytes to uint8 [height, width, channels]; EXIF orientation is obeyed.

    With `scaled`, a JPEG is decoded at 1/2, 1/4 or 1/8 of its sides where the step after it makes it smaller still;
    which step that is, plan.plan knows.
    """

    colour: str
    scaled: bool = False
    name: ClassVar[str] = "decode_image"
    takes: ClassVar[str] = "image"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: colour (rgb, bgr or grey; default rgb), scaled (default false)."""
        return cls(options.choice("colour", tuple(MODES), default="rgb"), options.flag("scaled", default=False))

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Return the pixels; raise Invalid or TooLarge."""
        return self.decode(value, trace, None)

    def decode(self, value: Array, trace: Trace, inner: Inner | None) -> Array:
        """Return the pixels, scaled as far as `inner` lets them be; raise Invalid or TooLarge."""
        shot = self._decoded(value.tobytes(), inner)
        high, wide = shot.pixels.shape[:2]
        trace.width, trace.height = trace.size = (shot.width, shot.height)
        if shot.factor > 1:
            trace.moved((1 / shot.factor, 1 / shot.factor), shot.offset, (wide, high))
        return shot.pixels

    def _decoded(self, data: bytes, inner: Inner | None) -> Shot:
        if data.startswith(JPEG):
            shot = decode(data, self.colour, inner, MAX_PIXELS)
            if shot is not None:
                return shot
        image = open_image(data)
        pixels = np.asarray(image.convert(MODES[self.colour]))
        if self.colour == "grey":
            pixels = pixels[:, :, np.newaxis]
        return Shot(pixels[:, :, ::-1] if self.colour == "bgr" else pixels, *image.size)


def open_image(data: bytes) -> Image.Image:
    """Return a decoded, upright image; raise Invalid for what is none, TooLarge for one over MAX_PIXELS."""
    if not data:
        raise Invalid("image: expected a JPEG, PNG or WebP; got an empty body")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        _check_size(*webp_size(data))  # opening one already makes its canvas
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(*image.size)
            image.load()
            return _eight_bits(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        got = f"{len(data)} bytes beginning {shown(data[:8])}"
        raise Invalid(f"image: expected a JPEG, PNG or WebP; got {got}") from None
    except DAMAGED as error:
        raise Invalid(f"image: a JPEG, PNG or WebP that is damaged or incomplete: {error}") from None


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise TooLarge(f"image: expected at most {MAX_PIXELS} pixels; got {width} x {height}")


def webp_size(data: bytes) -> tuple[int, int]:
    """Return width and height as the header of a WebP still gives them; raise Invalid if it has none, or moves."""
    kind, head = data[12:16], data[20:30]
    if len(head) == 10 and kind == b"VP8X":
        if head[0] & 0x02:
            raise Invalid("image: expected a still WebP; got an animation")
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if len(head) == 10 and kind == b"VP8 " and head[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", head, 6)
        return width & 0x3FFF, height & 0x3FFF
    if len(head) == 10 and kind == b"VP8L" and head[0] == 0x2F:
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise Invalid("image: a WebP that is damaged or incomplete: no size in its header")


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

    def inner(self, width: int, height: int) -> tuple[int, int]:
        """Return the size that an image of this size becomes."""
        return self.width, self.height

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

    def inner(self, width: int, height: int) -> tuple[int, int]:
        """Return the size that an image of this size becomes, before anything is filled."""
        scale = min(self.width / width, self.height / height)
        return max(1, round(width * scale)), max(1, round(height * scale))

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Return uint8 [height, width, channels]."""
        height, width = value.shape[:2]
        inner = self.inner(width, height)
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

    def factors(self, channels: int) -> tuple[Array, Array | None]:
        """Return what each channel is multiplied by, and what is then taken away (None: nothing); both float32.

        One multiplication and one subtraction a value: (x*s - m) / d = x * (s/d) - m/d.
        """
        if any(len(v) not in (1, channels) for v in (self.mean, self.std)):
            raise Invalid(f"step 'normalise': {len(self.mean)} means and {len(self.std)} stds for {channels} channels")
        std = np.asarray(self.std, dtype=np.float32)
        gains = np.broadcast_to(np.float32(self.scale) / std, channels)
        if not any(self.mean):
            return gains, None
        return gains, np.broadcast_to(np.asarray(self.mean, dtype=np.float32) / std, channels)

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Return float32 of the same shape; what is no image has one mean and one std for all its numbers."""
        height, width, channels = value.shape if value.ndim == 3 else (1, value.size, 1)
        gains, shifts = self.factors(channels)
        # Whole rows at once: a row of 224 pixels is 7 times as fast as 224 pixels of 3 channels each.
        found: Array = value.reshape(height, width * channels) * np.tile(gains, width)
        if shifts is not None:
            found -= np.tile(shifts, width)
        return found.reshape(value.shape)


@dataclass(frozen=True)
class Quantise:
    """Real numbers to the whole numbers of a quantised model: value / scale + zero, rounded and cut at the type's ends.

    Halves go to the even neighbour.
    """

    to: str
    scale: float
    zero: int
    name: ClassVar[str] = "quantise"

    @classmethod
    def read(cls, options: Fields) -> Self:
        """Options: to (int8 or uint8), scale (over 0), zero (default 0)."""
        to = options.choice("to", ("int8", "uint8"))
        scale = options.real("scale", low=1e-30)
        return cls(to, scale, options.whole("zero", default=0, low=-128, high=255))

    def __call__(self, value: Array, trace: Trace) -> Array:
        """Return int8 or uint8 of the same shape."""
        ends = np.iinfo(self.to)
        found = value * np.float32(1 / self.scale)
        np.rint(found, out=found)
        found += np.float32(self.zero)
        return np.clip(found, ends.min, ends.max, out=found).astype(self.to)


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
