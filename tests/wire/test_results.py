from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, SkerryError, TooLarge
from skerry.core.finding import Finding
from skerry.core.names import Digest, ModelName
from skerry.wire.results import MAX_BATCH, MAX_HEADER, Ack, Alarm, Batch, Entry, Result, decode, encode, read_body
from tests.core.test_finding import findings
from tests.core.values import almost, digests, json_values, names, texts, tried
from tests.wire.messages import ACK, ALARM, RESULT

moments = st.floats(allow_nan=False, allow_infinity=False)
results = st.builds(
    Result,
    names.map(ModelName),
    st.integers(1, 99),
    digests.map(Digest),
    texts,
    st.lists(findings, max_size=3).map(tuple),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.floats(0, 1e6),
)
alarms = st.builds(Alarm, texts, names.map(ModelName), st.integers(0, 2**63 - 1), texts)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    first = draw(st.integers(1, 10**6))
    bodies = draw(st.lists(st.tuples(moments, results | alarms, st.binary(max_size=40)), max_size=4))
    return Batch(draw(texts), tuple(Entry(first + n, *one) for n, one in enumerate(bodies)))


def framed(header, pictures=b""):
    """Return a batch's bytes with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<I", len(text)) + text + pictures


def entry(**change):
    """Return one entry's header."""
    return {"seq": 1, "at": 1.5, "kind": "result", "body": RESULT, "picture": 3, **change}


@given(batches())
def test_a_batch_comes_back_with_its_pictures(batch):
    assert decode(encode(batch)) == batch


@given(batches())
def test_a_batch_that_was_cut_anywhere_is_invalid(batch):
    data = encode(batch)
    for length in range(len(data)):
        with pytest.raises(Invalid):
            decode(data[:length])


@given(batches(), st.binary(min_size=1, max_size=3))
def test_bytes_behind_a_batch_are_invalid(batch, more):
    with pytest.raises(Invalid):
        decode(encode(batch) + more)


@given(batches(), st.data())
def test_a_batch_with_bytes_changed_raises_skerry_errors_alone(batch, data):
    changed = bytearray(encode(batch))
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    assert isinstance(tried(decode, bytes(changed)), Batch | SkerryError)


@given(
    st.binary(max_size=60) | json_values.map(framed) | almost({"epoch": "e", "entries": [entry(picture=0)]}).map(framed)
)
def test_arbitrary_bytes_raise_skerry_errors_alone(data):
    try:
        batch = decode(data)
    except SkerryError:
        return
    assert decode(encode(batch)) == batch


def test_a_batch_is_framed_as_written():
    batch = Batch("e1", (Entry(7, 2.0, Alarm("r", ModelName("m"), 6, ""), b"abc"), Entry(8, 3.0, Result.read(RESULT))))
    data = encode(batch)
    (length,) = struct.unpack_from("<I", data)
    header = json.loads(data[4 : 4 + length])
    assert header["epoch"] == "e1"
    assert [(e["seq"], e["kind"], e["picture"]) for e in header["entries"]] == [(7, "alarm", 3), (8, "result", 0)]
    assert data[4 + length :] == b"abc"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "batch: expected a header; got 0 bytes"),
        (b"\xff\xff\xff\xff", "batch: expected a header of 4294967295 bytes; got 0"),
        (framed(b"{"), "batch header: JSON Parse error"),
        (framed([]), "batch: expected an object"),
        (framed({"epoch": "e" * 65, "entries": []}), "batch.epoch: expected a string of at most 64"),
        (framed({"epoch": "e", "entries": [entry()]}, b"ab"), "batch: expected a picture of 3 bytes; got 2"),
        (framed({"epoch": "e", "entries": [entry()]}, b"abcd"), "batch: expected .* bytes; got"),
        (framed({"epoch": "e", "entries": [entry(kind="odd")]}, b"abc"), "entry.kind: expected one of result, alarm"),
        (framed({"epoch": "e", "entries": [entry(seq=0)]}, b"abc"), "entry.seq: expected a whole number from 1"),
        (framed({"epoch": "e", "entries": [entry(at=True)]}, b"abc"), "entry.at: expected a number"),
        (framed({"epoch": "e", "entries": [entry(), entry(seq=3)]}, b"abcdef"), r"in order without gaps; got \[1, 3\]"),
        (framed({"epoch": "e", "entries": [entry(), entry(seq=1)]}, b"abcdef"), r"in order without gaps; got \[1, 1\]"),
        (framed({"epoch": "e", "entries": [entry(picture=-3)]}), "entry.picture: expected a whole number"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_is_wrong_is_named(data, text):
    with pytest.raises(Invalid, match=text):
        decode(data)


def test_a_batch_has_limits():
    with pytest.raises(TooLarge, match="batch: expected at most"):
        decode(bytes(MAX_BATCH + 1))
    with pytest.raises(TooLarge, match="batch header: expected at most"):
        decode(framed(b" " * (MAX_HEADER + 1)))


def test_pictures_do_not_show():
    assert "secret" not in repr(Entry(1, 0.0, Alarm.read(ALARM), b"secret"))


@pytest.mark.parametrize(("kind", "good"), [(Result, RESULT), (Alarm, ALARM), (Ack, ACK)])
def test_arbitrary_json_raises_skerry_errors_alone(kind, good):
    assert kind.read(good).json() == good

    @given(json_values | almost(good))
    def holds(value):
        try:
            found = kind.read(value)
        except SkerryError:
            return
        assert kind.read(json.loads(json.dumps(found.json(), allow_nan=False))) == found

    holds()


def test_a_body_is_read_as_its_kind_says():
    assert read_body("result", RESULT) == Result.read(RESULT)
    assert read_body("alarm", ALARM) == Alarm.read(ALARM)
    assert Result.read({**RESULT, "source": "x"}).findings == (Finding("crack", 0.5, 1, (1.0, 2.0, 3.0, 4.0)),)
