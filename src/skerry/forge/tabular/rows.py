"""Data as a CSV table of numbers: a row for each example, one column its label; group and split may be columns too."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from skerry.core.errors import Invalid, NotFound, TooLarge
from skerry.core.names import shown
from skerry.forge.data.example import ARRAYS, CLASSES, MOST_EXAMPLES, Data, Example
from skerry.forge.data.reading import read_data

LABELS = ("label", "class", "target", "y")  # columns that are the label unless another is named
BESIDE = ("group", "split")
MAX_BYTES = 1 << 30  # of a table; its numbers in memory take about as many
MAX_COLUMNS = 10_000
MAX_NAMES = 1 << 20  # bytes of a file of labels


def data_of(path: Path, label: str = "") -> Data:
    """Return the data at a path: `read_data`'s forms, or a CSV of numbers, which has no column `path`.

    `label` is the label's column, by name or by place from 1 on; else one of LABELS, and the first without a header.
    """
    if path.suffix.lower() == ".csv" and path.is_file() and "path" not in _head(path):
        return read_rows(path, label)
    return read_data(path)


def read_rows(path: Path, label: str = "") -> Data:
    """Return the rows of a table of numbers; raise Invalid naming the line and the column that is wrong."""
    if path.stat().st_size > MAX_BYTES:
        raise TooLarge(f"data {path}: expected at most {MAX_BYTES} bytes; got {path.stat().st_size}")
    lines = _lines(path)
    first = next(lines, None)
    if first is None:
        raise Invalid(f"data {path}: it is empty")
    names = first[1] if _is_head(first[1]) else [str(place) for place in range(1, len(first[1]) + 1)]
    at = _label_at(path, names, label, names is first[1])
    beside = {name: names.index(name) for name in BESIDE if name in names}
    kept = [place for place in range(len(names)) if place != at and place not in beside.values()]
    if not kept or len(kept) > MAX_COLUMNS:
        raise Invalid(f"data {path}: expected 1 to {MAX_COLUMNS} columns of numbers; got {len(kept)}")
    numbers, examples = [], []
    for line, cells in lines if names is first[1] else _with(first, lines):
        where = f"data {path}, line {line}"
        if len(cells) != len(names):
            raise Invalid(f"{where}: expected {len(names)} cells; got {len(cells)}")
        if not cells[at]:
            raise Invalid(f"{where}: expected a label; it is empty")
        numbers.append([_number(cells[place], names[place], where) for place in kept])
        said = {name: cells[place] for name, place in beside.items()}
        examples.append(Example(f"line {line}", cells[at], said.get("group", ""), said.get("split", "")))
    if not examples:
        raise Invalid(f"data {path}: expected lines below the header; found none")
    arrays = {"x": np.array(numbers, dtype=np.float32)}
    return Data(path.stem, CLASSES, ARRAYS, tuple(examples), path.parent, arrays, tuple(range(len(examples))))


def read_labels(path: Path) -> tuple[str, ...]:
    """Return names of labels, one in each line; raise Invalid for what is no text, or names one twice."""
    if not path.is_file():
        raise NotFound(f"labels: no file {path}")
    if path.stat().st_size > MAX_NAMES:
        raise TooLarge(f"labels {path}: expected at most {MAX_NAMES} bytes")
    try:
        found = tuple(line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip())
    except UnicodeDecodeError as error:
        raise Invalid(f"labels {path}: expected text in UTF-8: {error}") from None
    if len(found) < 2 or len(set(found)) != len(found):
        raise Invalid(f"labels {path}: expected two labels or more, each once; got {len(found)}")
    return found


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            for count, cells in enumerate(reader):
                if count > MOST_EXAMPLES:
                    raise TooLarge(f"data {path}: expected at most {MOST_EXAMPLES} lines")
                if cells:
                    yield reader.line_num, [cell.strip() for cell in cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Invalid(f"data {path}: expected CSV in UTF-8: {error}") from None


def _with(first: tuple[int, list[str]], rest: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    yield first
    yield from rest


def _head(path: Path) -> list[str]:
    return next(_lines(path), (0, []))[1]


def _is_head(cells: list[str]) -> bool:
    """Whether a line names the columns: none of its cells is a number."""
    return not any(_is_number(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _label_at(path: Path, names: list[str], label: str, headed: bool) -> int:
    if len(set(names)) != len(names):
        raise Invalid(f"data {path}: expected columns of different names; got {shown(', '.join(names))}")
    if label:
        if label in names:
            return names.index(label)
        if label.isascii() and label.isdigit() and 1 <= int(label) <= len(names):
            return int(label) - 1
        raise Invalid(f"data {path}: no column {label!r}; it has {shown(', '.join(names), 200)}")
    if not headed:
        return 0
    for name in LABELS:
        if name in names:
            return names.index(name)
    raise Invalid(f"data {path}: which column is the label? expected {', '.join(LABELS)}; got "
                  f"{shown(', '.join(names), 200)}; name it with --label")  # fmt: skip


def _number(cell: str, name: str, where: str) -> float:
    try:
        found = float(cell)
    except ValueError:
        raise Invalid(f"{where}, column {name}: expected a number; got {shown(cell)}") from None
    if not math.isfinite(found) or abs(found) > float(np.finfo(np.float32).max):
        raise Invalid(f"{where}, column {name}: expected a finite number; got {shown(cell)}")
    return found
