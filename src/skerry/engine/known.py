"""What is known of runtimes and model files without opening either: names, suffixes, what is installed, digests.

No array and no runtime is imported here: the control process of a node asks.
"""

from __future__ import annotations

import hashlib
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from skerry.core.names import Digest
from skerry.host.files import digest_file

LIBRARIES = {"litert": "ai_edge_litert", "onnx": "onnxruntime", "openvino": "openvino"}  # runtime -> what it imports
PACKAGES = {"litert": "ai-edge-litert", "onnx": "onnxruntime", "openvino": "openvino"}  # that say the version
SUFFIXES = {".tflite": "litert", ".xml": "openvino"}  # of files without a manifest; anything else is ONNX


def runtimes() -> tuple[str, ...]:
    """Return the runtimes whose library is installed here."""
    return tuple(name for name, library in LIBRARIES.items() if find_spec(library) is not None)


def bare_digest(path: Path) -> Digest:
    """Return the digest of a model file, with the weights that stand beside it."""
    _, digest = digest_file(path)
    weights = path.with_suffix(".bin")
    if SUFFIXES.get(path.suffix) != "openvino" or not weights.is_file():
        return digest
    return Digest(f"sha256:{hashlib.sha256(f'{digest} {digest_file(weights)[1]}'.encode()).hexdigest()}")


def runtime_of(name: str) -> str:
    """Return a runtime's name with the version that is installed here."""
    try:
        return f"{name} {metadata.version(PACKAGES[name])}"
    except (KeyError, metadata.PackageNotFoundError):  # built by hand: no version, and no mixing with those that have
        return f"{name} unknown"
