"""What a look at the disk gives: the models found, and what was refused with the reason. Values only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from skerry.core import names
from skerry.core.errors import BusyError, SkerryError
from skerry.core.names import ModelName
from skerry.wire.config import Options, Policy

ASKED_NOTHING = Options()


@dataclass(frozen=True)
class Source:
    """A path to look at. With a name, a policy or labels it is one model, and they are that model's."""

    path: Path
    name: str = ""
    policy: Policy | None = None  # before that of a config.pbtxt
    labels: Mapping[str, int] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Found:
    """One version of a model to serve: a bundle's folder, or a bare model file."""

    name: ModelName
    version: int
    path: Path
    bare: bool
    runtime: str = "onnx"  # "onnx", "litert" or "openvino"; a bundle's is the one of its manifest
    labels: tuple[str, ...] = ()  # of a bare model's classes; a bundle's are in its manifest
    options: Options = ASKED_NOTHING
    version_labels: Mapping[str, int] = field(default_factory=dict, hash=False)  # asked of the model as a whole
    folder: Path | None = field(default=None, compare=False)  # the model's, with config.pbtxt and warmup/
    stamp: str = field(default="", compare=False)  # another one means that the files have changed


@dataclass(frozen=True)
class Refusal:
    """A model, or one version of it, that is not served, and why."""

    name: str
    version: int | None
    path: Path
    error: SkerryError

    @property
    def waiting(self) -> bool:
        """Whether it may become good by itself: it is still being written."""
        return isinstance(self.error, BusyError)


@dataclass(frozen=True)
class Listing:
    """All that a look has found: each model's versions, lowest first, and the refusals."""

    found: tuple[Found, ...] = ()
    refusals: tuple[Refusal, ...] = ()

    @property
    def refused(self) -> Mapping[str, str]:
        """Path to reason."""
        return {plain(one.path): str(one.error) for one in self.refusals}

    def of(self, name: str) -> tuple[Found, ...]:
        """Return the versions of one model."""
        return tuple(one for one in self.found if one.name == name)


def plain(path: Path) -> str:
    """Return a path as it may stand in a line of a log, whatever bytes its names are made of."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def named(text: str) -> ModelName:
    """Return a file's or folder's name as a model's: what a URL or a metric cannot hold becomes "-"."""
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[: names.MAX_NAME]
    return names.model_name(kept or "model")
