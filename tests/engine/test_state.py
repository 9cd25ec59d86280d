"""State is kept for a sequence and for nothing else: under threads, after errors, over limits."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, LoadFailed, QueueFull, RunFailed
from skerry.core.manifest import FileEntry, Manifest, Runtime
from skerry.core.names import Digest, ModelName
from skerry.core.tensor import DType, Spec
from skerry.engine.arrays import to_tensor
from skerry.engine.bundle import Bundle
from skerry.engine.known import runtimes
from skerry.engine.runners.fake import FakeRunner
from skerry.engine.runners.runner import Threads
from skerry.engine.session import Session, open_bare, open_session
from skerry.engine.state import Limits, Sequence
from skerry.host.clock import Clock, FakeClock
from tests.core.values import DIGEST
from tests.engine.kit import HERE, graph, manifest

X, Y = (Spec("x", DType.FP32, (-1,)),), (Spec("y", DType.FP32, (1,)),)
LINK = {"input": "state", "output": "after"}


def summing(tmp_path, x=None, **runtime):
    """Return a session of an ONNX model whose y is the sum of all x of its sequence; x of 3 elements fail."""
    nodes = [
        ("Concat", ["state", "x"], ["all"], {"axis": 0}),
        ("ReduceSum", ["all"], ["after"], {"keepdims": 1}),
        ("Add", ["x", "pair"], ["checked"]),
        ("Identity", ["after"], ["y"]),
    ]
    takes = {"x": (1, x or [None]), "state": (1, [1])}
    gives = {"y": (1, [1]), "after": (1, [1]), "checked": (1, [None])}
    graph(tmp_path / "sum.onnx", nodes, takes, gives, {"pair": np.float32([0, 0])})
    outputs = (*Y, Spec("checked", DType.FP32, (2,)))
    told = Manifest(
        name=ModelName("sum"),
        version=1,
        runtime=Runtime("onnx", "sum.onnx", {"state": [LINK], **runtime}),
        files={"sum.onnx": FileEntry(Digest(DIGEST), 1)},
        inputs=(Spec("x", DType.FP32, tuple(x or (-1,))),),
        outputs=outputs,
    )
    return open_session(Bundle(tmp_path, told), Threads(1, 2), HERE, runtime.get("clock") or Clock())


def ask(session, values, sequence=None):
    return float(session.infer([to_tensor("x", np.float32(values))], sequence)["y"][0])


def remembering(making):
    """Return a fake runner whose every lane, and every request of none, has what `making` makes."""

    def once(feeds):
        return making()(feeds)

    return FakeRunner(X, Y, once, making)


@pytest.fixture
def session(tmp_path):
    return summing(tmp_path)


def test_the_state_is_hidden_and_starts_at_zero(session):
    assert [spec.name for spec in session.inputs] == ["x"]
    assert [spec.name for spec in session.outputs] == ["y", "checked"]
    assert session.remembers
    assert set(session.infer([to_tensor("x", np.float32([1, 1]))])) == {"y", "checked"}
    assert [ask(session, [1, 2]) for _ in range(3)] == [3, 3, 3]
    assert session.sequences == 0


def test_a_sequence_goes_on_and_others_do_not_see_it(session):
    assert ask(session, [1], Sequence("a", start=True)) == 1
    assert ask(session, [5], Sequence(7, start=True)) == 5
    assert ask(session, [10], Sequence("a")) == 11
    assert ask(session, [1]) == 1
    assert ask(session, [1], Sequence(7)) == 6
    assert session.sequences == 2
    assert ask(session, [1], Sequence("a", end=True)) == 12
    assert session.sequences == 1
    with pytest.raises(Invalid, match="sequence a to model 'sum' must specify the START flag on the first request"):
        ask(session, [1], Sequence("a"))


def test_a_start_begins_anew_and_one_request_may_be_a_whole_sequence(session):
    assert ask(session, [4], Sequence(1, start=True)) == 4
    assert ask(session, [4], Sequence(1, start=True)) == 4
    assert ask(session, [4], Sequence(1)) == 8
    assert ask(session, [9], Sequence(2, start=True, end=True)) == 9
    assert session.sequences == 1


def test_what_is_invalid_leaves_the_state_and_a_failed_run_ends_it():
    def making():
        total = 0.0

        def function(feeds):
            nonlocal total
            if feeds["x"][0] < 0:
                raise Invalid("x: not below 0")
            total += float(feeds["x"].sum())
            if total > 100:
                raise RunFailed("too much")
            return {"y": np.float32([total])}

        return function

    session = Session(manifest(X, Y), remembering(making), Clock())
    assert ask(session, [3], Sequence(1, start=True)) == 3
    for sequence in (Sequence(1), Sequence(2, start=True)):
        with pytest.raises(Invalid, match="x: not below 0"):
            ask(session, [-1], sequence)
    with pytest.raises(Invalid, match="input 'x': expected datatype"):
        session.infer([to_tensor("x", np.float64([1]))], Sequence(1, end=True))
    assert ask(session, [3], Sequence(1)) == 6
    assert session.sequences == 1  # the second never began
    with pytest.raises(Invalid, match="the model cannot run on them: too much"):
        ask(session, [100], Sequence(1))
    with pytest.raises(Invalid, match="sequence 1 to model"):
        ask(session, [1], Sequence(1))
    assert ask(session, [2], Sequence(1, start=True)) == 2


def test_an_onnx_run_that_fails_ends_its_sequence_alone(session):
    assert ask(session, [1], Sequence(1, start=True)) == 1
    assert ask(session, [2], Sequence(2, start=True)) == 2
    with pytest.raises(Invalid, match="the model cannot run on them"):
        ask(session, [1, 2, 3], Sequence(1))
    with pytest.raises(Invalid, match="sequence 1 to model"):
        ask(session, [1], Sequence(1))
    assert ask(session, [1], Sequence(2)) == 3
    assert ask(session, [1]) == 1


def counting(clock, limits):
    def making():
        total = 0.0

        def function(feeds):
            nonlocal total
            total += float(feeds["x"].sum())
            return {"y": np.float32([total])}

        return function

    return Session(manifest(X, Y), remembering(making), clock, limits)


def test_too_many_are_refused_until_one_ends_or_idles():
    clock = FakeClock()
    session = counting(clock, Limits(most=2, idle=10))
    ask(session, [1], Sequence("a", start=True))
    clock.time += 6
    ask(session, [1], Sequence("b", start=True))
    with pytest.raises(QueueFull, match="sequence 'c': 2 sequences live, which is the most here"):
        ask(session, [1], Sequence("c", start=True))
    assert ask(session, [1], Sequence("a")) == 2  # the others go on
    clock.time += 9
    assert ask(session, [1], Sequence("a", start=True)) == 1
    clock.time += 2  # b has idled for 11 seconds
    assert ask(session, [1], Sequence("c", start=True)) == 1
    with pytest.raises(Invalid, match="sequence b to model"):
        ask(session, [1], Sequence("b"))
    clock.time += 11
    with pytest.raises(Invalid, match="sequence a to model"):  # idled, and nobody took its place
        ask(session, [1], Sequence("a"))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans(), st.integers(0, 9))))
def test_any_mix_of_requests_is_as_the_books_say(requests):
    session, books = counting(FakeClock(), Limits(most=2)), {}
    for name, start, end, value in requests:
        sequence = Sequence(name, start, end)
        if not start and name not in books:
            with pytest.raises(Invalid, match="START flag"):
                ask(session, [value], sequence)
        elif name not in books and len(books) == 2:
            with pytest.raises(QueueFull):
                ask(session, [value], sequence)
        else:
            books[name] = value + (0 if start else books[name])
            assert ask(session, [value], sequence) == books[name]
            if end:
                del books[name]
        assert session.sequences == len(books)
        assert ask(session, [value]) == value


def test_threads_keep_to_their_sequences(session):
    wrong = []

    def work(name):
        for turn in range(3):
            got = [ask(session, [k], Sequence(name, start=k == 1, end=k == 40)) for k in range(1, 41)]
            if got != [k * (k + 1) / 2 for k in range(1, 41)] or ask(session, [turn]) != turn:
                wrong.append(got)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert session.sequences == 0


def test_requests_of_one_sequence_wait_for_each_other(session):
    ask(session, [0], Sequence(1, start=True))
    found = []

    def work():
        found.extend(ask(session, [1], Sequence(1)) for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 201))


def test_a_model_that_does_not_remember_takes_no_notice():
    session = Session(manifest(X, Y), FakeRunner(X, Y, lambda feeds: {"y": feeds["x"][:1]}), Clock())
    assert not session.remembers
    assert ask(session, [4], Sequence(1)) == 4
    assert session.sequences == 0


@pytest.mark.parametrize(
    ("runtime", "text"),
    [
        ({"state": [{"input": "h", "output": "after"}]}, "runtime.state: no input 'h'; the model has x, state"),
        ({"state": [{"input": "state", "output": "h"}]}, "runtime.state: no output 'h'; the model has y, after"),
        ({"state": [LINK, LINK]}, "runtime.state: expected each tensor once; got state, state"),
        ({"state": [{**LINK, "shape": [2]}]}, r"'state': expected shape \[1\]; got \[2\]"),
        ({"state": [{**LINK, "size": [1]}]}, r"runtime.state\[0\]: expected input, output and shape alone; .* size"),
        ({"state": "state"}, "runtime.state: expected a list"),
        ({"state": []}, "the manifest's are not the model's"),
        ({"sequences": {"most": 0}}, "runtime.sequences: most: expected a whole number from 1"),
        ({"sequences": {"many": 1}}, "expected most and idle alone; got also many"),
        ({"odd": 1}, "unknown options odd"),
    ],
)
def test_what_a_manifest_says_wrong_is_load_failed(tmp_path, runtime, text):
    with pytest.raises(LoadFailed, match=text):
        summing(tmp_path, **runtime)


def test_limits_come_from_the_manifest(tmp_path):
    session = summing(tmp_path, sequences={"most": 1, "idle": 5})
    ask(session, [1], Sequence(1, start=True))
    with pytest.raises(QueueFull):
        ask(session, [1], Sequence(2, start=True))


def test_a_fixed_model_of_floats_that_fails_is_not_the_callers_fault(tmp_path):
    session = summing(tmp_path, x=[2])
    assert ask(session, [1, 2]) == 3
    session.close()
    with pytest.raises(RunFailed, match="closed"):
        ask(session, [1, 2])


def test_needs_of_an_accelerator_reach_the_runtime(tmp_path):
    session = summing(tmp_path)
    wanting = replace(session.manifest, needs={"accelerator": "cuda"})
    with pytest.raises(LoadFailed, match="bundle sum: runtime onnx: needs CUDAExecutionProvider; here are"):
        open_session(Bundle(tmp_path, wanting), Threads(), HERE, Clock())


@pytest.mark.skipif("openvino" not in runtimes(), reason="openvino is not installed")
def test_openvino_variables_are_state_too(tmp_path):
    from skerry.engine.runners.openvino import ov  # which keeps it from calling home

    ops = ov.opset13

    x = ops.parameter([2], np.float32, name="x")
    before = ops.read_value(ops.constant(np.zeros(2, np.float32)), "total")
    after = ops.add(before, x)
    result = ops.result(after)
    result.output(0).set_names({"y"})
    x.output(0).set_names({"x"})
    model = ov.Model(results=[result], sinks=[ops.assign(after, "total")], parameters=[x], name="sum")
    ov.save_model(model, tmp_path / "model.xml", compress_to_fp16=False)
    session = open_bare(tmp_path / "model.xml", ModelName("sum"), 1, Threads(), Clock())
    assert set(session.manifest.files) == {"model.xml", "model.bin"}
    assert session.remembers
    assert [ask(session, [1, 2]) for _ in range(3)] == [1, 1, 1]
    for name in "ab":
        assert ask(session, [3, 0], Sequence(name, start=True)) == 3
    assert ask(session, [4, 0], Sequence("a")) == 7
    assert ask(session, [1, 0]) == 1
    assert ask(session, [5, 0], Sequence("b")) == 8
    assert ask(session, [1, 0], Sequence("a")) == 8
