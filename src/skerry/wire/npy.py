"""NumPy's file format (.npy, versions 1 to 3), as the body of a request or an answer: one tensor, no pickles.

The header is a Python literal; it is read here with a pattern of exactly the three entries that the format has.
"""

from __future__ import annotations

import re
import struct

import numpy as np

from skerry.core.errors import Invalid, TooLarge
from skerry.core.names import shown
from skerry.core.tensor import DType, Tensor, elements

MAGIC = b"\x93NUMPY"
MAX_HEADER = 1 << 16  # bytes; NumPy itself reads at most 10,000
MAX_DIGITS = 10  # of one dimension; tensor.MAX_ELEMENTS has ten
ENTRY = re.compile(
    r"\s*(?:'(?P<key>descr|fortran_order|shape)'|\"(?P<key2>descr|fortran_order|shape)\")\s*:\s*"
    r"(?P<value>'[^'\\]*'|\"[^\"\\]*\"|True|False|\([\d,\s]*\)|\[[^\]]*\])\s*(?:,|$)"
)
OF_CODE = {
    "b1": DType.BOOL,
    **{f"u{n}": DType(f"UINT{8 * n}") for n in (1, 2, 4, 8)},
    **{f"i{n}": DType(f"INT{8 * n}") for n in (1, 2, 4, 8)},
    **{f"f{n}": DType(f"FP{8 * n}") for n in (2, 4, 8)},
}
CODES = {kind: ("|" if kind.size == 1 else "<") + code for code, kind in OF_CODE.items()}


def decode(data: bytes | memoryview, limit: int) -> Tensor:
    """Return the array as a tensor without a name; its data is a view of the bytes wherever the order allows.

    Raises TooLarge for more than `limit` bytes, Invalid for what is no such file, or holds text or objects.
    """
    if len(data) > limit:
        raise TooLarge(f"npy: expected at most {limit} bytes; got {len(data)}")
    view = memoryview(data).cast("B")
    kind, code, fortran, shape, start = _header(view)
    body, want = view[start:], elements(shape, "npy: shape") * kind.size
    if len(body) != want:
        raise Invalid(f"npy: expected {want} bytes for shape {list(shape)} of {kind.value}; got {len(body)}")
    if kind is DType.BOOL and (np.frombuffer(body, np.uint8) > 1).any():
        raise Invalid("npy: expected booleans of 0 or 1")
    if code[0] == ">" or (fortran and len(shape) > 1):
        array = np.frombuffer(body, np.dtype(code)).reshape(shape, order="F" if fortran else "C")
        return Tensor("", kind, shape, array.astype(f"<{code[1:]}").tobytes())  # tobytes has rows first
    return Tensor("", kind, shape, body)


def encode(tensor: Tensor) -> bytes:
    """Return the tensor as a .npy file; raise Invalid for a type that the format does not have."""
    if tensor.dtype not in CODES or isinstance(tensor.data, tuple):
        raise Invalid(f"npy: output '{tensor.name}' is {tensor.dtype.value}, which the format has no code for")
    descr = CODES[tensor.dtype]
    shape = f"({', '.join(map(str, tensor.shape))}{',' if len(tensor.shape) == 1 else ''})"
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    pad = -(len(MAGIC) + 4 + len(header) + 1) % 64  # what is mapped into memory is to lie even
    header += b" " * pad + b"\n"
    return b"".join((MAGIC, b"\x01\x00", struct.pack("<H", len(header)), header, tensor.data))


def _header(view: memoryview) -> tuple[DType, str, bool, tuple[int, ...], int]:
    """Return type, NumPy's code for it, whether columns come first, shape, and where the data begins."""
    head = bytes(view[:12])
    if head[:6] != MAGIC:
        raise Invalid(f"npy: expected a .npy file; got {len(view)} bytes beginning {shown(head[:6])}")
    if len(head) < 12:
        raise Invalid(f"npy: the file breaks off in its header, at byte {len(head)}")
    if head[6] not in (1, 2, 3) or head[7] != 0:
        raise Invalid(f"npy: expected format version 1.0, 2.0 or 3.0; got {head[6]}.{head[7]}")
    start = 10 if head[6] == 1 else 12
    (size,) = struct.unpack_from("<H" if head[6] == 1 else "<I", head, 8)
    if size > MAX_HEADER:
        raise Invalid(f"npy: expected a header of at most {MAX_HEADER} bytes; got {size}")
    text = bytes(view[start : start + size])
    if len(text) < size:
        raise Invalid(f"npy: the file breaks off in its header: expected {size} bytes; got {len(text)}")
    entries = _entries(text)
    kind, code = _kind(entries["descr"])
    if entries["fortran_order"] not in ("True", "False"):
        raise Invalid(f"npy: fortran_order: expected True or False; got {shown(entries['fortran_order'])}")
    return kind, code, entries["fortran_order"] == "True", _shape(entries["shape"]), start + size


def _entries(text: bytes) -> dict[str, str]:
    try:
        inside = text.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise Invalid(f"npy: header: expected UTF-8; byte {error.start} is not") from None
    if not (inside.startswith("{") and inside.endswith("}")):
        raise Invalid(f"npy: header: expected a dictionary; got {shown(inside)}")
    inside, found, at = inside[1:-1].rstrip(), {}, 0
    while at < len(inside):
        entry = ENTRY.match(inside, at)
        if entry is None:
            raise Invalid(f"npy: header: expected 'descr', 'fortran_order' or 'shape'; got {shown(inside[at:])}")
        key = entry["key"] or entry["key2"]
        if key in found:
            raise Invalid(f"npy: header: '{key}' stands twice")
        found[key], at = entry["value"], entry.end()
    if missing := {"descr", "fortran_order", "shape"} - set(found):
        raise Invalid(f"npy: header: {', '.join(sorted(missing))} is missing")
    return found


def _kind(value: str) -> tuple[DType, str]:
    code = value[1:-1]
    if value[0] in "'\"" and code[:1] in ("<", ">", "|") and code[1:] in OF_CODE:
        return OF_CODE[code[1:]], code
    known = " ".join(OF_CODE)
    raise Invalid(f"npy: descr: expected one of {known}; got {shown(value)}")


def _shape(value: str) -> tuple[int, ...]:
    parts = [part.strip() for part in value[1:-1].split(",")]
    good = value[0] == "(" and (len(parts) > 1 or parts == [""])  # (3) is a number, (3,) a shape
    if parts[-1] == "":
        parts.pop()
    if not good or not all(part.isascii() and part.isdigit() and len(part) <= MAX_DIGITS for part in parts):
        raise Invalid(f"npy: shape: expected a tuple of whole numbers; got {shown(value)}")
    return tuple(map(int, parts))
