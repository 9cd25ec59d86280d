from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, SkerryError
from skerry.core.tensor import MAX_ELEMENTS, MAX_RANK, DType, Spec, Tensor, check, dtype, elements
from tests.core.values import json_values, tried

numpy = pytest.importorskip("numpy")


@pytest.mark.parametrize("kind", DType)
def test_the_table_agrees_with_numpy(kind):
    theirs = numpy.dtype(kind.numpy)
    assert theirs.name == kind.numpy
    assert kind.size == (0 if kind is DType.BYTES else theirs.itemsize)
    assert kind.integer == (theirs.kind in "iu" and kind is not DType.BF16)  # uint16 only carries its bits
    if kind.integer:
        assert kind.bounds == (numpy.iinfo(theirs).min, numpy.iinfo(theirs).max)


def test_the_names_of_tensorflow_are_its_own():
    theirs = [
        "BOOL",
        "UINT8",
        "UINT16",
        "UINT32",
        "UINT64",
        "INT8",
        "INT16",
        "INT32",
        "INT64",
        "HALF",
        "BFLOAT16",
        "FLOAT",
        "DOUBLE",
        "STRING",
    ]
    assert [kind.tensorflow for kind in DType] == [f"DT_{name}" for name in theirs]


@pytest.mark.parametrize("kind", DType)
def test_a_type_has_its_name(kind):
    assert dtype(kind.value) is kind


@given(json_values)
def test_no_other_name_is_a_type(value):
    found = tried(dtype, value, refusing=Invalid)
    assert isinstance(found, DType) or str(found).startswith("expected one of BOOL UINT8 ")


@pytest.mark.parametrize(
    ("want", "got", "fits"),
    [
        ((), (), True),
        ((1, 2), (1, 2), True),
        ((-1, 2), (7, 2), True),
        ((-1, -1), (0, 9), True),
        ((1, 2), (2, 1), False),
        ((-1,), (), False),
        ((), (1,), False),
        ((-1, 2), (2, 2, 2), False),
    ],
)
def test_shapes_that_fit(want, got, fits):
    assert Spec("x", DType.FP32, want).fits(got) is fits
    tensor = Tensor("x", DType.FP32, got, b"")
    if fits:
        check(tensor, Spec("x", DType.FP32, want))
    else:
        with pytest.raises(Invalid, match="input 'x': expected shape"):
            check(tensor, Spec("x", DType.FP32, want))


def test_another_type_is_refused_by_name():
    with pytest.raises(Invalid, match="input 'x': expected datatype FP32; got FP64"):
        check(Tensor("x", DType.FP64, (1,), b""), Spec("x", DType.FP32, (1,)))


@given(st.lists(st.integers(-2, 40) | st.integers(0, 10**30), max_size=MAX_RANK + 2).map(tuple))
def test_the_elements_of_an_honest_shape_are_counted(shape):
    try:
        count = elements(shape)
    except SkerryError:
        assert len(shape) > MAX_RANK or min(shape) < 0 or max(math.prod(shape), *shape) > MAX_ELEMENTS
    else:
        assert count == math.prod(shape) <= MAX_ELEMENTS


@pytest.mark.parametrize(
    ("shape", "error", "text"),
    [
        ((1,) * 17, Invalid, "s: expected at most 16 dimensions; got 17"),
        ((2, -1), Invalid, "s: expected dimensions of 0 or more"),
        ((1 << 15, 1 << 15, 2), Invalid, "s: expected at most"),
        ((0, 10**30), Invalid, "s: expected at most"),
    ],
)
def test_a_dishonest_shape_is_named(shape, error, text):
    with pytest.raises(error, match=text):
        elements(shape, "s")
