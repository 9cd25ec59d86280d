from __future__ import annotations

import contextlib
import io
import random
import struct
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from skerry.core.errors import Invalid, TooLarge
from skerry.engine.steps.image import MAX_PIXELS, DecodeImage, Letterbox, Resize, open_image
from skerry.engine.steps.jpeg import MAX_SCANS, decode, of_exif, orientation
from skerry.engine.steps.plan import DecodeFor, plan
from skerry.engine.steps.step import Trace
from tests.engine.kit import data as third_party
from tests.engine.kit import png

PHOTOS = [f"coral/{name}.jpg" for name in ("face", "hot_dog", "owl", "parrot", "pets")]
PHOTOS += [f"tflite_support/{name}.jpg" for name in ("burger", "cats_and_dogs")]
NOISE = np.random.default_rng(2).integers(0, 256, (37, 51, 3)).astype(np.uint8)
KINDS = [
    *({"subsampling": n} for n in (0, 1, 2)),
    {"progressive": True},
    {"restart_marker_rows": 1},
    {"keep_rgb": True},
]


def by_pillow(data, mode="RGB"):
    return np.asarray(open_image(data).convert(mode))


def pixels(data, colour="rgb"):
    return DecodeImage(colour)(np.frombuffer(data, np.uint8), Trace())


@pytest.mark.parametrize("photo", PHOTOS)
def test_the_pixels_of_real_photos_are_pillows(photo):
    data = third_party(photo).read_bytes()
    np.testing.assert_array_equal(pixels(data), by_pillow(data))
    np.testing.assert_array_equal(pixels(data, "bgr"), by_pillow(data)[:, :, ::-1])
    np.testing.assert_array_equal(pixels(data, "grey")[:, :, 0], by_pillow(data, "L"))


@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (37, 51)])
def test_the_pixels_of_every_kind_are_pillows(options, size):
    data = png(NOISE[: size[0], : size[1]], "JPEG", **options)
    np.testing.assert_array_equal(pixels(data), by_pillow(data))
    np.testing.assert_array_equal(pixels(data, "grey")[:, :, 0], by_pillow(data, "L"))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_odd_kinds_are_pillows(mode):
    data = png(Image.fromarray(NOISE).convert(mode), "JPEG")
    assert (decode(data, "rgb", None, MAX_PIXELS) is None) == (mode == "CMYK")  # None: Pillow decodes it
    for colour, other in (("rgb", "RGB"), ("grey", "L")):
        found = pixels(data, colour)
        np.testing.assert_array_equal(found if colour == "rgb" else found[:, :, 0], by_pillow(data, other))


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 90), st.integers(1, 90), st.booleans(), st.integers(1, 8))
def test_a_scaled_image_is_never_smaller_than_its_target(width, height, wide, high, letterbox, turn):
    exif = Image.Exif()
    exif[274] = turn
    data = png(NOISE[:1, :1].repeat(height, 0).repeat(width, 1), "JPEG", exif=exif)
    target = Letterbox(wide, high, 0, "bilinear") if letterbox else Resize(wide, high, "bilinear")
    (step, _) = plan([DecodeImage("rgb", scaled=True), target])
    trace, whole = Trace(), Trace()
    found = step(np.frombuffer(data, np.uint8), trace)
    full = DecodeImage("rgb")(np.frombuffer(data, np.uint8), whole)
    assert (trace.width, trace.height) == (whole.width, whole.height) == full.shape[1::-1]
    assert trace.size == found.shape[1::-1]
    inner = target.inner(trace.width, trace.height)
    if found.shape != full.shape:
        assert found.shape[1] >= inner[0]
        assert found.shape[0] >= inner[1]
    factor = round(1 / trace.scale[0])
    assert trace.scale == (1 / factor, 1 / factor)
    assert factor in (1, 2, 4, 8)
    for side, now, offset in zip((trace.width, trace.height), trace.size, trace.offset, strict=True):
        assert now == -(-side // factor)
        assert 0 <= offset < 1
    if factor < 8:  # the next would have been too small
        assert -(-trace.width // (2 * factor)) < inner[0] or -(-trace.height // (2 * factor)) < inner[1]


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_mark_in_a_scaled_image_lies_where_it_was(turn):
    """A white square of the upright image, found in the scaled one, maps back to within a scaled pixel."""
    image = np.zeros((203, 301, 3), np.uint8)
    image[48:96, 160:208] = 255
    exif = Image.Exif()
    exif[274] = turn
    data = png(image, "JPEG", quality=100, subsampling=0, exif=exif)
    whole, trace = Trace(), Trace()
    raw = np.frombuffer(data, np.uint8)
    full = DecodeImage("rgb")(raw, whole)
    found = DecodeFor(DecodeImage("rgb", scaled=True), Resize(40, 40, "area"))(raw, trace)
    assert trace.scale == (0.25, 0.25)

    def centre(pixels):
        rows, columns = np.nonzero(pixels[:, :, 0] > 128)
        return np.array([columns.mean() + 0.5, rows.mean() + 0.5])

    back = (centre(found) - trace.offset) / trace.scale
    np.testing.assert_allclose(back, centre(full), atol=0.6)


def test_without_a_smaller_step_after_it_nothing_is_scaled():
    data = png(NOISE, "JPEG")
    steps = plan([DecodeImage("rgb", scaled=True)])
    np.testing.assert_array_equal(steps[0](np.frombuffer(data, np.uint8), Trace()), pixels(data))
    steps = plan([DecodeImage("rgb", scaled=True), Resize(30, 30, "bilinear")])
    np.testing.assert_array_equal(steps[0](np.frombuffer(data, np.uint8), Trace()), pixels(data))


@pytest.mark.parametrize("photo", PHOTOS)
def test_a_scaled_photo_is_nearly_the_same(photo):
    data = np.frombuffer(third_party(photo).read_bytes(), np.uint8)
    found = []
    for scaled in (False, True):
        trace, value = Trace(), data
        for step in plan([DecodeImage("rgb", scaled=scaled), Resize(112, 112, "bilinear")]):
            value = step(value, trace)
        found.append(value.astype(float) / 255)
    assert np.abs(found[0] - found[1]).mean() < 0.02  # of the whole range; the worst of these photos has 0.015


# Damage


@pytest.mark.parametrize("options", [*KINDS, {"mode": "L"}], ids=str)
@pytest.mark.parametrize("scaled", [False, True])
def test_truncated_anywhere_is_refused(options, scaled):
    options = dict(options)
    data = png(Image.fromarray(NOISE).convert(options.pop("mode", "RGB")), "JPEG", **options)
    step = plan([DecodeImage("rgb", scaled=scaled), Resize(8, 8, "bilinear")])[0]
    for size in (*range(2, len(data) - 40, 97), *range(len(data) - 40, len(data))):
        with pytest.raises(Invalid):
            step(np.frombuffer(data[:size], np.uint8), Trace())


@settings(max_examples=300)
@given(st.sampled_from(KINDS), st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), min_size=1, max_size=4),
       st.booleans())  # fmt: skip
def test_flipped_bits_raise_our_errors_alone(options, flips, scaled):
    spoiled = bytearray(png(NOISE, "JPEG", **options))
    for where, mask in flips:
        spoiled[int(where * len(spoiled))] ^= mask
    step = plan([DecodeImage("grey" if len(flips) % 2 else "bgr", scaled=scaled), Resize(8, 8, "bilinear")])[0]
    with contextlib.suppress(Invalid, TooLarge):
        step(np.frombuffer(bytes(spoiled), np.uint8), Trace())


def test_a_scan_that_is_out_of_step_is_refused():
    """Pillow decodes such a file to rubbish without a word."""
    data = bytearray(png(np.uint8(NOISE), "JPEG", quality=90))
    start, refused = data.index(b"\xff\xda") + 20, 0
    for at in range(start, len(data) - 200, 50):
        broken = bytearray(data)
        broken[at : at + 3] = b"\x12\x34\x56"
        try:
            pixels(bytes(broken))
        except Invalid:
            refused += 1
    assert refused > (len(data) - 200 - start) / 50 * 0.6


def test_the_spare_bytes_of_cameras_are_passed_over():
    data = png(NOISE, "JPEG")
    for spare in (b"\0", b"\0" * 7, b"\0" * 16):
        np.testing.assert_array_equal(pixels(data[:-2] + spare + data[-2:]), pixels(data))
    np.testing.assert_array_equal(pixels(data + b"\0" * 3000), pixels(data))  # after the end, as MJPEG frames have
    with pytest.raises(Invalid, match=r"damaged or incomplete: .* extraneous bytes"):
        pixels(data[:-2] + b"\0" * 40 + data[-2:])


def resized_header(data, side):
    """Return a JPEG whose frame header says another size."""
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", side, side) + data[at + 9 :]


def test_a_huge_image_is_refused_from_its_header():
    data = resized_header(png(NOISE, "JPEG"), 20_000)
    started = time.monotonic()
    with pytest.raises(TooLarge, match="25000000 pixels; got 20000 x 20000"):
        pixels(data)
    assert time.monotonic() - started < 0.5


def test_a_file_of_many_scans_is_refused():
    """A progressive file may walk over the whole image again with every few bytes."""
    data = png(NOISE, "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    many = data[:-2] + data[at:-2] * MAX_SCANS + data[-2:]
    with pytest.raises(Invalid, match=f"at most {MAX_SCANS} scans; got"):
        pixels(many)


@pytest.mark.parametrize("component", range(3))
def test_every_subsampling_is_decoded_or_refused(component):
    data = bytearray(png(NOISE, "JPEG"))
    at, read = data.index(b"\xff\xc0") + 11 + 3 * component, 0
    for factors in range(256):
        data[at] = factors
        with contextlib.suppress(Invalid):
            read += pixels(bytes(data)).shape == NOISE.shape
    assert read


def test_twelve_bits_are_refused_as_such():
    data = bytearray(png(NOISE, "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(Invalid, match="a JPEG of a kind that is not taken: Unsupported JPEG data precision 12"):
        pixels(bytes(data))


# Orientation


def exif_of(turn, order="<", kind=3, count=1, before=()):
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    entries = [*before, (274, kind, count, struct.pack(order + {1: "B", 3: "H", 4: "I"}.get(kind, "I"), turn))]
    packed = b"".join(struct.pack(order + "HHI", t, k, c) + v.ljust(4, b"\0") for t, k, c, v in entries)
    return head + struct.pack(order + "H", len(entries)) + packed + bytes(4)


@given(st.integers(0, 255), st.sampled_from("<>"), st.sampled_from([1, 3, 4]), st.integers(0, 3))
def test_the_orientation_is_read_in_every_form(turn, order, kind, others):
    block = exif_of(turn, order, kind, before=[(271, 2, 4, b"abc\0")] * others)
    assert of_exif(block) == turn
    data = png(NOISE, "JPEG", exif=b"Exif\0\0" + block)
    assert orientation(data) == (turn if 1 <= turn <= 8 else 1)


def test_an_image_without_or_with_another_tag_is_upright():
    assert orientation(png(NOISE, "JPEG")) == 1
    assert of_exif(exif_of(6, kind=2)) is None
    assert of_exif(exif_of(6, count=0)) is None


def test_xmp_tells_the_orientation_where_exif_does_not():
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'
    data = png(NOISE, "JPEG", xmp=xmp % 6)
    np.testing.assert_array_equal(pixels(data), by_pillow(data))
    assert pixels(data).shape == NOISE.transpose(1, 0, 2).shape
    assert orientation(png(NOISE, "JPEG", xmp=xmp % 6, exif=b"Exif\0\0" + exif_of(3))) == 3


@pytest.mark.parametrize("block", [b"", b"II", b"XX*\0" + bytes(20), b"II*\0\xff\xff\xff\x7f" + bytes(9),
                                   exif_of(6)[:14], b"II*\0\x08\0\0\0\xff\xff" + bytes(30)])  # fmt: skip
def test_exif_that_cannot_be_read_is_the_senders_error(block):
    with pytest.raises(Invalid, match="the EXIF data is damaged"):
        of_exif(block)


@given(st.binary(max_size=64), st.sampled_from([b"", b"II*\0", b"MM\0*\0\0\0\x08"]))
def test_any_exif_raises_our_errors_alone(data, head):
    with contextlib.suppress(Invalid):
        of_exif(head + data)
    assert orientation(b"\xff\xd8\xff" + data) in range(1, 9)


def test_damaged_markers_of_real_photos_raise_our_errors_alone():
    data, dice = third_party("coral/face.jpg").read_bytes(), random.Random(5)
    body = data.index(b"\xff\xda")
    for _ in range(150):
        broken = bytearray(data)
        for _ in range(dice.randint(1, 3)):
            broken[dice.randrange(2, body + 14)] = dice.randrange(256)
        with contextlib.suppress(Invalid, TooLarge):
            pixels(bytes(broken))


def test_the_reference_is_pillow_itself():
    data = png(NOISE, "JPEG")
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(by_pillow(data), np.asarray(image))
