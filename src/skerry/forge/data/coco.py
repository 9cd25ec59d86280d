"""Data as COCO's JSON: images, annotations with `bbox` (left, top, width, height), categories."""

from __future__ import annotations

from pathlib import Path

from skerry.core.errors import Invalid, TooLarge
from skerry.core.fields import Fields, number, parse
from skerry.core.names import shown
from skerry.forge.data.example import BOXES, MOST_EXAMPLES, Box, Data, Example, inside, one_kind

MAX_JSON = 512 << 20  # bytes; COCO's own instances_train2017.json has 449 million
MOST_BOXES = 5_000_000


def read_coco(path: Path) -> Data:
    """Return the pictures of a COCO file with their boxes; they lie beside it, or in `images` beside it."""
    size = path.stat().st_size
    if size > MAX_JSON:
        raise TooLarge(f"data {path}: expected at most {MAX_JSON} bytes; got {size}")
    try:
        return _read(path)
    except Invalid as error:
        raise Invalid(f"data {path}: {error}") from None


def _read(path: Path) -> Data:
    fields = Fields(parse(path.read_bytes(), path.name, MAX_JSON), "")
    names = dict(fields.many("categories", _category))
    pictures = dict(fields.many("images", _picture, limit=MOST_EXAMPLES))
    boxes: dict[int, list[Box]] = {}
    for where, category, box in fields.many("annotations", _annotation, limit=MOST_BOXES):
        if where not in pictures or category not in names:
            raise Invalid(f"annotations: one is of image {where} and category {category}, which are not both listed")
        boxes.setdefault(where, []).append(box._replace(label=names[category]))
    if not pictures:
        raise Invalid("images: expected pictures; found none")
    root = path.parent
    first = next(iter(pictures.values()))
    if not (root / first).is_file() and (root / "images" / first).is_file():
        root = root / "images"
    examples = tuple(Example(name, boxes=tuple(boxes.get(key, ()))) for key, name in pictures.items())
    return Data(path.resolve().parent.name, BOXES, one_kind(list(pictures.values()), path), examples, root)


def _category(value: object) -> tuple[int, str]:
    fields = Fields(value, "")
    return fields.whole("id"), fields.text("name")


def _picture(value: object) -> tuple[int, str]:
    fields = Fields(value, "")
    return fields.whole("id"), inside(fields.text("file_name"), "file_name")


def _annotation(value: object) -> tuple[int, int, Box]:
    fields = Fields(value, "")
    x, y, wide, high = fields.read("bbox", _four)
    if wide <= 0 or high <= 0:
        raise Invalid(f"bbox: expected a width and a height over 0; got {wide} and {high}")
    return fields.whole("image_id"), fields.whole("category_id"), Box("", x, y, x + wide, y + high)


def _four(value: object) -> tuple[float, float, float, float]:
    if not isinstance(value, list) or len(value) != 4:
        raise Invalid(f"expected four numbers; got {shown(value)}")
    x, y, wide, high = map(number, value)
    return x, y, wide, high
