from __future__ import annotations

import base64
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, SkerryError, TooLarge, Unsupported
from skerry.core.tensor import DType, Spec, Tensor
from skerry.wire import numbers
from skerry.wire.tfs import decode, decode_predict, encode_predict, encode_rows, images, parse_body
from skerry.wire.tfs_models import status
from skerry.wire.values import pack, unpack
from tests.core.values import almost, json_values, tried
from tests.wire.reference import REAL, WHOLE, leaves, lists, loads, plain, spoiled, strange, tokens
from tests.wire.reference import tensor as obvious

MB = 1 << 20
NAN = float("nan")
FLAG, BYTE, WIDE = Spec("f", DType.BOOL, (-1,)), Spec("b", DType.INT8, (-1,)), Spec("w", DType.FP64, (-1,))
X, Y, TEXT = Spec("x", DType.FP32, (-1, 2)), Spec("y", DType.INT64, (-1,)), Spec("t", DType.BYTES, (-1,))


def tensor(name, kind, shape, values):
    """Return a tensor of these values."""
    return Tensor(name, kind, shape, pack(kind, values, name))


def b64(data):
    """Return bytes as the protocol carries them."""
    return {"b64": base64.b64encode(data).decode()}


def test_a_body_is_an_object_and_what_follows_it_is_ignored():
    assert parse_body(b' {"a": 1} and more', MB) == {"a": 1}
    for after in (b"", b" ", b"X", b"}{"):
        assert unpack(decode(b'{"instances": [1, 2]}' + after, MB, [Y]).inputs[0]) == [1, 2]


@pytest.mark.parametrize("key", ["instances", "inputs"])
@pytest.mark.parametrize("after", ["", ', "signature_name": "serving_default"', ', "other": [1, 2]', " }   trailing"])
def test_a_long_body(key, after):
    values = [[[n % 7 + 0.5, n] for n in range(40)] for _ in range(90)]
    body = f' {{ "{key}" : {json.dumps(values)}{after}}} '.encode()
    request = decode(memoryview(body), MB, [X])
    assert request.row is (key == "instances")
    assert request.inputs[0].shape == (90, 40, 2)
    assert struct.unpack("<7200f", request.inputs[0].data) == tuple(n for one in values for two in one for n in two)
    with pytest.raises(Invalid, match=r"unexpected size|tensor size"):
        decode(body.replace(b"[0.5, 0]", b"[0.5]", 1), MB, [X])
    with pytest.raises(Invalid, match='signature name: "a"'):
        decode(body[: body.rindex(b"]") + 1] + b', "signature_name": "a"}', MB, [X])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b" \n", "JSON Parse error: The document is empty"),
        (b"{", "JSON Parse error: .* at offset: 1"),
        (b'{"\xff": 1}', "JSON Parse error: Invalid encoding in string at offset: 2"),
        (b"[1]", r"JSON Value: \[1\] Is not object"),
        (b'{"a":' * 100_000, "^JSON Parse error: nested deeper than 500 lists"),
        (b'{"a":' + b"1" * 5000, "JSON Parse error: a whole number of more than"),
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
        ({"instances": [[1, 2.5], [3e2, -4]]}, [X], [((2, 2), [1, 2.5, 300, -4])], True),
        ({"instances": [[[1, 2], [3, 4], [5, 6]]]}, [Y], [((1, 3, 2), [1, 2, 3, 4, 5, 6])], True),
        ({"instances": [[b64(b"a")], [b64(b"")]]}, [TEXT], [((2, 1), [b"a", b""])], True),
        ({"instances": [{"t": [["a"], [b64(b"b")]]}]}, [TEXT], [((1, 2, 1), [b"a", b"b"])], True),
        ({"instances": [[], []]}, [X], [((2, 0), [])], True),
        (
            {"instances": [{"x": 1, "t": "a"}, {"t": "b", "x": 2}]},
            [X, TEXT],
            [((2,), [1, 2]), ((2,), [b"a", b"b"])],
            True,
        ),
        ({"inputs": {"t": b64(b"a"), "y": [[1]]}}, [TEXT, Y], [((), [b"a"]), ((1, 1), [1])], False),
        ({"inputs": {"b64": [1, 2]}}, [Spec("b64", DType.INT64, (-1,))], [((2,), [1, 2])], False),
        ({"inputs": [[True, False]]}, [FLAG], [((1, 2), [True, False])], False),
        ({"inputs": 2.5}, [X], [((), [2.5])], False),
        ({"inputs": "a"}, [TEXT], [((), [b"a"])], False),
        ({"inputs": [16777215, 16777217.0]}, [X], [((2,), [16777215, 16777216])], False),
        ({"inputs": [1], "unknown": {"a": [1, {}]}, "another": NAN}, [Y], [((1,), [1])], False),
        ({"inputs": [1], "signature_name": "serving_default"}, [Y], [((1,), [1])], False),
        ({"inputs": [1], "signature_name": ""}, [Y], [((1,), [1])], False),
    ],
)
def test_row_and_column_form(body, specs, want, row):
    for request in (decode_predict(body, specs), decode(json.dumps(body).encode(), MB, specs)):
        assert request.row is row
        assert [(t.shape, unpack(t)) for t in request.inputs] == want


@pytest.mark.parametrize(
    ("body", "specs", "text"),
    [
        ({}, [X], "Missing 'inputs' or 'instances' key"),
        ({"inputs": 1, "instances": [1]}, [X], "Not formatted correctly expecting only one of 'inputs' or 'instances'"),
        (
            {"inputs": 1, "signature_name": 1},
            [X],
            "not formatted correctly. 'signature_name' key must be a string value.",
        ),
        ({"inputs": 1, "signature_name": "other"}, [X], 'Serving signature name: "other" not found in signature def'),
        ({"instances": []}, [X], r'JSON Value: {"instances": \[\]} No values in .instances. array'),
        ({"instances": {"x": 1}}, [X], "Excepting 'instances' to be an list/array"),
        ({"instances": 5}, [X], "Excepting 'instances' to be an list/array"),
        ({"instances": [{"y": 1}]}, [X], "element: 0 key: y of 'instances' list.*does not have named input: y"),
        (
            {"instances": [{"x": [1, 2]}, {}]},
            [X],
            "process element: 1 of 'instances' list. .* keys must be equal to: x",
        ),
        ({"instances": [{"x": [1, 2]}]}, [X, Y], r'JSON object: {"x": \[1, 2\]} keys must be equal to: x,y'),
        ({"instances": [1, 2]}, [X, Y], "expecting list of objects as multiple input tensors required"),
        ({"instances": [b64(b"a")]}, [TEXT, X], "expecting list of objects as multiple input tensors required"),
        ({"instances": [{"x": [1, 2]}, [1, 2]]}, [X], "Expecting object but got list at item 1 of input list"),
        ({"instances": [[1, 2], {"x": [1, 2]}]}, [X], "Expecting value/list but got object at item 1 of input list"),
        (
            {"instances": [[1, 2], [3, 4, 5]]},
            [X],
            "element: 1 of .* INVALID_ARGUMENT: Expecting tensor size: 2 but got: 3",
        ),
        ({"instances": [[1, 2], [[3, 4]]]}, [X], r"Expecting shape \[2\] but got: \[1,2\]"),
        ({"instances": [1, [1]]}, [X], r"element: 1 .*Expecting shape \[\] but got: \[1\]"),
        (
            {"instances": [{"x": [1, 2], "y": 1}, {"x": [1], "y": 1}]},
            [X, Y],
            "element: 1 key: x .*tensor size: 2 but got: 1",
        ),
        ({"instances": [[[1, 2], [3]]]}, [X], "element: 0 .*unexpected size: 1 at level: 1 expected size: 2"),
        (
            {"instances": [[1, 2], ["a", "b"]]},
            [Y],
            'element: 1 .*JSON Value: "a" Type: String is not of expected type: int64',
        ),
        ({"inputs": {"x": 1}}, [X, Y], "Missing named input: y in 'inputs' object."),
        ({"inputs": [1]}, [X, Y], "expecting an object as multiple input tensors required"),
        ({"inputs": [[1, 2], [3]]}, [X], "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        (
            {"inputs": [[1, 2], 3]},
            [X],
            "JSON Value: 3 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        ({"inputs": [3, [1, 2]]}, [X], "Encountered list at unexpected level: 1 expected < 1"),
        ({"inputs": [[], [1]]}, [X], "Encountered list at unexpected size: 1 at level: 1 expected size: 0"),
        ({"inputs": [1.0]}, [Y], "JSON Value: 1.0 Type: Number is not of expected type: int64"),
        ({"inputs": [True]}, [Y], "JSON Value: true Type: True is not of expected type: int64"),
        ({"inputs": [1]}, [FLAG], "JSON Value: 1 Type: Number is not of expected type: bool"),
        ({"inputs": [None]}, [X], "JSON Value: null Type: Null is not of expected type: float"),
        ({"inputs": ["a"]}, [X], 'JSON Value: "a" Type: String is not of expected type: float'),
        ({"inputs": [{"a": 1}]}, [X], 'JSON Value: {"a": 1} Type: Object is not of expected type: float'),
        ({"inputs": b64(b"a")}, [X], "Type: Object is not of expected type: float"),
        ({"inputs": [1]}, [TEXT], "JSON Value: 1 Type: Number is not of expected type: string"),
        ({"inputs": [2**63]}, [Y], "JSON Value: 9223372036854775808 Type: Number is not of expected type: int64"),
        ({"inputs": [-129]}, [BYTE], "JSON Value: -129 Type: Number is not of expected type: int8"),
        ({"inputs": [16777216]}, [X], "Cannot convert JSON value: 16777216 to float without loss of precision."),
        ({"inputs": [1e39]}, [X], r"Cannot convert JSON value: 1e\+39 to float without loss of precision."),
        (
            {"inputs": [2**53]},
            [WIDE],
            "Cannot convert JSON value: 9007199254740992 to double without loss of precision.",
        ),
        ({"inputs": [[1] * 1000, [1] * 999 + [16777217]]}, [X], "Cannot convert JSON value: 16777217 to float"),
        ({"inputs": [{"b64": "!"}]}, [TEXT], "Unable to base64 decode"),
        ({"inputs": [{"b64": "é"}]}, [TEXT], "Unable to base64 decode"),
        ({"inputs": [{"b64": 5}]}, [TEXT], 'JSON Value: {"b64": 5} not formatted correctly for base64 data'),
        ({"inputs": [{"b64": "YQ==", "a": 1}]}, [TEXT], "not formatted correctly for base64 data"),
        ({"inputs": json.loads("[" * 17 + "1" + "]" * 17)}, [X], "Encountered list at unexpected level: 16"),
    ],
)
def test_what_is_wrong_is_told_as_tensorflow_serving_tells_it(body, specs, text):
    data = json.dumps(body).encode()
    for read in (lambda: decode_predict(body, specs), lambda: decode(data, MB, specs)):
        with pytest.raises(Invalid, match=text):
            read()


@pytest.mark.parametrize("kind", [DType.FP16, DType.BF16, DType.UINT16])
def test_types_that_the_json_does_not_take_are_unsupported(kind):
    spec = Spec("h", kind, (-1,))
    kind = {DType.FP16: "half", DType.BF16: "bfloat16", DType.UINT16: "uint16"}[kind]
    for body, before in (
        ({"inputs": [1]}, "^"),
        ({"instances": [1]}, "^Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: "),
        ({"instances": [{"h": 1}]}, "^Failed to process element: 0 key: h of 'instances' list. Error: UNIMPLEMENTED: "),
    ):
        with pytest.raises(Unsupported, match=f"{before}Conversion of JSON Value: 1 to type: {kind}"):
            decode(json.dumps(body).encode(), MB, [spec])


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


def test_numbers_that_are_not_finite_are_read_and_written():
    request = decode(b'{"instances": [[NaN, Infinity], [-Infinity, 1]]}', MB, [X])
    assert str(unpack(request.inputs[0])) == "[nan, inf, -inf, 1.0]"
    assert encode_predict(request.inputs, row=True) == b'{"predictions":[[NaN,Infinity],[-Infinity,1.0]]}'
    two = [tensor("x", DType.FP32, (1,), [NAN]), tensor("y", DType.FP64, (1,), [2])]
    assert encode_predict(two, row=True) == b'{"predictions":[{"x":NaN,"y":2.0}]}'
    with pytest.raises(Invalid, match="Number too big to be stored in double"):
        decode(b'{"inputs": [1e999]}', MB, [X])


@pytest.mark.parametrize(
    ("kind", "shape", "values", "want"),
    [
        (DType.FP32, (2, 2), [2, 0.1, -1e-5, 1e10], b"[[2.0,0.1],[-0.00001,10000000000.0]]"),
        (DType.FP64, (2,), [2, 0.1], b"[2.0,0.1]"),
        (DType.FP16, (2,), [2, 0.5], b"[2.0,0.5]"),
        (DType.INT8, (2, 1), [-1, 1], b"[[-1],[1]]"),
        (DType.UINT64, (1,), [2**64 - 1], b"[18446744073709551615]"),
        (DType.BOOL, (2,), [True, False], b"[true,false]"),
        (DType.BYTES, (2, 1), ["a", "é"], '[["a"],["é"]]'.encode()),
        (DType.INT32, (0, 2), [], b"[]"),
        (DType.FP32, (2, 0), [], b"[[],[]]"),
    ],
)
def test_values_as_they_are_written(kind, shape, values, want):
    one = tensor("x", kind, shape, values)
    assert encode_predict([one], row=True) == b'{"predictions":' + want + b"}"
    assert encode_predict([one], row=False) == b'{"outputs":' + want + b"}"


def test_answers_that_cannot_be_written():
    with pytest.raises(Invalid, match="Cannot convert empty tensor map to JSON"):
        encode_predict([], row=True)
    with pytest.raises(Invalid, match="Failed to write JSON value for tensor type: bfloat16"):
        encode_predict([Tensor("x", DType.BF16, (1,), b"\0\0")], row=True)
    empty = [tensor("x", DType.INT32, (0, 2), []), tensor("t", DType.BYTES, (0, 1), [])]
    assert encode_predict(empty, row=True) == b'{"predictions":[]}'


def test_rows_and_status_are_written_as_given():
    assert json.loads(encode_rows([{"a": 1}])) == {"predictions": [{"a": 1}]}
    assert encode_rows([{"a": NAN}]) == b'{"predictions":[{"a":NaN}]}'
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


KINDS = [kind for kind in [*WHOLE, *REAL, DType.BOOL, DType.BYTES] if kind not in (DType.FP16, DType.UINT16)]
likely = st.integers(-100, 100).map(str) | tokens


@pytest.mark.parametrize("kind", KINDS)
def test_the_fast_way_and_the_obvious_way_agree(kind):
    usual = st.sampled_from({DType.BOOL: ["true", "false"], DType.BYTES: ['"a"', '"é"']}.get(kind, [])) if kind in (
        DType.BOOL, DType.BYTES
    ) else likely  # fmt: skip

    @given(spoiled(lists(usual)) | spoiled(lists(usual | strange)), st.sampled_from(["inputs", "instances", "objects"]))
    def holds(text, form):
        try:
            value = loads(text)
            want = obvious(kind, value, exact=True)
            rows = isinstance(value, list) and bool(value)
        except ValueError:
            want, rows = None, False
        if form == "objects":
            body = '{"instances": [' + ",".join(f'{{"x": {one}}}' for one in [text, text]) + "]}"
            want = want and ((2, *want[0]), want[1] * 2)
        else:
            body = f'{{"{form}": {text}}}'
            want = want if form == "inputs" or rows else None
        found = tried(lambda: decode(body.encode(), MB, [Spec("x", kind, (-1,))]))
        if want is None:
            assert isinstance(found, SkerryError) or spoils_the_body(text)
        else:
            assert (found.inputs[0].shape, plain(found.inputs[0].data)) == want

    holds()


def spoils_the_body(text):
    """Whether text is no value but makes one together with what stands around it, such as `1} {`."""
    try:
        leaves(loads(text))
    except ValueError:
        return "}" in text or "{" in text
    return False


def test_what_only_the_slow_way_reads_has_a_limit():
    with pytest.raises(Invalid, match="what follows the object are read in at most"):
        parse_body(b'{"inputs": NaN' + b" " * numbers.MAX_SLOW + b"}", 1 << 30)
    with pytest.raises(Invalid, match="expected at most 1048576 lists and objects"):
        parse_body(b'{"inputs": [NaN' + b",[]" * (numbers.MAX_LISTS + 1) + b"]}", 1 << 30)


def test_a_value_in_an_error_is_cut():
    with pytest.raises(Invalid, match=r"^JSON Value: .{200}… Type: String is not of expected type: float$"):
        decode(json.dumps({"inputs": ["a" * 1000]}).encode(), MB, [X])
    with pytest.raises(Invalid, match="Type: Number is not of expected type: int64"):
        decode_predict({"inputs": [10**5000]}, [Y])
