"""One version of a model on the disk: which file runs in which runtime, and whether it is whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from skerry.core.errors import Invalid, LoadFailed, NotFound, NotReady, SkerryError
from skerry.core.manifest import MANIFEST
from skerry.core.names import ModelName, shown
from skerry.engine.bundle import open_bundle
from skerry.node.repository.disk import (
    LABELS,
    Snapshot,
    check_settled,
    check_whole,
    entries,
    labels_of,
    snapshot,
    snapshot_of_file,
)
from skerry.node.repository.found import Found, named, plain
from skerry.wire.config import Options, asked_of, wanted

MODEL_FILES = ("model.onnx", "model.tflite", "model.xml")
RUNTIMES = {".onnx": "onnx", ".tflite": "litert", ".xml": "openvino"}  # what a suffix says when nothing else does
READS = {"onnx": (".onnx",), "litert": (".tflite",), "openvino": (".xml", ".onnx", ".tflite")}
_CONVERT = "which this node does not run; convert it to ONNX (model.onnx) or LiteRT (model.tflite)"
FOREIGN = {
    "saved_model.pb": "a TensorFlow SavedModel",
    "saved_model.pbtxt": "a TensorFlow SavedModel",
    "model.savedmodel": "a TensorFlow SavedModel",
    "model.graphdef": "a TensorFlow GraphDef",
    "model.plan": "a TensorRT plan",
    "model.pt": "a TorchScript model",
    "model.pt2": "a PyTorch program",
    "model.py": "a Python model",
}


@dataclass(frozen=True)
class Terms:
    """What a version must meet: nothing changed for `grace` seconds before `now`, and its stamp not among the `bad`.

    Those are stamps of what did not load, with the reason.
    """

    now: float
    grace: float
    bad: Mapping[str, str]

    def check(self, path: Path, stamp: str) -> str:
        """Return the stamp; raise LoadFailed if this very version has failed before."""
        if stamp in self.bad:
            raise LoadFailed(f"{plain(path)}: tried again when its files change; it did not load: {self.bad[stamp]}")
        return stamp


def bundle_at(folder: Path, terms: Terms, options: Options | None = None) -> Found:
    """Return the bundle in a folder; raise if it is malformed or not whole."""
    bundle, seen = open_bundle(folder), snapshot(folder)
    check_whole(bundle, seen, terms.now, terms.grace)
    manifest = bundle.manifest
    return Found(
        name=manifest.name,
        version=manifest.version,
        path=folder,
        bare=False,
        runtime=manifest.runtime.name,
        options=options or Options(),
        folder=folder,
        stamp=terms.check(folder, seen.stamp(folder)),
    )


def file_at(path: Path, name: str, terms: Terms) -> Found:
    """Return a single model file as version 1; its labels are those of a labels.txt that no other model can mean."""
    if path.suffix.lower() not in RUNTIMES:
        raise Invalid(f"{plain(path)}: expected a bundle, a repository or a .onnx file, .tflite or .xml")
    models = [one for one in entries(path.parent) if one.suffix.lower() in RUNTIMES and one.is_file()]
    labels = labels_of(path.parent / LABELS) if len(models) == 1 else None
    runtime = RUNTIMES[path.suffix.lower()]
    found = Found(named(name or path.stem), 1, path, True, runtime, labels or (), folder=path.parent)
    return _whole(found, snapshot_of_file(path), terms)


def version_at(folder: Path, name: ModelName, version: int, options: Options, terms: Terms) -> Found:
    """Return the version in `<model>/<version>`; raise if there is none that this node can run."""
    if (folder / MANIFEST).is_file():
        found = bundle_at(folder, terms, options)
        if options.sequences or options.reshapes or wanted(options) or asked_of(options, found.runtime):
            fields = "sequence_batching, reshape, optimization, KIND_GPU and parameters of the runtime"
            raise Invalid(f"{plain(folder)}: config.pbtxt: {fields} are for bare files; a bundle's manifest says this")
        if (found.name, found.version) != (name, version):
            text = f"{found.name} version {found.version}"
            raise Invalid(f"{plain(folder)}: expected a bundle of {name} version {version}; its manifest says {text}")
        return replace(found, folder=folder.parent)
    path, runtime = _model_file(folder, options)
    labels = _labels(folder, options)
    found = Found(name, version, path, True, runtime, labels, options, folder=folder.parent)
    return _whole(found, snapshot(folder).beside(folder.parent, (name for name, _ in files_of(options))), terms)


def files_of(options: Options) -> list[tuple[str, str]]:
    """Return the files in the model's folder that a configuration names, each with the field that does."""
    warm = [one.file for warmup in options.warmup for one in warmup.inputs.values()]
    first = [one.first.file for one in (options.sequences.states if options.sequences else ()) if one.first]
    found = [(f"warmup/{name}", "model_warmup") for name in warm if name]
    return found + [(f"initial_state/{name}", "sequence_batching.state") for name in first if name]


def holds_model(folder: Path) -> bool:
    """Whether a folder with a version's name has something in it that is a model, or another server's model."""
    return any(
        one.name in (MANIFEST, *FOREIGN) or (one.suffix.lower() in RUNTIMES and one.is_file())
        for one in entries(folder)
    )


def foreign(folder: Path) -> Invalid | None:
    """Return the refusal of a folder that holds a model of another server, or None."""
    for name, what in FOREIGN.items():
        if (folder / name).exists():
            return Invalid(f"{plain(folder)}: {what}, {_CONVERT}")
    return None


def no_model(folder: Path, reads: tuple[str, ...]) -> SkerryError:
    """Return the refusal of a version's folder without a model that this node can run."""
    wanted = f"expected model{' or model'.join(reads)}, or one file of such a name"
    return foreign(folder) or NotFound(f"{plain(folder)}: no model file in it; {wanted}")


def _whole(found: Found, seen: Snapshot, terms: Terms) -> Found:
    """Return a bare model with its stamp; raise if a file of it is missing or may still be being written."""
    path = found.path
    check_settled(path, seen, terms.now, terms.grace)
    if path.stat().st_size == 0:
        raise NotReady(f"{plain(path)}: empty; it is looked at again", terms.grace)
    if path.suffix.lower() == ".xml" and not path.with_suffix(".bin").is_file():
        raise NotReady(f"{plain(path)}: its weights, {path.stem}.bin, are missing; it is looked at again", terms.grace)
    return replace(found, stamp=terms.check(path, seen.stamp(path)))


def _model_file(folder: Path, options: Options) -> tuple[Path, str]:
    reads = READS.get(options.runtime, tuple(RUNTIMES))
    if options.file:
        path = folder / options.file
        if path.suffix.lower() not in reads:
            raise Invalid(f"{plain(path)}: expected a file that {options.runtime} reads: {', '.join(reads)}")
        if not path.is_file():
            raise NotFound(f"{plain(folder)}: expected {shown(options.file)} (default_model_filename); it is not there")
        return path, options.runtime or RUNTIMES[path.suffix.lower()]
    files = {one.name: one for one in entries(folder) if one.is_file()}
    usual = [files[name] for name in MODEL_FILES if name in files]
    found = [one for one in usual if one.suffix in reads]
    if options.runtime:
        found.sort(key=lambda one: reads.index(one.suffix))
    if not found:
        found = [one for one in files.values() if one.suffix.lower() in reads and one.suffix.lower() != ".xml"]
        if len(found) > 1:
            listed = ", ".join(shown(one.name) for one in found)
            raise Invalid(f"{plain(folder)}: expected one model file; got {listed}; name it in default_model_filename")
    if not found:
        raise no_model(folder, reads)
    return found[0], options.runtime or RUNTIMES[found[0].suffix.lower()]


def _labels(folder: Path, options: Options) -> tuple[str, ...]:
    """Return the labels of the first output that names a file of them, or of a labels.txt with the version or model."""
    for port in options.outputs:
        if port.label_file:
            labels = labels_of(folder.parent / port.label_file)
            if labels is None:
                raise NotFound(
                    f"{plain(folder.parent)}: expected {shown(port.label_file)} (label_filename); it is not there"
                )
            return labels
    return labels_of(folder / LABELS) or labels_of(folder.parent / LABELS) or ()
