"""The wire format by hand: differential tests with protobuf as the reference."""

from __future__ import annotations

import struct

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as theirs

from skerry.core.errors import Invalid, TooLarge
from skerry.core.tensor import DType
from skerry.wire.protos.scan import SMALL, field, lift, number, packed, text, varint, varints

TYPES = {"int_contents": "i", "int64_contents": "q", "uint_contents": "I", "uint64_contents": "Q"}
TAGS = frozenset(at << 3 | 2 for at in range(1, 9))


def ints(low, high):
    """Return lists of whole numbers of every width."""
    edges = [value for bits in range(0, 64, 7) for value in (2**bits - 1, 2**bits) if low <= value <= high]
    return st.lists(st.integers(low, high) | st.sampled_from([low, high, *edges]), max_size=50)


@given(ints(0, 2**64 - 1))
def test_packed_numbers_are_what_protobuf_wrote(values):
    written = theirs.InferTensorContents(uint64_contents=values).SerializeToString()
    _, found = lift(written, TAGS)
    assert varints(b"".join(found.get(5 << 3 | 2, []))).tolist() == values


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (DType.INT32, "int_contents"),
        (DType.INT64, "int64_contents"),
        (DType.UINT32, "uint_contents"),
        (DType.UINT64, "uint64_contents"),
    ],
)
@given(data=st.data())
def test_numbers_keep_their_sign_and_width(kind, name, data):
    values = data.draw(ints(*kind.bounds).filter(bool))
    _, found = lift(theirs.InferTensorContents(**{name: values}).SerializeToString(), TAGS)
    got = packed(kind, next(iter(found.values())), "x")
    assert list(struct.unpack(f"<{len(values)}{TYPES[name]}", got)) == values


@given(st.binary(max_size=30))
@example(b"\xff" * 9 + b"\x7f")  # more than 64 bits: the upper ones do not count
@example(b"\xff" * 10 + b"\x01")
def test_any_packed_bytes_mean_what_protobuf_makes_of_them(data):
    message = field(4 << 3 | 2, data)
    try:
        wanted = list(theirs.InferTensorContents.FromString(message).uint_contents)
    except DecodeError:
        return
    got = packed(DType.UINT32, [data], "x")
    assert list(struct.unpack(f"<{len(wanted)}I", got)) == wanted


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=3))
def test_packed_bytes_that_we_take_protobuf_takes(chunks):
    try:
        got = packed(DType.UINT64, chunks, "x")
    except Invalid:
        return
    message = b"".join(field(5 << 3 | 2, chunk) for chunk in chunks)
    assert list(struct.unpack(f"<{len(got) // 8}Q", got)) == list(
        theirs.InferTensorContents.FromString(message).uint64_contents
    )


@given(st.binary(max_size=60), st.sets(st.integers(1, 8)))
def test_what_is_lifted_and_the_rest_are_the_message(data, wanted):
    try:
        rest, found = lift(data, [at << 3 | 2 for at in wanted])
    except Invalid:
        return
    again = rest + b"".join(field(tag, bytes(part)) for tag, parts in found.items() for part in parts)
    assert theirs_of(again) == theirs_of(data)


def theirs_of(data):
    """Return what protobuf reads of a message, None if it is none."""
    try:
        return theirs.InferTensorContents.FromString(data)
    except DecodeError:
        return None


@given(st.integers(0, 2**64 - 1))
def test_a_number_comes_back(value):
    assert varint(number(value) + b"x", 0) == (value, len(number(value)))


def test_large_fields_are_views():
    data = field(1 << 3 | 2, bytes(SMALL))
    _, found = lift(data, {1 << 3 | 2})
    part = found[1 << 3 | 2][0]
    assert isinstance(part, memoryview)
    assert (part.obj, len(part)) == (data, SMALL)


def test_a_string_is_the_last_one_and_all_are_text():
    tag = 1 << 3 | 2
    assert text({tag: [b"a", memoryview(b"b")]}, tag, "x") == "b"
    assert text({}, tag, "x") == ""
    with pytest.raises(Invalid, match="x: expected UTF-8"):
        text({tag: [b"\xff", b"b"]}, tag, "x")


@pytest.mark.parametrize("data", [b"\x0b", b"\x0c", b"\x0e", b"\x02\x00", b"\x0d\x00", b"\x09\x00", b"\x80"])
def test_what_is_no_message_is_refused(data):
    with pytest.raises(Invalid, match="message: "):
        lift(data, ())


def test_a_message_of_very_many_fields_is_refused():
    data = field(1 << 3 | 2, b"") * 10
    assert len(lift(data, {1 << 3 | 2}, 11)[1][1 << 3 | 2]) == 10
    with pytest.raises(TooLarge, match="message: expected fewer than 10 fields"):
        lift(data, (), 10)


def test_a_number_of_more_than_ten_bytes_is_refused():
    with pytest.raises(Invalid, match="expected numbers of at most 10 bytes; got one of 12"):
        varints(b"\xff" * 11 + b"\x01")
