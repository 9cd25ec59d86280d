from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, SkerryError, TooLarge
from skerry.core.tensor import DType, Spec, Tensor
from skerry.wire.tfs import decode_predict, encode_predict, encode_rows, images, parse_body, status
from skerry.wire.values import pack, unpack
from tests.core.values import almost, json_values, tried

MB = 1 << 20
X, Y, TEXT = Spec("x", DType.FP32, (-1, 2)), Spec("y", DType.INT64, (-1,)), Spec("t", DType.BYTES, (-1,))


def tensor(name, kind, shape, values):
    """Return a tensor of these values."""
    return Tensor(name, kind, shape, pack(kind, values, name))


def b64(data):
    """Return bytes as the protocol carries them."""
    return {"b64": base64.b64encode(data).decode()}


def test_a_body_is_an_object_and_what_follows_it_is_ignored():
    assert parse_body(b' {"a": 1} and more', MB) == {"a": 1}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b" \n", "JSON Parse error: The document is empty"),
        (b"{", "JSON Parse error: .* at offset: 1"),
        (b'{"\xff": 1}', "JSON Parse error: Invalid encoding in string at offset: 2"),
        (b"[1]", r"Request JSON: \[1\] Is not object"),
        (b'{"a":' * 100_000, "JSON Parse error: maximum recursion"),
        (b'{"a":' + b"1" * 5000, "JSON Parse error: Exceeds the limit"),
    ],
    ids=range(7),
)
def test_what_is_no_body_is_invalid(data, text):
    with pytest.raises(Invalid, match=text):
        parse_body(data, MB)


def test_a_body_has_a_limit():
    with pytest.raises(TooLarge, match="request: expected at most 3 bytes; got 4"):
        parse_body(b"null", 3)


@pytest.mark.parametrize(
    ("body", "specs", "want", "row"),
    [
        ({"instances": [[1, 2], [3, 4]]}, [X], [((2, 2), [1, 2, 3, 4])], True),
        ({"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}, [X], [((2, 2), [1, 2, 3, 4])], True),
        ({"instances": [{"x": [1, 2], "y": 5}]}, [X, Y], [((1, 2), [1, 2]), ((1,), [5])], True),
        ({"inputs": [[1, 2]]}, [X], [((1, 2), [1, 2])], False),
        ({"inputs": {"x": [[1, 2]], "y": [5], "z": 0}}, [X, Y], [((1, 2), [1, 2]), ((1,), [5])], False),
        ({"inputs": 5}, [Y], [((), [5])], False),
        ({"inputs": []}, [Y], [((0,), [])], False),
        ({"inputs": [[], []]}, [X], [((2, 0), [])], False),
        ({"instances": [b64(b"\xff"), "a"]}, [TEXT], [((2,), [b"\xff", b"a"])], True),
        ({"inputs": b64(b"a")}, [TEXT], [((), [b"a"])], False),
        ({"inputs": [1], "signature_name": "serving_default"}, [Y], [((1,), [1])], False),
        ({"inputs": [1], "signature_name": ""}, [Y], [((1,), [1])], False),
    ],
)
def test_row_and_column_form(body, specs, want, row):
    request = decode_predict(body, specs)
    assert request.row is row
    assert [(t.shape, unpack(t)) for t in request.inputs] == want


@pytest.mark.parametrize(
    ("body", "specs", "text"),
    [
        ({}, [X], "Missing 'inputs' or 'instances' key"),
        ({"inputs": 1, "instances": [1]}, [X], "expected 'instances' or 'inputs', not both"),
        ({"inputs": 1, "signature_name": 1}, [X], "'signature_name' key must be a string value."),
        ({"inputs": 1, "signature_name": "other"}, [X], 'Serving signature name: "other" not found in signature def'),
        ({"instances": []}, [X], "Expecting 'instances' value to be an array/list with at least one value"),
        ({"instances": {"x": 1}}, [X], "Expecting 'instances' value to be an array/list"),
        ({"instances": [{"y": 1}]}, [X], "keys must be equal to: x; got"),
        ({"instances": [1, 2]}, [X, Y], "expecting list of objects as multiple input tensors are required: x, y"),
        ({"inputs": {"x": 1}}, [X, Y], "Missing named input: y in 'inputs' object."),
        ({"inputs": [1]}, [X, Y], "expecting an object as multiple input tensors are required"),
        ({"inputs": [[1, 2], [3]]}, [X], "Encountered list at unexpected size: 1 at level: 2 expected size: 2"),
        ({"inputs": [[1, 2], 3]}, [X], "Encountered list at unexpected size: 0 at level: 2 expected size: 2"),
        ({"inputs": [3, [1, 2]]}, [X], "input 'x': expected numbers or lists at one level"),
        ({"inputs": ["a"]}, [X], "input 'x': JSON Value: 'a' is not of expected type: float32"),
        ({"inputs": [{"b64": "!"}]}, [TEXT], "Unable to base64 decode"),
        ({"inputs": [{"b64": "é"}]}, [TEXT], "Unable to base64 decode"),
        ({"inputs": [{"b64": 5}]}, [TEXT], "'b64': expected a string; got 5"),
    ],
)
def test_what_is_wrong_is_told_as_tensorflow_serving_tells_it(body, specs, text):
    with pytest.raises(Invalid, match=text):
        decode_predict(body, specs)


def test_base64_may_lack_its_padding_and_hold_spaces():
    assert images({"instances": [{"b64": "YW\nJj"}, {"b64": "YQ"}, {"b64": "YQ=="}]}) == [b"abc", b"a", b"a"]


@pytest.mark.parametrize(
    ("body", "want"),
    [
        ({"instances": [b64(b"a"), b64(b"b")]}, [b"a", b"b"]),
        ({"instances": [{"image": b64(b"a")}, {"bytes": b64(b"b")}]}, [b"a", b"b"]),
        ({"instances": [b64(b"a"), 5]}, None),
        ({"instances": [{"image": 5}]}, None),
        ({"instances": [{"image": b64(b"a"), "size": 5}]}, None),
        ({"instances": []}, None),
        ({"instances": "a"}, None),
        ({"inputs": [b64(b"a")]}, None),
        ({"inputs": 1, "instances": [b64(b"a")]}, None),
        ({}, None),
    ],
)
def test_which_bodies_are_images(body, want):
    assert images(body) == want


def test_answers_in_row_and_column_form():
    x, y = tensor("x", DType.FP32, (2, 2), [1, 2, 3, 4.5]), tensor("y", DType.INT64, (2,), [7, 8])
    assert json.loads(encode_predict([x], row=True)) == {"predictions": [[1, 2], [3, 4.5]]}
    assert json.loads(encode_predict([x], row=False)) == {"outputs": [[1, 2], [3, 4.5]]}
    assert json.loads(encode_predict([x, y], row=True)) == {
        "predictions": [{"x": [1, 2], "y": 7}, {"x": [3, 4.5], "y": 8}]
    }
    assert json.loads(encode_predict([x, y], row=False)) == {"outputs": {"x": [[1, 2], [3, 4.5]], "y": [7, 8]}}


def test_text_is_text_and_bytes_are_base64_if_the_name_says_so():
    outputs = [tensor("t", DType.BYTES, (1,), [b"a\xff"]), tensor("t_bytes", DType.BYTES, (1,), [b"a\xff"])]
    assert json.loads(encode_predict(outputs, row=True)) == {
        "predictions": [{"t": "a\ufffd", "t_bytes": b64(b"a\xff")}]
    }


def test_rows_need_a_batch_of_one_size():
    x, scalar = tensor("x", DType.INT8, (2,), [1, 2]), tensor("s", DType.INT8, (), [1])
    with pytest.raises(Invalid, match="Tensor name: s has no shape information"):
        encode_predict([x, scalar], row=True)
    with pytest.raises(Invalid, match="Tensor name: z has inconsistent batch size: 1 expecting: 2"):
        encode_predict([x, tensor("z", DType.INT8, (1,), [1])], row=True)
    assert json.loads(encode_predict([scalar], row=False)) == {"outputs": 1}


def test_rows_and_status_are_written_as_given():
    assert json.loads(encode_rows([{"a": 1}])) == {"predictions": [{"a": 1}]}
    assert status([(3, "AVAILABLE", "OK", "")]) == {
        "model_version_status": [
            {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }


GOOD = {
    "signature_name": "serving_default",
    "instances": [{"x": [1, 2], "t": {"b64": "YQ=="}}, {"x": [3, 4], "t": "b"}],
}


@given(
    st.binary(max_size=60)
    | (json_values | almost(GOOD) | almost({"inputs": {"x": [[1, 2]], "t": ["a"]}})).map(
        lambda v: json.dumps(v).encode()
    ),
    st.sampled_from([[X], [Y], [TEXT], [X, TEXT]]),
)
def test_arbitrary_bytes_raise_skerry_errors_alone(data, specs):
    try:
        body = parse_body(data, MB)
    except SkerryError:
        return
    for read in (lambda: images(body), lambda: encode_predict(decode_predict(body, specs).inputs, row=False)):
        tried(read)
