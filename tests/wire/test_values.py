from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid
from skerry.core.tensor import MAX_RANK, DType, Tensor
from skerry.wire.values import flat, nested, pack, unpack
from tests.core.values import json_values, texts, tried

numpy = pytest.importorskip("numpy")

INTEGERS = [kind for kind in DType if kind.integer]
WIDTH = {DType.FP16: 16, DType.FP32: 32, DType.FP64: 64}
shapes = st.lists(st.integers(0, 3), max_size=4).map(tuple)


def good_values(kind, count):
    """Return a strategy for lists of values of a type."""
    if kind is DType.BYTES:
        one = texts.map(str.encode)
    elif kind is DType.BOOL:
        one = st.booleans()
    elif kind.integer:
        one = st.integers(*kind.bounds)
    else:
        one = st.floats(width=WIDTH[kind])
    return st.lists(one, min_size=count, max_size=count)


def same(one, other):
    """Whether two lists hold the same values, NaN counted as itself."""
    return len(one) == len(other) and all(a == b or (a != a and b != b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", [kind for kind in DType if kind is not DType.BF16])
def test_values_come_back(kind):
    @given(st.integers(0, 5).flatmap(lambda count: good_values(kind, count)))
    def holds(values):
        data = pack(kind, values, "x")
        assert isinstance(data, tuple) or len(data) == kind.size * len(values)
        found = unpack(Tensor("x", kind, (len(values),), data))
        if kind in (DType.FP16, DType.FP32):  # shortest decimals, which are the same number in their own width
            code = "e" if kind is DType.FP16 else "f"
            found = [struct.unpack(code, struct.pack(code, value))[0] for value in found]
        assert same(found, values)

    holds()


@pytest.mark.parametrize("kind", [kind for kind in DType if kind not in (DType.BYTES, DType.BF16)])
def test_the_bytes_are_those_of_numpy(kind):
    values = [True, False] if kind is DType.BOOL else [0, 1, 100]
    theirs = numpy.array(values, kind.numpy)
    assert pack(kind, values, "x") == theirs.astype(theirs.dtype.newbyteorder("<")).tobytes()
    for data in (theirs.tobytes(), memoryview(theirs.tobytes())):
        assert unpack(Tensor("x", kind, theirs.shape, data)) == values


@pytest.mark.parametrize("kind", INTEGERS)
def test_a_whole_number_out_of_range_is_refused(kind):
    low, high = kind.bounds
    assert pack(kind, [low, high], "x")
    for value in (low - 1, high + 1, 10**400):
        with pytest.raises(Invalid, match=f"x: expected {kind.value} values from {low} to {high}"):
            pack(kind, [value], "x")


@pytest.mark.parametrize("kind", WIDTH)
def test_a_whole_number_beyond_every_float_is_refused(kind):
    for value in (10**400, -(10**400)):
        with pytest.raises(Invalid, match=f"x: expected {kind.value} values from"):
            pack(kind, [value], "x")


@pytest.mark.parametrize(
    ("kind", "last", "text"),
    [
        (DType.FP16, 65519.99, "x: expected FP16 values from -65504 to 65504"),
        (DType.FP32, math.nextafter(3.4028235677973366e38, 0), "x: expected FP32 values from -3.402823e"),
    ],
)
def test_what_would_round_to_infinity_is_refused(kind, last, text):
    assert math.isfinite(unpack(Tensor("x", kind, (1,), pack(kind, [last], "x")))[0])
    with pytest.raises(Invalid, match=text):
        pack(kind, [math.nextafter(last + 0.01, math.inf)], "x")


def test_bfloat16_is_no_json_but_has_numbers():
    with pytest.raises(Invalid, match="x: sending BF16 data via JSON is not supported"):
        pack(DType.BF16, [1], "x")
    bits = numpy.array([0x3F80, 0xC000, 0x7F80], "<u2").tobytes()
    assert unpack(Tensor("x", DType.BF16, (3,), bits)) == [1.0, -2.0, math.inf]


@pytest.mark.parametrize(
    ("kind", "value", "named"),
    [
        (DType.INT8, 1.0, "int8"),
        (DType.INT8, True, "int8"),
        (DType.UINT64, "1", "uint64"),
        (DType.BOOL, 1, "bool"),
        (DType.FP32, True, "float32"),
        (DType.FP32, None, "float32"),
        (DType.FP64, {"b64": ""}, "float64"),
        (DType.BYTES, 1, "object"),
    ],
)
def test_a_value_of_another_type_is_shown(kind, value, named):
    good = {DType.BOOL: True, DType.BYTES: "a"}.get(kind, 1)
    with pytest.raises(Invalid, match="x: JSON Value: .* is not of expected type: " + named):
        pack(kind, [good, value], "x")


def test_text_is_written_as_utf_8():
    assert pack(DType.BYTES, ["é", b"\xff"], "x") == (b"\xc3\xa9", b"\xff")
    with pytest.raises(Invalid, match="x: expected text that UTF-8 can write"):
        pack(DType.BYTES, ["\ud800"], "x")


@pytest.mark.parametrize(
    ("kind", "value"), [(DType.FP32, 0.1), (DType.FP32, 16777217 / 3), (DType.FP32, 3.4028235e38), (DType.FP16, 0.1)]
)
def test_a_narrow_float_gets_few_digits(kind, value):
    narrow = numpy.array([value], kind.numpy)
    (found,) = unpack(Tensor("x", kind, (1,), narrow.tobytes()))
    assert numpy.array([found], kind.numpy) == narrow
    assert len(repr(found)) <= 14


def test_numbers_that_are_not_finite_come_back():
    for kind in WIDTH:
        found = unpack(Tensor("x", kind, (3,), pack(kind, [math.nan, math.inf, -math.inf], "x")))
        assert math.isnan(found[0])
        assert found[1:] == [math.inf, -math.inf]


@given(st.sampled_from(list(DType)), st.lists(json_values, max_size=3))
def test_arbitrary_values_raise_invalid_alone(kind, values):
    data = tried(lambda: pack(kind, flat(values, "x"), "x"), refusing=Invalid)
    if isinstance(data, Invalid):
        assert str(data).startswith("x: ")
    else:
        unpack(Tensor("x", kind, (len(data),), data))


@given(shapes)
def test_nesting_is_numpys_and_flat_takes_it_apart(shape):
    values = list(range(math.prod(shape)))
    found = nested(values, shape)
    assert found == numpy.array(values).reshape(shape).tolist()
    if shape:
        assert flat(found, "x") == values


@given(st.lists(json_values, max_size=4))
def test_arbitrary_lists_are_flat_or_invalid(data):
    found = tried(flat, data, "x", refusing=Invalid)
    if isinstance(found, Invalid):
        assert str(found).startswith("x: expected numbers or lists at one level")
    else:
        assert not any(isinstance(value, list) for value in found)


def test_lists_have_a_limit_of_depth():
    def deep(levels):
        return [deep(levels - 1)] if levels else [1]

    assert flat(deep(MAX_RANK - 1), "x") == [1]
    with pytest.raises(Invalid, match="x: expected at most 16 nested lists"):
        flat(deep(MAX_RANK + 1), "x")
