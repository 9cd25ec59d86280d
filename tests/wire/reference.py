"""JSON tensors read the slow and obvious way: what the fast codecs are held against."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
from hypothesis import strategies as st

from skerry.core.tensor import DType

WHOLE = [kind for kind in DType if kind.integer]
REAL = [DType.FP16, DType.FP32, DType.FP64]
LETTERS = {DType.FP16: "e", DType.FP32: "f", DType.FP64: "d"}
TOP = {DType.FP32: 2**24 - 1, DType.FP64: 2**53 - 1}  # whole numbers that TensorFlow Serving takes for a float


def loads(text):
    """Return the JSON value in text; raise ValueError for what is none, and for a number beyond every float."""

    def real(digits):
        value = float(digits)
        if math.isinf(value):
            raise ValueError(digits)
        return value

    return json.loads(text, parse_float=real)


def shape_of(value):
    """Return the shape of nested lists; raise ValueError unless all lists of a level have one length."""
    if not isinstance(value, list):
        return ()
    shapes = {shape_of(one) for one in value}
    if len(shapes) > 1:
        raise ValueError("ragged")
    return (len(value), *(shapes.pop() if shapes else ()))


def leaves(value):
    """Return the values in nested lists, row by row."""
    return [leaf for one in value for leaf in leaves(one)] if isinstance(value, list) else [value]


def packed(kind, values, exact=False):
    """Return the values' bytes, or byte strings; raise ValueError for one that the type does not take."""
    return tuple(one(kind, v, exact) for v in values) if kind is DType.BYTES else b"".join(
        one(kind, v, exact) for v in values
    )  # fmt: skip


def one(kind, value, exact):
    if kind is DType.BYTES:
        if type(value) is not str:
            raise ValueError(value)
        return value.encode()
    if kind is DType.BOOL:
        if type(value) is not bool:
            raise ValueError(value)
        return bytes([value])
    if type(value) is not int and (kind in WHOLE or type(value) is not float):
        raise ValueError(value)
    if kind in WHOLE:
        low, high = kind.bounds
        if not low <= value <= high:
            raise ValueError(value)
        return value.to_bytes(kind.size, "little", signed=low < 0)
    if exact and kind in TOP:
        if type(value) is int and -(2**63) <= value < 2**64 and abs(value) > TOP[kind]:
            raise ValueError(value)
        if kind is DType.FP32 and float(np.finfo(np.float32).max) < abs(value) < math.inf:
            raise ValueError(value)
    try:
        return struct.pack("<" + LETTERS[kind], value)
    except (OverflowError, struct.error) as error:
        raise ValueError(value) from error


def tensor(kind, value, exact=False):
    """Return shape and data of a JSON value as a tensor of that type; raise ValueError if it is none."""
    shape = shape_of(value)
    return shape, packed(kind, leaves(value) if 0 not in shape else [], exact)


def plain(data):
    """Return a tensor's data so that it can be compared."""
    return data if isinstance(data, tuple) else bytes(data)


digits = st.integers(-(10**20), 10**20).map(str) | st.integers(-300, 300).map(str) | st.sampled_from(["-0", "0"])
tokens = st.one_of(
    digits,
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),
    st.builds("{}.{}E{}".format, st.integers(0, 999), st.integers(0, 10**18), st.integers(-330, 330)),
    st.sampled_from(
        ["65504", "65519.9", "65520", "3.4028234663852886e38", "3.4028235677973366e38", "3.4028236e38", "16777215",
         "16777216", "16777217", "16777217.0", "9007199254740991", "9007199254740993", "1e308", "1e309", "5e-324",
         "1e-400", "-128", "-129", "255", "256", "2147483648", "18446744073709551615", "18446744073709551616",
         "9223372036854775808", "-9223372036854775809", "1.0", "1e2", "1E+2", "0.1", "123456789012345678901234567890"]
    ),
)  # fmt: skip
strange = st.sampled_from(["true", "false", "null", '"a"', "NaN", "-Infinity", "{}", "[]", "[1]", "01", "1.", "-", ""])
noise = ["[", "]", ",", "[[", "]]", "],[", "1", "-", ".", "e", " ", '"', "null", "NaN", ",1", "[1]"]
spaces = st.sampled_from(["", "", "", " ", "\n\t", "\r "])


@st.composite
def lists(draw, token=tokens, shape=None):
    """Return the text of nested lists of one shape, with white space anywhere."""
    if shape is None:
        shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    if not shape:
        return draw(spaces) + draw(token) + draw(spaces)
    inner = [draw(lists(token, shape[1:])) for _ in range(shape[0])]
    return draw(spaces) + "[" + ",".join(inner) + "]" + draw(spaces)


@st.composite
def spoiled(draw, good):
    """Return a text of `good`, with a piece of it cut out, put in or put elsewhere."""
    text = draw(good)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(text)))
        what = draw(
            st.sampled_from(
                ["[", "]", ",", "[[", "]]", "],[", "1", "-", ".", "e", " ", '"', "null", "NaN", ",1", "[1]"]
            )
        )
        text = draw(st.sampled_from([text[:at] + what + text[at:], text[: max(0, at - 1)] + text[at:]]))
    return text
