"""A model as profiles know it: by the digest of what runs and the runtime's version; opened with any threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from skerry.core.errors import NotFound
from skerry.core.names import Digest, ModelName
from skerry.engine.bundle import open_bundle, verify
from skerry.engine.known import SUFFIXES, bare_digest, runtime_of
from skerry.engine.runners.runner import Threads
from skerry.engine.session import Session, open_bare, open_session
from skerry.host.clock import Clock
from skerry.host.machine import Machine


@dataclass(frozen=True)
class Model:
    """A bundle or a model file."""

    digest: Digest
    runtime: str
    opening: Callable[[Threads], Session]


def open_model(path: Path, machine: Machine, clock: Clock) -> Model:
    """Return the model at a path; raise NotFound, or what opening a bundle raises. Nothing is loaded yet."""
    if path.is_dir():
        bundle = open_bundle(path)
        verify(bundle)
        return Model(
            bundle.manifest.digest,
            runtime_of(bundle.manifest.runtime.name),
            lambda threads: open_session(bundle, threads, machine, clock),
        )
    if not path.is_file():
        raise NotFound(f"model: no file or bundle {path}")
    return Model(
        bare_digest(path),
        runtime_of(SUFFIXES.get(path.suffix, "onnx")),
        lambda threads: open_bare(path, ModelName("model"), 1, threads, clock),
    )
