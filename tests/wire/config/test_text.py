"""The text format: our parser beside Google's own, and whatever bytes come, Invalid or TooLarge alone."""

# ruff: noqa: E501
from __future__ import annotations

import contextlib

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from hypothesis import example, given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, TooLarge
from skerry.wire.config.text import MAX_TEXT, Block, Field, Kind, Leaf, read_text


def made():
    """Return a message class that may hold itself, and lists of each kind of scalar."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="skerry_test.proto", package="t", syntax="proto3")
    message = file.message_type.add(name="M")
    for number, (name, kind) in enumerate(
        [("m", kinds.TYPE_MESSAGE), ("s", kinds.TYPE_STRING), ("i", kinds.TYPE_INT64), ("b", kinds.TYPE_BOOL)], 1
    ):
        message.field.add(name=name, number=number, type=kind, label=kinds.LABEL_REPEATED)
    message.field[0].type_name = ".t.M"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.M"))


M = made()


def plain(block):
    """Return a tree as Google's parser keeps it: lists by name."""
    found = {"m": [], "s": [], "i": [], "b": []}
    for field in block.fields:
        for value in field.values:
            found[field.name].append(plain(value) if isinstance(value, Block) else scalar(field.name, value))
    return found


def scalar(name, leaf):
    if name == "i":
        digits = leaf.text.removeprefix("-")
        octal = len(digits) > 1 and digits.isdecimal() and digits[0] == "0"
        return int(leaf.text, 8 if octal else 0)
    return leaf.text if name == "s" else leaf.text in ("true", "True", "t", "1")


def theirs(message):
    return {"m": [theirs(m) for m in message.m], "s": list(message.s), "i": list(message.i), "b": list(message.b)}


messages = st.recursive(
    st.builds(
        M,
        s=st.lists(st.text(), max_size=3),
        i=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
        b=st.lists(st.booleans(), max_size=2),
    ),
    lambda inner: st.builds(M, m=st.lists(inner, max_size=3), s=st.lists(st.text(), max_size=2)),
    max_leaves=8,
)


@given(messages, st.booleans(), st.booleans(), st.booleans())
def test_what_google_writes_is_read_as_it_reads_it(message, line, escaped, angles):
    text = text_format.MessageToString(
        message, as_one_line=line, as_utf8=not escaped, pointy_brackets=angles, use_short_repeated_primitives=angles
    )
    assert plain(read_text(text.encode())) == theirs(message)


TOKENS = ["m", "s", "i", "b", "{", "}", "<", ">", "[", "]", ":", ",", ";", "-", "1", "017", "0x1F", "true", "f", '"x"',
          "'y\\n'", '"\\u00e9\\303\\251"', "# c\n", " ", "\n", "m {", "s: 'a' \"b\"", "i: [ 1, -2 ]", "m: <>", "m [ {}, < > ]", "b: t,"]  # fmt: skip


@given(st.lists(st.sampled_from(TOKENS), max_size=25).map(" ".join))
@example("s: [ 'a', \"b\" 'c' ] m [ { i: 1; }, < > ]")
@example("i: - 1")
@example("i: [ ] m [ ]")
def test_what_google_reads_we_read_alike(text):
    try:
        expected = theirs(text_format.Parse(text, M()))
    except text_format.ParseError:
        expected = None
    try:
        found = read_text(text.encode())
    except Invalid:
        assert expected is None
    else:
        assert expected is None or plain(found) == expected


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | st.lists(st.sampled_from(TOKENS)).map("".join).map(str.encode)
)
def test_arbitrary_bytes_raise_invalid_alone(data):
    with contextlib.suppress(Invalid):
        read_text(data)


def test_a_tree_knows_its_lines():
    block = read_text(b'# a licence\nname: "a\\x41\\101" "b" # c\n\ninput [\n  { dims: [ 3, -1 ] }\n]\nempty: []')
    name, field, empty = block.fields
    assert name == Field("name", (Leaf(Kind.STRING, "aAAb", 2),), 2)
    (inner,) = field.values
    assert isinstance(inner, Block)
    assert inner.fields[0] == Field("dims", (Leaf(Kind.NUMBER, "3", 5), Leaf(Kind.NUMBER, "-1", 5)), 5)
    assert empty == Field("empty", (), 7)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a", r":1: expected ':' or a block after 'a'; got 'the end of the file'"),
        ("a: ", r":1: expected a value of 'a'; got 'the end"),
        ("\n\na: {", r":3: expected a field's name or '}'; got 'the end"),
        ("a {>", r":1: expected a field's name or '}'; got '>'"),
        ("}", r":1: expected a field's name or 'the end of the file'; got '}'"),
        ("a: [1 2]", r":1: expected ',' or '\]'; got '2'"),
        ("a: [1,]", r":1: expected a value of 'a'; got '\]'"),
        ("a: [[1]]", r":1: expected a value of 'a'; got '\['"),
        ("a: 1x", r":1: expected a field or a value; got '1x'"),
        ("a: 'x", r':1: expected a field or a value; got "\'x"'),
        ("a: 'x\ny'", r":1: expected a field or a value"),
        ("a: '\\q'", r":1: expected an escape of the text format; got '\\\\q'"),
        ("a: '\\400'", r":1: expected an escape of the text format"),
        ("a: '\\xff'", r":1: a: expected a string of UTF-8"),
        ("a: '\\ud800'", r":1: expected an escape"),
        ("a: -true", r":1: expected a value of 'a'; got 'true'"),
        ("a: --1", r":1: expected a value of 'a'; got '-'"),
        ("[x.y]: 1", r":1: expected a field's name or"),
        ("a {" * 18, r":1: expected at most 16 blocks inside each other"),
        ("a: \x00", r":1: expected a field or a value; got '\\x00'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(text, error):
    with pytest.raises(Invalid, match=r"^config\.pbtxt" + error):
        read_text(text.encode())


def test_bytes_that_are_no_text():
    with pytest.raises(Invalid, match=r"^config.pbtxt:2: expected UTF-8; byte 5 is not"):
        read_text(b"a:1\n \xff")
    assert read_text(b"\xef\xbb\xbfa:1").fields[0].name == "a"  # the mark that some editors put first


def test_there_is_a_limit():
    read_text(b" " * MAX_TEXT)
    with pytest.raises(TooLarge, match="expected at most 262144 bytes"):
        read_text(b" " * (MAX_TEXT + 1))
