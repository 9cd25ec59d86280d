"""What a path given to `skerry serve` means: a bundle, a model file, or a folder of models.

    parts/                       a bundle (it has a manifest.json)
    model.onnx                   a file: served under its stem as version 1
    models/<model>/<version>/model.onnx      a repository, as Triton and TensorFlow Serving lay it out
    models/<bundle>/             bundles may stand in a repository too

The highest version of a model serves. Stray files are passed over; a version is a whole number without
leading zeros, as in both servers.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from skerry.core import names
from skerry.core.errors import Invalid, NotFound, SkerryError
from skerry.core.manifest import MANIFEST
from skerry.core.names import ModelName
from skerry.engine.bundle import open_bundle

log = logging.getLogger(__name__)

MODEL_FILE = "model.onnx"
SUFFIX = ".onnx"
_VERSION = re.compile(r"[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class Found:
    """One model to serve: a bundle's folder, or a bare model file."""

    name: ModelName
    version: int
    path: Path
    bare: bool


def find(paths: tuple[Path, ...]) -> tuple[Found, ...]:
    """Return the models at the paths; raise NotFound or Invalid naming a path that holds none or a name used twice."""
    found: dict[str, Found] = {}
    for path in paths:
        for one in _at(path):
            if one.name in found:
                raise Invalid(f"model {one.name}: found at {found[one.name].path} and at {one.path}; rename one")
            found[one.name] = one
    return tuple(found.values())


def _at(path: Path) -> list[Found]:
    if not path.exists():
        raise NotFound(f"{path}: no such file or folder")
    if path.is_file():
        if path.suffix.lower() != SUFFIX:
            raise Invalid(f"{path}: expected a bundle, a repository or a {SUFFIX} file")
        return [Found(_named(path.stem), 1, path, bare=True)]
    one = _model(path)
    if one is not None:
        return [one]
    many = []
    for folder in sorted(p for p in path.iterdir() if not p.name.startswith(".")):
        try:
            model = _model(folder) if folder.is_dir() else None
        except (SkerryError, OSError) as error:  # one odd folder must not stop the others
            log.error("%s: passed over: %s", folder, error)
            continue
        many += [model] if model else []
    if not many:
        raise NotFound(f"{path}: neither a bundle ({MANIFEST} in it) nor a repository (<model>/<version>/{MODEL_FILE})")
    return many


def _model(folder: Path) -> Found | None:
    """Return the model that a folder holds, or None if it holds none."""
    if (folder / MANIFEST).is_file():
        manifest = open_bundle(folder).manifest
        return Found(manifest.name, manifest.version, folder, bare=False)
    versions = [int(p.name) for p in folder.iterdir() if _VERSION.fullmatch(p.name) and (p / MODEL_FILE).is_file()]
    if not versions:
        return None
    newest = max(versions)
    name = folder.name if folder.name not in ("", "..") else folder.resolve().name  # a link's name is the model's
    return Found(_named(name), newest, folder / str(newest) / MODEL_FILE, bare=True)


def _named(text: str) -> ModelName:
    """Return a file's or folder's name as a model's: what a URL or a metric cannot hold becomes "-"."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[: names.MAX_NAME]
    return names.model_name(plain or "model")
