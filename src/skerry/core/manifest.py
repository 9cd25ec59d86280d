"""The manifest: the signed description of a bundle. Values only; what a step or runtime means is the engine's.

`Manifest.read` is the one place where a manifest's JSON becomes typed; `Manifest.json` writes it back
with every field that this version does not know. The digest of a bundle is the SHA-256 of the
canonical manifest (sorted keys, no spaces, UTF-8), which in turn names the digest of every file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from skerry.core import names
from skerry.core.errors import Invalid
from skerry.core.fields import Fields, canonical, parse, string
from skerry.core.names import Digest, ModelName, shown
from skerry.core.tensor import Spec, dtype

SCHEMA = 1
MANIFEST = "manifest.json"  # the manifest's name inside a bundle
SIGNATURE = "manifest.sig"  # the detached signatures' name inside a bundle
MAX_MANIFEST = 4 << 20  # bytes; a manifest with 20,000 labels and 1,000 files is under 2 MB
MAX_FILE = 8 << 30  # bytes of one file; edge models end far below

Extra = Mapping[str, Any]


@dataclass(frozen=True)
class FileEntry:
    """One file of the bundle: how many bytes, and their SHA-256."""

    sha256: Digest
    size: int
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True)
class StepEntry:
    """One declared step: its name and its options, which the engine checks."""

    step: str
    options: Extra = field(default_factory=dict)


@dataclass(frozen=True)
class GoldenEntry:
    """A recorded input, the answer the model must give, and how far off it may be."""

    input: str
    answer: str
    tolerance: float
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True)
class Runtime:
    """What must run which file."""

    name: str
    file: str
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """A whole manifest. `pre` runs before the model, `post` after it."""

    name: ModelName
    version: int
    runtime: Runtime
    files: Mapping[str, FileEntry]
    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    pre: tuple[StepEntry, ...] = ()
    post: tuple[StepEntry, ...] = ()
    labels: tuple[str, ...] = ()
    goldens: tuple[GoldenEntry, ...] = ()
    needs: Extra = field(default_factory=dict)
    description: str = ""
    extra: Extra = field(default_factory=dict)

    @property
    def digest(self) -> Digest:
        """The name of the bundle: SHA-256 of the canonical manifest."""
        return digest_of(self.canonical)

    @property
    def canonical(self) -> bytes:
        """The bytes that are hashed and signed."""
        return canonical(self.json())

    @property
    def size(self) -> int:
        """Bytes of all the files."""
        return sum(entry.size for entry in self.files.values())

    def json(self) -> dict[str, Any]:
        """Return the manifest as JSON values, unknown fields included."""
        return {
            **self.extra,
            "schema": SCHEMA,
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "runtime": {**self.runtime.extra, "name": self.runtime.name, "file": self.runtime.file},
            "files": {p: {**e.extra, "sha256": e.sha256, "size": e.size} for p, e in self.files.items()},
            "inputs": [_spec_json(spec) for spec in self.inputs],
            "outputs": [_spec_json(spec) for spec in self.outputs],
            "pre": [{**entry.options, "step": entry.step} for entry in self.pre],
            "post": [{**entry.options, "step": entry.step} for entry in self.post],
            "labels": list(self.labels),
            "goldens": [
                {**g.extra, "input": g.input, "answer": g.answer, "tolerance": g.tolerance} for g in self.goldens
            ],
            "needs": dict(self.needs),
        }

    @staticmethod
    def read(value: object) -> Manifest:
        """Return the manifest in a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "manifest")
        schema = fields.whole("schema")
        if schema != SCHEMA:
            raise Invalid(f"manifest.schema: this version of Skerry reads {SCHEMA}; got {schema}")
        manifest = Manifest(
            name=fields.read("name", names.model_name),
            version=fields.read("version", names.version),
            runtime=fields.read("runtime", _runtime),
            files=fields.read("files", _files),
            inputs=fields.many("inputs", _spec),
            outputs=fields.many("outputs", _spec),
            pre=fields.many("pre", _step, default=()),
            post=fields.many("post", _step, default=()),
            labels=fields.many("labels", string, default=()),
            goldens=fields.many("goldens", _golden, default=()),
            needs=Fields(fields.raw("needs", {}), "manifest.needs").rest(),
            description=fields.text("description", default=""),
            extra=fields.rest(),
        )
        _check_references(manifest)
        return manifest


def read_manifest(data: bytes) -> Manifest:
    """Return the manifest in the bytes of a manifest.json."""
    return Manifest.read(parse(data, MANIFEST, MAX_MANIFEST))


def digest_of(data: bytes) -> Digest:
    """Return the SHA-256 of bytes, written as everywhere in Skerry."""
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


def _check_references(manifest: Manifest) -> None:
    wanted = [("runtime.file", manifest.runtime.file)]
    for index, golden in enumerate(manifest.goldens):
        wanted += [(f"goldens[{index}].input", golden.input), (f"goldens[{index}].answer", golden.answer)]
    for where, path in wanted:
        if path not in manifest.files:
            raise Invalid(f"manifest.{where}: expected a path listed under 'files'; got {shown(path)}")
    for specs, where in ((manifest.inputs, "inputs"), (manifest.outputs, "outputs")):
        if len({spec.name for spec in specs}) != len(specs):
            raise Invalid(f"manifest.{where}: expected each name once")


def _runtime(value: object) -> Runtime:
    fields = Fields(value, "")
    name, file = fields.text("name"), fields.read("file", names.file_path)
    return Runtime(name, file, fields.rest())


def _files(value: object) -> dict[str, FileEntry]:
    found = {}
    for path, entry in Fields(value, "files").rest().items():
        names.file_path(path)
        if path in (MANIFEST, SIGNATURE):
            raise Invalid(f"{path!r} cannot list itself")
        fields = Fields(entry, path)
        sha, size = fields.read("sha256", names.digest), fields.whole("size", high=MAX_FILE)
        found[path] = FileEntry(sha, size, fields.rest())
    for path in found:
        folder = next((f for f in _folders(path) if f in found), None)
        if folder is not None:
            raise Invalid(f"{path!r}: {folder!r} is a file, so it cannot be a folder too")
    return found


def _folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _spec(value: object) -> Spec:
    fields = Fields(value, "")
    name = fields.text("name")
    kind = fields.read("dtype", dtype)
    shape = fields.many("shape", _dimension, limit=16)
    if fields.rest():
        raise Invalid(f"expected name, dtype and shape alone; got also {shown(sorted(fields.rest()))}")
    return Spec(name, kind, shape)


def _dimension(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -1 <= value <= 1 << 40:
        raise Invalid(f"expected a whole number, or -1 for a free dimension; got {shown(value)}")
    return value


def _spec_json(spec: Spec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype.value, "shape": list(spec.shape)}


def _step(value: object) -> StepEntry:
    fields = Fields(value, "")
    name = fields.text("step")
    return StepEntry(name, fields.rest())


def _golden(value: object) -> GoldenEntry:
    fields = Fields(value, "")
    return GoldenEntry(
        input=fields.read("input", names.file_path),
        answer=fields.read("answer", names.file_path),
        tolerance=fields.real("tolerance", default=1e-3, low=0.0),
        extra=fields.rest(),
    )
