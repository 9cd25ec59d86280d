"""A model that was brought in, as a bundle with the proof in its card."""

from __future__ import annotations

import tempfile
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from skerry.core.card import CARD, Card, Effect, Parity
from skerry.core.errors import Invalid
from skerry.core.version import VERSION
from skerry.engine.arrays import Array
from skerry.engine.bundle import Bundle
from skerry.engine.make import Wishes, make_bundle
from skerry.forge.importers.what import Imported, Lite
from skerry.host.files import Disk

TOOLS = Path("~/.cache/skerry/tools")  # where environments of heavy frameworks are made
LITES: tuple[Lite, ...] = ("", "float", "dynamic", "int8")
MAX_ARRAYS = 1 << 30  # bytes of a .npz
SUFFIX = {"onnx": ".onnx", "litert": ".tflite"}


def arrays_of(path: Path) -> dict[str, Array]:
    """Return the arrays of a .npz; raise Invalid for what is none, or holds objects."""
    try:
        if path.stat().st_size > MAX_ARRAYS:
            raise Invalid(f"{path}: expected at most {MAX_ARRAYS} bytes")
        with np.load(path, allow_pickle=False) as found:
            if not isinstance(found, np.lib.npyio.NpzFile):
                raise Invalid(f"{path}: expected a .npz of named arrays; got one array")
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise Invalid(f"{path}: expected a .npz of named arrays: {error}") from None


def lite_of(text: str) -> Lite:
    """Return the kind of TFLite file that is asked for."""
    for one in LITES:
        if text == one:
            return one
    raise Invalid(f"tflite: expected float, dynamic or int8; got {text!r}")


def bundle_of(brought: Imported, wishes: Wishes, out: Path) -> Bundle:
    """Write the bundle; raise LoadFailed, RunFailed, Invalid or Conflict if there can be none."""
    with tempfile.TemporaryDirectory(prefix="skerry-import-") as folder:
        model = Path(folder, f"model{SUFFIX[brought.runtime]}")
        model.write_bytes(brought.data)
        return make_bundle(model, wishes, out, Disk(), {CARD: card_of(brought).bytes})


def card_of(brought: Imported) -> Card:
    """Return the card of a model that was brought in: how far it lies from its source, output by output."""
    proof, source = brought.parity, brought.provenance
    inputs = "made-up inputs" if proof.made_up else "given inputs"
    return Card(
        measured=Effect(size=len(brought.data)),
        recipe="import",
        options={"source": source.source},
        tools={"skerry": VERSION, **source.versions},
        parity=tuple(
            Parity(
                f"{source.framework}, {inputs}",
                one.maximum,
                one.mean,
                proof.inputs,
                proof.tolerance.absolute,
                {"output": one.output},
            )
            for one in proof.outputs
        ),
    )
