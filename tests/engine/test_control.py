"""What a config.pbtxt asks of a bare model: signals filled, states kept, runtime options handed on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from skerry.core.errors import Invalid, LoadFailed
from skerry.core.names import ModelName
from skerry.core.tensor import DType
from skerry.engine.arrays import to_tensor
from skerry.engine.control import MAX_LIVE, Asked
from skerry.engine.runners.runner import Threads
from skerry.engine.session import Session, open_bare
from skerry.engine.state import Sequence
from skerry.host.clock import FakeClock
from skerry.wire.config import asked_of, read_config
from tests.engine.kit import graph

HALF = TensorProto.INT32


def opened(folder: Path, config: str, corrid: int = TensorProto.INT64, rows: int | None = None) -> Session:
    """Return a session of a model that gives back all its inputs, and adds x to its state."""
    options = read_config(config.encode())
    whole = (HALF, [rows, 1] if options.max_batch_size else [1])
    told = (corrid, whole[1])
    nodes = [
        ("Add", ["x", "before"], ["after"]),
        *[("Identity", [name], [f"{name}2"]) for name in ("start", "end", "id")],
    ]
    takes = {"x": whole, "before": whole, "start": whole, "end": whole, "id": told}
    gives = {"after": whole, "start2": whole, "end2": whole, "id2": told}
    path = graph(folder / "model.onnx", nodes, takes, gives)
    most = options.max_batch_size or 0
    shown = frozenset(port.name for port in options.outputs)
    asked = Asked(asked_of(options, "onnx"), options.sequences, most > 0, shown, folder)
    session = open_bare(path, ModelName("m"), 1, Threads(1, 1), FakeClock(), (), asked)
    session.most = most
    return session


SIGNALS = """
control_input { name: "start" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 5, 6 ] } }
control_input { name: "end" control { kind: CONTROL_SEQUENCE_END int32_false_true: [ 7, 8 ] } }
control_input { name: "id" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_%s } }
"""
STATE = "state { input_name: 'before' output_name: 'after' data_type: TYPE_INT32 dims: 1 %s }"
SHOWN = "output { name: 'after' data_type: TYPE_INT32 dims: 1 }"


def config(size: int = 0, kind: str = "INT64", first: str = "", shown: str = SHOWN, more: str = "") -> str:
    return f"max_batch_size: {size} {shown} {more} sequence_batching {{ {SIGNALS % kind} {STATE % first} }}"


def ask(session: Session, value: object, sequence: Sequence | None) -> dict[str, list[object]]:
    found = session.infer([to_tensor("x", np.int32(value))], sequence)
    return {name: array.reshape(-1).tolist() for name, array in found.items()}


@pytest.mark.parametrize(("size", "value"), [(0, [3]), (4, [[3]])])
def test_a_sequence_is_told_and_kept(tmp_path: Path, size: int, value: object) -> None:
    session = opened(tmp_path, config(size))
    assert [spec.name for spec in session.inputs] == ["x"]
    assert [spec.name for spec in session.outputs] == ["after", "start2", "end2", "id2"]
    assert (session.demands, session.remembers) == (True, True)
    first = ask(session, value, Sequence(9, start=True))
    assert first == {"after": [3], "start2": [6], "end2": [7], "id2": [9]}
    assert ask(session, value, Sequence(9)) == {"after": [6], "start2": [5], "end2": [7], "id2": [9]}
    assert ask(session, value, Sequence(9, end=True)) == {"after": [9], "start2": [5], "end2": [8], "id2": [9]}
    assert ask(session, value, None) == {"after": [3], "start2": [6], "end2": [8], "id2": [0]}  # as a warm-up asks


def test_a_state_that_is_not_declared_is_hidden(tmp_path: Path) -> None:
    assert [spec.name for spec in opened(tmp_path, config(shown="")).outputs] == ["start2", "end2", "id2"]


def test_the_start_is_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "initial_state").mkdir()
    file = tmp_path / "initial_state" / "s"
    first = "initial_state { name: 'n' data_type: TYPE_INT32 dims: 1 data_file: 's' }"
    for data, error in ((None, "is empty, or not there"), (b"", "is empty"), (b"abc", "expected 4 bytes for shape")):
        if data is not None:
            file.write_bytes(data)
        with pytest.raises(LoadFailed, match=f"sequence_batching.state: 'before': .*{error}"):
            opened(tmp_path, config(first=first))
    file.write_bytes(np.int32([40]).tobytes())
    session = opened(tmp_path, config(first=first))
    for _ in range(2):
        assert ask(session, [2], Sequence(1, start=True))["after"] == [42]


def test_one_example_at_a_time(tmp_path: Path) -> None:
    session = opened(tmp_path, config(4))
    with pytest.raises(Invalid, match="model 'm' must specify batch-size 1 due to requirements of sequence batcher"):
        ask(session, [[1], [2]], Sequence(1, start=True))
    assert session.sequences == 0
    with pytest.raises(Invalid, match="batch-size must be <= 4 for 'm'; got 5"):
        ask(session, [[1]] * 5, Sequence(1, start=True))


@given(st.one_of(st.integers(-(1 << 66), 1 << 66), st.text()), st.sampled_from(["INT32", "UINT32", "INT64", "UINT64"]))
def test_an_id_is_told_as_the_type_it_has_or_refused(tmp_path_factory: pytest.TempPathFactory, name: object, kind: str):
    session = KNOWN.get(kind)
    if session is None:
        folder = tmp_path_factory.mktemp("m")
        session = KNOWN[kind] = opened(folder, config(kind=kind), getattr(TensorProto, kind))
    low, high = DType(kind).bounds
    sequence = Sequence(name, start=True, end=True)  # type: ignore[arg-type]
    if isinstance(name, int) and low <= name <= high:
        assert ask(session, [1], sequence)["id2"] == [name]
    else:
        with pytest.raises(Invalid, match=f"sequence_id: model m is told it as {kind}: expected a whole number from"):
            ask(session, [1], sequence)


KNOWN: dict[str, Session] = {}


def test_an_id_of_text(tmp_path: Path) -> None:
    session = opened(tmp_path, config(kind="STRING"), TensorProto.STRING)
    assert ask(session, [1], Sequence("ä", start=True))["id2"] == ["ä"]
    assert ask(session, [1], Sequence(12, start=True))["id2"] == ["12"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (config().replace("'before'", "'nope'"), r"sequence_batching\.state: no input 'nope'; the model has x, before"),
        (config().replace("'after' data", "'nope' data", 2), "sequence_batching.state: no output 'nope'"),
        (config().replace('name: "start"', 'name: "go"'), r"sequence_batching\.control_input: no input 'go'"),
        (
            config(kind="UINT64"),
            r"control_input: 'id': expected INT64 \[1\] as in the model's file; CONTROL_SEQUENCE_CO",
        ),
        (config(first="").replace("TYPE_INT32 dims: 1  }", "TYPE_FP32 dims: 1 }"), "state: 'before': expected INT32"),
        (config().replace("dims: 1  }", "dims: 2 }"), r"state: 'before': expected shape \[1\]; got \[2\]"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_by_name(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(LoadFailed, match=r"^config\.pbtxt: .*" + error.removeprefix("sequence_batching.")):
        opened(tmp_path, text)


def test_how_many_live_is_bounded_and_how_long(tmp_path: Path) -> None:
    text = config().replace("sequence_batching {", "sequence_batching { max_sequence_idle_microseconds: 500000")
    session = opened(tmp_path, text)
    clock = session._clock
    assert isinstance(clock, FakeClock)
    for number in range(1, MAX_LIVE + 1):
        ask(session, [1], Sequence(number, start=True))
    with pytest.raises(Exception, match=f"{MAX_LIVE} sequences live, which is the most here"):
        ask(session, [1], Sequence(MAX_LIVE + 1, start=True))
    clock.time += 0.6
    with pytest.raises(Invalid, match="sequence 1 to model 'm' must specify the START flag"):
        ask(session, [1], Sequence(1))
    assert ask(session, [1], Sequence(MAX_LIVE + 1, start=True))["after"] == [1]


def test_a_model_may_be_told_and_keep_nothing(tmp_path: Path) -> None:
    path = graph(tmp_path / "m.onnx", [("Add", ["x", "go"], ["y"])], {"x": (HALF, [1]), "go": (HALF, [1])},
                 {"y": (HALF, [1])})  # fmt: skip
    control = "control_input { name: 'go' control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 10 ] } }"
    options = read_config(f"sequence_batching {{ {control} }}".encode())
    session = open_bare(path, ModelName("m"), 1, Threads(), FakeClock(), (), Asked(sequences=options.sequences))
    assert [ask(session, [1], Sequence(1, start=go))["y"] for go in (True, False)] == [[11], [1]]


def test_options_reach_the_runtime(tmp_path: Path) -> None:
    parameters = [
        ("execution_mode", 1),
        ("inter_op_thread_count", 3),
        ("enable_mem_arena", 1),
        ("enable_mem_pattern", 0),
    ]
    more = " ".join(f"parameters {{ key: '{key}' value {{ string_value: '{n}' }} }}" for key, n in parameters)
    session = opened(tmp_path, config(more=f"optimization {{ graph {{ level: -1 }} }} {more}"))
    found = session._runner._runner._runner._session.get_session_options()  # type: ignore[attr-defined]
    assert found.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert found.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
    assert (found.inter_op_num_threads, found.enable_cpu_mem_arena, found.enable_mem_pattern) == (3, True, False)
    assert ask(session, [1], Sequence(1, start=True))["after"] == [1]


RKNPU = "optimization { execution_accelerators { cpu_execution_accelerator { name: 'rknpu' } } }"


@pytest.mark.parametrize("text", ["instance_group { kind: KIND_GPU }", RKNPU])
def test_an_accelerator_that_is_not_there_is_named(tmp_path: Path, text: str) -> None:
    if {"CUDAExecutionProvider", "RknpuExecutionProvider"} & set(onnxruntime.get_available_providers()):
        pytest.skip("it is there")
    with pytest.raises(LoadFailed, match=r"runtime onnx: needs (CUDA|Rknpu)ExecutionProvider; here are"):
        opened(tmp_path, config(more=text))


def reshaping(folder: Path, text: str) -> Session:
    """Return a session of a model of [n, 1, 3, 2] to [n, 6, 1]."""
    flat = ("Reshape", ["x", "shape"], ["y"])
    path = graph(folder / "r.onnx", [flat], {"x": (HALF, [None, 1, 3, 2])}, {"y": (HALF, [None, 6, 1])},
                 {"shape": np.int64([-1, 6, 1])})  # fmt: skip
    options = read_config(text.encode())
    asked = Asked(reshapes=options.reshapes, batched=bool(options.max_batch_size))
    return open_bare(path, ModelName("r"), 1, Threads(), FakeClock(), (), asked)


RESHAPE = """
max_batch_size: 8
input { name: "x" data_type: TYPE_INT32 dims: [ 3, 2 ] reshape { shape: [ 1, 3, 2 ] } }
output { name: "y" data_type: TYPE_INT32 dims: 6 reshape { shape: [ 6, 1 ] } }
"""


def test_clients_have_the_declared_shapes(tmp_path: Path) -> None:
    session = reshaping(tmp_path, RESHAPE)
    assert [spec.shape for spec in (*session.inputs, *session.outputs)] == [(-1, 3, 2), (-1, 6)]
    found = session.infer([to_tensor("x", np.arange(12, dtype=np.int32).reshape(2, 3, 2))])["y"]
    assert found.tolist() == np.arange(12).reshape(2, 6).tolist()


def test_a_reshape_that_is_not_the_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        LoadFailed, match=r"'x': reshape: expected \[-1, 1, 3, 2\] as in the model's file; got \[-1, 2,"
    ):
        reshaping(tmp_path, RESHAPE.replace("[ 1, 3, 2 ]", "[ 2, 3, 1 ]"))
