from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skerry.core.errors import Invalid
from skerry.core.tensor import MAX_RANK, DType, Tensor
from skerry.wire import numbers
from tests.core.values import tried
from tests.wire.reference import REAL, WHOLE, lists, loads, plain, spoiled, strange, tensor, tokens

np = pytest.importorskip("numpy")

KINDS = WHOLE + REAL


def reference(text, kind, exact=False):
    """Return what the obvious parser makes of text, None if nothing."""
    try:
        return tensor(kind, loads(text), exact)
    except ValueError:
        return None


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_is_what_the_obvious_parser_reads(kind):
    token = tokens | st.integers(-100, 100).map(str)

    @given(spoiled(lists(token)) | spoiled(lists(token | strange)))
    @example("[[1],[2,3],[4,5,6]]")
    @example("[[1,2],[3]]")
    @example("[1,[2,3],[]]")
    @example("[[[1],[2]],[[3,4]]]")
    @example("[[1]2,[3]]")
    @example("[1]2")
    @example("[1,]")
    @example("91,[2],37")
    def holds(text):
        want, found = reference(text, kind), numbers.read(text.encode(), kind)
        if found is not None:
            assert want is not None
            assert (found[0], plain(found[1])) == want

    holds()


@pytest.mark.parametrize("kind", KINDS)
def test_ordinary_lists_are_read(kind):
    small = st.integers(0, 100).map(str) if kind in WHOLE else st.floats(-60000, 60000).map(repr)

    @given(lists(small))
    def holds(text):
        found = numbers.read(text.encode(), kind)
        assert found is not None
        assert (found[0], plain(found[1])) == reference(text, kind)

    holds()


@pytest.mark.parametrize("kind", [DType.FP32, DType.FP64])
def test_floats_beyond_reach_are_left(kind):
    @given(lists())
    def holds(text):
        found = numbers.read(text.encode(), kind, numbers.EXACT[kind])
        if found is not None:
            assert (found[0], plain(found[1])) == reference(text, kind, exact=True)

    holds()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(70_000,), (1, 300, 300), (90_001, 1), (2, 3, 5, 7, 400)])
def test_long_text_is_read_in_pieces_and_by_numpy(kind, shape):
    high = 100 if kind.integer else 10
    values = np.random.default_rng(1).integers(0, high, shape).astype(kind.numpy)
    if not kind.integer:
        values = values + np.asarray(0.5, kind.numpy)
    text = json.dumps(values.tolist(), separators=(",", ":")).encode()
    found = numbers.read(text, kind)
    assert found is not None
    assert found[0] == shape
    assert bytes(found[1]) == values.tobytes()
    assert numbers.read(text[:-1], kind) is None
    if kind is not DType.FP64:
        assert numbers.read(text[: text.rindex(b",") + 1] + b"1e99" + b"]" * len(shape), kind) is None


@pytest.mark.parametrize("shape", [(200_000,), (200, 1000), (70_000, 3), (10, 20, 30, 40)])
def test_text_beyond_one_piece(shape):
    values = np.random.default_rng(1).integers(100, 999, shape).astype(np.int32)
    text = json.dumps(values.tolist()).encode()
    assert len(text) > 1 << 19
    found = numbers.read(text, DType.INT32)
    assert found is not None
    assert (found[0], bytes(found[1])) == (shape, values.tobytes())
    for wrong in (b"true", b"1.5", b"NaN", b"", b"5,5", b"[5]", b"5000000000", b"1]", b"[1"):
        spoilt = text.replace(b" %d," % values.reshape(-1)[100_000], b" " + wrong + b",", 1)
        if wrong != b"5,5" or len(shape) > 1:
            assert numbers.read(spoilt, DType.INT32) is None, wrong


@pytest.mark.parametrize("indent", [None, 1, 3, 300])
def test_white_space_may_stand_at_the_cuts(indent):
    values = np.random.default_rng(2).integers(0, 9, (40, 300, 4) if indent != 300 else (3, 200, 2)).tolist()
    text = json.dumps(values, indent=indent).encode()
    assert len(text) > 1 << 17
    found = numbers.read(text, DType.UINT8)
    assert found is not None
    assert bytes(found[1]) == np.asarray(values, np.uint8).tobytes()


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_long_text_that_is_spoilt_is_refused(data):
    row = "[" + ",".join(["[1,2,3]"] * 200) + "]"
    text = "[" + ",".join([row] * 200) + "]"
    at = data.draw(st.integers(0, len(text) - 1))
    what = data.draw(st.sampled_from(["[", "]", ",", "1,", "],[", "[[", "x", " ", "", "]1", "1["]))
    keep = data.draw(st.booleans())
    spoilt = text[:at] + what + text[at + (not keep) :]
    found = numbers.read(spoilt.encode(), DType.INT64)
    want = reference(spoilt, DType.INT64)
    assert (found is None) == (want is None)
    if found is not None:
        assert (found[0], plain(found[1])) == want


def test_threads_may_read_at_once():
    texts = [json.dumps([[n, n + 1]] * 2000).encode() for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: numbers.read(text, DType.INT16), texts * 20))
    assert [bytes(one[1])[:2] for one in found] == [bytes([n, 0]) for n in range(4)] * 20


def test_a_shape_is_told_by_its_brackets():
    deep = b"[" * 17 + b"]" * 17
    assert numbers.shape_of(b"[[,],[,]]") == (2, 2)
    assert numbers.shape_of(b"[" * MAX_RANK + b"]" * MAX_RANK) == (1,) * MAX_RANK
    for wrong in (
        b"",
        b"[",
        b"]",
        deep,
        b"[[,],[]]",
        b"[[],,]",
        b"[]]",
        b"[[]",
        b"[][]",
        b",",
        b'["]',
    ):
        assert numbers.shape_of(wrong) is None, wrong


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.text("[],", max_size=12), st.integers(0, 40))
def test_brackets_that_tell_no_shape_are_refused(shape, noise, at):
    text = json.dumps(np.zeros(shape, int).tolist()).replace(" ", "").replace("0", "")
    assert numbers.shape_of(text.encode()) == tuple(shape)
    spoilt = text[:at] + noise + text[at:]
    found = numbers.shape_of(spoilt.encode())
    if found is not None:
        assert json.dumps(np.zeros(found, int).tolist()).replace(" ", "").replace("0", "") == spoilt


def test_few_numbers_that_claim_many_brackets_cost_nothing():
    assert numbers.read(b"[" * 16 + b"1" + b"]" * 15 + b",1" * 100_000 + b"]", DType.FP32) is None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"[1", "x: JSON Parse error"),
        (b"[1e999]", "x: JSON Parse error: Number too big"),
        (b"[" * 100_000, "x: JSON Parse error: nested deeper than 500 lists"),
        (b"[" + b"[]," * (1 << 20) + b"[]]", "x: expected at most 1048576 lists and objects"),
        (b'"\xff"', "x: expected UTF-8"),
        (b'"\\ud800"', "x: JSON Parse error: half of a surrogate pair"),
    ],
    ids=range(6),
)
def test_what_cannot_become_python_is_invalid(text, error):
    with pytest.raises(Invalid, match=error):
        numbers.python(text, "x")


@given(st.binary(max_size=40) | spoiled(lists(tokens | strange)).map(str.encode))
def test_text_becomes_what_json_says(text):
    found = tried(lambda: numbers.python(text, "x"), refusing=Invalid)
    if not isinstance(found, Invalid):
        theirs = json.loads(text)
        assert found == theirs or repr(found) == repr(theirs)


@pytest.mark.parametrize("kind", [*KINDS, DType.BOOL])
def test_arrays_are_views_of_a_tensors_bytes(kind):
    data = bytes(range(8 * kind.size)) if kind is not DType.BOOL else b"\0\1\2\0\1\1\0\0"
    found = numbers.array(Tensor("x", kind, (2, 4), data))
    assert found.shape == (2, 4)
    want = np.frombuffer(data, kind.numpy) if kind is not DType.BOOL else np.frombuffer(data, np.uint8) != 0
    np.testing.assert_array_equal(found.reshape(-1), want)
    assert numbers.array(Tensor("x", kind, (0, 3), b"")).shape == (0, 3)


def test_what_is_not_finite_is_left_to_the_slow_way():
    for value in (math.nan, math.inf, -math.inf):
        assert numbers.dumps({"a": np.array([value], np.float32)}) is None
    assert numbers.dumps({"a": "\ud800"}) is None
    assert numbers.dumps({"a": np.array([2, 0.1], np.float32)}) == b'{"a":[2.0,0.1]}'
    assert numbers.slow_dumps([math.nan, -math.inf]) == b"[NaN,-Infinity]"
