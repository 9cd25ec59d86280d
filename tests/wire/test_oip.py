from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, SkerryError, TooLarge
from skerry.core.tensor import DType, Spec, Tensor
from skerry.wire.oip import decode_request, encode_response, read_tensors, spec_json, tensor_json
from tests.core.values import almost, json_values

MB = 1 << 20
INPUT = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2.5, 3, 4]}
GOOD = {
    "id": "42",
    "inputs": [INPUT, {"name": "s", "datatype": "BYTES", "shape": [1], "data": ["é"]}],
    "outputs": [{"name": "y"}],
}


def decode(value):
    """Return the request in a JSON value."""
    return decode_request(json.dumps(value).encode(), MB)


def test_a_request_is_typed():
    request = decode(GOOD)
    assert (request.id, request.outputs) == ("42", ("y",))
    assert request.inputs[0].dtype is DType.FP32
    assert request.inputs[0].shape == (2, 2)
    assert len(request.inputs[0].data) == 16
    assert request.inputs[1].data == ("é".encode(),)


def test_data_may_be_nested_or_flat():
    assert decode({"inputs": [{**INPUT, "data": [[1, 2.5], [3, 4]]}]}) == decode({"inputs": [INPUT]})


def test_a_tensor_comes_back():
    assert read_tensors([tensor_json(t) for t in decode(GOOD).inputs]) == decode(GOOD).inputs
    assert tensor_json(decode(GOOD).inputs[0]) == INPUT


def test_an_answer_is_the_protocols():
    outputs = [Tensor("y", DType.INT64, (1, 2), b"\1" + bytes(7) + b"\2" + bytes(7))]
    answer = json.loads(encode_response("boards", 3, "42", outputs))
    assert answer == {
        "model_name": "boards",
        "model_version": "3",
        "id": "42",
        "outputs": [{"name": "y", "datatype": "INT64", "shape": [1, 2], "data": [1, 2]}],
    }
    assert "id" not in json.loads(encode_response("boards", 3, "", outputs))


def test_bytes_that_are_no_text_cannot_stand_in_json():
    with pytest.raises(Invalid, match="output 'y': holds bytes that JSON cannot carry"):
        encode_response("m", 1, "", [Tensor("y", DType.BYTES, (1,), (b"\xff",))])


def test_a_spec_is_the_protocols():
    assert spec_json(Spec("x", DType.BOOL, (-1, 3))) == {"name": "x", "datatype": "BOOL", "shape": [-1, 3]}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"datatype": "FP8"}, r"inputs\[0\]: datatype: expected one of BOOL"),
        ({"shape": [-1]}, r"inputs\[0\]: shape\[0\]: expected a whole number of 0 or more; got -1"),
        ({"shape": [True, 2]}, r"shape\[0\]: expected a whole number"),
        ({"shape": [3]}, r"input 'x': expected 3 values for shape \[3\]; got 4"),
        ({"shape": [1] * 17}, "input 'x': expected at most 16 dimensions"),
        ({"data": 5}, "input 'x': data: expected a list; got 5"),
        ({"data": [1, 2, 3, "4"]}, "input 'x': data: JSON Value: '4' is not of expected type"),
        ({"data": [[1, 2], 3, 4]}, "input 'x': data: expected numbers or lists at one level"),
    ],
)
def test_what_is_wrong_is_named(change, text):
    with pytest.raises(Invalid, match=text):
        decode({"inputs": [{**INPUT, **change}]})


@pytest.mark.parametrize("shape", [[1 << 31], [0, 1 << 31], [1 << 20, 1 << 20]])
def test_a_shape_that_is_an_attack_is_too_large(shape):
    with pytest.raises(TooLarge, match="input 'x': expected at most"):
        decode({"inputs": [{**INPUT, "shape": shape, "data": []}]})
    with pytest.raises(TooLarge, match="request: expected at most 3 bytes"):
        decode_request(b"null", 3)


@given(st.binary(max_size=60) | (json_values | almost(GOOD)).map(lambda v: json.dumps(v).encode()))
def test_arbitrary_bytes_raise_skerry_errors_alone(data):
    try:
        request = decode_request(data, MB)
    except SkerryError:
        return
    encode_response("m", 1, request.id, request.inputs)
