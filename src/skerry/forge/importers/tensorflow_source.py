"""Keras files and SavedModels as a source: what can be told of them without TensorFlow, and the child that has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from skerry.core.errors import Invalid, LoadFailed, RunFailed
from skerry.core.fields import parse
from skerry.core.names import shown
from skerry.core.tensor import DType
from skerry.engine.arrays import Array
from skerry.forge.importers.children.keras_config import refusal
from skerry.forge.importers.kinds import Kind
from skerry.forge.importers.scan import entry, fields, open_zip
from skerry.forge.importers.tools import run
from skerry.forge.importers.what import OPSET, Import, Watch
from skerry.forge.parity import Asked, Feeds

MAX_CONFIG = 64 << 20  # bytes of a Keras model's description
MAX_OPERATOR = 4096  # bytes of an operator's name
# Operators that read or write files or run Python: a model needs none of them to answer.
FORBIDDEN = frozenset((
    "ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "PyFuncStateless", "EagerPyFunc", "PrintV2", "Save", "SaveV2",
    "WholeFileReaderV2", "FixedLengthRecordReaderV2", "TextLineReaderV2", "TFRecordReaderV2", "TextLineDataset",
    "TFRecordDataset", "FixedLengthRecordDataset", "InitializeTableFromTextFile", "XlaLaunch", "LoadLibrary",
))  # fmt: skip
ALLOWED_IN_SAVING = {"SaveV2", "MergeV2Checkpoints", "ShardedFilename", "PrintV2"}  # every SavedModel has these
META_GRAPHS, GRAPH_DEF, NODES, LIBRARY, FUNCTIONS, BODY, OPERATOR = 2, 2, 1, 2, 1, 3, 2


@dataclass
class TensorflowModel:
    """One converted model: what it takes and gives, and its source's answers through a child."""

    python: Path
    source: Path
    scratch: Path
    wishes: Import
    watch: Watch
    inputs: list[tuple[str, str, list[int]]] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    folder: str = ""
    _known: dict[int, Mapping[str, Array]] = field(default_factory=dict)

    def convert(self, kind: Kind, calibration: Sequence[Path] = ()) -> bytes:
        """Return the model as ONNX, or as the TFLite that was asked for."""
        out = self.scratch / "converted"
        done = run(
            self.python,
            "tensorflow_convert.py",
            {
                "do": "convert",
                "kind": {Kind.KERAS: "keras", Kind.HDF5: "hdf5"}.get(kind, "saved"),
                "source": str(self.source),
                "scratch": str(self.scratch),
                "out": str(out),
                "signature": self.wishes.signature,
                "shapes": {name: list(shape) for name, shape in self.wishes.shapes.items()},
                "lite": self.wishes.lite,
                "calibration": [str(path) for path in calibration],
                "opset": OPSET,
            },
            self.wishes.seconds,
            self.watch,
        )
        self.inputs = [(str(n), str(t), [int(d) for d in shape]) for n, t, shape in done["inputs"]]
        self.outputs = [str(name) for name in done["outputs"]]
        self.versions, self.folder = dict(done["versions"]), str(done["folder"])
        return out.read_bytes()

    def asked(self) -> tuple[Asked, ...]:
        """Return what the source takes; free dimensions but the first are each their own."""
        kinds = {d.tensorflow.removeprefix("DT_").lower(): d for d in DType} | {"float32": DType.FP32}
        kinds |= {"float16": DType.FP16, "float64": DType.FP64}
        found = []
        for name, kind, shape in self.inputs:
            if kind not in kinds:
                raise LoadFailed(f"input {shown(name)}: expected a plain tensor; got {shown(kind)}")
            sizes = tuple(d if d >= 0 else "batch" if p == 0 else f"{name}.{p}" for p, d in enumerate(shape))
            found.append(Asked(name, kinds[kind], sizes))
        return tuple(found)

    def prepare(self, feeds: Sequence[Feeds]) -> None:
        """Ask the source for all its answers in one child: starting TensorFlow takes some seconds."""
        pairs = []
        for number, one in enumerate(feeds):
            asked, out = self.scratch / f"feed-{number}.npz", self.scratch / f"answer-{number}.npz"
            np.savez(asked, allow_pickle=False, **{n: _plain(a) for n, a in one.items()})
            pairs.append((asked, out))
        task: dict[str, Any] = {
            "do": "answer",
            "folder": self.folder,
            "signature": self.wishes.signature,
            "feeds": [(str(asked), str(out)) for asked, out in pairs],
            "scratch": str(self.scratch),
        }
        refused = dict(run(self.python, "tensorflow_convert.py", task, self.wishes.seconds, self.watch)["refused"])
        for one, (_, out) in zip(feeds, pairs, strict=True):
            if str(out) in refused:
                self._known[_key(one)] = {"": np.array(str(refused[str(out)]))}
            else:
                with np.load(out, allow_pickle=False) as arrays:
                    self._known[_key(one)] = {name: arrays[name] for name in arrays.files}

    def answer(self, feeds: Feeds) -> Mapping[str, Array]:
        """Return what the source gave; RunFailed if it refused, or was not asked."""
        found = self._known.get(_key(feeds))
        if found is None:
            raise RunFailed("TensorFlow was not asked for this input")
        if "" in found:
            raise RunFailed(f"TensorFlow: {found['']}")
        return found


def check_keras(path: Path) -> None:
    """Raise LoadFailed for a .keras file with code in it, or with a class that is not of Keras."""
    with path.open("rb") as file, open_zip(file, str(path)) as archive:
        config = entry(archive, "config.json", MAX_CONFIG, str(path))
        weights = [name for name in archive.namelist() if name.startswith("model.weights.")]
    try:
        why = refusal(parse(config, f"{path}: config.json", MAX_CONFIG))
    except Invalid as error:
        raise LoadFailed(str(error)) from None
    if why:
        raise LoadFailed(f"{path}: {why}")
    if not weights:
        raise LoadFailed(f"{path}: expected model.weights.h5 in it")


def check_saved(folder: Path) -> None:
    """Raise LoadFailed for a SavedModel whose graph reads files, writes them or runs Python, or that is broken."""
    path = folder / "saved_model.pb"
    strange: dict[str, None] = {}
    count = 0
    try:
        with path.open("rb") as file:
            for start, end in _operators(file, path.stat().st_size):
                count += 1
                file.seek(start)
                name = file.read(min(end - start, MAX_OPERATOR)).decode("utf-8", "replace")
                if name in FORBIDDEN - ALLOWED_IN_SAVING:
                    strange[name] = None
    except (EOFError, ValueError) as error:
        raise LoadFailed(f"{path}: truncated, or no SavedModel: {error}") from None
    if not count:
        raise LoadFailed(f"{path}: a SavedModel without a graph")
    if strange:
        raise LoadFailed(f"{folder}: its graph reads or writes files or runs Python: {', '.join(sorted(strange))}")


def _operators(file: Any, size: int) -> Any:
    """Yield where the name of every operator lies, in the graph and in its functions."""
    for start, end in _inside(file, META_GRAPHS, 0, size):
        for graph in _inside(file, GRAPH_DEF, start, end):
            for node in _inside(file, NODES, *graph):
                yield from _inside(file, OPERATOR, *node)
            for library in _inside(file, LIBRARY, *graph):
                for function in _inside(file, FUNCTIONS, *library):
                    for node in _inside(file, BODY, *function):
                        yield from _inside(file, OPERATOR, *node)


def _inside(file: Any, wanted: int, start: int, end: int) -> list[tuple[int, int]]:
    return [(low, high) for number, kind, low, high in fields(file, start, end) if number == wanted and kind == 2]


def _plain(array: Array) -> Array:
    """Return texts as a type that needs no pickle."""
    return array.astype(str) if array.dtype == object else array


def _key(feeds: Feeds) -> int:
    return hash(
        tuple((name, a.shape, a.tobytes() if a.dtype != object else str(a.tolist())) for name, a in feeds.items())
    )
