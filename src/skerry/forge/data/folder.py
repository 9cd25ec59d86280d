"""Data as a folder for each class, with folders of splits above them or not."""

from __future__ import annotations

from pathlib import Path

from skerry.core.errors import Invalid, TooLarge
from skerry.forge.data.example import CLASSES, MOST_EXAMPLES, Data, Example, Problem, one_kind, takes_of

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
IGNORED = {"thumbs.db", "desktop.ini", "readme.md", "readme.txt", "license", "license.txt", "source.md", "copyright"}


def read_folder(root: Path) -> Data:
    """Return the examples below a folder; the folder that a file lies in is its class."""
    tops = _folders(root)
    if not tops:
        files = sum(1 for path in root.iterdir() if path.is_file())
        what = f"{files} files and no folders" if files else "nothing"
        raise Invalid(f"data {root}: expected a folder for each class; found {what}")
    splitting = all(top.name.lower() in SPLITS for top in tops) and all(_folders(top) for top in tops)
    examples: list[Example] = []
    problems: list[Problem] = []
    for top in tops:
        split = SPLITS[top.name.lower()] if splitting else ""
        for folder in _folders(top) if splitting else [top]:
            found, odd = _class(root, folder, split)
            examples += found
            problems += odd
        if len(examples) > MOST_EXAMPLES:
            raise TooLarge(f"data {root}: expected at most {MOST_EXAMPLES} files")
    takes = one_kind([example.name for example in examples], root)
    return Data(root.resolve().name, CLASSES, takes, tuple(examples), root, problems=tuple(problems))


def _class(root: Path, folder: Path, split: str) -> tuple[list[Example], list[Problem]]:
    examples, problems = [], []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_dir() or path.name.startswith(".") or path.name.lower() in IGNORED:
            continue
        if not name.isprintable():
            raise Invalid(f"data {root}: file {name!a}: expected a name of printable characters")
        if not takes_of(name):
            problems.append(Problem(name, "not a picture (JPEG, PNG, WebP) or sound (WAV)"))
        else:
            examples.append(Example(name, folder.name, split=split))
    if not examples:
        raise Invalid(f"data {root}: class folder '{folder.relative_to(root)}' holds no picture or sound")
    return examples, problems


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
