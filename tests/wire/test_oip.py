from __future__ import annotations

import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, SkerryError, TooLarge
from skerry.core.tensor import DType, Spec, Tensor
from skerry.wire import numbers
from skerry.wire.oip import (
    Asked,
    InferRequest,
    Place,
    classify,
    decode_raw,
    decode_request,
    encode_response,
    raw_bytes,
    read_tensors,
    spec_json,
    tensor_json,
)
from tests.core.values import almost, json_values, tried
from tests.wire.reference import REAL, WHOLE, lists, loads, packed, plain, spoiled, strange

numpy = pytest.importorskip("numpy")

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
        ({"data": [1, 2, 3, 4]}, "expected one of 'data', 'binary_data_size' and"),
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


def one(kind="FP32", shape=(2,), **more):
    """Return the JSON of one input."""
    return {"name": "x", "datatype": kind, "shape": list(shape), **more}


PARAMETERS = {
    "sequence_id": 7, "sequence_start": True, "sequence_end": False, "priority": 1, "timeout": 250_000,
    "binary_data_output": True, "mine": "ours", "ratio": 0.5,
}  # fmt: skip


def test_parameters_are_kept():
    entry = one(data=[1, 2], parameters={"content": "np", "scale": 2})
    request = decode({"inputs": [entry], "parameters": PARAMETERS})
    assert request.parameters == PARAMETERS
    assert request.input_parameters == {"x": {"content": "np", "scale": 2}}
    assert (request.sequence_id, request.sequence_start, request.sequence_end) == (7, True, False)
    assert (request.priority, request.timeout, request.binary) == (1, 250_000, True)
    assert decode({"inputs": [], "parameters": {"sequence_id": "é1"}}).sequence_id == "é1"


def test_without_parameters_there_is_no_sequence():
    request = decode({"inputs": [one(data=[1, 2])]})
    assert (request.sequence_id, request.sequence_start, request.sequence_end) == (0, False, False)
    assert (request.priority, request.timeout, request.parameters, request.input_parameters) == (0, 0, {}, {})


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"sequence_id": 1.5}, "parameters.sequence_id: expected a whole number"),
        ({"sequence_id": True}, "parameters.sequence_id: expected a whole number"),
        ({"sequence_id": -1}, "parameters.sequence_id: expected a whole number"),
        ({"sequence_start": 1}, "parameters.sequence_start: expected true or false"),
        ({"sequence_end": "yes"}, "parameters.sequence_end: expected true or false"),
        ({"priority": True}, "parameters.priority: expected a whole number"),
        ({"timeout": -1}, "parameters.timeout: expected a whole number"),
        ({"timeout": 1 << 64}, "parameters.timeout: expected a whole number"),
        ({"binary_data_output": 1}, "parameters.binary_data_output: expected true or false"),
        ({"mine": None}, "parameters: mine: expected a string, number or boolean; got None"),
        ({"mine": [1]}, "parameters: mine: expected a string, number or boolean"),
        ([], "parameters: expected an object"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(parameters, text):
    with pytest.raises(Invalid, match=text):
        decode({"inputs": [], "parameters": parameters})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"inputs": [INPUT, INPUT]}, "inputs: expected each name once; got"),
        ({"outputs": [{"name": "y"}, {"name": "y"}]}, "outputs: expected each name once; got"),
        ({"inputs": [INPUT] * 1001}, "inputs: expected a list of at most 1000 items"),
        ({"id": "x" * 1025}, "id: expected a string of at most 1024"),
        ({"inputs": [{**INPUT, "name": "x" * 4097}]}, "name: expected a string of at most 4096"),
        ({"inputs": [{**INPUT, "data": None}]}, "input 'x': data: expected a list; got None"),
        ({"inputs": [{**INPUT, "data": [[[1], [2]]]}]}, r"expected 4 values for shape \[2, 2\]; got 2"),
        ({"inputs": [one("BF16", data=[1, 2])]}, "sending BF16 data via JSON is not supported.*input 'x'"),
        ({"inputs": [one("FP32", data=[1, 1e39])]}, "input 'x': data: expected FP32 values from"),
        ({"inputs": [one("FP32", data=[1] * 999 + [1e39], shape=[1000])]}, "input 'x': data: expected FP32 values"),
        ({"inputs": [one("UINT8", data=[1, -1])]}, "expected UINT8 values from 0 to 255"),
        ({"inputs": [one("INT8", data=[1, 2.0])]}, "2.0 is not of expected type: int8"),
        ({"inputs": [one("BOOL", data=[True, 1])]}, "1 is not of expected type: bool"),
        (
            {"outputs": [{"name": "y", "parameters": {"binary_data": 1}}]},
            "output 'y': parameters.binary_data: expected",
        ),
        (
            {"outputs": [{"name": "y", "parameters": {"classification": 10_001}}]},
            "classification: expected a whole number from 0 to 10000",
        ),
        ({"inputs": [], "x": json.loads("[" * 101 + "]" * 101)}, "nested deeper than 100"),
    ],
    ids=range(16),
)
def test_more_of_what_is_wrong_is_named(change, text):
    with pytest.raises(Invalid, match=text):
        decode({**GOOD, **change})


def test_brackets_in_text_are_no_depth():
    text = '[{"' * 200
    request = decode({"inputs": [one("BYTES", data=[text, '\\"' + text])], "x": json.loads("[" * 99 + "]" * 99)})
    assert request.inputs[0].data[0] == text.encode()


def test_half_precision_numbers_may_be_json():
    assert decode({"inputs": [one("FP16", data=[1, -0.5])]}).inputs[0].data == struct.pack("<2e", 1, -0.5)
    half = Tensor("y", DType.FP16, (2,), struct.pack("<2e", 1, -0.5))
    assert json.loads(encode_response("m", 1, "", [half])[0])["outputs"][0]["data"] == [1, -0.5]


def test_bfloat16_goes_in_binary_alone():
    tensor = Tensor("x", DType.BF16, (2,), b"\x80\x3f\0\xc0")
    body, length = binary_request([tensor])
    assert same(decode_request(body, MB, length).inputs[0], tensor)
    for encode in (lambda: encode_response("m", 1, "", [tensor]), lambda: tensor_json(tensor)):
        with pytest.raises(Invalid, match=r"sending BF16 output data via JSON is not supported\..*output 'x'"):
            encode()
    assert classify(tensor, 1, ()).data == (b"1.000000:0",)


class Memory:
    """Shared memory of one region."""

    def __init__(self, data):
        self.data = memoryview(data)

    def __call__(self, name, offset, size):
        if name != "r" or offset + size > len(self.data):
            raise Invalid(f"no such place: {name} {offset} {size}")
        return self.data[offset : offset + size]


def shared(**parameters):
    """Return the body of a request whose input lies in shared memory."""
    return json.dumps({"inputs": [one(parameters=parameters)]}).encode()


def test_an_input_may_lie_in_shared_memory():
    memory = Memory(b"...." + struct.pack("<2f", 1, 2))
    body = shared(shared_memory_region="r", shared_memory_byte_size=8, shared_memory_offset=4)
    request = decode_request(body, MB, regions=memory)
    assert bytes(request.inputs[0].data) == struct.pack("<2f", 1, 2)
    assert request.input_parameters == {}
    with pytest.raises(Invalid, match="input 'x': shared memory region 'r': no shared memory is registered"):
        decode_request(body, MB)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"shared_memory_region": "r"}, "shared_memory_byte_size: expected this field; it is missing"),
        ({"shared_memory_region": 5, "shared_memory_byte_size": 8}, "shared_memory_region: expected a string"),
        ({"shared_memory_region": "r", "shared_memory_byte_size": "8"}, "shared_memory_byte_size: expected a whole"),
        ({"shared_memory_region": "r", "shared_memory_byte_size": -8}, "shared_memory_byte_size: expected a whole"),
        ({"shared_memory_region": "r", "shared_memory_byte_size": 4}, "expected 8 bytes for 2 FP32; got 4"),
        (
            {"shared_memory_region": "r", "shared_memory_byte_size": 8, "shared_memory_offset": 9},
            "no such place: r 9 8",
        ),
        ({"shared_memory_region": "s", "shared_memory_byte_size": 8}, "no such place: s"),
        ({"shared_memory_region": "r", "binary_data_size": 8}, "expected one of 'data', 'binary_data_size' and"),
    ],
)
def test_a_place_in_shared_memory_that_is_wrong_is_named(parameters, text):
    with pytest.raises(Invalid, match=text):
        decode_request(shared(**parameters), MB, regions=Memory(bytes(16)))


def test_an_output_may_be_wanted_in_shared_memory():
    place = {"shared_memory_region": "r", "shared_memory_byte_size": 8}
    outputs = [
        {"name": "a", "parameters": {**place, "shared_memory_offset": 16, "binary_data": True}},
        {"name": "b", "parameters": place},
    ]
    request = decode({"inputs": [], "outputs": outputs})
    assert request.outputs == (
        Asked("a", False, region=Place("r", 16, 8)), Asked("b", False, region=Place("r", 0, 8))
    )  # fmt: skip
    placed = {one.name: one.region for one in request.outputs}
    tensors = [Tensor(name, DType.FP32, (2,), struct.pack("<2f", 1, 2)) for name in "ab"]
    answer = json.loads(encode_response("m", 1, "", tensors, placed=placed)[0])
    assert answer["outputs"] == [
        {"name": "a", "datatype": "FP32", "shape": [2]},
        {"name": "b", "datatype": "FP32", "shape": [2]},
    ]
    assert raw_bytes(tensors[0]) == struct.pack("<2f", 1, 2)
    assert raw_bytes(Tensor("s", DType.BYTES, (2,), (b"a", b""))) == b"\1\0\0\0a\0\0\0\0"
    for change, text in (
        ({"shared_memory_region": "r"}, "shared_memory_byte_size: expected this field"),
        ({**place, "classification": 1}, "expected either 'classification' or 'shared_memory_region'"),
    ):
        with pytest.raises(Invalid, match=text):
            decode({"inputs": [], "outputs": [{"name": "a", "parameters": change}]})


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_a_body_may_be_any_bytes(wrap):
    body, length = binary_request([Tensor("x", DType.FP32, (2,), bytes(8))], outputs=[{"name": "y"}])
    assert decode_request(wrap(body), MB, length) == decode_request(body, MB, length)
    assert decode_request(wrap(json.dumps(GOOD).encode()), MB) == decode(GOOD)


def test_numbers_that_are_not_finite_pass_both_ways():
    request = decode_request(b'{"inputs":[{"name":"x","datatype":"FP32","shape":[3],"data":[NaN,Infinity,-1]}]}', MB)
    body, _ = encode_response("m", 1, "null", [*request.inputs, Tensor("t", DType.BYTES, (1,), (b"null",))])
    assert b'"data":[NaN,Infinity,-1.0]' in body
    assert json.loads(body)["outputs"][1]["data"] == ["null"]
    with pytest.raises(Invalid, match="NaN is read in at most"):
        decode_request(b'{"inputs":[NaN' + b" " * numbers.MAX_SLOW + b"]}", 1 << 30)


def test_shortest_digits_of_either_width():
    outputs = [
        Tensor("y", DType.FP32, (3,), struct.pack("<3f", 0.1, 2, 1e-8)),
        Tensor("z", DType.FP64, (2,), struct.pack("<2d", 0.1, 2)),
        Tensor("b", DType.BOOL, (3,), b"\0\1\2"),
        Tensor("e", DType.INT8, (0, 2), b""),
    ]
    body, _ = encode_response("m", 1, "", outputs)
    assert b'"data":[0.1,2.0,1e-8]' in body
    assert b'"data":[0.1,2.0]' in body
    assert b'"data":[false,true,true]' in body
    assert b'"shape":[0,2],"data":[]' in body


@given(tensors())
def test_an_answer_is_read_as_it_was(tensor):
    if tensor.dtype is DType.BF16:
        return
    body = tried(lambda: encode_response("m", 1, "", [tensor])[0], refusing=Invalid)
    if not isinstance(body, Invalid):
        (found,) = read_tensors(json.loads(body)["outputs"])
        assert found.shape == tensor.shape
        assert bytes_of(found) == bytes_of(tensor)


def bytes_of(tensor):
    """Return a tensor's data with every NaN, and every true, written one way."""
    if isinstance(tensor.data, tuple) or tensor.dtype is DType.BYTES:
        return tensor.data
    if tensor.dtype is DType.BOOL:
        return bytes(value != 0 for value in tensor.data)
    found = numpy.frombuffer(tensor.data, tensor.dtype.numpy).copy()
    if found.dtype.kind == "f":
        found[numpy.isnan(found)] = numpy.nan
    return found.tobytes()


@st.composite
def requests(draw):
    """Return a request's text: inputs of every type, values that mostly fit, and something spoiled now and then."""
    entries = []
    for name in draw(st.lists(st.sampled_from("abc"), max_size=2)):
        kind = draw(st.sampled_from([*WHOLE, *REAL, DType.BOOL, DType.BYTES]))
        shape = draw(st.lists(st.integers(1, 3), max_size=3))
        token = st.integers(0, 100).map(str) | st.floats(0, 9).map(repr) if kind in REAL else st.integers(0, 9).map(str)
        if kind in (DType.BOOL, DType.BYTES):
            token = st.sampled_from(["true", "false"] if kind is DType.BOOL else ['"a"', '"\\u00e9"'])
        data = draw(lists(token if draw(st.integers(0, 3)) else token | strange, shape or [1]))
        more = draw(st.sampled_from(["", ',"parameters":{"a":1}', ',"parameters":{"a":null}', ',"other":[{}]']))
        entries.append(f'{{"name":"{name}","datatype":"{kind.value}","shape":{shape},"data":{data}{more}}}')
    extra = draw(st.sampled_from(["", ',"id":"é"', ',"id":5', ',"outputs":[{"name":"y"}]', ',"parameters":{}']))
    return f'{{"inputs":[{",".join(entries)}]{extra}}}'


@given(spoiled(requests()))
def test_the_fast_way_and_the_obvious_way_agree(text):
    found = tried(lambda: decode_request(text.encode(), MB))
    try:
        want = obvious(loads(text))
    except (ValueError, KeyError, TypeError, AttributeError):
        want = None
    if isinstance(found, SkerryError):
        assert want is None or "stands twice" in str(found)
    elif want is not None:
        assert [(t.name, t.dtype, t.shape, plain(t.data)) for t in found.inputs] == want
    else:
        pytest.fail(f"the obvious parser refuses {text}")


def obvious(body):
    """Return the inputs of a request as its plain JSON has them; raise if it is none."""
    need(isinstance(body.get("id", ""), str))
    need(isinstance(body["inputs"], list))
    found = []
    for entry in body["inputs"]:
        kind, shape, data = DType(entry["datatype"]), tuple(entry["shape"]), entry["data"]
        need(all(type(size) is int and size >= 0 for size in shape) and isinstance(data, list))
        need(isinstance(entry["name"], str))
        judge(entry.get("parameters", {}))
        values = level(data)
        need(len(values) == math.prod(shape))
        found.append((entry["name"], kind, shape, packed(kind, values)))
    need(len({name for name, *_ in found}) == len(found))
    for output in body.get("outputs", []):
        need(isinstance(output["name"], str))
        judge(output.get("parameters", {}))
    need(isinstance(body.get("outputs", []), list))
    judge(body.get("parameters", {}))
    return found


def level(data):
    """Return nested lists' values; raise ValueError unless all stand at one level."""
    while any(isinstance(one, list) for one in data):
        need(all(isinstance(one, list) for one in data))
        data = [leaf for one in data for leaf in one]
    return data


def judge(parameters):
    need(isinstance(parameters, dict))
    need(all(isinstance(value, str | int | float) for value in parameters.values()))


def need(good):
    if not good:
        raise ValueError


def test_what_is_wrong_with_byte_strings_and_regions_is_named():
    place = {"shared_memory_region": "r", "shared_memory_byte_size": 8}
    with pytest.raises(Invalid, match="shared memory region 'r': expected 8 bytes; got 3"):
        decode_request(shared(**place), MB, regions=lambda name, offset, size: memoryview(b"abc"))
    for size, tail, text in (
        (2, b"\1\0", "the length of element 0 is cut off"),
        (5, b"\1\0\0\0a", "expected 2 byte strings; got 1"),
        (5, b"\1\0\0", "expected 5 bytes of binary data; 3 are left"),
    ):
        head = json.dumps({"inputs": [one("BYTES", parameters={"binary_data_size": size, "mine": 1})]}).encode()
        with pytest.raises(Invalid, match=text):
            decode_request(head + tail, MB, len(head))
    head = json.dumps({"inputs": [one(parameters={"binary_data_size": 8, "mine": 1}, data=None)]}).encode()
    request = decode_request(head + bytes(8), MB, len(head))
    assert (bytes(request.inputs[0].data), request.input_parameters) == (bytes(8), {"x": {"mine": 1}})
