from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, SkerryError, TooLarge
from skerry.core.tensor import DType, Spec, Tensor
from skerry.wire.oip import (
    Asked,
    InferRequest,
    classify,
    decode_raw,
    decode_request,
    encode_response,
    read_tensors,
    spec_json,
    tensor_json,
)
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
    assert (request.id, request.outputs) == ("42", (Asked("y", binary=False),))
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
    answer = json.loads(encode_response("boards", 3, "42", outputs)[0])
    assert answer == {
        "model_name": "boards",
        "model_version": "3",
        "id": "42",
        "outputs": [{"name": "y", "datatype": "INT64", "shape": [1, 2], "data": [1, 2]}],
    }
    assert "id" not in json.loads(encode_response("boards", 3, "", outputs)[0])


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
def test_a_shape_that_is_an_attack_is_refused(shape):
    with pytest.raises(Invalid, match="input 'x': expected at most"):
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


def binary_request(tensors, cut=0, **more):
    """Return body and header length of a binary request for tensors, with `cut` bytes missing at its end."""
    body, length = encode_response("m", 1, "", tensors, {t.name for t in tensors})
    entries = json.loads(body[:length])["outputs"]
    text = json.dumps({"inputs": entries, **more}).encode()
    tail = body[length:]
    return text + tail[: len(tail) - cut], len(text)


sizes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@st.composite
def tensors(draw):
    kind, shape = draw(st.sampled_from(DType)), draw(sizes)
    count = 1
    for size in shape:
        count *= size
    if kind is DType.BYTES:
        data = tuple(draw(st.lists(st.binary(max_size=5), min_size=count, max_size=count)))
    else:
        data = draw(st.binary(min_size=count * kind.size, max_size=count * kind.size))
    return Tensor("x", kind, shape, data)


def same(one, other):
    plain = [t.data if isinstance(t.data, tuple) else bytes(t.data) for t in (one, other)]
    return plain[0] == plain[1] and (one.name, one.dtype, one.shape) == (other.name, other.dtype, other.shape)


@given(tensors(), tensors())
def test_binary_tensors_come_back_of_every_type(one, other):
    pair = [one, Tensor("z", other.dtype, other.shape, other.data)]
    request = decode_request(*_order(*binary_request(pair)))
    assert all(map(same, request.inputs, pair))


def _order(body, length):
    return body, MB, length


@given(tensors(), st.integers(0, 40), st.integers(-1, 1 << 40))
def test_a_binary_request_that_lies_is_refused(tensor, cut, length):
    body, real = binary_request([tensor], cut)
    for header in {length, real, real + 1, real - 1}:
        try:
            request = decode_request(body, MB, header)
        except SkerryError:
            continue
        assert header == real
        assert same(request.inputs[0], tensor)
        assert not cut or not tensor.data


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"parameters": {"binary_data_size": 15}}, "expected 16 bytes for 4 FP32; got 15"),
        ({"parameters": {"binary_data_size": 17}}, "expected 17 bytes of binary data; 16 are left"),
        ({"parameters": {"binary_data_size": -1}}, "binary_data_size: expected a whole number"),
        ({"data": [1, 2, 3, 4]}, "expected either 'data' or 'binary_data_size'"),
        ({"datatype": "BYTES", "shape": [1]}, "element 0: expected .* bytes"),
    ],
)
def test_what_is_wrong_with_binary_data_is_named(change, text):
    entry = {"name": "x", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}, **change}
    head = json.dumps({"inputs": [entry]}).encode()
    with pytest.raises(Invalid, match=text):
        decode_request(head + b"\xff" * 16, MB, len(head))


def test_bytes_behind_the_last_tensor_are_refused():
    body, length = binary_request([Tensor("x", DType.UINT8, (2,), b"ab")])
    with pytest.raises(Invalid, match="3 bytes follow"):
        decode_request(body + b"abc", MB, length)


def test_how_outputs_are_asked_for():
    outputs = [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False, "classification": 3}}]
    request = decode({"inputs": [], "outputs": outputs, "parameters": {"binary_data_output": True}})
    assert request.outputs == (Asked("a", True), Asked("b", False, 3))
    assert request.binary


@pytest.mark.parametrize(
    ("spec", "data", "shape"),
    [
        (Spec("x", DType.FP32, (1, 2, 2)), bytes(16), (1, 2, 2)),
        (Spec("x", DType.FP32, (-1, 2, 2)), bytes(16), (1, 2, 2)),
        (Spec("x", DType.INT16, (-1, -1)), bytes(6), (1, 3)),
        (Spec("x", DType.BYTES, (-1, 1)), b"anything", (1, 1)),
        (Spec("x", DType.FP64, ()), bytes(8), ()),
    ],
)
def test_raw_bytes_are_the_only_input(spec, data, shape):
    request = decode_raw(data, spec)
    assert request.inputs[0].shape == shape
    assert request.binary


@pytest.mark.parametrize(
    ("spec", "size", "text"),
    [
        (Spec("x", DType.FP32, (1, 2)), 7, "expected 8 bytes"),
        (Spec("x", DType.FP32, (1, -1, 3)), 13, "multiple of 12"),
        (Spec("x", DType.FP32, (1, -1, -1)), 12, "cannot be told"),
        (Spec("x", DType.FP32, (1, -1, 0)), 12, "multiple of 0"),
    ],
)
def test_raw_bytes_that_do_not_fit_are_refused(spec, size, text):
    with pytest.raises(Invalid, match=text):
        decode_raw(bytes(size), spec)


def test_classification():
    scores = Tensor("y", DType.INT32, (2, 3), b"".join(n.to_bytes(4, "little") for n in (1, 3, 2, 9, 9, 0)))
    found = classify(scores, 2, ("cat", "dog"))
    assert found.shape == (2, 2)
    assert found.data == (b"3.000000:1:dog", b"2.000000:2", b"9.000000:0:cat", b"9.000000:1:dog")
    assert classify(Tensor("y", DType.UINT8, (3,), b"\1\2\3"), 9, ()).shape == (3,)
    assert InferRequest(()).outputs == ()
