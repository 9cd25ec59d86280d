"""TensorFlow Serving's gRPC: against ovmsclient's own classes, against protobuf as reference, and what is wrong."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ovmsclient import make_tensor_proto
from ovmsclient.tfs_compat.grpc.requests import make_metadata_request, make_predict_request, make_status_request
from ovmsclient.tfs_compat.grpc.responses import (
    GrpcModelMetadataResponse,
    GrpcModelStatusResponse,
    GrpcPredictResponse,
)
from ovmsclient.tfs_compat.protos.tensorflow.core.framework.tensor_pb2 import TensorProto
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
)
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis.model_management_pb2 import (
    ReloadConfigRequest,
    ReloadConfigResponse,
)
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from skerry.core.errors import Invalid, RequestError, TooLarge
from skerry.core.tensor import DType, Spec, Tensor
from skerry.wire.tfs_grpc import (
    Chosen,
    Listed,
    Policy,
    Signature,
    Status,
    decode_chosen,
    decode_metadata,
    decode_predict,
    decode_reload,
    decode_status,
    encode_metadata,
    encode_predict,
    encode_reload,
    encode_status,
)

ARRAYS = {
    "BOOL": np.array([[True, False]]),
    "UINT8": np.array([[0, 255]], np.uint8),
    "UINT16": np.array([[0, 65535]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1]], np.uint64),
    "INT8": np.array([[-128, 127]], np.int8),
    "INT16": np.array([[-(2**15), 2**15 - 1]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "FP16": np.array([[1.5, -2]], np.float16),
    "FP32": np.array([[1.5, -2]], np.float32),
    "FP64": np.array([[1.5, -2]], np.float64),
    "BYTES": np.array([[b"a", b"\xff\x00b"]]),
}
FIELD = {
    "BOOL": "bool_val", "UINT8": "int_val", "UINT16": "int_val", "UINT32": "uint32_val", "UINT64": "uint64_val",
    "INT8": "int_val", "INT16": "int_val", "INT32": "int_val", "INT64": "int64_val", "FP16": "half_val",
    "FP32": "float_val", "FP64": "double_val", "BYTES": "string_val",
}  # fmt: skip
NUMBER = {
    "BOOL": 10, "UINT8": 4, "UINT16": 17, "UINT32": 22, "UINT64": 23, "INT8": 6, "INT16": 5, "INT32": 3, "INT64": 9,
    "FP16": 19, "FP32": 1, "FP64": 2, "BYTES": 7,
}  # fmt: skip


def data_of(kind, array):
    """Return what a tensor of that array holds."""
    return tuple(array.flatten().tolist()) if kind == "BYTES" else array.tobytes()


def proto(kind, shape, values=None, **fields):
    """Return a TensorProto with values in its type's list."""
    listed = {} if values is None else {FIELD[kind]: values}
    return TensorProto(dtype=NUMBER[kind], tensor_shape={"dim": [{"size": size} for size in shape]}, **listed, **fields)


def listed(kind, array):
    """Return an array's values as its type's list has them."""
    return (array.view(np.uint16) if kind == "FP16" else array).flatten().tolist()


def predict(one=None, **inputs):
    """Return the bytes of a Predict request with these TensorProtos, or with one named 'x'."""
    request = PredictRequest(model_spec={"name": "m"})
    for name, value in ({"x": one} if one else inputs).items():
        request.inputs[name].CopyFrom(value)
    return request.SerializeToString()


def tensors(data):
    """Return a request's inputs by name, as bytes."""
    return {one.name: plain(one) for one in decode_predict(data).inputs}


def plain(tensor):
    """Return what a tensor holds as bytes, not as a view."""
    return tensor.data if isinstance(tensor.data, tuple) else bytes(tensor.data)


@pytest.mark.parametrize("kind", ARRAYS)
def test_what_the_client_sends_is_read(kind):
    array = ARRAYS[kind]
    sent = make_predict_request({"x": make_tensor_proto(array)}, "m", 3).raw_request
    sent.output_filter.append("y")
    found = decode_predict(sent.SerializeToString())
    assert found.chosen == Chosen("m", 3, None, "serving_default")
    assert found.output_filter == ("y",)
    (tensor,) = found.inputs
    assert (tensor.name, tensor.dtype, tensor.shape) == ("x", DType(kind), (1, 2))
    assert plain(tensor) == data_of(kind, array)


@pytest.mark.parametrize("kind", ARRAYS)
def test_typed_lists_are_read(kind):
    array = ARRAYS[kind]
    values = listed(kind, array)
    assert tensors(predict(proto(kind, (1, 2), values))) == {"x": data_of(kind, array)}
    repeated = np.repeat(array[:, -1:], 3, 1)
    assert tensors(predict(proto(kind, (1, 3), values[-1:]))) == {"x": data_of(kind, repeated)}
    assert tensors(predict(proto(kind, (), values[:1]))) == {"x": data_of(kind, array[0, :1])}
    assert tensors(predict(proto(kind, (0, 5)))) == {"x": data_of(kind, array[:0])}


def test_bfloat16_is_read_both_ways():
    wanted = b"\x80\x3f\x00\xc0"  # 1 and -2
    given = TensorProto(dtype=14, tensor_shape={"dim": [{"size": 2}]}, half_val=[0x3F80, 0xC000])
    assert tensors(predict(given)) == {"x": wanted}
    given = TensorProto(dtype=14, tensor_shape={"dim": [{"size": 2}]}, tensor_content=wanted)
    assert tensors(predict(given)) == {"x": wanted}


def test_byte_strings_may_be_content():
    assert tensors(predict(proto("BYTES", (2,), tensor_content=b"\1\2abb"))) == {"x": (b"a", b"bb")}


def test_numbers_that_are_not_packed_are_read():
    one = proto("FP32", (2,)).SerializeToString() + b"\x2d\0\0\x80?" + b"\x2d\0\0\0@"
    data = b"\x0a\x03\x0a\x01m\x12" + bytes([len(one) + 5]) + b"\x0a\x01x\x12" + bytes([len(one)]) + one
    assert tensors(data) == {"x": np.array([1, 2], np.float32).tobytes()}


def test_large_tensors_are_not_copied():
    data = predict(proto("FP32", (5000,), tensor_content=bytes(20_000)))
    found = decode_predict(memoryview(data)).inputs[0].data
    assert isinstance(found, memoryview)
    assert found.obj is data


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"name": "m"}, Chosen("m", None, None, "serving_default")),
        ({"name": "m", "version": {"value": 0}}, Chosen("m", None, None, "serving_default")),  # as ovmsclient sends
        ({"name": "m", "version": {"value": 3}}, Chosen("m", 3, None, "serving_default")),
        ({"name": "m", "version_label": "stable"}, Chosen("m", None, "stable", "serving_default")),
        ({"name": "m", "signature_name": "s"}, Chosen("m", None, None, "s")),
    ],
)
def test_the_model_is_chosen(spec, wanted):
    data = PredictRequest(model_spec=spec, inputs={"x": proto("FP32", (1,), [1])}).SerializeToString()
    assert decode_predict(data).chosen == wanted
    assert decode_chosen(data) == wanted


def test_the_clients_other_requests_are_read():
    assert decode_status(make_status_request("m", 3).raw_request.SerializeToString()).version == 3
    found = decode_metadata(make_metadata_request("m").raw_request.SerializeToString())
    assert found == Chosen("m", None, None, "serving_default")


@pytest.mark.parametrize("kind", ARRAYS)
def test_what_we_send_is_read_by_the_client(kind):
    array = ARRAYS[kind]
    outputs = [Tensor("y", DType(kind), array.shape, data_of(kind, array)), Tensor("z", DType.FP32, (0,), b"")]
    answer = PredictResponse.FromString(encode_predict("m", 3, outputs))
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("m", 3)
    assert answer.model_spec.signature_name == "serving_default"
    found = GrpcPredictResponse(answer).to_dict()["outputs"]
    np.testing.assert_array_equal(found["y"], array)
    assert found["z"].shape == (0,)


def test_a_view_is_sent_as_its_bytes():
    view = memoryview(np.arange(4, dtype=np.float32))  # len() is 4, not 16
    answer = PredictResponse.FromString(encode_predict("m", 1, [Tensor("y", DType.FP32, (4,), view)]))
    assert answer.outputs["y"].tensor_content == view.tobytes()


def test_metadata_is_read_by_the_client():
    one = Signature((Spec("x", DType.FP32, (-1, 3)),), (Spec("y", DType.BYTES, ()),))
    answer = GetModelMetadataResponse.FromString(encode_metadata("m", 3, {"serving_default": one}))
    assert answer.metadata["signature_def"].type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    assert GrpcModelMetadataResponse(answer).to_dict() == {
        "model_version": 3,
        "inputs": {"x": {"shape": [-1, 3], "dtype": "DT_FLOAT"}},
        "outputs": {"y": {"shape": [], "dtype": "DT_STRING"}},
    }


def test_status_is_read_by_the_client():
    data = encode_status([Status(3, "AVAILABLE"), Status(2, "END", "UNKNOWN", "broken")])
    assert GrpcModelStatusResponse(GetModelStatusResponse.FromString(data)).to_dict() == {
        3: {"state": "AVAILABLE", "error_code": 0, "error_message": ""},
        2: {"state": "END", "error_code": 2, "error_message": "broken"},
    }


def reload(*models):
    """Return the bytes of a reload request."""
    return ReloadConfigRequest(config={"model_config_list": {"config": models}}).SerializeToString()


def test_a_reload_is_read():
    data = reload(
        {"name": "a", "base_path": "/a", "model_platform": "tensorflow"},
        {"name": "b", "model_version_policy": {"latest": {"num_versions": 2}}, "version_labels": {"stable": 3}},
        {"name": "c", "model_version_policy": {"all": {}}},
        {"name": "d", "model_version_policy": {"specific": {"versions": [1, 4]}}},
    )
    assert decode_reload(data) == (
        Listed("a", "/a", "tensorflow", Policy("latest", 1), {}),
        Listed("b", "", "", Policy("latest", 2), {"stable": 3}),
        Listed("c", "", "", Policy("all"), {}),
        Listed("d", "", "", Policy("specific", 1, (1, 4)), {}),
    )
    assert ReloadConfigResponse.FromString(encode_reload()).status.error_code == 0
    failed = ReloadConfigResponse.FromString(encode_reload("INVALID_ARGUMENT", "x")).status
    assert (failed.error_code, failed.error_message) == (3, "x")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (reload({"name": "a"}, {"name": "a"}), "Illegal to list model a multiple times in config list"),
        (ReloadConfigRequest(config={"custom_model_config": {}}).SerializeToString(), "got custom_model_config"),
        (b"", "config: expected model_config_list; got none"),
        (
            reload({"name": "a", "model_version_policy": {"specific": {"versions": [-1]}}}),
            r"model 'a': model_version_policy: expected versions of 0 or more; got \[-1\]",
        ),
        (reload(*[{}] * 1001), "expected at most 1000 models; got 1001"),
    ],
)
def test_a_reload_that_is_wrong_is_named(data, text):
    with pytest.raises(Invalid, match=text):
        decode_reload(data)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["graph"], "Metadata field graph is not supported"),
    ],
)
def test_metadata_is_asked_for_by_its_field(fields, text):
    with pytest.raises(Invalid, match=text):
        decode_metadata(GetModelMetadataRequest(model_spec={"name": "m"}, metadata_field=fields).SerializeToString())


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (TensorProto(dtype=8), "input 'x': dtype: expected one of DT_FLOAT.*; got DT_COMPLEX64"),
        (TensorProto(dtype=99), "input 'x': dtype: expected one of DT_FLOAT.*; got 99"),
        (TensorProto(dtype=1, tensor_shape={"unknown_rank": True}), "expected its dimensions; got unknown_rank"),
        (proto("FP32", (-1,)), "input 'x': expected dimensions of 0 or more"),
        (proto("FP32", (2**60 + 2,)), "input 'x': expected at most"),
        (proto("FP32", (2,)), r"input 'x': float_val: expected 1 to 2 values for shape \[2\]; got 0"),
        (proto("FP32", (1,)), r"input 'x': float_val: expected 1 values for shape \[1\]; got 0"),
        (proto("FP32", (1,), [1, 2]), r"input 'x': float_val: expected 1 values for shape \[1\]; got 2"),
        (proto("FP32", (1,), double_val=[1]), "input 'x': expected DT_FLOAT in float_val; got double_val"),
        (proto("INT8", (1,), [128]), "input 'x': int_val: expected INT8 from -128 to 127; got 128"),
        (proto("FP16", (1,), [65536]), "input 'x': half_val: expected UINT16 from 0 to 65535"),
        (proto("FP32", (2,), tensor_content=bytes(4)), "input 'x': tensor_content: expected 8 bytes for shape"),
        (proto("BYTES", (3,), tensor_content=b"\1"), "tensor_content: expected 3 byte strings; got 1 bytes"),
        (proto("BYTES", (1,), tensor_content=b"\3a"), "tensor_content: expected 4 bytes; got 2"),
    ],
)
def test_what_is_wrong_is_named(one, text):
    with pytest.raises(Invalid, match=text):
        decode_predict(predict(one))


def test_a_model_must_be_named():
    for read in (decode_predict, decode_chosen, decode_status):
        with pytest.raises(Invalid, match="Missing ModelSpec"):
            read(b"")
    negative = PredictRequest(model_spec={"name": "m", "version": {"value": -1}}).SerializeToString()
    with pytest.raises(Invalid, match="version: expected a whole number of 0 or more; got -1"):
        decode_predict(negative)


def test_very_many_are_refused():
    with pytest.raises(Invalid, match="inputs: expected at most 1000; got 1001"):
        decode_predict(predict() + b"\x12\0" * 1001)
    with pytest.raises(Invalid, match="output_filter: expected at most 1000 names; got 1001"):
        decode_predict(predict() + b"\x1a\0" * 1001)


def test_little_that_would_become_much_is_refused():
    with pytest.raises(TooLarge, match=r"input 'x': expected at most .* bytes made by repeating its last value"):
        decode_predict(predict(proto("FP32", (1 << 25,), [1])))
    one = proto("INT8", (1 << 25,), [1])
    with pytest.raises(TooLarge, match="repeating"):
        decode_predict(predict(a=one, b=one, c=one))
    with pytest.raises(TooLarge, match="repeating"):
        decode_predict(predict(proto("BYTES", (1 << 23,), [b"a"])))


@st.composite
def protos(draw):
    """Draw a TensorProto, as content or as a list, and what it holds."""
    kind = draw(st.sampled_from(sorted(ARRAYS)))
    array = ARRAYS[kind].flatten()
    values = array[draw(st.lists(st.integers(0, 1), min_size=1, max_size=200))]
    if kind != "BYTES" and draw(st.booleans()):
        return proto(kind, values.shape, tensor_content=values.tobytes()), data_of(kind, values)
    return proto(kind, values.shape, listed(kind, values)), data_of(kind, values)


@given(st.dictionaries(st.text(max_size=3), protos(), max_size=3))
@settings(max_examples=100)
def test_every_request_is_read(given):
    data = predict(**{name: one for name, (one, _) in given.items()})
    assert tensors(data) == {name: wanted for name, (_, wanted) in given.items()}


@given(st.binary(max_size=40), protos(), st.data())
@settings(max_examples=300)
def test_whatever_bytes_come_the_answer_is_a_request_or_its_error(noise, pair, data):
    whole = predict(pair[0])
    at = data.draw(st.integers(0, len(whole)))
    for attack in (noise, whole[:at] + noise, whole[:at] + noise + whole[at + len(noise) :]):
        for read in (decode_chosen, decode_status, decode_metadata, decode_reload):
            with contextlib.suppress(Invalid):
                read(attack)
        try:
            found = decode_predict(attack)
        except RequestError:
            continue
        wanted = PredictRequest.FromString(attack)  # what we take, protobuf takes too, and means the same
        assert found.chosen.model == wanted.model_spec.name
        shapes = {name: [dim.size for dim in one.tensor_shape.dim] for name, one in wanted.inputs.items()}
        assert {one.name: list(one.shape) for one in found.inputs} == shapes
        encode_predict("m", 1, found.inputs)
