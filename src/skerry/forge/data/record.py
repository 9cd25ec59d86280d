"""The manifest of data: every example's digest and what is known of it, and one digest of them all, for the card."""

from __future__ import annotations

from typing import Any

from skerry.core.card import DataUse
from skerry.core.errors import Invalid
from skerry.core.fields import canonical
from skerry.core.manifest import digest_of
from skerry.core.names import Digest
from skerry.forge.data.example import Data, Example

SCHEMA = 1


def manifest(data: Data) -> dict[str, Any]:
    """Return the manifest as JSON values, examples sorted by name; Invalid if one has not been looked at."""
    examples = sorted(data.examples, key=lambda example: example.name)
    return {
        "schema": SCHEMA,
        "name": data.name,
        "kind": data.kind,
        "takes": data.takes,
        "licence": data.licence,
        "examples": [_line(example) for example in examples],
    }


def data_digest(data: Data) -> Digest:
    """Return the digest of the manifest: other content, labels or splits give another."""
    return digest_of(canonical(manifest(data)))


def use_of(data: Data, use: str, split: str = "") -> DataUse:
    """Return what a card says of data that was used, as a whole or one part of it (`data.part`)."""
    return DataUse(data.name, use, len(data.examples), data_digest(data), split, data.licence)


def _line(example: Example) -> dict[str, Any]:
    if not example.digest:
        raise Invalid(f"data: example {example.name} has not been looked at, so it has no digest")
    told: dict[str, Any] = {"name": example.name, "sha256": example.digest}
    told |= {name: value for name in ("label", "group", "split") if (value := getattr(example, name))}
    if example.boxes:
        told["boxes"] = [[box.label, *map(float, box[1:])] for box in example.boxes]
    return told
