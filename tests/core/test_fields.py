from __future__ import annotations

import json
import math
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, RequestError, SkerryError, TooLarge
from skerry.core.fields import Fields, canonical, number, parse, string
from tests.core.values import finite_json, json_values, tried

MB = 1 << 20


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_json_or_invalid_or_too_large(data):
    found = tried(parse, data, "x", 100, refusing=RequestError)
    assert not isinstance(found, SkerryError) or str(found).startswith(("x: ", "JSON object: "))


@given(st.text(st.sampled_from('{}[]",:\\ud8cDtrue0123-+eE.NaN')), st.integers(0, 60))
def test_almost_json_is_json_or_invalid(text, limit):
    found = tried(parse, text.encode(), "x", limit, refusing=RequestError)
    assert isinstance(found, TooLarge) == (len(text) > limit)


@given(json_values)
def test_what_json_writes_is_read_back(value):
    data = json.dumps(value).encode()
    for kind in (bytes, bytearray, memoryview):
        assert json.dumps(parse(kind(data), "x", len(data))) == data.decode()


BROKEN = [
    (b"", "x: JSON Parse error: Expecting value at offset: 0"),
    (b"{", "x: JSON Parse error: .* at offset: 1"),
    (b"[1,]", "x: JSON Parse error"),
    (b"1 2", "x: JSON Parse error: Extra data at offset: 2"),
    (b"\xff", "x: expected UTF-8; byte 0 is not"),
    (b'"\xc3"', "x: expected UTF-8; byte 1 is not"),
    (b"\xef\xbb\xbf1", "x: JSON Parse error"),
    (b'{"a":1,"b":2,"a":3}', "JSON object: key 'a' stands twice"),
    (b'[{"\\u0061":1,"a":1}]', "JSON object: key 'a' stands twice"),
    (b"1" * 5000, "x: JSON Parse error: a whole number of more than"),
    (b"[" * 100_000, "x: JSON Parse error: nested deeper than 500 lists"),
    (b'{"a":' * 100_000, "x: JSON Parse error: nested deeper than 500 lists"),
    (b'"\\ud800"', "x: JSON Parse error: half of a surrogate pair"),
    (b'[{"a\\uDfff":1}]', "x: JSON Parse error: half of a surrogate pair"),
    (b'"\\udc00\\ud800"', "x: JSON Parse error: half of a surrogate pair"),
]


@pytest.mark.parametrize(("data", "text"), BROKEN, ids=lambda v: repr(v)[:30])
def test_what_is_wrong_is_said(data, text):
    with pytest.raises(Invalid, match=text):
        parse(data, "x", MB)


def test_a_whole_surrogate_pair_is_a_character():
    assert parse(b'"\\ud83d\\ude00 \\\\ud800"', "x", MB) == "\N{GRINNING FACE} \\ud800"


def test_the_limit_is_in_bytes_and_is_checked_first():
    assert parse('"é"'.encode(), "x", 4) == "é"
    with pytest.raises(TooLarge, match="x: expected at most 3 bytes; got 4"):
        parse('"é"'.encode(), "x", 3)


def test_a_key_that_stands_twice_after_many_others_is_found_in_linear_time():
    keys = [f'"{n}":0' for n in range(60_000)]
    start = time.process_time()
    with pytest.raises(Invalid, match="key '59999' stands twice"):
        parse(("{" + ",".join([*keys, '"59999":0']) + "}").encode(), "x", MB)
    assert time.process_time() - start < 2  # quadratic took half a minute


@given(finite_json)
def test_canonical_json_is_a_fixed_point(value):
    once = canonical(value)
    again = parse(once, "x", len(once))
    assert again == value
    assert canonical(again) == once


@given(st.dictionaries(st.text(max_size=3), finite_json, max_size=6), st.randoms(use_true_random=False))
def test_canonical_json_does_not_know_the_order_of_keys(value, random):
    keys = [key for key in value if key.isascii()]
    random.shuffle(keys)
    assert canonical({key: value[key] for key in keys}) == canonical({key: value[key] for key in sorted(keys)})


def test_canonical_json_has_one_spelling():
    assert canonical({"b": [1, 1.5, True, None], "a": "é"}) == '{"a":"é","b":[1,1.5,true,null]}'.encode()


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf], "\ud800", {"\udfff": 1}, [10**5000]], ids=type)
def test_what_has_no_canonical_spelling_is_invalid(value):
    with pytest.raises(Invalid, match="canonical JSON: "):
        canonical(value)


def test_what_is_nested_too_deep_has_no_canonical_spelling():
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(Invalid, match="canonical JSON: "):
        canonical(value)


@given(json_values)
def test_only_an_object_has_fields(value):
    if isinstance(value, dict):
        assert Fields(value, "x").rest() == value
    else:
        with pytest.raises(Invalid, match="x: expected an object; got "):
            Fields(value, "x")


def test_what_was_not_read_is_kept_and_the_source_is_left_alone():
    source = {"a": 1, "b": 2}
    fields = Fields(source, "x")
    assert fields.raw("a") == 1
    assert fields.rest() == {"b": 2}
    assert source == {"a": 1, "b": 2}


READERS = {
    "text": (["", "abc", "a" * 9], [1, None, True, [], {}, "a" * 10]),
    "whole": ([0, 5, 9], [-1, 10, 1.0, True, "1", None, [], 10**400]),
    "real": ([0, 1.5, 9], [-0.1, 9.1, math.nan, math.inf, -math.inf, 10**400, -(10**400), True, "1", None, []]),
    "flag": ([True, False], [0, 1, "true", None, []]),
    "choice": (["a", "b"], ["c", "", 1, None, [], {}]),
    "many": ([[], ["a", "b"]], ["a", None, {}, 1, ["a"] * 4, ["a", 1], [None]]),
    "read": (["a"], [1, None, [], "a" * 4097]),
}


def look(fields, reader, key, **default):
    """Read one field with one of the readers, each with its narrowest limits."""
    return {
        "text": lambda: fields.text(key, limit=9, **default),
        "whole": lambda: fields.whole(key, high=9, **default),
        "real": lambda: fields.real(key, low=0, high=9, **default),
        "flag": lambda: fields.flag(key, **default),
        "choice": lambda: fields.choice(key, ("a", "b"), **default),
        "many": lambda: fields.many(key, string, limit=3, **default),
        "read": lambda: fields.read(key, string, **default),
    }[reader]()


@pytest.mark.parametrize(("reader", "value"), [(r, v) for r, (good, _) in READERS.items() for v in good])
def test_a_good_field_comes_back(reader, value):
    assert look(Fields({"k": value}, "x"), reader, "k") == (tuple(value) if reader == "many" else value)


@pytest.mark.parametrize(
    ("reader", "value"), [(r, v) for r, (_, bad) in READERS.items() for v in bad], ids=lambda v: repr(v)[:20]
)
@pytest.mark.parametrize(("where", "path"), [("x", r"x\.k"), ("", "k")])
def test_a_bad_field_is_named_with_its_path(reader, value, where, path):
    with pytest.raises(Invalid, match=rf"^{path}(\[\d\])?: expected "):
        look(Fields({"k": value}, where), reader, "k")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("default", [None, (), 7])
def test_a_field_that_is_not_there_has_its_default_or_is_missed(reader, default):
    assert look(Fields({}, "x"), reader, "k", default=default) is default
    with pytest.raises(Invalid, match=r"x\.k: expected this field; it is missing"):
        look(Fields({}, "x"), reader, "k")


@given(json_values, st.sampled_from(sorted(READERS)))
def test_every_reader_raises_invalid_alone(value, reader):
    found = tried(look, Fields({"k": value}, "x"), reader, "k", refusing=Invalid)
    assert not isinstance(found, Invalid) or str(found).startswith("x.k")


@given(json_values)
@example(10**400)
@example(-(10**400))
@example(math.inf)
@example(math.nan)
def test_a_real_is_always_finite(value):
    for read in (number, lambda v: Fields({"k": v}, "").real("k")):
        try:
            found = read(value)
        except Invalid:
            assert isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e308 or value != value
        else:
            assert isinstance(found, float)
            assert math.isfinite(found)
            assert found == float(value)
