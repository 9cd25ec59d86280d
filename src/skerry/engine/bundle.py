"""A bundle on disk: opened and verified, or written. Nothing here runs a model.

Writing is exact: the same manifest and files give the same bytes, whatever the machine or the day.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from skerry.core.errors import BadSignature, Conflict, LoadFailed, NotFound, WrongDigest
from skerry.core.manifest import MANIFEST, MAX_MANIFEST, SIGNATURE, FileEntry, Manifest, digest_of, read_manifest
from skerry.core.trust import MAX_SIGNATURES, Trust, key_id, message, read_signatures, write_signatures
from skerry.host.files import Disk, digest_file, read
from skerry.host.keys import Signer
from skerry.host.machine import Machine


@dataclass(frozen=True)
class Bundle:
    """A folder whose manifest has been read."""

    path: Path
    manifest: Manifest

    @property
    def model_file(self) -> Path:
        """The file that the runtime opens."""
        return self.path / self.manifest.runtime.file

    def signatures(self) -> bytes:
        """Return the bytes of its signature file; raise BadSignature if it has none."""
        data = read(self.path / SIGNATURE, MAX_SIGNATURES)
        if data is None:
            raise BadSignature(f"bundle {self.path}: not signed; sign it with 'skerry bundle sign {self.path} --key …'")
        return data


def open_bundle(path: Path) -> Bundle:
    """Return the bundle in a folder; raise NotFound if there is none, Invalid if its manifest is malformed."""
    data = read(path / MANIFEST, MAX_MANIFEST)
    if data is None:
        raise NotFound(f"bundle {path}: no {MANIFEST} in it")
    return Bundle(path, read_manifest(data))


def verify(bundle: Bundle, trust: Trust | None = None) -> None:
    """Raise WrongDigest unless every file is the one named; with `trust`, also BadSignature unless it is signed."""
    if trust is not None:
        signed = trust.manifest((bundle.path / MANIFEST).read_bytes(), bundle.signatures())
        if signed != bundle.manifest:
            raise WrongDigest(f"bundle {bundle.path}: its manifest changed while it was looked at")
        _only_listed(bundle)
    for name, entry in bundle.manifest.files.items():
        place = bundle.path / name
        if not place.is_file():
            raise WrongDigest(f"bundle {bundle.path}: file {name} is missing")
        found = digest_file(place)
        if found != (entry.size, entry.sha256):
            raise WrongDigest(f"bundle {bundle.path}, file {name}: expected {entry.size} bytes {entry.sha256}; "
                              f"got {found[0]} bytes {found[1]}")  # fmt: skip


def _only_listed(bundle: Bundle) -> None:
    """Raise WrongDigest for a file that nobody signed: a model may read what lies beside it (ONNX external data)."""
    listed = {MANIFEST, SIGNATURE, *bundle.manifest.files}
    for place in bundle.path.rglob("*"):
        name = place.relative_to(bundle.path).as_posix()
        if place.is_symlink() or (not place.is_dir() and name not in listed):
            raise WrongDigest(f"bundle {bundle.path}: {name} is not in the signed manifest")


def write_bundle(path: Path, manifest: Manifest, files: Mapping[str, bytes], disk: Disk) -> Bundle:
    """Write a new bundle: the manifest with its `files` filled in from the given bytes. Conflict if `path` exists."""
    if path.exists():
        raise Conflict(f"bundle {path}: there is something already; remove it or choose another folder")
    whole = replace(manifest, files={n: FileEntry(digest_of(d), len(d)) for n, d in sorted(files.items())})
    Manifest.read(whole.json())
    fresh = path.with_name(f".{path.name}.new")
    disk.remove(fresh)
    for name, data in files.items():
        disk.write(fresh / name, data)
    disk.write(fresh / MANIFEST, manifest_bytes(whole))
    disk.move(fresh, path)
    return Bundle(path, whole)


def manifest_bytes(manifest: Manifest) -> bytes:
    """Return a manifest as people read it. (Its digest is over the canonical form, so spaces do not matter.)"""
    return (json.dumps(manifest.json(), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def sign(bundle: Bundle, key: Signer, disk: Disk) -> None:
    """Add a key's signature beside the manifest; signatures of other keys stay."""
    data = read(bundle.path / SIGNATURE, MAX_SIGNATURES)
    found = read_signatures(data) if data is not None else {}
    signed = {**found, key_id(key.public): key.sign(message(bundle.manifest.canonical))}
    text = json.dumps(write_signatures(signed), indent=2, sort_keys=True) + "\n"
    disk.write(bundle.path / SIGNATURE, text.encode())


def check_needs(manifest: Manifest, machine: Machine) -> None:
    """Raise LoadFailed if the manifest needs what this machine has not got, or a need is not known here."""
    for need, value in manifest.needs.items():
        if need == "memory":
            if not isinstance(value, int) or value > machine.memory:
                raise LoadFailed(f"bundle {manifest.name} needs {value} bytes of memory; here are {machine.memory}")
        elif need == "architectures":
            if not isinstance(value, list) or machine.architecture not in value:
                raise LoadFailed(f"bundle {manifest.name} needs one of {value}; here is {machine.architecture}")
        else:
            raise LoadFailed(f"bundle {manifest.name}: unknown need '{need}'; this node knows memory, architectures")
