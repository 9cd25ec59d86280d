"""Data as a CSV table beside its files: path and label, or one line for each box."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

from skerry.core.errors import Invalid, TooLarge
from skerry.forge.data.example import BOXES, CLASSES, MOST_EXAMPLES, Box, Data, Example, inside, one_kind

CORNERS = ("x1", "y1", "x2", "y2")
MAX_LINE = 4096  # characters of one field
Row = dict[str, str]


def read_table(path: Path) -> Data:
    """Return the examples that a table names; columns path, label and, if wanted, group and split; or boxes."""
    rows = list(_rows(path))
    if not rows:
        raise Invalid(f"data {path}: expected lines below the header; found none")
    boxed = all(side in rows[0][1] for side in CORNERS)
    examples = _boxed(path, rows) if boxed else _labelled(path, rows)
    takes = one_kind([example.name for example in examples], path)
    return Data(path.resolve().parent.name, BOXES if boxed else CLASSES, takes, tuple(examples), path.parent)


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval=None, strict=True)
            columns = [str(name).strip() for name in reader.fieldnames or ()]
            if "path" not in columns or "label" not in columns:
                raise Invalid(f"data {path}: expected the columns path and label; got {', '.join(columns) or 'none'}")
            reader.fieldnames = columns
            for count, row in enumerate(reader, 1):
                if count > MOST_EXAMPLES:
                    raise TooLarge(f"data {path}: expected at most {MOST_EXAMPLES} lines")
                if "" in row or None in row.values() or any(len(cell) > MAX_LINE for cell in row.values()):
                    raise Invalid(f"data {path}, line {reader.line_num}: expected {len(columns)} cells")
                yield reader.line_num, {name: cell.strip() for name, cell in row.items()}
    except (UnicodeDecodeError, csv.Error) as error:
        raise Invalid(f"data {path}: expected CSV in UTF-8: {error}") from None


def _labelled(path: Path, rows: list[tuple[int, Row]]) -> list[Example]:
    seen: dict[str, int] = {}
    examples = []
    for line, row in rows:
        name, where = inside(row["path"], f"data {path}, line {line}"), f"data {path}, line {line}"
        if not row["label"]:
            raise Invalid(f"{where}: expected a label; it is empty")
        if seen.setdefault(name, line) != line:
            raise Invalid(f"{where}: {name!r} stands on line {seen[name]} already")
        examples.append(Example(name, row["label"], row.get("group", ""), row.get("split", "")))
    return examples


def _boxed(path: Path, rows: list[tuple[int, Row]]) -> list[Example]:
    """Return one example for each picture; a line with an empty label says that there is nothing on it."""
    found: dict[str, tuple[Row, list[Box]]] = {}
    for line, row in rows:
        where = f"data {path}, line {line}"
        name = inside(row["path"], where)
        _, boxes = found.setdefault(name, (row, []))
        cells = [row[side] for side in CORNERS]
        if row["label"] or any(cells):
            boxes.append(box_of(row["label"], cells, where))
    return [
        Example(name, group=row.get("group", ""), split=row.get("split", ""), boxes=tuple(boxes))
        for name, (row, boxes) in found.items()
    ]


def box_of(label: str, cells: list[str], where: str) -> Box:
    """Return a box from its text; Invalid unless it has a label, four numbers and an area."""
    try:
        x1, y1, x2, y2 = map(float, cells)
    except ValueError:
        raise Invalid(f"{where}: expected four numbers for x1, y1, x2, y2; got {', '.join(cells)}") from None
    if not label:
        raise Invalid(f"{where}: expected a label for the box; it is empty")
    if not all(map(math.isfinite, (x1, y1, x2, y2))) or x2 <= x1 or y2 <= y1:
        raise Invalid(f"{where}: expected a box with x1 < x2 and y1 < y2; got {', '.join(cells)}")
    return Box(label, x1, y1, x2, y2)
