"""The JSON around the tensors of an Open Inference Protocol request, as typed values that nobody has judged yet.

Two ways in: msgspec with the tensors' data left as text, and, where that says no, plain JSON read field by field,
which knows NaN and names what is wrong. What the first takes, the second takes too, but for a key that stands
twice: there the first takes the later one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, TypeVar, cast

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from skerry.core.errors import Invalid
from skerry.core.fields import Fields, parse
from skerry.core.names import shown
from skerry.core.tensor import DType, dtype
from skerry.wire.numbers import MAX_SLOW

T = TypeVar("T")

MAX_TENSORS = 1000  # inputs or outputs of one request
MAX_DEPTH = 100  # nested lists and objects, as in Triton
MAX_NAME = 4096  # characters
MAX_ID = 1024  # characters
MAX_SIZES = 64  # dimensions that are read before their number is judged

Parameter = str | int | float | bool
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = np.zeros(256, np.int8)
_STEP[list(b"[{")], _STEP[list(b"]}")] = 1, -1


class Input(Struct, gc=False):
    """One input; `data` is JSON text, or Python values where the slow way read it."""

    name: Annotated[str, Meta(max_length=MAX_NAME)]
    datatype: DType
    shape: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(max_length=MAX_SIZES)]
    data: Raw | UnsetType = UNSET
    parameters: dict[str, Parameter] = {}


class Output(Struct, gc=False):
    """One output that is asked for."""

    name: Annotated[str, Meta(max_length=MAX_NAME)]
    parameters: dict[str, Parameter] = {}


class Envelope(Struct, gc=False):
    """A request without its binary tensors."""

    inputs: Annotated[tuple[Input, ...], Meta(max_length=MAX_TENSORS)]
    outputs: Annotated[tuple[Output, ...], Meta(max_length=MAX_TENSORS)] = ()
    id: Annotated[str, Meta(max_length=MAX_ID)] = ""
    parameters: dict[str, Parameter] = {}


_DECODER = msgspec.json.Decoder(Envelope)


def read(data: bytes | memoryview) -> Envelope:
    """Return the envelope in JSON text; raise Invalid saying what is wrong with it."""
    plain = bytes(data)
    if plain.count(b"[") + plain.count(b"{") > MAX_DEPTH:
        _check_depth(plain)
    try:
        return _DECODER.decode(plain)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if len(data) > MAX_SLOW:
            why = f"; NaN is read in at most {MAX_SLOW} bytes of JSON" if b"NaN" in plain else ""
            raise Invalid(f"request: {error}{why}") from None
    return read_slowly(data)


def read_slowly(data: bytes | memoryview) -> Envelope:
    """Return the envelope in JSON text, read field by field."""
    fields = Fields(parse(data, "request", MAX_SLOW), "")
    return Envelope(
        inputs=fields.many("inputs", read_input, limit=MAX_TENSORS),
        outputs=fields.many("outputs", _output, default=(), limit=MAX_TENSORS),
        id=fields.text("id", default="", limit=MAX_ID),
        parameters=fields.read("parameters", _parameters, default={}),
    )


def read_input(value: object) -> Input:
    """Return one input from JSON values."""
    fields = Fields(value, "")
    return Input(
        name=fields.text("name", limit=MAX_NAME),
        datatype=fields.read("datatype", dtype),
        shape=fields.many("shape", _size, limit=MAX_SIZES),
        data=cast("Raw", fields.raw("data", UNSET)),
        parameters=fields.read("parameters", _parameters, default={}),
    )


def option(found: Mapping[str, Parameter], key: str, of: Callable[[object], T], where: str) -> T | None:
    """Return `of(parameter)`, None if there is none; an Invalid that it raises gets its name in front."""
    if key not in found:
        return None
    try:
        return of(found[key])
    except Invalid as error:
        raise Invalid(f"{where + ': ' if where else ''}parameters.{key}: {error}") from None


def flag(value: object) -> bool:
    """Return true or false; for use with `option`."""
    if not isinstance(value, bool):
        raise Invalid(f"expected true or false; got {shown(value)}")
    return value


def whole(value: object) -> int:
    """Return a whole number of 0 or more that fits 64 bits; for use with `option`."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 64:
        raise Invalid(f"expected a whole number from 0 to {(1 << 64) - 1}; got {shown(value)}")
    return value


def text(value: object) -> str:
    """Return a string; for use with `option`."""
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise Invalid(f"expected a string of at most {MAX_NAME} characters; got {shown(value)}")
    return value


def _output(value: object) -> Output:
    fields = Fields(value, "")
    return Output(fields.text("name", limit=MAX_NAME), fields.read("parameters", _parameters, default={}))


def _parameters(value: object) -> dict[str, Parameter]:
    found = Fields(value, "").rest()
    for key, one in found.items():
        if not isinstance(one, str | int | float):  # a bool is an int
            raise Invalid(f"{key}: expected a string, number or boolean; got {shown(one)}")
    return found


def _size(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Invalid(f"expected a whole number of 0 or more; got {shown(value)}")
    return value


def _check_depth(plain: bytes) -> None:
    """Raise Invalid if lists and objects are nested deeper than MAX_DEPTH, brackets in strings not counted."""
    brackets = np.frombuffer(_STRING.sub(b"", plain).translate(None, _NO_BRACKETS), np.uint8)
    if len(brackets) and np.cumsum(_STEP[brackets], dtype=np.int32).max() > MAX_DEPTH:
        raise Invalid(f"request: JSON Parse error: nested deeper than {MAX_DEPTH} lists and objects")
