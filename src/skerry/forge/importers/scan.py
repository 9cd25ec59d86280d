"""Looking into protobuf and zip files without believing them: where fields lie, how large things claim to be.

Reads headers and seeks past contents. Every number comes from outside and has a limit.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from skerry.core.errors import LoadFailed, TooLarge
from skerry.forge.importers.what import MAX_MODEL

MAX_ENTRIES = 20_000  # files in one zip; a torch program of 3,000 weights has about 3,100
MAX_RATIO = 200  # of a compressed entry; real weights and JSON stay under 30
FREE_BYTES = 10 << 20  # an entry up to this size may be compressed as much as it likes
_FIXED = {1: 8, 5: 4}  # protobuf wire type -> bytes
NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.+-]*(/[A-Za-z0-9_.][A-Za-z0-9_.+-]*)*")


def fields(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, wire type, start and end of every protobuf field; raise EOFError or ValueError where it breaks."""
    place = start
    while place < end:
        file.seek(place)
        key = _varint(file)
        number, kind = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"field {number} at byte {place}")
        begin = file.tell()
        if kind == 0:
            _varint(file)
            place = file.tell()
        elif kind == 2:
            size = _varint(file)
            begin = file.tell()
            place = begin + size
        elif kind in _FIXED:
            place = begin + _FIXED[kind]
        else:
            raise ValueError(f"wire type {kind} at byte {place}")
        if place > end:
            raise EOFError(f"a field of {place - begin} bytes begins at byte {begin}, and {end - begin} are there")
        yield number, kind, begin, place


def open_zip(file: BinaryIO, name: str) -> zipfile.ZipFile:
    """Return a zip whose directory is honest enough to read from; raise LoadFailed or TooLarge."""
    try:
        archive = zipfile.ZipFile(file)
        entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise LoadFailed(f"{name}: a broken or truncated zip file: {error}") from None
    if len(entries) > MAX_ENTRIES:
        raise TooLarge(f"{name}: expected at most {MAX_ENTRIES} files in it; got {len(entries)}")
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise LoadFailed(f"{name}: two files in it have one name")
    for entry in entries:
        plain = entry.filename.removesuffix("/")
        if not NAME.fullmatch(plain) or ".." in plain.split("/") or entry.flag_bits & 1:
            raise LoadFailed(f"{name}: a file in it has a name that is not allowed, or is encrypted: {plain[:60]!r}")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise LoadFailed(f"{name}: '{plain[:60]}' is packed in a way that is not known ({entry.compress_type})")
        if entry.file_size > FREE_BYTES and entry.file_size > MAX_RATIO * max(1, entry.compress_size):
            raise TooLarge(f"{name}: '{plain[:60]}' unpacks to {entry.file_size} bytes from {entry.compress_size}")
    total = sum(entry.file_size for entry in entries)
    if total > MAX_MODEL:
        raise TooLarge(f"{name}: expected at most {MAX_MODEL} bytes unpacked; got {total}")
    return archive


def entry(archive: zipfile.ZipFile, name: str, limit: int, where: str) -> bytes:
    """Return one file of a zip; raise LoadFailed or TooLarge."""
    try:
        with archive.open(name) as file:
            data = file.read(limit + 1)
    except KeyError:
        raise LoadFailed(f"{where}: expected a file '{name}' in it") from None
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError, NotImplementedError) as error:
        raise LoadFailed(f"{where}: '{name}' in it is broken: {error}") from None
    except Exception as error:  # boundary: zlib.error is a bare Exception
        raise LoadFailed(f"{where}: '{name}' in it is broken: {error}") from None
    if len(data) > limit:
        raise TooLarge(f"{where}: expected at most {limit} bytes of '{name}'")
    return data


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError("it ends inside a number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number of more than 10 bytes")
