from __future__ import annotations

import io
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skerry.core.errors import Invalid, TooLarge
from skerry.core.tensor import DType, Tensor
from skerry.wire.npy import CODES, MAGIC, decode, encode

LIMIT = 1 << 20
KINDS = list(CODES)
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
arrays = st.sampled_from(KINDS).flatmap(
    lambda kind: hnp.arrays(st.sampled_from([np.dtype(kind.numpy).newbyteorder(order) for order in "<>"]), shapes)
)


def saved(array, version=None):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version, allow_pickle=False)
    return file.getvalue()


def header(text, body=b"", version=1):
    size = len(text).to_bytes(2 if version == 1 else 4, "little")
    return MAGIC + bytes([version, 0]) + size + text + body


@given(arrays, st.booleans(), st.sampled_from([(1, 0), (2, 0), (3, 0)]), st.booleans())
def test_what_numpy_saves_is_read(array, fortran, version, view):
    data = saved(np.asarray(array, order="F" if fortran else "C"), version)
    tensor = decode(memoryview(data) if view else data, LIMIT)
    assert (tensor.name, tensor.shape, np.dtype(tensor.dtype.numpy)) == ("", array.shape, array.dtype.newbyteorder("="))
    little = array.astype(array.dtype.newbyteorder("<"), order="C")
    assert bytes(tensor.data) == little.tobytes()


@given(arrays)
def test_numpy_reads_what_is_written(array):
    kind = next(d for d in KINDS if np.dtype(d.numpy) == array.dtype.newbyteorder("="))
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).tobytes()
    data = encode(Tensor("y", kind, array.shape, little))
    found = np.load(io.BytesIO(data), allow_pickle=False)
    assert (found.shape, found.dtype) == (array.shape, array.dtype.newbyteorder("<"))
    assert found.tobytes() == little
    again = decode(data, LIMIT)
    assert (again.dtype, again.shape, bytes(again.data)) == (kind, array.shape, little)
    assert (len(data) - len(little)) % 64 == 0


def test_the_data_is_a_view_of_the_bytes():
    data = saved(np.arange(6, dtype=np.float32).reshape(2, 3))
    found = decode(data, LIMIT).data
    assert isinstance(found, memoryview)
    assert found.obj is data


ONE = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }"


@pytest.mark.parametrize(
    "text",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}\n",
        b'{"descr": "<f4", "fortran_order": False, "shape": (1,), }',
        b"{'shape':(1,),'fortran_order':True,'descr':'<f4'}   \n",
        b"{ 'shape' : ( 1 , ) ,\n 'descr' : '<f4' , 'fortran_order' : False , }",
    ],
)
@pytest.mark.parametrize("version", [1, 2, 3])
def test_other_spellings_of_the_header_are_read(text, version):
    assert decode(header(text, bytes(4), version), LIMIT) == Tensor("", DType.FP32, (1,), memoryview(bytes(4)))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "expected a .npy file; got 0 bytes"),
        (b"PK\3\4" + bytes(20), "expected a .npy file"),
        (MAGIC + b"\1\0", "breaks off in its header, at byte 8"),
        (MAGIC + b"\4\0" + bytes(20), "version 1.0, 2.0 or 3.0; got 4.0"),
        (MAGIC + b"\1\1" + bytes(20), "version 1.0, 2.0 or 3.0; got 1.1"),
        (MAGIC + b"\2\0\xff\xff\xff\xff", "at most 65536 bytes; got 4294967295"),
        (header(ONE)[:-9], "breaks off in its header: expected 57 bytes; got 48"),
        (header(ONE, bytes(3)), r"expected 4 bytes for shape \[1\] of FP32; got 3"),
        (header(ONE, bytes(5)), "got 5"),
        (header(b"\xff" * 12), "expected UTF-8; byte 0 is not"),
        (header(b"[1, 2, 3, 4]"), "expected a dictionary"),
        (header(ONE.replace(b"<f4", b"|O")), "descr: expected one of .*; got \"'|O'\""),
        (header(ONE.replace(b"<f4", b"<U3")), "descr: expected one of"),
        (header(ONE.replace(b"<f4", b"=f4")), "descr: expected one of"),
        (header(ONE.replace(b"'<f4'", b"[('a', '<f4')]")), "descr: expected one of"),
        (header(ONE.replace(b"'<f4'", b"True")), "descr: expected one of"),
        (header(ONE.replace(b"False", b"(0,)")), "fortran_order: expected True or False"),
        (header(ONE.replace(b"(1,)", b"(1)")), "shape: expected a tuple"),
        (header(ONE.replace(b"(1,)", b"(,)")), "shape: expected a tuple"),
        (header(ONE.replace(b"(1,)", b"(1 1,)")), "shape: expected a tuple"),
        (header(ONE.replace(b"(1,)", b"'1'")), "shape: expected a tuple"),
        (header(ONE.replace(b"(1,)", b"(%s,)" % (b"9" * 11))), "shape: expected a tuple"),
        (header(ONE.replace(b"(1,)", b"(9999999999,)")), "at most 1073741824 elements"),
        (header(ONE.replace(b"(1,)", b"(%s)" % (b"1," * 17))), "at most 16 dimensions; got 17"),
        (header(ONE.replace(b"(1,)", b"(-1,)")), "expected 'descr', 'fortran_order' or 'shape'; got"),
        (header(ONE.replace(b"'shape'", b"'frill'")), "expected 'descr', 'fortran_order' or 'shape'; got"),
        (header(ONE.replace(b"'fortran_order'", b"'descr'")), "'descr' stands twice|fortran"),
        (header(b"{'descr': '<f4', 'shape': (1,)}"), "fortran_order is missing"),
        (header(b"{'descr': __import__('os'), 'shape': (1,)}"), "expected 'descr'"),
        (header(ONE.replace(b"<f4", b"|b1"), b"\2"), "booleans of 0 or 1"),
    ],
)
def test_what_is_wrong_is_named(data, told):
    with pytest.raises(Invalid, match=f"^npy: .*({told})"):
        decode(data, LIMIT)


def test_a_header_that_would_take_long_to_read_does_not():
    for text in (b"{" + b" " * 60_000 + b"}", b"{'shape': (" + b"1 " * 25_000, b"{'descr': '" + b"x" * 60_000 + b"'}"):
        with pytest.raises(Invalid):
            decode(header(text), LIMIT)


def test_more_bytes_than_the_limit_are_too_large():
    data = saved(np.zeros(100))
    with pytest.raises(TooLarge, match=f"at most 100 bytes; got {len(data)}"):
        decode(data, 100)


def test_byte_strings_cannot_be_written():
    with pytest.raises(Invalid, match="output 'y' is BYTES"):
        encode(Tensor("y", DType.BYTES, (1,), (b"x",)))


def test_objects_are_refused_whatever_they_hold():
    file = io.BytesIO()
    np.save(file, np.array([{}, None], object), allow_pickle=True)
    with pytest.raises(Invalid, match="descr"):
        decode(file.getvalue(), LIMIT)


@given(st.binary(max_size=200), st.sampled_from([b"", MAGIC, MAGIC + b"\1\0", MAGIC + b"\1\0\x20\0{'descr': '<f4', "]))
def test_arbitrary_bytes_raise_our_errors_alone(data, head):
    with pytest.raises((Invalid, TooLarge)):
        decode(head + data, LIMIT)


def test_damaged_files_raise_our_errors_alone():
    dice = random.Random(3)
    good = [saved(np.zeros((3, 4), np.float32)), saved(np.asfortranarray(np.ones((2, 5), ">i8")), (3, 0))]
    for data in good * 500:
        broken = bytearray(data[: dice.randint(1, len(data))] if dice.random() < 0.3 else data)
        for _ in range(dice.randint(1, 3)):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        try:
            tensor = decode(bytes(broken), LIMIT)
        except (Invalid, TooLarge):
            continue
        assert len(tensor.data) == tensor.dtype.size * np.prod(tensor.shape)
