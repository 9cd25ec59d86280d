"""The quick way against the usual one: the same bytes, or no answer at all."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from skerry.core.errors import SkerryError
from skerry.core.names import ModelName
from skerry.engine.runners.runner import Threads
from skerry.engine.session import open_bare
from skerry.host.clock import Clock
from skerry.host.regions import Regions
from skerry.node.worker.inference import Inference
from skerry.node.worker.order import Head
from tests.engine.kit import identity
from tests.models import adder_onnx

TYPES = {"FLOAT": ("FP32", "f"), "DOUBLE": ("FP64", "d"), "INT32": ("INT32", "i"), "UINT8": ("UINT8", "B")}


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quick")
    found = {}
    for kind in TYPES:
        path = identity(folder / f"{kind}.onnx", getattr(TensorProto, kind), (-1, 2))
        found[kind] = open_bare(path, ModelName(kind), 1, Threads(), Clock())
    found["adder"] = open_bare(adder_onnx(folder / "adder.onnx"), ModelName("adder"), 3, Threads(), Clock())
    yield found
    for one in found.values():
        one.close()


def ways(session):
    """Return one way with a memory, and one without."""
    quick, usual = (Inference(session, Clock(), Regions("")) for _ in range(2))
    usual.quick._able = False
    return quick, usual


def tried(way, head, body):
    try:
        made = way.http(head, memoryview(body))
    except SkerryError as error:
        return type(error).__name__, str(error)
    return bytes(made.body), made.kind, made.json_length


def binary(spec_name, kind, code, rows, **more):
    data = struct.pack(f"<{2 * len(rows)}{code}", *[v for row in rows for v in row])
    entry = {"name": spec_name, "shape": [len(rows), 2], "datatype": kind,
             "parameters": {"binary_data_size": len(data)}}  # fmt: skip
    text = json.dumps({"inputs": [entry], **more}).encode()
    return Head("application/octet-stream", str(len(text))), text + data


@pytest.mark.parametrize("kind", TYPES)
def test_the_second_binary_request_is_quick_and_the_same(sessions, kind):
    quick, usual = ways(sessions[kind])
    name = sessions[kind].inputs[0].name
    named = {"name": sessions[kind].outputs[0].name, "parameters": {"binary_data": True}}
    for more in ({"parameters": {"binary_data_output": True}}, {"outputs": [named]}):
        for rows in ([[1, 2]], [[3, 4]], [[5, 6], [7, 8]]):
            head, body = binary(name, *TYPES[kind], rows, **more)
            assert tried(quick, head, body) == tried(usual, head, body)
        length = int(head.json_length)
        assert quick.quick(length, memoryview(body)) is not None
        assert quick.quick(length, memoryview(body)[:-1]) is None
        assert quick.quick(length, memoryview(body + b"x")) is None
        assert tried(quick, head, body + b"x") == tried(usual, head, body + b"x")


@pytest.mark.parametrize("more", [{"id": "a"}, {"parameters": {"binary_data_output": False}}, {},
                                  {"outputs": [{"name": "y", "parameters": {"classification": 1}}]}])  # fmt: skip
def test_what_is_not_plain_is_not_remembered(sessions, more):
    quick, usual = ways(sessions["FLOAT"])
    head, body = binary(sessions["FLOAT"].inputs[0].name, "FP32", "f", [[1, 2]], **more)
    assert tried(quick, head, body) == tried(usual, head, body)
    assert quick.quick(int(head.json_length), memoryview(body)) is None


def test_two_inputs_and_two_outputs(sessions):
    quick, usual = ways(sessions["adder"])
    entries = [{"name": n, "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}} for n in "yx"]
    text = json.dumps({"inputs": entries, "parameters": {"binary_data_output": True}}).encode()
    for values in ((1, 2, 3, 4, 5, 6), (9, 8, 7, 6, 5, 4)):
        body = text + struct.pack("<6f", *values)
        head = Head("", str(len(text)))
        assert tried(quick, head, body) == tried(usual, head, body)
    assert quick.quick(len(text), memoryview(body)) is not None


numbers = (
    st.floats(width=32, allow_nan=False) | st.integers(-(2**40), 2**40) | st.sampled_from([1e300, -0.0, 3e38, 4e38])
)
values = numbers | st.sampled_from([None, True, "1", [1], {}])


keys = st.sampled_from(['"data":', '"data": ', '"data" :'])
tails = st.sampled_from(["", " ", "\n", ',"x":1', "}", "]"])


@given(
    st.sampled_from(list(TYPES)), st.lists(st.lists(values, min_size=2, max_size=2), max_size=3), st.booleans(),
    keys, tails,
)  # fmt: skip
def test_json_after_json_is_the_same_with_and_without_a_memory(sessions, kind, rows, flat, data, after):
    quick, usual = ways(sessions[kind])
    name = sessions[kind].inputs[0].name

    def body(given):
        inner = [v for row in given for v in row] if flat else given
        text = json.dumps({"inputs": [{"name": name, "shape": [len(given), 2], "datatype": TYPES[kind][0], "data": 0}]})
        return (text.replace('"data": 0', data + json.dumps(inner)) + after).encode()

    head = Head("application/json")
    for some in ([[1, 2]] * max(1, len(rows)), rows, [[3, 4]] * max(1, len(rows))):
        assert tried(quick, head, body(some)) == tried(usual, head, body(some))


@given(st.binary(max_size=40), st.integers(0, 200))
def test_damaged_requests_are_the_same_with_and_without_a_memory(sessions, noise, at):
    quick, usual = ways(sessions["FLOAT"])
    name = sessions["FLOAT"].inputs[0].name
    good = json.dumps({"inputs": [{"name": name, "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}).encode()
    head = Head("application/json")
    assert tried(quick, head, good) == tried(usual, head, good)
    bad = good[:at] + noise + good[at:]
    assert tried(quick, head, bad) == tried(usual, head, bad)


def test_what_is_not_finite_is_written_bare_as_ever(sessions):
    quick, usual = ways(sessions["FLOAT"])
    name = sessions["FLOAT"].inputs[0].name
    for text in ("[1, 2]", "[NaN, 2]", "[1, -Infinity]", "[3, 4]"):
        entry = f'{{"inputs":[{{"name":"{name}","shape":[1,2],"datatype":"FP32","data":{text}}}]}}'.encode()
        assert tried(quick, Head(""), entry) == tried(usual, Head(""), entry)


def test_the_memory_is_bounded(sessions):
    quick, _ = ways(sessions["FLOAT"])
    name = sessions["FLOAT"].inputs[0].name
    for count in range(1, 600):
        head, body = binary(name, "FP32", "f", np.zeros((count, 2)).tolist(), parameters={"binary_data_output": True})
        quick.http(head, memoryview(body))
    assert len(quick.quick._known) <= 256
    assert len(quick.quick._binary) <= 257
