"""A user's own data: read from folders, tables, COCO files or arrays, looked at, checked, split, and named by digest.

`reading` turns a path into `Data`; `look` opens every file once (digest, size, what is broken, what is near-equal);
`split` parts it; `check` raises for what would spoil a long run; `record` is the manifest that a card carries.
Never here: a model, an augmentation.
"""

from skerry.forge.data.check import check, check_labels
from skerry.forge.data.example import ARRAYS, BOXES, CLASSES, Box, Data, Example, Problem
from skerry.forge.data.look import Looked, look
from skerry.forge.data.near import Leak, leaks, without
from skerry.forge.data.reading import read_data
from skerry.forge.data.record import data_digest, manifest, use_of
from skerry.forge.data.split import Shares, split

__all__ = [
    "ARRAYS",
    "BOXES",
    "CLASSES",
    "Box",
    "Data",
    "Example",
    "Leak",
    "Looked",
    "Problem",
    "Shares",
    "check",
    "check_labels",
    "data_digest",
    "leaks",
    "look",
    "manifest",
    "read_data",
    "split",
    "use_of",
    "without",
]
