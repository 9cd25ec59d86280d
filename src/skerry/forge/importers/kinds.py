"""Which kind of model a file or folder is, told by its bytes; a name's end decides nothing.

Every refusal says what was found and what to do with it. Nothing is unpickled, unpacked or run.
"""

from __future__ import annotations

import hashlib
import re
from enum import Enum
from pathlib import Path

from skerry.core.errors import Invalid, LoadFailed, NotFound, TooLarge
from skerry.forge.importers.scan import fields, open_zip
from skerry.forge.importers.what import MAX_MODEL
from skerry.host.files import digest_file

HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = b"PK\x03\x04"
EMPTY_ZIP = b"PK\x05\x06"
TFLITE = b"TFL3"  # at byte 4
PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
FUNCTION = re.compile(r"([A-Za-z_][\w.]*|.+\.py):([A-Za-z_]\w*)")
MAX_FILES = 10_000  # in a SavedModel folder
IR_VERSION, GRAPH, OPSETS = 1, 7, 8  # of ONNX's ModelProto
MODEL_FIELDS = 25  # the highest field number that ONNX's ModelProto has

HOW_TORCH = (
    "save it as a program instead: torch.export.save(torch.export.export(model.eval(), inputs), 'model.pt2'); "
    "or give 'module:function' that builds the model, and the state dict as weights"
)


class Kind(Enum):
    """What can be brought in."""

    ONNX = "ONNX"
    PROGRAM = "torch.export program"
    FUNCTION = "PyTorch module"
    KERAS = "Keras .keras"
    HDF5 = "Keras .h5"
    SAVED = "TensorFlow SavedModel"
    TFLITE = "TFLite"


def kind_of(source: Path | str) -> Kind:
    """Return what a source is; raise NotFound, TooLarge, Invalid or LoadFailed saying what it is not."""
    path = Path(source)
    if isinstance(source, str) and not path.exists() and FUNCTION.fullmatch(source):
        return Kind.FUNCTION
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise NotFound(f"{source}: no such file or folder")
    size = path.stat().st_size
    if size > MAX_MODEL:
        raise TooLarge(f"{path}: expected at most {MAX_MODEL} bytes; got {size}")
    with path.open("rb") as file:
        head = file.read(16)
    if head[4:8] == TFLITE:
        return Kind.TFLITE
    if head.startswith(HDF5):
        return Kind.HDF5
    if head.startswith((ZIP, EMPTY_ZIP)):
        return _zipped(path)
    if head.startswith(PICKLES):
        raise Invalid(f"{path}: a Python pickle, which can run anything when it is read: {HOW_TORCH}")
    return _protobuf(path, size)


def digest_source(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's files by name."""
    if path.is_file():
        return digest_file(path)[1]
    sha = hashlib.sha256()
    for one in sorted(p for p in path.rglob("*") if p.is_file()):
        sha.update(f"{one.relative_to(path).as_posix()}\n{digest_file(one)[1]}\n".encode())
    return f"sha256:{sha.hexdigest()}"


def _folder(path: Path) -> Kind:
    if not (path / "saved_model.pb").is_file():
        inner = sorted(p.parent for p in path.glob("*/saved_model.pb"))
        hint = f"; it has one in it: {inner[-1]}" if inner else ""
        raise Invalid(f"{path}: expected a model file, or a SavedModel folder (with saved_model.pb in it){hint}")
    files = []
    for one in path.rglob("*"):
        files.append(one)
        if len(files) > MAX_FILES:
            raise TooLarge(f"{path}: expected at most {MAX_FILES} files")
    total = sum(p.stat().st_size for p in files if p.is_file())
    if total > MAX_MODEL:
        raise TooLarge(f"{path}: expected at most {MAX_MODEL} bytes; got {total}")
    return Kind.SAVED


def _zipped(path: Path) -> Kind:
    with path.open("rb") as file:
        names = open_zip(file, str(path)).namelist()
    if "config.json" in names and "metadata.json" in names:
        return Kind.KERAS
    tops = {name.split("/", 1)[0] for name in names}
    inner = {name.split("/", 1)[-1] for name in names}
    if len(tops) == 1 and "archive_format" in inner and any(n.startswith("models/") for n in inner):
        return Kind.PROGRAM
    if any(n.startswith("data/aotinductor/") for n in inner):
        raise Invalid(f"{path}: an AOTInductor package is compiled code for one machine: {HOW_TORCH}")
    if "serialized_exported_program.json" in names:
        raise Invalid(f"{path}: a torch.export program of before PyTorch 2.8; load and save it there once more")
    if any(n.startswith("code/") for n in inner):
        raise Invalid(f"{path}: TorchScript cannot be imported: {HOW_TORCH}")
    if "data.pkl" in inner:
        raise Invalid(
            f"{path}: a PyTorch pickle: a whole model in it would run anything when it is read, a state dict alone "
            f"says not what the model is: {HOW_TORCH}"
        )
    raise Invalid(f"{path}: a zip file, but neither a torch.export program nor a .keras file")


def _protobuf(path: Path, size: int) -> Kind:
    """Tell ONNX from anything else: its message has an IR version, a graph and operator sets, and no strange field."""
    seen: set[int] = set()
    broken = ""
    with path.open("rb") as file:
        try:
            for number, kind, _, _ in fields(file, 0, size):
                if number > MODEL_FIELDS or ((number == IR_VERSION) != (kind == 0) and number in (IR_VERSION, GRAPH)):
                    raise ValueError(f"field {number}")
                seen.add(number)
        except (EOFError, ValueError) as error:
            broken = str(error)
    if not broken and GRAPH in seen:
        return Kind.ONNX
    if seen & {IR_VERSION, OPSETS, GRAPH} and broken:
        raise LoadFailed(f"{path}: begins like ONNX, but is truncated or broken: {broken}")
    raise Invalid(
        f"{path}: not a model that is known here: ONNX, a torch.export program (.pt2), Keras (.keras, .h5), a "
        f"TensorFlow SavedModel folder or TFLite"
    )
