"""Sequences out of a Triton repository, asked by Triton's own client: HTTP, gRPC, and gRPC's stream, interleaved."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from onnx import TensorProto
from tritonclient.utils import InferenceServerException

from tests.data import DATA, needs
from tests.engine.kit import graph
from tests.system.world import World

SECONDS = 60.0
Ask = Callable[..., dict[str, Any]]

TOLD = """
max_batch_size: 4
input { name: "INPUT" data_type: TYPE_INT32 dims: 1 }
output { name: "TOTAL" data_type: TYPE_INT32 dims: 1 }
output { name: "WHO" data_type: %s dims: 1 }
sequence_batching {
  max_sequence_idle_microseconds: 60000000
  direct { }
  control_input [
    { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } },
    { name: "READY" control { kind: CONTROL_SEQUENCE_READY fp32_false_true: [ 0, 1 ] } },
    { name: "END" control { kind: CONTROL_SEQUENCE_END bool_false_true: [ false, true ] } },
    { name: "CORRID" control { kind: CONTROL_SEQUENCE_CORRID data_type: %s } }
  ]
  state { input_name: "BEFORE" output_name: "AFTER" data_type: TYPE_INT32 dims: 1
    initial_state { name: "hundred" data_type: TYPE_INT32 dims: 1 data_file: "hundred" } }
}
"""
PLAIN = """
max_batch_size: 0
input { name: "INPUT" data_type: TYPE_FP32 dims: 2 }
output [ { name: "OUTPUT" data_type: TYPE_FP32 dims: 2 }, { name: "AFTER" data_type: TYPE_FP32 dims: 2 } ]
sequence_batching {
  max_sequence_idle_microseconds: 300000
  oldest { max_candidate_sequences: 2 preserve_ordering: true }
  state { input_name: "BEFORE" output_name: "AFTER" data_type: TYPE_FP32 dims: -1
    initial_state { name: "z" data_type: TYPE_FP32 dims: 2 zero_data: true } }
}
"""


def told(folder: Path, kind: int, config: str) -> None:
    """Write a model whose total is 100, unless its sequence starts, and all inputs since; its end is minus that."""
    (folder / "1").mkdir(parents=True)
    (folder / "initial_state").mkdir()
    (folder / "initial_state" / "hundred").write_bytes(np.int32([100]).tobytes())
    (folder / "config.pbtxt").write_text(config)
    one = [None, 1]
    nodes = [
        ("Cast", ["READY"], ["ready"], {"to": TensorProto.INT32}),
        ("Add", ["BEFORE", "INPUT"], ["more"]),
        ("Sub", ["more", "START"], ["less"]),
        ("Mul", ["less", "ready"], ["AFTER"]),
        ("Neg", ["AFTER"], ["negative"]),
        ("Where", ["END", "negative", "AFTER"], ["TOTAL"]),
        ("Identity", ["CORRID"], ["WHO"]),
    ]
    whole = (TensorProto.INT32, one)
    takes = {
        "INPUT": whole, "BEFORE": whole, "START": whole, "READY": (TensorProto.FLOAT, one),
        "END": (TensorProto.BOOL, one), "CORRID": (kind, one),
    }  # fmt: skip
    graph(folder / "1" / "model.onnx", nodes, takes, {"TOTAL": whole, "AFTER": whole, "WHO": (kind, one)})


def plain(folder: Path) -> None:
    """Write a model whose output, and state, is the sum of all that came."""
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(PLAIN)
    two = (TensorProto.FLOAT, [2])
    nodes = [("Add", ["INPUT", "BEFORE"], ["OUTPUT"]), ("Identity", ["OUTPUT"], ["AFTER"])]
    graph(folder / "1" / "model.onnx", nodes, {"INPUT": two, "BEFORE": two}, {"OUTPUT": two, "AFTER": two})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("sequences")
    told(folder / "models" / "told", TensorProto.UINT64, TOLD % (("TYPE_UINT64",) * 2))
    told(folder / "models" / "named", TensorProto.STRING, TOLD % (("TYPE_STRING",) * 2))
    plain(folder / "models" / "plain")
    world = World(folder / "world")
    try:
        examples = DATA / "triton_models"
        paths = [folder / "models", *([examples] if examples.is_dir() else [])]
        argv = ["-m", "skerry", "serve", *map(str, paths), "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--json"]
        ready = world._child("serve", argv).ready(SECONDS)
        yield {"http": ready["http"].removeprefix("http://"), "grpc": ready["grpc"]}
    finally:
        world.close()


@pytest.fixture(params=["http", "grpc", "stream"])
def ask(request: pytest.FixtureRequest, place: dict[str, str]) -> Iterator[Ask]:
    """Return a function that asks a model with one tensor, and returns its outputs."""
    kind = "http" if request.param == "http" else "grpc"
    library: Any = over_http if kind == "http" else over_grpc
    client = library.InferenceServerClient(place[kind])
    answers: queue.Queue[Any] = queue.Queue()
    if request.param == "stream":
        client.start_stream(callback=lambda result, error: answers.put(error or result))

    def asks(model: str, values: Any, **sequence: Any) -> dict[str, Any]:
        array = np.asarray(values)
        tensor = library.InferInput("INPUT", list(array.shape), "INT32" if array.dtype == np.int32 else "FP32")
        tensor.set_data_from_numpy(array)
        if request.param == "stream":
            client.async_stream_infer(model, [tensor], **sequence)
            found = answers.get(timeout=SECONDS)
            if isinstance(found, Exception):
                raise found
        else:
            found = client.infer(model, [tensor], **sequence)
        outputs = found.get_response()["outputs"] if kind == "http" else found.get_response().outputs
        names = [one["name"] if kind == "http" else one.name for one in outputs]
        return {name: found.as_numpy(name).reshape(-1).tolist() for name in names}

    yield asks
    client.close()


def number(value: int) -> Any:
    return np.int32([[value]])


def test_two_sequences_interleaved(ask: Ask) -> None:
    """The state begins with what its file holds; START takes one away once, END negates; who asks is told."""
    one = {"sequence_id": 41}
    two = {"sequence_id": 42}
    assert ask("told", number(1), **one, sequence_start=True) == {"TOTAL": [100], "WHO": [41]}
    assert ask("told", number(10), **two, sequence_start=True) == {"TOTAL": [109], "WHO": [42]}
    assert ask("told", number(2), **one) == {"TOTAL": [102], "WHO": [41]}
    assert ask("told", number(20), **two) == {"TOTAL": [129], "WHO": [42]}
    assert ask("told", number(3), **one, sequence_end=True) == {"TOTAL": [-105], "WHO": [41]}
    assert ask("told", number(5), **two, sequence_start=True) == {"TOTAL": [104], "WHO": [42]}
    assert ask("told", number(1), **two, sequence_end=True) == {"TOTAL": [-105], "WHO": [42]}
    with pytest.raises(InferenceServerException, match="sequence 41 to model 'told' must specify the START flag on th"):
        ask("told", number(3), **one)


def test_ids_of_text(ask: Ask) -> None:
    assert ask("named", number(1), sequence_id="left", sequence_start=True) == {"TOTAL": [100], "WHO": [b"left"]}
    assert ask("named", number(1), sequence_id="right", sequence_start=True) == {"TOTAL": [100], "WHO": [b"right"]}
    assert ask("named", number(4), sequence_id="left", sequence_end=True) == {"TOTAL": [-104], "WHO": [b"left"]}
    assert ask("named", number(4), sequence_id=7, sequence_start=True) == {"TOTAL": [103], "WHO": [b"7"]}
    with pytest.raises(
        InferenceServerException, match="sequence_id: model told is told it as UINT64: expected a whole"
    ):
        ask("told", number(1), sequence_id="left", sequence_start=True)
    with pytest.raises(InferenceServerException, match="sequence nobody to model 'named' must specify the START flag"):
        ask("named", number(1), sequence_id="nobody")


def test_what_names_no_sequence_or_more_than_one_example_is_refused(ask: Ask) -> None:
    with pytest.raises(InferenceServerException, match="'told' must specify a non-zero or non-empty correlation ID"):
        ask("told", number(1))
    with pytest.raises(InferenceServerException, match="'told' must specify batch-size 1 due to requirements"):
        ask("told", np.int32([[1], [2]]), sequence_id=9, sequence_start=True)
    with pytest.raises(InferenceServerException, match="batch-size must be <= 4 for 'told'"):
        ask("told", np.int32([[1]] * 5), sequence_id=9, sequence_start=True)


def test_a_state_that_is_declared_is_seen_and_idle_sequences_end(ask: Ask) -> None:
    values = np.float32([1, 2])
    assert ask("plain", values, sequence_id=3, sequence_start=True) == {"OUTPUT": [1, 2], "AFTER": [1, 2]}
    assert ask("plain", values, sequence_id=3) == {"OUTPUT": [2, 4], "AFTER": [2, 4]}
    time.sleep(0.4)  # longer than max_sequence_idle_microseconds
    with pytest.raises(InferenceServerException, match="sequence 3 to model 'plain' must specify the START flag"):
        ask("plain", values, sequence_id=3)


@needs("triton_models")
def test_tritons_own_examples(ask: Ask) -> None:
    """START is added to the input; in the second model END adds the sequence's number."""
    for model, last in (("simple_sequence", 0), ("simple_dyna_sequence", 1)):
        for number, value in ((1001, 7), (1002, -7)):
            found = [
                ask(model, np.int32([[value]]), sequence_id=number, sequence_start=place == 0, sequence_end=place == 2)
                for place in range(3)
            ]
            assert [one["OUTPUT"] for one in found] == [[value + 1], [value], [value + last * number]]


def test_what_the_node_fills_is_not_shown(place: dict[str, str]) -> None:
    client = over_http.InferenceServerClient(place["http"])
    assert [one["name"] for one in client.get_model_metadata("told")["inputs"]] == ["INPUT"]
    assert [one["name"] for one in client.get_model_metadata("told")["outputs"]] == ["TOTAL", "WHO"]
    assert [one["name"] for one in client.get_model_config("told")["input"]] == ["INPUT"]
    assert "sequence" in client.get_server_metadata()["extensions"]
    client.close()
