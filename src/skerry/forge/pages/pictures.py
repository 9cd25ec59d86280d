"""Examples as small pictures inside the page: decoded, made small, and written as data that needs no file beside."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from PIL import Image, ImageOps

from skerry.engine.steps.image import DAMAGED, FORMATS
from skerry.forge.pages.page import text
from skerry.forge.score import Answer, Truth

SIDE = 192  # pixels of the longer side; 24 of them take some 150 KB
LARGE = 384  # of pictures with boxes over them, which are small things
QUALITY = 70  # of WebP
MOST = 24  # pictures on a page


def small(content: bytes) -> str:
    """Return a picture as HTML; a word in its place if it cannot be decoded."""
    found = _decoded(content)
    return (
        '<div class="none">no picture</div>' if found is None else f'<img alt="" loading="lazy" src="{_data(found)}">'
    )


def marked(content: bytes, truths: Sequence[Truth], answers: Sequence[Answer]) -> str:
    """Return a picture with boxes over it: truths that were missed whole, answers that fit none dashed."""
    found = _decoded(content, LARGE)
    if found is None:
        return '<div class="none">no picture</div>'
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        width, height = ImageOps.exif_transpose(image).size
    line = max(width, height) / 120
    drawn = "".join(_box(one[1:], "amber", line, "") for one in truths)
    drawn += "".join(_box(one[2:], "blue", line, f' stroke-dasharray="{3 * line:.1f}"') for one in answers)
    said = f"{len(truths)} boxes missed, {len(answers)} answers that fit none"
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img"><title>{said}</title>'
        f'<image href="{_data(found)}" width="{width}" height="{height}"/>{drawn}</svg>'
    )


def gallery(items: Sequence[tuple[str, str]], legend: str = "") -> str:
    """Return pictures (HTML) with captions (text) side by side; large ones if a legend says what they show."""
    cells = "".join(
        f"<figure>{html}<figcaption>{text(caption)}</figcaption></figure>" for html, caption in items[:MOST]
    )
    above = f"<p>{text(legend)}</p>" if legend else ""
    return f'{above}<div class="pictures{" large" if legend else ""}">{cells}</div>' if cells else ""


def _decoded(content: bytes, side: int = SIDE) -> Image.Image | None:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.draft("RGB", (side, side))
            found = ImageOps.exif_transpose(image).convert("RGB")
    except DAMAGED:
        return None
    found.thumbnail((side, side))
    return found


def _data(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def _box(corners: Sequence[float], kind: str, line: float, more: str) -> str:
    x1, y1, x2, y2 = corners
    return (
        f'<rect class="{kind} hollow" stroke-width="{line:.1f}"{more} x="{x1:.1f}" y="{y1:.1f}" '
        f'width="{max(0.0, x2 - x1):.1f}" height="{max(0.0, y2 - y1):.1f}"/>'
    )
