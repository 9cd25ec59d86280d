"""The words of an import: what was asked for, and what came in. Values only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from skerry.core.errors import Invalid
from skerry.core.tensor import Spec
from skerry.engine.arrays import Array
from skerry.forge.parity import Parity

Watch = Callable[[str], None]
Lite = Literal["", "float", "dynamic", "int8"]

MAX_MODEL = (2 << 30) - (1 << 20)  # bytes: one protobuf message cannot be 2 GiB; a little is left for what is added
OPSET = 18  # of ONNX: what PyTorch's exporter writes by itself; another number adds a conversion pass
CHILD_SECONDS = 1800.0  # a conversion; the largest that were tried here took 20 s
MAX_DIMENSION = 1 << 20


@dataclass(frozen=True)
class Import:
    """What the owner of a model says about it; everything has a default."""

    inputs: Mapping[str, Array] | None = None  # to prove parity on; made up if there are none
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # -1: free
    weights: Path | None = None  # the state dict, for `module:function`
    signature: str = "serving_default"  # of a SavedModel
    lite: Lite = ""  # give a TFLite file of that kind instead of ONNX
    calibration: tuple[Mapping[str, Array], ...] = ()  # real inputs, for int8
    tools: Path | None = None  # where environments of heavy frameworks are made; None: only what is installed
    seconds: float = CHILD_SECONDS


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from."""

    framework: str
    versions: Mapping[str, str]
    source: str  # sha256 of the source: of a file its own, of a folder that of its files' names and digests

    def document(self) -> dict[str, Any]:
        """Return it for a card."""
        return {"framework": self.framework, "versions": dict(self.versions), "source": self.source}


@dataclass(frozen=True)
class Imported:
    """A model that came in: one file, what it takes and gives, and the proof that it answers as its source."""

    runtime: Literal["onnx", "litert"]
    data: bytes
    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    parity: Parity
    provenance: Provenance


def read_shapes(texts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Return shapes written NAME=1,3,224,224; -1 or a letter is a free dimension. Raise Invalid naming a bad one."""
    found = {}
    for text in texts:
        name, equals, sizes = text.partition("=")
        parts = [part.strip() for part in sizes.split(",")] if sizes else []
        numbers = tuple(-1 if p == "-1" or p.isidentifier() else int(p) if p.isascii() and p.isdigit() else 0
                        for p in parts)  # fmt: skip
        if not equals or not name or any(n == 0 or n > MAX_DIMENSION for n in numbers):
            raise Invalid(f"shape: expected NAME=1,3,224,224 with sizes of 1 to {MAX_DIMENSION}, or -1; got {text!r}")
        if name in found:
            raise Invalid(f"shape: '{name}' is given twice")
        found[name] = numbers
    return found
