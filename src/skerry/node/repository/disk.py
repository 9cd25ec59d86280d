"""Files as they lie on the disk: listed under a limit, read under a limit, and whether they are still being written.

Nobody tells a node that a copy is done. A file counts as written when neither it nor anything beside it in its
version's folder has changed for a while; a bundle says itself how long its files are.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from skerry.core.errors import Invalid, LoadFailed, NotReady, TooLarge
from skerry.engine.bundle import Bundle
from skerry.host.files import read
from skerry.node.repository.found import plain

GRACE = 2.0  # s without a change; a copy over a slow network writes far more often
MAX_ENTRIES = 10_000  # of one folder, and of all that is below a version
MAX_DEPTH = 5  # folders below a path: model, version, goldens, and one more
MAX_LABELS = 4 << 20  # bytes of a file of labels; 20,000 of them are under 1 MiB
LABELS = "labels.txt"


@dataclass(frozen=True)
class Snapshot:
    """The files of one version at one moment: name, bytes, and nanoseconds of the last change."""

    files: tuple[tuple[str, int, int], ...]
    changed: float  # Unix seconds of the last change, folders included

    def beside(self, folder: Path, names: Iterable[str]) -> Snapshot:
        """Return the same with these files of another folder; those that are not there are left out."""
        more = [_state(folder / name, name) for name in names if (folder / name).is_file()]
        return Snapshot((*self.files, *more), max([self.changed, *(one[2] / 1e9 for one in more)]))

    def stamp(self, path: Path) -> str:
        """Return a word that another path, or a change of any file, makes another one."""
        text = repr((os.fsencode(path), self.files))
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def ignored(name: str) -> bool:
    """Whether a name is never a model's: hidden, put aside, or of a copy under way."""
    return name.startswith((".", "_")) or name.endswith((".tmp", ".part"))


def entries(folder: Path) -> list[Path]:
    """Return what lies in a folder, sorted, without the ignored names; raise TooLarge for more than can be right."""
    found: list[Path] = []
    with os.scandir(folder) as all_of_it:
        for one in all_of_it:
            if len(found) == MAX_ENTRIES:
                raise TooLarge(f"{plain(folder)}: expected at most {MAX_ENTRIES} entries")
            if not ignored(one.name):
                found.append(folder / one.name)
    return sorted(found)


def snapshot(folder: Path) -> Snapshot:
    """Look at all that is below a version's folder; names that no model has show that something is being written."""
    files: list[tuple[str, int, int]] = []
    changed = 0
    for place, _, names in os.walk(folder):
        changed = max(changed, Path(place).stat().st_mtime_ns)
        for name in names:
            if len(files) == MAX_ENTRIES:
                raise TooLarge(f"{plain(folder)}: expected at most {MAX_ENTRIES} files")
            path = Path(place, name)
            files.append(_state(path, str(path.relative_to(folder))))
    return Snapshot(tuple(sorted(files)), max([changed, *(one[2] for one in files)]) / 1e9)


def snapshot_of_file(path: Path) -> Snapshot:
    """Look at a model file and at those that belong to it: external data (`model.onnx.data`), weights (`model.bin`)."""
    near = [one for one in entries(path.parent) if one.name.startswith(path.name) or one.name == f"{path.stem}.bin"]
    files = [_state(one, one.name) for one in near if one.is_file()]
    return Snapshot(tuple(files), max((one[2] for one in files), default=0) / 1e9)


def pulse(paths: Iterable[Path]) -> str:
    """Return a word that any change below the paths makes another one: a poll that sees the same need not look.

    Of more than MAX_ENTRIES entries, or deeper than a bundle in a repository lies, it sees no change.
    """
    sha, left = hashlib.sha256(), MAX_ENTRIES
    todo = [(os.fspath(path), 0) for path in reversed(list(paths))]
    while todo and left:
        place, depth = todo.pop()
        left -= 1
        try:
            found = os.stat(place)  # noqa: PTH116 (a Path for each file makes this twice as slow)
            sha.update(repr((os.fsencode(place), found.st_mode, found.st_size, found.st_mtime_ns)).encode())
            if stat.S_ISDIR(found.st_mode) and depth < MAX_DEPTH:
                todo += [(f"{place}/{name}", depth + 1) for name in sorted(os.listdir(place), reverse=True)]  # noqa: PTH208
        except (OSError, ValueError):
            sha.update(os.fsencode(place))
    return sha.hexdigest()


def check_settled(path: Path, seen: Snapshot, now: float, grace: float) -> None:
    """Raise NotReady if something has changed within the grace period; a clock that was set back delays nothing."""
    if abs(now - seen.changed) < grace:
        raise NotReady(f"{plain(path)}: still being written; it is looked at again", grace)


def check_whole(bundle: Bundle, seen: Snapshot, now: float, grace: float) -> None:
    """Raise unless every file of a bundle is there with its size: NotReady while it may still be being written."""
    for name, entry in bundle.manifest.files.items():
        place = bundle.path / name
        size = place.stat().st_size if place.is_file() else None
        if size != entry.size:
            check_settled(bundle.path, seen, now, grace)
            state = "is missing" if size is None else f"has {size} bytes"
            raise LoadFailed(
                f"{plain(bundle.path)}: half written or damaged: {name} {state}; expected {entry.size} bytes"
            )


def text_of(path: Path, limit: int) -> bytes | None:
    """Return a regular file's bytes, or None if there is nothing of that name; what else it may be is Invalid."""
    if not path.exists():
        return None
    if not path.is_file():
        raise Invalid(f"{plain(path)}: expected a file")
    return read(path, limit)


def labels_of(path: Path) -> tuple[str, ...] | None:
    """Return the labels in a file, one a line, or None if there is no such file."""
    data = text_of(path, MAX_LABELS)
    if data is None:
        return None
    try:
        return tuple(data.decode("utf-8-sig").rstrip().splitlines())
    except UnicodeDecodeError as error:
        raise Invalid(f"{plain(path)}: expected labels in UTF-8, one a line; byte {error.start} is not") from None


def _state(path: Path, name: str) -> tuple[str, int, int]:
    found = path.stat() if path.exists() else path.lstat()
    return name, found.st_size, found.st_mtime_ns
