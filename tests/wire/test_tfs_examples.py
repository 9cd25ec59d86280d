from __future__ import annotations

import base64
import functools
import json

import pytest
from hypothesis import given

from skerry.core.errors import Invalid, SkerryError
from skerry.core.tensor import DType, Spec, Tensor
from skerry.wire.tfs import decode_examples, decode_predict, encode_classify, encode_predict, encode_regress, parse_body
from skerry.wire.tfs_models import route
from skerry.wire.values import pack, unpack
from tests.core.values import almost, json_values, tried
from tests.data import DATA, needs

MB = 1 << 20
NAMES, RATINGS = Spec("names", DType.BYTES, (-1, -1)), Spec("ratings", DType.FP32, (-1, 2))
AGE, FLAG = Spec("age", DType.INT64, (-1,)), Spec("flag", DType.BOOL, (-1,))


def read(body, *specs):
    """Return shapes and values of what a body gives for a model of these inputs."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [(t.shape, unpack(t)) for t in decode_examples(parse_body(data, MB), specs)]


def test_examples_are_a_batch():
    body = {
        "signature_name": "serving_default",
        "examples": [
            {"names": ["foo", "bar"], "ratings": [8.0, 9.5], "age": 20, "flag": True},
            {"names": ["baz", {"b64": base64.b64encode(b"\xff").decode()}], "ratings": [6, 7], "age": [21], "flag": 0},
        ],
    }
    assert read(body, NAMES, RATINGS, AGE, FLAG) == [
        ((2, 2), [b"foo", b"bar", b"baz", b"\xff"]),
        ((2, 2), [8.0, 9.5, 6.0, 7.0]),
        ((2,), [20, 21]),
        ((2,), [True, False]),
    ]


def test_context_stands_in_every_example_that_has_no_own():
    body = {"context": {"age": 7}, "examples": [{}, {"age": 8}, {"other": ["x"]}]}
    assert read(body, AGE) == [((3,), [7, 8, 7])]


def test_truth_and_whole_numbers_are_one_kind_and_floats_may_be_anything():
    assert read({"examples": [{"age": True}, {"age": 2}]}, AGE) == [((2,), [1, 2])]
    body = b'{"examples": [{"ratings": [NaN, -Infinity]}, {"ratings": [16777216.0, 1e-3]}]}'
    (shape, values) = read(body, RATINGS)[0]
    assert (shape, str(values)) == ((2, 2), "[nan, -inf, 16777216.0, 0.001]")


@pytest.mark.parametrize(
    ("shape", "values", "want"),
    [
        ((-1, 3), [1, 2, 3], (1, 3)),
        ((-1, -1, 2), [1, 2, 3, 4], (1, 2, 2)),
        ((-1,), [1], (1,)),
        ((4, 2), [1, 2], (1, 2)),
    ],
)
def test_values_fill_the_shape_of_a_row(shape, values, want):
    assert read({"examples": [{"x": values}]}, Spec("x", DType.INT32, shape)) == [(want, values)]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"signature_name": ["a"], "examples": [{}]}, "'signature_name' key must be a string value"),
        ({"signature_name": "a", "examples": [{}]}, 'Serving signature name: "a" not found'),
        ({"context": [{"age": 1}], "examples": [{}]}, "Example must be JSON object but got JSON Array"),
        ({}, "When method is classify, key 'examples' is expected and was not found"),
        ({"examples": {"age": 1}}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [[{"age": 1}]]}, "Example must be JSON object but got JSON Array"),
        ({"examples": [5]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{"age": [10, None]}]}, "Feature: age has element with unexpected JSON type: Null"),
        ({"examples": [{"age": [10, {"test": 10}]}]}, "Feature: age has element with unexpected JSON type: Object"),
        ({"examples": [{"age": [[10], 20]}]}, "Feature: age has element with unexpected JSON type: Array"),
        ({"examples": [{"age": [10, 10.0]}]}, "Unexpected element type in feature: age expecting type: int64"),
        ({"examples": [{"age": [10.5, "a"]}]}, "Unexpected element type in feature: age expecting type: float"),
        ({"examples": [{"age": ["a", 1]}]}, "Unexpected element type in feature: age expecting type: bytes"),
        ({"examples": [{"age": [20, 18446744073709551603]}]}, "age has uint64 element. Only int64 is supported."),
        ({"examples": [{"age": 1.7976931348623157e308}]}, "without loss of precision"),
        ({"examples": [{"age": 10**400}]}, "Number too big to be stored in double"),
        ({"examples": [{"age": {"b64": "!"}}]}, "Unable to base64 decode"),
        ({"examples": [{"names": "a"}]}, r"Feature: age \(data type: int64\) is required but could not be found"),
        ({"examples": [{"age": "a"}]}, "Feature: age. Data types don't match. Expected type: int64; got: bytes"),
        ({"examples": [{"age": 1.5}]}, "Feature: age. Data types don't match. Expected type: int64; got: float"),
        ({"examples": [{"age": 1}, {"age": [1, 2]}]}, "Feature: age: expected 1 values in every example; got 2"),
        ({"examples": [{"age": [1, 2]}]}, "Feature: age: expected values for the shape .*; got 2"),
        ({"examples": [{"age": []}]}, "Feature: age: expected values for the shape .*; got 0"),
    ],
    ids=range(24),
)
def test_what_is_wrong_is_told_as_tensorflow_serving_tells_it(body, text):
    with pytest.raises(Invalid, match=text):
        read(body, AGE)


@pytest.mark.parametrize("shape", [(), (-1, -1, -1)])
def test_a_shape_that_examples_cannot_tell(shape):
    with pytest.raises(Invalid, match="cannot be told from examples"):
        read({"examples": [{"x": 1}]}, Spec("x", DType.INT32, shape))


def tensor(kind, shape, values):
    """Return an output of these values."""
    return Tensor("y", kind, shape, pack(kind, values, "y"))


def test_results_of_classify():
    scores = tensor(DType.FP32, (2, 3), [0.2, 0.7, 0.1, 0.5, 2, 1])
    want = [[["car", 0.2], ["bike", 0.7], ["", 0.1]], [["car", 0.5], ["bike", 2.0], ["", 1.0]]]
    assert json.loads(encode_classify(scores, ("car", "bike"))) == {"results": want}
    classes = tensor(DType.BYTES, (2, 3), list("abcdef"))
    assert json.loads(encode_classify(scores, classes=classes))["results"][1][2] == ["f", 1.0]
    assert encode_classify(tensor(DType.FP32, (1,), [3])) == b'{"results":[[["",3.0]]]}'
    assert encode_classify(tensor(DType.FP32, (1, 1), [float("nan")]), ["a"]) == b'{"results":[[["a",NaN]]]}'


def test_results_of_regress():
    values = tensor(DType.FP32, (5, 1), [0.2, float("inf"), 1, float("-inf"), float("nan")])
    assert encode_regress(values) == b'{"results":[0.2,Infinity,1.0,-Infinity,NaN]}'
    assert encode_regress(tensor(DType.INT32, (2,), [3, 4])) == b'{"results":[3.0,4.0]}'


@pytest.mark.parametrize(
    ("encode", "output", "text"),
    [
        (encode_classify, tensor(DType.FP32, (0, 3), []), "Cannot convert empty ClassificationResults to JSON"),
        (encode_classify, tensor(DType.FP32, (1, 1, 1), [1]), "scores have the shape"),
        (encode_classify, tensor(DType.BYTES, (1, 1), ["a"]), "Tensor name: y: expected numbers; got string"),
        (lambda t: encode_classify(t, classes=t), tensor(DType.FP32, (2,), [1, 2]), "classes: expected text"),
        (encode_regress, tensor(DType.FP32, (0,), []), "Cannot convert empty RegressionResults to JSON"),
        (encode_regress, tensor(DType.FP32, (1, 2), [1, 2]), r"or \[batch_size, 1\] but got: \[1, 2\]"),
        (encode_regress, tensor(DType.FP32, (), [1]), "Expected output Tensor shape"),
    ],
)  # fmt: skip
def test_outputs_that_are_no_results(encode, output, text):
    with pytest.raises(Invalid, match=text):
        encode(output)


@needs("tf_serving_models")
def test_the_answers_that_tensorflow_serving_gives():
    for case in json.loads((DATA / "tf_serving_models" / "golden.json").read_text())["rest"]:
        body = parse_body(json.dumps({**case["body"], "signature_name": ""}).encode(), MB)
        verb = route("POST", case["POST"]).verb
        if verb == "predict":
            request = decode_predict(body, [Spec("x", DType.FP32, (-1,))])
            inputs, encode = request.inputs, functools.partial(encode_predict, row=request.row)
        else:
            inputs = decode_examples(body, [Spec("x", DType.FP32, (-1, 1))])
            encode = {"classify": lambda t: encode_classify(t[0]), "regress": lambda t: encode_regress(t[0])}[verb]
        halved = [x / 2 + 2 for x in unpack(inputs[0])]
        answer = encode([Tensor("y", DType.FP32, inputs[0].shape, pack(DType.FP32, halved, "y"))])
        assert json.loads(answer) == case["reply"]


GOOD = {"context": {"age": 1}, "examples": [{"names": ["a", "b"], "ratings": [1.5, 2.5]}, {"names": "c", "age": [2]}]}


@given(json_values | almost(GOOD))
def test_arbitrary_json_raises_skerry_errors_alone(value):
    body = tried(parse_body, json.dumps(value).encode(), MB)
    if not isinstance(body, SkerryError):
        tried(decode_examples, body, [NAMES, RATINGS, AGE, FLAG])
