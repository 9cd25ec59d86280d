from __future__ import annotations

import io
import itertools
import json
import os
import random
import subprocess
import sys
import time
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from skerry.core.errors import Invalid, SkerryError, TooLarge
from skerry.core.fields import Fields
from skerry.core.manifest import StepEntry
from skerry.engine.steps.detect import MapBack
from skerry.engine.steps.image import DecodeImage, Layout, Letterbox, Normalise, Resize, open_image, webp_size
from skerry.engine.steps.step import Trace, read_step
from skerry.engine.steps.table import POST, PRE
from tests.engine.kit import png

CORNERS = np.uint8([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [255, 255, 255], [128, 128, 128]]])
NOISE = np.random.default_rng(1).integers(0, 256, (24, 33, 3)).astype(np.uint8)


def decoded(data, colour="rgb"):
    trace = Trace()
    found = DecodeImage(colour)(np.frombuffer(data, np.uint8), trace)
    assert (trace.height, trace.width) == found.shape[:2]
    assert found.dtype == np.uint8
    return found


def test_png_pixels_are_exact_in_every_colour_order():
    np.testing.assert_array_equal(decoded(png(CORNERS)), CORNERS)
    np.testing.assert_array_equal(decoded(png(CORNERS), "bgr"), CORNERS[:, :, ::-1])
    grey = np.asarray(Image.fromarray(CORNERS).convert("L"))
    np.testing.assert_array_equal(decoded(png(CORNERS), "grey")[:, :, 0], grey)


def test_jpeg_pixels_are_near():
    smooth = np.uint8(np.mgrid[0:64, 0:64].sum(axis=0))[:, :, None].repeat(3, 2)
    assert np.abs(decoded(png(smooth, "JPEG", quality=95)).astype(int) - smooth).max() <= 8


# What EXIF says: row 0 / column 0 of the stored pixels are the visual ... (EXIF 2.3, tag 274).
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_exif_orientation_is_obeyed(turn, kind):
    exif = Image.Exif()
    exif[274] = turn
    blocks = CORNERS.repeat(16, 0).repeat(16, 1)
    data = png(blocks, kind, exif=exif, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {}))
    want = UPRIGHT[turn](blocks)
    found = decoded(data)
    assert found.shape == want.shape
    assert np.abs(found.astype(int) - want).max() <= (0 if kind == "PNG" else 6)


@pytest.mark.parametrize("turn", [0, 9, 65535])
def test_a_senseless_orientation_is_passed_over(turn):
    exif = Image.Exif()
    exif[274] = turn
    np.testing.assert_array_equal(decoded(png(CORNERS, exif=exif)), CORNERS)


KINDS = ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]


@pytest.mark.parametrize("mode", KINDS)
@pytest.mark.parametrize("colour", ["rgb", "bgr", "grey"])
def test_every_kind_of_png_is_accepted(mode, colour):
    white = np.full((4, 5), 0xFFFF, np.uint16)
    image = Image.fromarray(white) if mode == "I;16" else Image.new("RGB", (5, 4), "white").convert(mode)
    assert decoded(png(image), colour).min() == 255
    black = Image.fromarray(white * 0) if mode == "I;16" else Image.new("RGB", (5, 4)).convert(mode)
    assert decoded(png(black), colour).max() == 0


@pytest.mark.parametrize("colour", ["rgb", "grey"])
def test_16_bits_are_scaled_not_cut(colour):
    half = Image.fromarray(np.full((4, 5), 0x8080, np.uint16))
    assert abs(int(decoded(png(half), colour).mean()) - 0x80) <= 1


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_every_kind_of_jpeg_is_accepted(mode):
    assert decoded(png(Image.new("RGB", (16, 16), "white").convert(mode), "JPEG")).min() >= 250


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_refused(kind):
    with pytest.raises(Invalid, match="expected a JPEG, PNG or WebP; got"):
        open_image(png(CORNERS, kind))


def test_nothing_is_refused_plainly():
    with pytest.raises(Invalid, match="empty body"):
        open_image(b"")


def refused_or_decoded(data):
    """Return the error, or None if the bytes still make an image; anything but our errors passes through."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files
        try:
            DecodeImage("rgb")(np.frombuffer(data, np.uint8), Trace())
        except SkerryError as error:
            return error
    return None


@pytest.mark.parametrize("options", [{"kind": "PNG"}, {"kind": "JPEG"}, {"kind": "JPEG", "progressive": True}])
def test_truncated_anywhere_is_refused(options):
    exif = Image.Exif()
    exif[274] = 6
    data = png(NOISE, exif=exif, **options)
    for size in range(0, len(data) - 20, 47):
        assert isinstance(refused_or_decoded(data[:size]), Invalid | TooLarge), size


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"]))
def test_arbitrary_bytes_raise_our_errors_alone(data, head):
    assert refused_or_decoded(head + data) is not None


GOOD = [png(NOISE), png(NOISE, "JPEG"), png(NOISE, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0")]


@settings(max_examples=300)
@given(st.sampled_from(GOOD), st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bits_raise_our_errors_alone(data, flips):
    spoiled = bytearray(data)
    for where, mask in flips:
        spoiled[int(where * len(spoiled))] ^= mask
    refused_or_decoded(bytes(spoiled))


CHUNKS = b"IHDR PLTE tRNS iCCP eXIf zTXt iTXt pHYs gAMA sRGB cHRM acTL fcTL".split()


@settings(max_examples=150)
@given(st.binary(max_size=40), st.sampled_from(CHUNKS))
def test_any_chunk_of_a_png_raises_our_errors_alone(data, name):
    chunk = len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
    whole = GOOD[0]
    refused_or_decoded(whole[:33] + chunk + whole[33:])


def huge_png(side):
    head = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    chunk = (13).to_bytes(4, "big") + b"IHDR" + head + zlib.crc32(b"IHDR" + head).to_bytes(4, "big")
    idat = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk + len(idat).to_bytes(4, "big") + b"IDAT" + idat + bytes(4)


def test_a_huge_image_is_refused_from_its_header():
    started = time.monotonic()
    with pytest.raises(TooLarge, match="25000000 pixels; got 20000 x 20000"):
        open_image(huge_png(20_000))
    assert time.monotonic() - started < 1
    program = (
        "import resource, sys\nfrom skerry.engine.steps.image import open_image\n"
        "from skerry.core.errors import TooLarge\n"
        "data = bytes.fromhex(sys.argv[1])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    open_image(data)\nexcept TooLarge:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    argv = [sys.executable, "-c", program, huge_png(20_000).hex()]
    found = subprocess.run(argv, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert int(found.stdout) < 20_000  # KiB; the pixels alone would be 1,200,000


def step(name, **options):
    return read_step(StepEntry(name, options), PRE, "pre")


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "lanczos", "area"])
@pytest.mark.parametrize("channels", [1, 3])
def test_resize_to_the_same_size_changes_nothing(name, channels):
    pixels = NOISE[:, :, :channels]
    np.testing.assert_array_equal(step("resize", width=33, height=24, filter=name)(pixels, Trace()), pixels)
    found = step("resize", width=10, height=20, filter=name)(pixels, Trace())
    assert found.shape == (20, 10, channels)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 128), st.integers(1, 128))
def test_a_letterbox_keeps_the_ratio_and_fills_the_rest(width, height, wide, high):
    trace = Trace(width=width, height=height, size=(width, height))
    found = step("letterbox", width=wide, height=high, fill=7)(np.full((height, width, 3), 200, np.uint8), trace)
    assert found.shape == (high, wide, 3)
    image = (found == 200).all(axis=2)
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    inner = (len(columns), len(rows))
    scale = min(wide / width, high / height)
    assert inner == (max(1, round(width * scale)), max(1, round(height * scale)))
    assert image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert (found[~image] == 7).all()
    assert abs((columns[0]) - (wide - 1 - columns[-1])) <= 1  # as much left as right
    assert abs((rows[0]) - (high - 1 - rows[-1])) <= 1


boxes = st.tuples(*[st.floats(0, 1)] * 4)


@given(
    st.integers(1, 4000), st.integers(1, 4000),
    st.lists(st.tuples(st.booleans(), st.integers(1, 700), st.integers(1, 700)), min_size=1, max_size=3),
    boxes,
)  # fmt: skip
def test_map_back_inverts_every_chain_of_steps(width, height, chain, shares):
    trace = Trace(width=width, height=height, size=(width, height))
    box = np.float64([shares[0] * width, shares[1] * height, shares[2] * width, shares[3] * height])
    # The forward way, by the definition in Trace: model pixel = original pixel * scale + offset, step by step.
    now, forward = (width, height), box.reshape(2, 2)
    for letterbox, wide, high in chain:
        if letterbox:
            scale = min(wide / now[0], high / now[1])
            inner = max(1, round(now[0] * scale)), max(1, round(now[1] * scale))
            offset = (wide - inner[0]) // 2, (high - inner[1]) // 2
        else:
            inner, offset = (wide, high), (0, 0)
        forward = forward * (inner[0] / now[0], inner[1] / now[1]) + offset
        trace.moved((inner[0] / now[0], inner[1] / now[1]), offset, (wide, high))
        now = wide, high
    back = MapBack()({"boxes": np.float32([forward.reshape(4)])}, trace)["boxes"][0]
    np.testing.assert_allclose(back, box, atol=0.02 + 1e-6 * max(width, height) / min(trace.scale))


def test_a_letterboxed_mark_maps_back_to_where_it_was():
    pixels = np.zeros((480, 640, 3), np.uint8)
    pixels[100:140, 200:260] = 255
    trace = Trace(width=640, height=480, size=(640, 480))
    found = step("letterbox", width=320, height=320, fill=0)(pixels, trace)[:, :, 0] > 128
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    box = np.float32([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]])
    np.testing.assert_allclose(MapBack()({"boxes": box}, trace)["boxes"][0], [200, 100, 260, 140], atol=2)


def test_boxes_are_cut_at_the_edges_of_the_original():
    trace = Trace(width=10, height=20, size=(10, 20))
    found = MapBack()({"boxes": np.float32([[-5, -5, 50, 50]])}, trace)["boxes"]
    assert found.tolist() == [[0, 0, 10, 20]]


@given(
    st.sampled_from([1, 3]),
    st.floats(0.001, 2),
    st.lists(st.floats(-200, 200), min_size=3, max_size=3),
    st.lists(st.floats(0.01, 100), min_size=3, max_size=3),
    st.booleans(),
)
def test_normalise_is_what_it_says(channels, scale, mean, std, each):
    count = channels if each else 1
    mean, std = mean[:count], std[:count]
    pixels = NOISE[:, :, :channels]
    found = step("normalise", scale=scale, mean=mean, std=std)(pixels, Trace())
    assert found.dtype == np.float32
    want = (pixels.astype(np.float64) * scale - mean) / std
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-4 * (255 * scale + 200) / min(std))


def test_normalise_refuses_the_wrong_count_of_channels():
    with pytest.raises(Invalid, match="2 means and 1 stds for 3 channels"):
        step("normalise", mean=[1, 2])(NOISE, Trace())


def test_layout():
    assert step("layout", to="NHWC")(NOISE, Trace()).shape == (1, 24, 33, 3)
    found = step("layout", to="NCHW")(NOISE, Trace())
    np.testing.assert_array_equal(found[0, 1], NOISE[:, :, 1])
    assert found.flags["C_CONTIGUOUS"]


def test_resize_after_normalise_is_refused():
    with pytest.raises(Invalid, match="put them before 'normalise'"):
        step("resize", width=2, height=2)(NOISE.astype(np.float32), Trace())


def test_quantise_is_what_it_says():
    values = np.float32([[[-1, -0.5, 0, 0.12, 0.13, 0.5, 1, 40]]])
    found = step("quantise", to="int8", scale=0.25, zero=-3)(values, Trace())
    assert (found.dtype, found.tolist()) == (np.int8, [[[-7, -5, -3, -3, -2, -1, 1, 127]]])
    assert step("quantise", to="uint8", scale=1, zero=2)(values, Trace()).tolist() == [[[1, 2, 2, 2, 2, 2, 3, 42]]]


WEBP = [png(NOISE, "WEBP"), png(NOISE, "WEBP", lossless=True), png(NOISE, "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")]


def test_webp_pixels():
    np.testing.assert_array_equal(decoded(WEBP[1]), NOISE)
    np.testing.assert_array_equal(decoded(WEBP[1], "bgr"), NOISE[:, :, ::-1])
    clear = Image.fromarray(np.dstack([NOISE, np.full(NOISE.shape[:2], 255, np.uint8)]), "RGBA")
    np.testing.assert_array_equal(decoded(png(clear, "WEBP", lossless=True)), NOISE)
    assert np.abs(decoded(WEBP[0]).astype(int).mean() - NOISE.mean()) < 3
    exif = Image.Exif()
    exif[274] = 6
    np.testing.assert_array_equal(decoded(png(NOISE, "WEBP", lossless=True, exif=exif)), np.rot90(NOISE, -1))


def test_the_size_of_a_webp_is_read_from_its_header():
    for data in (*WEBP, png(NOISE[:1, :1], "WEBP"), png(NOISE[:1, :1], "WEBP", lossless=True)):
        with Image.open(io.BytesIO(data)) as image:
            assert webp_size(data) == image.size
    wide = WEBP[2][:24] + b"\xff\xff\0\xff\xff\0" + WEBP[2][30:]  # the canvas of VP8X
    with pytest.raises(TooLarge, match="got 65536 x 65536"):
        open_image(wide)


def test_an_animation_is_refused():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    with pytest.raises(Invalid, match="still WebP; got an animation"):
        open_image(png(frames[0], "WEBP", save_all=True, append_images=frames[1:]))


@pytest.mark.parametrize("data", WEBP)
def test_a_truncated_webp_is_refused(data):
    for size in range(12, len(data) - 2, 23):
        assert isinstance(refused_or_decoded(data[:size]), Invalid | TooLarge), size


@settings(max_examples=200)
@given(st.sampled_from(WEBP), st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bits_of_a_webp_raise_our_errors_alone(data, flips):
    spoiled = bytearray(data)
    for where, mask in flips:
        spoiled[int(where**2 * len(spoiled))] ^= mask  # the header more often than the rest
    refused_or_decoded(bytes(spoiled))


GOOD_OPTIONS = {
    "decode_image": {"colour": "bgr", "scaled": True},
    "decode_raw": {"width": 4, "height": 2, "format": "nv12", "range": "full"},
    "decode_audio": {"rate": 8000, "samples": 100, "scale": "int16", "layout": "flat"},
    "resize": {"width": 3, "height": 4, "filter": "area"},
    "letterbox": {"width": 3, "height": 4, "fill": 0, "filter": "nearest"},
    "normalise": {"scale": 1.0, "mean": [0.5], "std": [2]},
    "quantise": {"to": "int8", "scale": 0.5, "zero": 1},
    "layout": {"to": "NHWC"},
    "log_mel": {"window_ms": 20, "hop_ms": 5, "n_fft": 512, "n_mels": 8, "f_min": 10, "f_max": 900, "window": "hamming",
                "centre": True, "pre_emphasis": 0.9, "power": 1, "mel_scale": "slaney", "slopes": "mel",
                "norm": "slaney", "offset": 1e-6, "floor": 1e-6},
    "dct": {"keep": 4, "norm": "htk"},
    "micro_frontend": {"window_ms": 25, "hop_ms": 20, "n_mels": 32, "f_min": 100, "f_max": 3000},
    "slide": {"size": 3, "hop": 1},
    "reshape": {"shape": [-1, 2]},
    "dequantise": {"output": "y", "scale": 0.5, "zero": 1},
    "softmax": {"output": "y"},
    "top_k": {"output": "y", "k": 3},
    "moving_mean": {"output": "y", "count": 5},
    "peak": {"output": "y"},
    "decode_heatmap": {"heat": "h", "box": "b", "stride": 4, "threshold": 0.5, "limit": 3},
    "decode_boxes": {"boxes": "b", "scores": "s", "form": "centre", "unit": "share", "background": 0, "threshold": 1,
                     "limit": 5},
    "decode_found": {"boxes": "b", "scores": "s", "classes": "c", "count": "n", "order": "xyxy", "unit": "share",
                     "threshold": 1},
    "decode_rows": {"output": "y", "layout": "columns", "objectness": False, "strides": [8], "unit": "share",
                    "threshold": 1, "limit": 5},
    "decode_priors": {"boxes": "b", "scores": "s", "strides": [8], "sizes": [[4, 5]], "variances": [0.1, 0.2],
                      "background": 1, "threshold": 1, "limit": 5},
    "decode_grid": {"output": "y", "weight": 0.5, "threshold": 1, "limit": 5},
    "nms": {"iou": 0.5, "by_class": False},
    "map_back": {},
}  # fmt: skip
ALL = {**PRE, **POST}
TEXTS = ("heat", "box", "boxes", "scores", "classes", "count", "output")
FLAGS = ("by_class", "scaled", "objectness", "centre")
BAD = [None, {}, "none such", -7, 1e9, True, [[]]]


@pytest.mark.parametrize("name", ALL)
def test_every_step_reads_its_options_and_names_a_bad_one(name):
    good = GOOD_OPTIONS[name]
    read_step(StepEntry(name, good), ALL, "here")
    with pytest.raises(Invalid, match=f"here step '{name}': unknown options frill"):
        read_step(StepEntry(name, {**good, "frill": 1}), ALL, "here")
    for option, bad in itertools.product(good, BAD):
        if (
            (option in TEXTS and bad == "none such")
            or (option in FLAGS and bad is True)
            or (option == "scale" and bad is not True and bad in ((-7, 1e9) if name == "normalise" else (1e9,)))
            or (option == "zero" and bad == -7)
        ) and good[option] not in ("int16",):
            continue
        with pytest.raises(Invalid, match=f"here step '{name}'.{option}"):
            read_step(StepEntry(name, {**good, option: bad}), ALL, "here")


def test_an_unknown_step_is_told_what_there_is():
    told = "pre: unknown step 'blur'; this node can do: dct, decode_audio, decode_image, decode_raw, layout"
    with pytest.raises(Invalid, match=told):
        read_step(StepEntry("blur"), PRE, "pre")


def test_every_step_is_in_the_table():
    assert sorted(GOOD_OPTIONS) == sorted(ALL)
    assert json.dumps(GOOD_OPTIONS)
    assert {Resize.name, Letterbox.name, Normalise.name, Layout.name} < set(PRE)
    assert Normalise.read(Fields({}, "")).std == (1.0,)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow says what is wrong, and goes on
def test_damaged_exif_is_the_senders_error():
    """Bytes of the orientation and its neighbours are changed at random; nothing but Invalid may come of it."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8769] = 6, "maker", {0x9003: "2026:01:01 00:00:00"}
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=exif)
    data, dice = file.getvalue(), random.Random(7)
    start, refused = data.index(b"Exif"), 0
    for _ in range(3000):
        broken = bytearray(data)
        for _ in range(dice.randint(1, 4)):
            broken[start + dice.randrange(6, 100)] = dice.randrange(256)
        try:
            open_image(bytes(broken))
        except (Invalid, TooLarge):
            refused += 1
    assert refused > 0
