"""ModelInfer over gRPC: against the client's own classes, against protobuf as reference, and against what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import tritonclient.grpc as client
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as theirs
from tritonclient.grpc._utils import _get_inference_request

from skerry.core.errors import Invalid, RequestError, TooLarge
from skerry.core.tensor import DType, Tensor
from skerry.wire.oip import Asked, Place
from skerry.wire.oip_grpc import decode_infer, encode_infer, encode_stream, encode_stream_error, infer_parts

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
    "BYTES": np.array([[b"", b"\xff\x00"]], np.object_),
}
CONTENTS = {
    "bool_contents": ("BOOL",),
    "int_contents": ("INT8", "INT16", "INT32"),
    "int64_contents": ("INT64",),
    "uint_contents": ("UINT8", "UINT16", "UINT32"),
    "uint64_contents": ("UINT64",),
    "fp32_contents": ("FP32",),
    "fp64_contents": ("FP64",),
    "bytes_contents": ("BYTES",),
}
FIELD = {kind: field for field, kinds in CONTENTS.items() for kind in kinds}


def triton_request(inputs, outputs=None, **more):
    """Return the bytes that tritonclient sends for inputs."""
    given = {"model_version": "", "request_id": "", "sequence_id": 0, "sequence_start": False, "sequence_end": False}
    given |= {"priority": 0, "timeout": None, "parameters": None, "model_name": "m"} | more
    return _get_inference_request(inputs=inputs, outputs=outputs, **given).SerializeToString()


def triton_input(name, kind, array):
    """Return an input of tritonclient."""
    one = client.InferInput(name, list(array.shape), kind)
    one.set_data_from_numpy(array)
    return one


def data_of(kind, array):
    """Return what a tensor of that array holds."""
    return tuple(array.flatten()) if kind == "BYTES" else array.tobytes()


def request(**fields):
    """Return the bytes of a request with one FP32 input 'x' [2], changed by `fields` of the input."""
    raw = fields.pop("raw", [bytes(8)])
    one = {"name": "x", "datatype": "FP32", "shape": [2], **fields}
    return theirs.ModelInferRequest(model_name="m", inputs=[one], raw_input_contents=raw).SerializeToString()


@pytest.mark.parametrize("kind", ARRAYS)
def test_what_the_client_sends_is_read(kind):
    array = ARRAYS[kind]
    call = decode_infer(triton_request([triton_input("x", kind, array)], model_version="3", request_id="7"))
    assert (call.model, call.version, call.request.id, call.request.outputs) == ("m", "3", "7", ())
    assert call.request.inputs == (Tensor("x", DType(kind), (1, 2), data_of(kind, array)),)


@pytest.mark.parametrize("kind", FIELD)
@pytest.mark.parametrize("packed", [True, False])
def test_typed_contents_are_read(kind, packed):
    array = ARRAYS[kind]
    contents = theirs.InferTensorContents(**{FIELD[kind]: array.flatten().tolist()})
    part = contents.SerializeToString() if packed else unpacked(contents)
    one = theirs.ModelInferRequest.InferInputTensor(name="x", datatype=kind, shape=[1, 2]).SerializeToString()
    one += field(5, part)
    call = decode_infer(field(1, b"m") + field(5, one))
    assert call.request.inputs == (Tensor("x", DType(kind), (1, 2), data_of(kind, array)),)


def field(number, data):
    """Return a length-delimited field."""
    size = len(data)
    assert size < 1 << 14
    return bytes([number << 3 | 2]) + (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])) + data


def unpacked(contents):
    """Return contents with each number in a field of its own, as proto2 writes them."""
    found = b""
    for descriptor, values in contents.ListFields():
        for value in values:
            alone = theirs.InferTensorContents(**{descriptor.name: [value]}).SerializeToString()
            if descriptor.name == "bytes_contents":
                found += alone
            else:  # tag, length, number: without the length, and with the number's own wire type
                wire = {"fp32_contents": 5, "fp64_contents": 1}.get(descriptor.name, 0)
                found += bytes([alone[0] & ~7 | wire]) + alone[2:]
    return found


@pytest.mark.parametrize("kind", ARRAYS)
def test_what_we_send_is_read_by_the_client(kind):
    array = ARRAYS[kind]
    tensors = [Tensor("y", DType(kind), array.shape, data_of(kind, array)), Tensor("z", DType.FP32, (0,), b"")]
    answer = client.InferResult(theirs.ModelInferResponse.FromString(encode_infer("m", 3, "7", tensors)))
    np.testing.assert_array_equal(answer.as_numpy("y"), array)
    assert answer.as_numpy("z").shape == (0,)
    response = answer.get_response()
    assert (response.model_name, response.model_version, response.id) == ("m", "3", "7")


def test_what_lies_in_shared_memory_is_said():
    tensors = [Tensor("y", DType.FP32, (1,), b"1234"), Tensor("z", DType.INT8, (1,), b"5")]
    answer = theirs.ModelInferResponse.FromString(encode_infer("m", 1, "", tensors, placed={"y": Place("r", 8, 4)}))
    wanted = {"shared_memory_region": "r", "shared_memory_byte_size": 4, "shared_memory_offset": 8}
    assert chosen(answer.outputs[0].parameters) == wanted
    assert list(answer.raw_output_contents) == [b"", b"5"]
    assert client.InferResult(answer).as_numpy("z").tolist() == [ord("5")]


def test_a_view_is_sent_as_its_bytes():
    view = memoryview(np.arange(4, dtype=np.float32))  # len() is 4, not 16
    parts = infer_parts("m", 1, "", [Tensor("y", DType.FP32, (4,), view)])
    answer = theirs.ModelInferResponse.FromString(b"".join(parts))
    assert list(answer.raw_output_contents) == [view.tobytes()]
    streamed = theirs.ModelStreamInferResponse.FromString(encode_stream(parts))
    assert (streamed.infer_response, streamed.error_message) == (answer, "")


def test_response_parameters_are_sent():
    given = {"a": True, "b": -1, "c": "é", "d": 1.5, "e": 2**64 - 1}
    answer = theirs.ModelInferResponse.FromString(encode_infer("m", 1, "", [], given))
    assert chosen(answer.parameters) == given


def test_a_stream_says_what_failed_and_where():
    answer = theirs.ModelStreamInferResponse.FromString(encode_stream_error("é", "7"))
    assert (answer.error_message, answer.infer_response.id) == ("é", "7")
    assert theirs.ModelStreamInferResponse.FromString(encode_stream_error("x")).error_message == "x"


def test_parameters_and_outputs_are_read():
    outputs = [client.InferRequestedOutput("y", class_count=3), client.InferRequestedOutput("z")]
    outputs[1].set_shared_memory("r", 8, 16)
    call = decode_infer(
        triton_request(
            [triton_input("x", "FP32", np.zeros((1,), np.float32))],
            outputs,
            sequence_id="s",
            sequence_start=True,
            priority=2,
            timeout=5,
            parameters={"own": "é"},
        )
    )
    assert call.request.outputs == (
        Asked("y", binary=True, classes=3),
        Asked("z", binary=False, region=Place("r", 16, 8)),
    )
    wanted = {"sequence_id": "s", "sequence_start": True, "sequence_end": False, "priority": 2, "timeout": 5}
    assert call.request.parameters == {**wanted, "own": "é"}


def test_shared_memory_is_asked_for():
    shared = client.InferInput("s", [2], "FP32")
    shared.set_shared_memory("r", 8, 4)
    plain = triton_input("x", "INT8", np.array([1], np.int8))
    region = memoryview(bytes(range(16)))
    asked = []

    def regions(name, offset, size):
        asked.append((name, offset, size))
        return region[offset : offset + size]

    call = decode_infer(triton_request([shared, plain]), regions)
    assert asked == [("r", 4, 8)]
    assert [bytes(one.data) for one in call.request.inputs] == [bytes(range(4, 12)), b"\1"]
    with pytest.raises(Invalid, match="input 's': shared_memory_region: none is registered; got 'r'"):
        decode_infer(triton_request([shared]))


def test_large_tensors_are_not_copied():
    data = request(shape=[5000], raw=[bytes(20_000)])
    found = decode_infer(memoryview(data)).request.inputs[0].data
    assert isinstance(found, memoryview)
    assert found.obj is data


PLACED = {"parameters": {"shared_memory_region": {"string_param": "r"}, "shared_memory_byte_size": {"int64_param": 8}}}
FP32 = {"fp32_contents": [1, 2]}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (request(datatype="FP8"), "input 'x': datatype: expected one of BOOL.*; got 'FP8'"),
        (request(shape=[-1]), "input 'x': expected dimensions of 0 or more"),
        (request(shape=[2**60 + 2]), "input 'x': expected at most"),
        (request(shape=[3]), "input 'x': expected 12 bytes for 3 FP32; got 8"),
        (request(raw=[]), r"input 'x': expected 2 values for shape \[2\]; got 0"),
        (
            request() + field(5, b"\x0a\x01z\x12\x04FP32\x1a\x01\x02"),
            "input 'z': expected an entry of raw_input_contents; there are 1",
        ),
        (request(contents=FP32, raw=[], **PLACED), "input 'x': expected either contents or shared memory"),
        (
            request() + field(5, b"\x0a\x01z\x12\x04FP32\x1a\x01\x02\x2a\x05\x32\x03abc"),
            "input 'z': expected numbers of 4 bytes; one is cut off",
        ),
        (
            request() + field(5, b"\x0a\x01z\x12\x05INT32\x1a\x01\x02\x2a\x04\x12\x02\x01\xff"),
            "input 'z': the last number of a packed field is cut off",
        ),
        (request(raw=[bytes(8)] * 2), "raw_input_contents: expected 1 entries, one for each such input; got 2"),
        (request(contents=FP32), "input 'x': expected either contents or raw_input_contents"),
        (request(contents=FP32, raw=[], shape=[3]), "input 'x': expected 3 values in contents.fp32_contents; got 2"),
        (
            request(contents={**FP32, "bool_contents": [True]}, raw=[]),
            "input 'x': expected FP32 in contents.fp32_contents alone; got bool_contents, fp32_contents",
        ),
        (request(contents=FP32, raw=[], datatype="FP16"), "input 'x': FP16 goes in raw_input_contents alone"),
        (
            request(contents={"int_contents": [128, 1]}, raw=[], datatype="INT8"),
            "input 'x': expected INT8 from -128 to 127; got 1 to 128",
        ),
        (
            request(contents={"uint_contents": [256, 1]}, raw=[], datatype="UINT8"),
            "input 'x': expected UINT8 from 0 to 255; got 1 to 256",
        ),
        (request(datatype="BYTES", raw=[b"\1\0\0"]), "input 'x': the length of element 0 is cut off"),
        (request(datatype="BYTES", raw=[b"\2\0\0\0a"]), "input 'x': element 0: expected 2 bytes; 1 are left"),
        (request(datatype="BYTES", raw=[b"\1\0\0\0a"]), "input 'x': expected 2 byte strings; got 1"),
        (request(parameters={"p": {}}), "input 'x': parameters: 'p': expected a value; got none"),
        (
            request(parameters={"shared_memory_region": {"int64_param": 1}}, raw=[]),
            "input 'x': shared_memory_region: expected a name; got 1",
        ),
        (
            request(parameters={"shared_memory_region": {"string_param": "r"}}, raw=[]),
            "input 'x': shared_memory_byte_size: expected a whole number of 0 or more; got None",
        ),
        (request() + field(5, b"\x0a\x01x\x12\x04FP32\x1a\x01\x02"), "inputs: expected each name once"),
        (request() + field(6, b"\x0a\x01y") * 2, "outputs: expected each name once"),
        (field(5, b"") * 1001, "inputs: expected at most 1000; got 1001"),
        (field(6, b"") * 1001, "outputs: expected at most 1000; got 1001"),
        (field(1, b"\xff"), r"model_name: expected UTF-8; got b'\\xff'"),
        (field(5, b"\x0a\x01\xff"), "InferInputTensor: expected a message; got 3 bytes that are none"),
        (b"\x0a\x05ab", "message: field 1: expected 5 bytes; 2 are left"),
        (b"\x0a", "message: a number is cut off"),
        (b"\x03\x04", "message: expected a field at byte 0; got tag 3"),
        (b"\x08" + b"\xff" * 11, "message: expected a number of at most 10 bytes"),
    ],
)
def test_what_is_wrong_is_named(data, text):
    with pytest.raises(Invalid, match=text):
        decode_infer(data)


def test_classes_are_not_put_into_shared_memory():
    asked = {"name": "y", "parameters": {**PLACED["parameters"], "classification": {"int64_param": 1}}}
    with pytest.raises(Invalid, match="output 'y': expected either classification or shared memory"):
        decode_infer(theirs.ModelInferRequest(outputs=[asked]).SerializeToString())


def test_too_many_classes_are_refused():
    asked = [client.InferRequestedOutput("y", class_count=10_001)]
    with pytest.raises(Invalid, match="output 'y': classification: expected at most 10000; got 10001"):
        decode_infer(triton_request([], asked))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"sequence_id": {"double_param": 1}}, "sequence_id: expected a whole number of 0 or more; got 1.0"),
        ({"sequence_start": {"int64_param": 1}}, "sequence_start: expected true or false; got 1"),
        ({"priority": {"string_param": "x"}}, "priority: expected a whole number of 0 or more; got 'x'"),
        ({"timeout": {"int64_param": -1}}, "timeout: expected a whole number of 0 or more; got -1"),
        ({"own": {}}, "'own': expected a value; got none"),
    ],
)
def test_a_parameter_of_the_protocol_is_what_it_should_be(given, text):
    with pytest.raises(Invalid, match=f"parameters: {text}"):
        decode_infer(theirs.ModelInferRequest(parameters=given).SerializeToString())


def test_an_inputs_own_parameters_are_kept():
    given = {"shared_memory_region": {"string_param": "r"}, "shared_memory_byte_size": {"int64_param": 8}}
    data = request(parameters={**given, "own": {"bool_param": True}}, raw=[])
    found = decode_infer(data, lambda name, offset, size: memoryview(bytes(size))).request
    assert found.input_parameters == {"x": {"own": True}}


def test_very_many_fields_are_refused():
    with pytest.raises(TooLarge, match="message: expected fewer than 8000 fields"):
        decode_infer(field(7, b"") * 8000)


def test_only_what_is_wrong_with_one_request_is_remembered():
    with pytest.raises(Invalid, match="expected 12 bytes"):
        decode_infer(request(shape=[3]))
    for _ in range(3):
        assert decode_infer(request(shape=[3], raw=[bytes(12)])).request.inputs[0].shape == (3,)
        assert decode_infer(request(shape=[3], raw=[bytes(range(12))])).request.inputs[0].data == bytes(range(12))


names = st.text(max_size=4)
parameters = st.dictionaries(
    names,
    st.one_of(
        st.builds(lambda v: {"bool_param": v}, st.booleans()),
        st.builds(lambda v: {"int64_param": v}, st.integers(-(2**63), 2**63 - 1)),
        st.builds(lambda v: {"string_param": v}, names),
    ),
    max_size=2,
)


@st.composite
def inputs(draw, raw):
    """Draw an input and what it holds, raw or in typed contents."""
    kind = draw(st.sampled_from(sorted(FIELD)))
    array = ARRAYS[kind].flatten()
    values = array[draw(st.lists(st.integers(0, len(array) - 1), max_size=300))]
    one = {"name": draw(names), "datatype": kind, "shape": [len(values)], "parameters": draw(parameters)}
    if not raw:
        one["contents"] = {FIELD[kind]: values.tolist()}
    return theirs.ModelInferRequest.InferInputTensor(**one), data_of(kind, values)


@st.composite
def messages(draw):
    """Draw a request and the data of its inputs."""
    raw = draw(st.booleans())
    found = draw(st.lists(inputs(raw), max_size=3, unique_by=lambda pair: pair[0].name))
    message = theirs.ModelInferRequest(
        model_name=draw(names),
        model_version=draw(names),
        id=draw(names),
        parameters=draw(parameters),
        inputs=[one for one, _ in found],
        outputs=[{"name": name} for name in draw(st.sets(names, max_size=3))],
    )
    if raw:
        message.raw_input_contents.extend(b"".join(lengths(d)) if isinstance(d, tuple) else d for _, d in found)
    return message, [data for _, data in found]


def lengths(values):
    """Yield byte strings with their lengths in front."""
    for value in values:
        yield len(value).to_bytes(4, "little") + value


def chosen(given):
    """Return parameters as plain values."""
    return {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in given.items()}


@given(messages())
@settings(max_examples=150)
def test_every_request_is_read_as_protobuf_reads_it(pair):
    message, wanted = pair
    call = decode_infer(message.SerializeToString())
    assert (call.model, call.version, call.request.id) == (message.model_name, message.model_version, message.id)
    assert call.request.parameters == chosen(message.parameters)
    assert [one.name for one in call.request.outputs] == [one.name for one in message.outputs]
    got = [(one.name, one.dtype.value, list(one.shape)) for one in call.request.inputs]
    assert got == [(one.name, one.datatype, list(one.shape)) for one in message.inputs]
    assert [one.data if isinstance(one.data, tuple) else bytes(one.data) for one in call.request.inputs] == wanted


@given(st.binary(max_size=40), messages(), st.data())
@settings(max_examples=300)
def test_whatever_bytes_come_the_answer_is_a_request_or_invalid(noise, pair, data):
    whole = pair[0].SerializeToString()
    at = data.draw(st.integers(0, len(whole)))
    for attack in (noise, whole[:at] + noise, whole[:at] + noise + whole[at + len(noise) :]):
        try:
            call = decode_infer(attack)
        except RequestError:
            continue
        message = theirs.ModelInferRequest.FromString(attack)  # what we take, protobuf takes too, and means the same
        assert (call.model, call.version, call.request.id) == (message.model_name, message.model_version, message.id)
        assert [one.name for one in call.request.inputs] == [one.name for one in message.inputs]
        assert [list(one.shape) for one in call.request.inputs] == [list(one.shape) for one in message.inputs]
        encode_infer("m", 1, call.request.id, call.request.inputs)
