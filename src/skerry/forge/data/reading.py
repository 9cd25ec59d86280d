"""From a path to `Data`: which form the data has is told by what lies there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from skerry.core.errors import Invalid, NotFound
from skerry.forge.data.arrays import read_arrays
from skerry.forge.data.coco import read_coco
from skerry.forge.data.example import Data
from skerry.forge.data.folder import read_folder
from skerry.forge.data.table import read_table

FORMS: dict[str, Callable[[Path], Data]] = {".csv": read_table, ".json": read_coco, ".npz": read_arrays}
INSIDE = (  # a folder that holds one of these is what the file says
    "labels.csv",
    "boxes.csv",
    "annotations.json",
    "_annotations.coco.json",
)


def read_data(path: Path) -> Data:
    """Return the data at a path; nothing but names, labels and arrays is read.

    A folder per class (with train/val/test above them, if you like), a CSV file of path,label[,group][,split] or
    path,x1,y1,x2,y2,label, COCO's JSON, or .npz of x and y. Invalid or NotFound names what is wrong.
    """
    if not path.exists():
        raise NotFound(f"data: nothing at {path}")
    if path.is_dir():
        listed = next((path / name for name in INSIDE if (path / name).is_file()), None)
        return read_folder(path) if listed is None else FORMS[listed.suffix](listed)
    if path.suffix.lower() not in FORMS:
        raise Invalid(f"data {path}: expected a folder, .csv, .json (COCO) or .npz")
    return FORMS[path.suffix.lower()](path)
