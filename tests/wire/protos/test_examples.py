"""Classify, Regress and MultiInference, against ovmsclient's own classes."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis.classification_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
)
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis.inference_pb2 import (
    MultiInferenceRequest,
    MultiInferenceResponse,
)
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis.regression_pb2 import RegressionRequest, RegressionResponse

from skerry.core.errors import Invalid, RequestError, TooLarge, Unsupported
from skerry.core.tensor import DType, Spec, Tensor
from skerry.wire.protos.examples import (
    CLASSIFY,
    REGRESS,
    Result,
    Task,
    decode_examples,
    decode_tasks,
    encode_classify,
    encode_regress,
    encode_results,
)
from skerry.wire.tfs_grpc import Chosen, decode_chosen

FLOATS = Spec("f", DType.FP32, (-1, 2))
INTS = Spec("i", DType.INT8, (-1,))
TEXTS = Spec("s", DType.BYTES, (-1, 1))


def example(**features):
    """Return a tf.Example of features: a list of floats, of whole numbers, or of bytes."""
    names = {float: "float_list", int: "int64_list", bytes: "bytes_list"}
    return {
        "features": {"feature": {name: {names[type(v[0])]: {"value": v}} if v else {} for name, v in features.items()}}
    }


def request(*examples, context=None, kind=ClassificationRequest):
    """Return the bytes of a request with examples."""
    if context is None:
        return kind(model_spec={"name": "m"}, input={"example_list": {"examples": examples}}).SerializeToString()
    held = {"example_list_with_context": {"examples": examples, "context": context}}
    return kind(model_spec={"name": "m"}, input=held).SerializeToString()


@pytest.mark.parametrize("kind", [ClassificationRequest, RegressionRequest])
def test_examples_become_a_batch(kind):
    data = request(example(f=[1.0, 2.0], i=[1], s=[b"a"]), example(f=[3.0, 4.0], i=[-1], s=[b"b"]), kind=kind)
    assert decode_chosen(data).model == "m"
    assert decode_examples(data, [FLOATS, INTS, TEXTS]) == (
        Tensor("f", DType.FP32, (2, 2), struct.pack("<4f", 1, 2, 3, 4)),
        Tensor("i", DType.INT8, (2,), b"\1\xff"),
        Tensor("s", DType.BYTES, (2, 1), (b"a", b"b")),
    )


def test_the_context_counts_where_an_example_is_silent():
    data = request(example(i=[1]), example(other=[1]), context=example(i=[5]))
    assert decode_examples(data, [INTS])[0].data == b"\1\5"


def test_a_free_dimension_is_told_by_the_values():
    data = request(example(f=[1.0] * 6))
    assert decode_examples(data, [Spec("f", DType.FP16, (-1, -1, 3))])[0].shape == (1, 2, 3)


@pytest.mark.parametrize(
    ("data", "spec", "text"),
    [
        (b"", FLOATS, "Input is empty."),
        (request(), FLOATS, "input: expected 1 to 100000 examples; got 0"),
        (request(example(i=[1])), FLOATS, "feature 'f': is required; example 0 has none"),
        (request(example(f=[1])), FLOATS, "feature 'f': expected float_list; got int64_list in example 0"),
        (request(example(f=[])), FLOATS, "feature 'f': expected float_list; got none in example 0"),
        (request(example(i=[1]), example(i=[1, 2])), INTS, "feature 'i': expected 1 values in each example; got 2"),
        (request(example(f=[1.0])), FLOATS, r"feature 'f': expected values for shape \[2\] in each example; got 1"),
        (request(example(i=[200])), INTS, "feature 'i': expected INT8 from -128 to 127; got 200"),
        (request(example(b=[2])), Spec("b", DType.BOOL, (-1,)), "feature 'b': expected BOOL from 0 to 1; got 2"),
        (request(example(i=[1])), Spec("i", DType.INT8, ()), "feature 'i': the model takes one value, not a batch"),
        (request(example(f=[1.0])), Spec("f", DType.BF16, (-1,)), "feature 'f': the model takes BF16"),
    ],
)
def test_what_is_wrong_is_named(data, spec, text):
    with pytest.raises(Invalid, match=text):
        decode_examples(data, [spec])


def test_little_that_would_become_much_is_refused():
    data = request(*[{}] * 1001, context=example(f=[1.0] * 1000))
    with pytest.raises(TooLarge, match="feature 'f': expected at most 1000000 values in all examples; got 1001000"):
        decode_examples(data, [Spec("f", DType.FP32, (-1, 1000))])


def test_classes_and_values_are_read_by_the_client():
    answer = ClassificationResponse.FromString(encode_classify("m", 3, [[("cat", 0.5), ("dog", 0.25)], []]))
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("m", 3)
    found = [[(one.label, one.score) for one in row.classes] for row in answer.result.classifications]
    assert found == [[("cat", 0.5), ("dog", 0.25)], []]
    values = RegressionResponse.FromString(encode_regress("m", 3, [0.5, -1])).result.regressions
    assert [one.value for one in values] == [0.5, -1]


def test_many_tasks_are_read_and_answered():
    tasks = [
        {"model_spec": {"name": "m", "signature_name": "c"}, "method_name": CLASSIFY},
        {"model_spec": {"name": "m", "signature_name": "r"}, "method_name": REGRESS},
    ]
    held = {"example_list": {"examples": [example(i=[7])]}}
    data = MultiInferenceRequest(tasks=tasks, input=held).SerializeToString()
    assert decode_tasks(data) == (
        Task(Chosen("m", None, None, "c"), CLASSIFY),
        Task(Chosen("m", None, None, "r"), REGRESS),
    )
    assert decode_examples(data, [INTS])[0].data == b"\7"
    results = [Result("m", 3, "c", [[("cat", 0.5)]], None), Result("m", 3, "r", None, [0.25])]
    answer = MultiInferenceResponse.FromString(encode_results(results)).results
    assert answer[0].classification_result.classifications[0].classes[0].label == "cat"
    assert answer[1].regression_result.regressions[0].value == 0.25
    assert answer[1].model_spec.signature_name == "r"


@pytest.mark.parametrize(
    ("tasks", "text"),
    [
        ([], "tasks: expected 1 to 100; got 0"),
        ([{"model_spec": {"name": "m"}, "method_name": "x"}], "Unsupported signature method_name: x"),
        ([{"model_spec": {"name": "m"}, "method_name": CLASSIFY}] * 2, "Duplicate evaluation of signature: serving_d"),
        (
            [{"model_spec": {"name": "m", "version": {"value": v}}, "method_name": CLASSIFY} for v in (1, 2)],
            "must access the same version of m",
        ),
        (
            [{"model_spec": {"name": name}, "method_name": CLASSIFY} for name in "mn"],
            "All ModelSpecs in a MultiInferenceRequest must access the same model name",
        ),
    ],
)
def test_wrong_tasks_are_named(tasks, text):
    with pytest.raises((Invalid, Unsupported), match=text):
        decode_tasks(MultiInferenceRequest(tasks=tasks).SerializeToString())


@given(st.binary(max_size=40))
def test_arbitrary_bytes_raise_request_errors_alone(noise):
    whole = request(example(f=[1.0, 2.0], i=[1], s=[b"a"]))
    for data in (noise, whole[:-10] + noise, whole[: len(whole) // 2] + noise):
        with contextlib.suppress(RequestError):
            decode_examples(data, [FLOATS, INTS, TEXTS])
        with contextlib.suppress(RequestError):
            decode_tasks(data)
