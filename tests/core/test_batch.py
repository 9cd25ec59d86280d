from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.batch import LEAST_GAIN, allowed, full, groups, joins, load_of, paying
from skerry.core.tensor import DType, Spec, Tensor


def tensor(*shape: int, name: str = "x", dtype: DType = DType.FP32) -> Tensor:
    return Tensor(name, dtype, shape, bytes(math.prod(shape) * dtype.size))


def spec(*shape: int) -> Spec:
    return Spec("x", DType.FP32, shape)


A, B = (("x", DType.FP32, (3,)),), (("x", DType.FP32, (4,)),)


@pytest.mark.parametrize(
    ("inputs", "outputs", "answer"),
    [
        ([spec(-1, 3)], [spec(-1, 2)], True),
        ([spec(-1)], [spec(-1)], True),
        ([spec(-1, -1)], [spec(-1, 2), spec(-1)], True),
        ([spec(1, 3)], [spec(1, 2)], False),
        ([spec(-1, 3)], [spec(2)], False),
        ([spec(-1, 3)], [spec()], False),
        ([spec(-1, 3), spec(3)], [spec(-1, 2)], False),
        ([], [spec(-1)], False),
        ([spec(-1)], [], False),
    ],
)
def test_a_model_joins_if_every_first_dimension_is_free(inputs, outputs, answer):
    assert joins(inputs, outputs) is answer


@pytest.mark.parametrize(
    ("tensors", "load"),
    [
        ([tensor(1, 3)], (A, 1)),
        ([tensor(7, 3)], (A, 7)),
        ([tensor(7, 4)], (B, 7)),
        ([tensor(2)], ((("x", DType.FP32, ()),), 2)),
        ([tensor(2, name="b"), tensor(2, 1, name="a")], ((("a", DType.FP32, (1,)), ("b", DType.FP32, ())), 2)),
        ([tensor(2, name="b"), tensor(3, name="a")], None),
        ([tensor(2), tensor(2)], None),
        ([tensor(2), tensor(name="a")], None),
        ([tensor()], None),
        ([tensor(0, 3)], None),
        ([], None),
    ],
)
def test_what_a_request_has_in_common_with_others(tensors, load):
    assert load_of(tensors) == load


@pytest.mark.parametrize(
    ("loads", "sizes", "answer"),
    [
        ([], (1, 2), []),
        ([(A, 1)] * 4, (1, 2, 4), [[0, 1, 2, 3]]),
        ([(A, 1)] * 3, (1, 2, 4), [[0, 1], [2]]),
        ([(A, 1)] * 7, (1, 2, 4), [[0, 1, 2, 3], [4, 5], [6]]),
        ([(A, 1)] * 3, (), [[0], [1], [2]]),
        ([(A, 1), (B, 1), (A, 1), (B, 1)], (1, 2), [[0, 2], [1, 3]]),
        ([(A, 1), None, (A, 1)], (1, 2), [[0, 2], [1]]),
        ([(A, 3), (A, 1)], (1, 2, 4), [[0, 1]]),
        ([(A, 3), (A, 3)], (1, 2, 4), [[0], [1]]),
        ([(A, 9), (A, 1), (A, 1)], (1, 2, 4), [[0], [1, 2]]),
        ([(A, 1), (A, 2), (A, 1), (A, 1)], (1, 2, 4), [[0, 1, 2], [3]]),
    ],
)
def test_who_runs_together(loads, sizes, answer):
    assert groups(loads, sizes) == answer


LOADS = st.lists(st.none() | st.tuples(st.sampled_from([A, B]), st.integers(1, 9)), max_size=40)


@given(LOADS, st.sets(st.integers(1, 32)))
def test_groups_are_of_one_kind_of_an_allowed_size_and_in_order(loads, sizes):
    found = groups(loads, sizes)
    assert sorted(itertools.chain(*found)) == list(range(len(loads)))
    for group in found:
        assert group == sorted(group)
        if len(group) > 1:
            assert {loads[place][0] for place in group} in ({A}, {B})
            assert sum(loads[place][1] for place in group) in sizes
    for kind in (A, B):
        of_kind = [place for group in found for place in group if loads[place] and loads[place][0] == kind]
        assert of_kind == sorted(of_kind)


@pytest.mark.parametrize(
    ("rows", "sizes", "preferred", "answer"),
    [(4, (1, 2, 4), (), True), (3, (1, 2, 4), (), False), (3, (1, 2, 4), (3,), True), (1, (), (), True)],
)
def test_when_to_wait_no_more(rows, sizes, preferred, answer):
    assert full(rows, sizes, preferred) is answer


@pytest.mark.parametrize(
    ("most", "preferred", "answer"),
    [(1, (), ()), (0, (4,), ()), (2, (), (1, 2)), (6, (), (1, 2, 4, 6)), (8, (5, 9), (1, 2, 4, 5, 8))],
)
def test_allowed_sizes(most, preferred, answer):
    assert allowed(most, preferred) == answer


@pytest.mark.parametrize(
    ("medians", "answer"),
    [
        ({}, ()),
        ({1: 10.0}, ()),
        ({1: 10.0, 2: 20.0}, ()),
        ({1: 10.0, 2: 19.0}, ()),
        ({1: 10.0, 2: 18.0}, (1, 2)),
        ({1: 10.0, 2: 10.0, 4: 10.0, 8: 20.0, 16: 30.0}, (1, 2, 4)),  # 8 gains nothing, and ends the row
    ],
)
def test_sizes_that_pay(medians, answer):
    assert paying(medians) == answer


def test_a_size_whose_tail_is_too_long_does_not_pay():
    medians, tails = {1: 10.0, 2: 11.0, 4: 12.0}, {1: 30.0, 2: 15.0, 4: 21.0}
    assert paying(medians, tails, 20.0) == (1, 2)
    assert paying(medians, tails) == (1, 2, 4)


@given(st.dictionaries(st.sampled_from([1, 2, 4, 8, 16, 32]), st.floats(1e-6, 10.0), max_size=6))
def test_each_size_that_pays_gains_enough(medians):
    found = paying(medians)
    for less, more in itertools.pairwise(found):
        assert more / medians[more] >= (1 + LEAST_GAIN) * less / medians[less]


@pytest.mark.parametrize("data", [bytes(11), bytes(13), b""])
def test_a_request_of_the_wrong_length_runs_alone(data):
    assert load_of([Tensor("x", DType.FP32, (1, 3), data)]) is None


def test_texts_run_together():
    assert load_of([Tensor("x", DType.BYTES, (2,), (b"a", b"bc"))]) == ((("x", DType.BYTES, ()),), 2)
    assert load_of([Tensor("x", DType.BYTES, (2,), (b"a",))]) is None
