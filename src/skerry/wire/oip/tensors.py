"""The tensors of an Open Inference Protocol request: their data are in the JSON, behind it, or in shared memory."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from skerry.core.errors import Invalid
from skerry.core.names import shown
from skerry.core.tensor import DType, Tensor, elements
from skerry.wire import numbers
from skerry.wire.oip.envelope import Input, Parameter, option, text, whole
from skerry.wire.values import CODES, flat, pack

Regions = Callable[[str, int, int], memoryview]  # (name, offset, size) of shared memory to its bytes
Data = bytes | memoryview | tuple[bytes, ...]

_SIZE = struct.Struct("<I")  # in front of each element of a binary BYTES tensor
_SHORT = 1024  # bytes of JSON up to which msgspec's lists beat simdjson (measured: some 60 numbers)
_PLACING = frozenset({"binary_data_size", "shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"})
_TRUTHS, _STRINGS = msgspec.json.Decoder(list[bool]), msgspec.json.Decoder(list[str])
_WHOLE, _REAL = msgspec.json.Decoder(list[int]), msgspec.json.Decoder(list[float])
_LISTS: dict[DType, msgspec.json.Decoder[Any]] = {kind: _WHOLE if kind.integer else _REAL for kind in CODES}


class Reader:
    """Takes the inputs of one request in their order; `tail` is what stands behind the JSON."""

    def __init__(self, tail: memoryview, regions: Regions | None) -> None:
        self._tail = tail
        self._regions = regions
        self._at = 0
        self.parameters: dict[str, dict[str, Parameter]] = {}  # of each input, but for those that place its data

    @property
    def left(self) -> int:
        """Bytes behind the JSON that no tensor has taken."""
        return len(self._tail) - self._at

    def tensor(self, entry: Input) -> Tensor:
        """Return the next tensor; raise Invalid naming the input and what is wrong with it."""
        where = f"input '{entry.name}'"
        count = elements(entry.shape, where)
        data = self._data(entry, count, where) if entry.parameters else _from_json(entry, count, where)
        return Tensor(entry.name, entry.datatype, entry.shape, data)

    def _data(self, entry: Input, count: int, where: str) -> Data:
        given, kind = entry.parameters, entry.datatype
        if len(given) == 1 and type(size := given.get("binary_data_size")) is int and entry.data is UNSET:
            start, end = self._at, self._at + size  # as all but every binary request has it
            if size == count * kind.size and end <= len(self._tail) and kind is not DType.BYTES:
                self._at = end
                return self._tail[start:end]
        if not given.keys() <= _PLACING:
            self.parameters[entry.name] = {key: value for key, value in given.items() if key not in _PLACING}
        size = option(given, "binary_data_size", whole, where)
        region = option(given, "shared_memory_region", text, where)
        if size is None and region is None:
            return _from_json(entry, count, where)
        if (size is not None and region is not None) or not _missing(entry.data):
            raise Invalid(f"{where}: expected one of 'data', 'binary_data_size' and 'shared_memory_region'; got more")
        if size is not None:
            return unpacked(kind, count, self._take(size, where), where)
        return unpacked(kind, count, self._shared(str(region), entry, where), where)

    def _take(self, size: int, where: str) -> memoryview:
        start, self._at = self._at, self._at + size
        if self._at > len(self._tail):
            raise Invalid(f"{where}: expected {size} bytes of binary data; {len(self._tail) - start} are left")
        return self._tail[start : self._at]

    def _shared(self, region: str, entry: Input, where: str) -> memoryview:
        size = option(entry.parameters, "shared_memory_byte_size", whole, where)
        if size is None:
            raise Invalid(f"{where}: parameters.shared_memory_byte_size: expected this field; it is missing")
        offset = option(entry.parameters, "shared_memory_offset", whole, where) or 0
        if self._regions is None:
            raise Invalid(f"{where}: shared memory region {shown(region)}: no shared memory is registered")
        found = self._regions(region, offset, size)
        if len(found) != size:
            raise Invalid(f"{where}: shared memory region {shown(region)}: expected {size} bytes; got {len(found)}")
        return found


def unpacked(kind: DType, count: int, data: memoryview, where: str) -> Data:
    """Return binary data as a tensor has it; raise Invalid unless it holds exactly `count` elements."""
    if kind is not DType.BYTES:
        if len(data) != count * kind.size:
            raise Invalid(f"{where}: expected {count * kind.size} bytes for {count} {kind.value}; got {len(data)}")
        return data
    found: list[bytes] = []
    at = 0
    while at < len(data):
        if at + _SIZE.size > len(data):
            raise Invalid(f"{where}: the length of element {len(found)} is cut off")
        (size,) = _SIZE.unpack_from(data, at)
        at += _SIZE.size
        if at + size > len(data):
            raise Invalid(f"{where}: element {len(found)}: expected {size} bytes; {len(data) - at} are left")
        found.append(bytes(data[at : at + size]))
        at += size
    if len(found) != count:
        raise Invalid(f"{where}: expected {count} byte strings; got {len(found)}")
    return tuple(found)


def _from_json(entry: Input, count: int, where: str) -> Data:
    """Return the tensor's data from its JSON, nested or flat."""
    kind, data = entry.datatype, entry.data
    if data is UNSET:
        raise Invalid(f"{where}: data: expected this field; it is missing")
    if kind is DType.BF16:
        raise Invalid(
            "sending BF16 data via JSON is not supported. Please use the binary data format for input "
            f"'{entry.name}' (parameter 'binary_data_size')"
        )
    if isinstance(data, Raw):
        plain = bytes(data)
        found = _quick(plain, kind)
        if found is not None:
            _check_count(found[0], count, entry, where)
            return found[1]
        values = numbers.python(plain, f"{where}: data")
    else:
        values = data
    if not isinstance(values, list):
        raise Invalid(f"{where}: data: expected a list; got {shown(values)}")
    values = flat(values, f"{where}: data")
    _check_count(len(values), count, entry, where)
    return pack(kind, values, f"{where}: data")


def _check_count(found: int, count: int, entry: Input, where: str) -> None:
    if found != count:
        raise Invalid(f"{where}: expected {count} values for shape {list(entry.shape)}; got {found}")


def _quick(plain: bytes, kind: DType) -> tuple[int, Data] | None:
    """Return how many values JSON text holds, and them; None where the slow way must look."""
    try:
        if kind is DType.BYTES:
            strings = _STRINGS.decode(plain)
            return len(strings), tuple([value.encode() for value in strings])
        if kind is DType.BOOL:
            truths = _TRUTHS.decode(plain)
            return len(truths), bytes(truths)
        if len(plain) <= _SHORT:
            values = _LISTS[kind].decode(plain)
            return len(values), struct.pack(f"<{len(values)}{CODES[kind]}", *values)
    except (msgspec.DecodeError, UnicodeError, OverflowError, struct.error):
        pass  # nested, NaN, or wrong
    found = numbers.read(plain, kind)
    if found is None:
        return None
    data = found[1]
    return len(data) // kind.size, data


def _missing(data: object) -> bool:
    return data is UNSET or data is None or (isinstance(data, Raw) and bytes(data) == b"null")
