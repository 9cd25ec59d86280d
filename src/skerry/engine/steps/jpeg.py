"""JPEG bytes to upright pixels by libjpeg-turbo: limits first, then the EXIF orientation, then the pixels.

Pillow decodes what is odd (CMYK, YCCK, subsamplings without a name); the pixels are the same, it only takes longer. A
scaled decoding leaves out what a smaller target would throw away: each side is divided by 2, 4 or 8 in the DCT itself.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image

from skerry.core.errors import Invalid, TooLarge
from skerry.engine.arrays import Array

JPEG = b"\xff\xd8\xff"
MAX_SCANS = 100  # of one file; encoders write 1 to 20, and each scan walks over the whole image again
SPARE_BYTES = 16  # between the last pixel and the end; USB cameras leave a few, a stream out of step leaves hundreds
FACTORS = (8, 4, 2)
PLAIN = ("YCbCr", "Gray", "RGB")
SPARE = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
XMP = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')

# EXIF orientation -> (rows become columns, then left and right change places, then top and bottom do)
TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}

Inner = Callable[[int, int], tuple[int, int]]  # size of the image -> the size it is about to be made, no less is needed


@dataclass(frozen=True)
class Shot:
    """Upright pixels [height, width, channels], the size of the whole image, and how the pixels lie in it."""

    pixels: Array
    width: int
    height: int
    factor: int = 1  # model pixel = pixel of the whole image / factor + offset
    offset: tuple[float, float] = (0.0, 0.0)


def decode(data: bytes, colour: str, inner: Inner | None, limit: int) -> Shot | None:
    """Return the image as rgb, bgr or grey, scaled if `inner` is given; None if Pillow must decode it.

    Raises TooLarge for more than `limit` pixels, before any is made; Invalid for a file that is damaged or breaks off.
    """
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except (ValueError, KeyError):  # KeyError: a subsampling that it has no name for
        return None
    if width * height > limit:
        raise TooLarge(f"image: expected at most {limit} pixels; got {width} x {height}")
    if space not in PLAIN:
        return None
    if (scans := _scans(data)) > MAX_SCANS:
        raise Invalid(f"image: expected a JPEG of at most {MAX_SCANS} scans; got {scans}")
    turned, mirrored, flipped = TURNS[orientation(data)]
    upright = (height, width) if turned else (width, height)
    factor = _factor(*upright, inner)
    pixels = _grey(data, width, height, factor, space) if colour == "grey" else (
        _pixels(data, width, height, factor, colour.upper()))  # fmt: skip
    if turned:
        pixels = pixels.transpose(1, 0, 2)
    # The last pixel of a scaled row may stand for fewer of the whole image; a mirror puts it first.
    over = [(-side % factor) / factor for side in upright]
    offset = (over[0] if mirrored else 0.0, over[1] if flipped else 0.0)
    return Shot(pixels[:: -1 if flipped else 1, :: -1 if mirrored else 1], *upright, factor, offset)


def _factor(width: int, height: int, inner: Inner | None) -> int:
    """Return the greatest factor that leaves at least the wanted size on both sides."""
    if inner is None:
        return 1
    wide, high = inner(width, height)
    return next((f for f in FACTORS if -(-width // f) >= wide and -(-height // f) >= high), 1)


def _scans(data: bytes) -> int:
    """Return how often the marker of a scan stands in a file; by `count` of two bytes it takes 5 times as long."""
    values = np.frombuffer(data, np.uint8)
    return int(np.count_nonzero((values[:-1] == 0xFF) & (values[1:] == 0xDA)))


def _grey(data: bytes, width: int, height: int, factor: int, space: str) -> Array:
    """Return one channel; as Pillow does it, from RGB, unless the file is grey or the pixels are scaled anyway."""
    if space == "Gray" or factor > 1:
        return _pixels(data, width, height, factor, "GRAY")
    found = Image.fromarray(_pixels(data, width, height, factor, "RGB")).convert("L")
    return np.asarray(found)[:, :, np.newaxis]


def _pixels(data: bytes, width: int, height: int, factor: int, colour: str, strict: bool = True) -> Array:
    least = {"min_width": -(-width // factor), "min_height": -(-height // factor)} if factor > 1 else {}
    try:
        found: Array = simplejpeg.decode_jpeg(data, colour, strict=strict, **least)
    except ValueError as error:
        spare = SPARE.search(str(error))  # strict stops at the first remark; this one comes after the last pixel
        if strict and spare and int(spare[1]) <= SPARE_BYTES:
            return _pixels(data, width, height, factor, colour, strict=False)
        what = "of a kind that is not taken" if "Unsupported" in str(error) else "that is damaged or incomplete"
        raise Invalid(f"image: a JPEG {what}: {error}") from None
    return found


def orientation(data: bytes) -> int:
    """Return the orientation that EXIF, or else XMP, declares: 1 to 8, and 1 if there is none or it makes no sense.

    Raises Invalid for EXIF that cannot be read as far as the orientation.
    """
    exif, xmp, at = b"", b"", 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in (0xD9, 0xDA):
            break
        head = data[at + 4 : at + 33]
        if marker == 0xE1 and not exif and head.startswith(b"Exif\0\0"):
            exif = data[at + 10 : at + 2 + size]
        if marker == 0xE1 and head.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            xmp = data[at + 33 : at + 2 + size]
        at += 2 + size
    told = of_exif(exif) if exif else None
    if told is None and (found := XMP.search(xmp)):
        told = int(found[1])
    return told if told in TURNS else 1


def of_exif(block: bytes) -> int | None:
    """Return the orientation (tag 274) in an EXIF block that begins with its TIFF header; None if it has none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    try:
        if order is None:
            raise Invalid(f"image: the EXIF data is damaged: expected a TIFF header; got {block[:4]!r}")
        (start,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, start)
        for index in range(count):
            tag, kind, many = struct.unpack_from(order + "HHI", block, start + 2 + 12 * index)
            if tag == 274 and kind in (1, 3, 4) and many:  # a byte, a short or a long
                form = {1: "B", 3: "H", 4: "I"}[kind]
                return int(struct.unpack_from(order + form, block, start + 10 + 12 * index)[0])
    except struct.error as error:
        raise Invalid(f"image: the EXIF data is damaged: {error}") from None
    return None
