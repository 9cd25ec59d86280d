"""Requests that run together: in one thread with a runner that a test sees, and in a real worker."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from skerry.core.errors import Invalid, RunFailed, SkerryError
from skerry.core.manifest import FileEntry, Manifest, Runtime
from skerry.core.names import Digest, ModelName
from skerry.core.tensor import DType, Spec, Tensor
from skerry.engine.probe import independent, made_up, sizes_that_pay
from skerry.engine.runners.fake import FakeRunner
from skerry.engine.session import Session
from skerry.host.clock import Clock, FakeClock
from skerry.host.shared import Channel
from skerry.node.worker.answer import Answers
from skerry.node.worker.batch import Gather, Together, choose, joined
from skerry.node.worker.made import Made
from skerry.node.worker.order import ANSWER, CALL, ENCODER, Head, Op, Order
from tests.core.values import DIGEST

X = Spec("x", DType.FP32, (-1, 2))
Y = Spec("y", DType.FP32, (-1, 2))
HEAD = ENCODER.encode(Head("application/json"))


def session(
    function: Callable[[Mapping[str, Any]], dict[str, Any]],
    inputs: Sequence[Spec] = (X,),
    outputs: Sequence[Spec] = (Y,),
    clock: Clock | None = None,
) -> Session:
    manifest = Manifest(
        name=ModelName("m"),
        version=1,
        runtime=Runtime("onnx", "model.onnx"),
        files={"model.onnx": FileEntry(Digest(DIGEST), 1)},
        inputs=tuple(inputs),
        outputs=tuple(outputs),
    )
    return Session(manifest, FakeRunner(tuple(inputs), tuple(outputs), function), clock or Clock())


class Seen:
    """A session that doubles, and remembers how many examples each run had. A run with 13 in it fails."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.session = session(self._run)

    def _run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        x = np.asarray(feeds["x"])
        self.rows.append(len(x))
        if (x == 13).any():
            raise RunFailed("13")
        return {"y": x * 2}


class Desk:
    """Calls in an arena of this process, answered together."""

    def __init__(self, found: Session, sizes: Sequence[int]) -> None:
        self.arena = bytearray()
        self._session, self._sizes = found, sizes
        self._calls: list[tuple[int, ...]] = []

    def put(self, body: bytes, op: Op = Op.INFER, head: bytes = HEAD) -> None:
        at = len(self.arena)
        self.arena += head + body
        self._calls.append((len(self._calls), at, len(head), op, 0, at + len(head), len(body), 0, 0))

    def ask(self, values: Any, **more: Any) -> None:
        array = np.asarray(values, np.float32)
        one = {"name": "x", "datatype": "FP32", "shape": list(array.shape), "data": array.reshape(-1).tolist()}
        self.put(json.dumps({"inputs": [one], **more}).encode())

    def answers(self) -> dict[int, Made | None]:
        view = memoryview(bytes(self.arena))
        together = Together(Answers(self._session, Clock(), False), self._session, view, self._sizes)
        return {call[0]: made for call, made in together(self._calls)}


def data_of(made: Made | None) -> Any:
    assert made is not None
    return json.loads(made.body)["outputs"][0]["data"]


def test_requests_run_together_and_each_gets_its_own_answer():
    seen = Seen()
    desk = Desk(seen.session, (1, 2, 4))
    for value in range(4):
        desk.ask([[value, 0]])
    found = desk.answers()
    assert seen.rows == [4]
    assert [data_of(found[place]) for place in range(4)] == [[2.0 * value, 0.0] for value in range(4)]
    assert [(made.batch, made.company) for made in found.values() if made] == [(1, 4), (1, -4), (1, -4), (1, -4)]


def test_only_sizes_that_were_warmed_are_run():
    seen = Seen()
    desk = Desk(seen.session, (1, 2, 4))
    for value in range(7):
        desk.ask([[value, 1]])
    assert [data_of(made) for _, made in sorted(desk.answers().items())] == [[2.0 * v, 2.0] for v in range(7)]
    assert seen.rows == [4, 2, 1]


def test_one_bad_request_spoils_no_other():
    seen = Seen()
    desk = Desk(seen.session, (1, 2, 4))
    desk.ask([[1, 1]])
    desk.put(b"{")
    desk.ask([[13, 1]])
    desk.ask([[1, 2, 3]])  # another shape: refused alone
    desk.ask([[2, 2]])
    desk.ask([[3, 3]])
    found = desk.answers()
    assert found == dict.fromkeys(range(6))  # the run failed: every one is answered alone
    assert seen.rows == [4]


def test_an_answer_that_cannot_be_made_spoils_no_other():
    seen = Seen()
    desk = Desk(seen.session, (1, 2))
    desk.ask([[1, 1]], outputs=[{"name": "y", "parameters": {"classification": 1}}])
    desk.ask([[2, 2]], outputs=[{"name": "no"}])
    desk.ask([[3, 3]])
    found = desk.answers()
    assert found[1] is None
    assert data_of(found[2]) == [6.0, 6.0]
    assert seen.rows == [2]


def test_outputs_that_are_not_as_many_as_the_inputs_are_not_cut():
    found = session(lambda feeds: {"y": np.zeros((1, 2), np.float32)})
    desk = Desk(found, (1, 2))
    desk.ask([[1, 1]])
    desk.ask([[2, 2]])
    assert desk.answers() == {0: None, 1: None}


def test_protocols_run_together():
    seen = Seen()
    desk = Desk(seen.session, (1, 2, 4))
    desk.ask([[1, 2]], id="a")
    desk.put(json.dumps({"instances": [[3, 4]]}).encode(), Op.TFS_PREDICT)
    desk.put(json.dumps({"inputs": {"x": [[5, 6], [7, 8]]}}).encode(), Op.TFS_PREDICT)
    desk.put(b"", Op.PING)
    found = desk.answers()
    assert seen.rows == [4]
    assert json.loads(found[0].body)["id"] == "a"  # type: ignore[union-attr]
    assert data_of(found[0]) == [2.0, 4.0]
    assert json.loads(found[1].body) == {"predictions": [[6.0, 8.0]]}  # type: ignore[union-attr]
    assert json.loads(found[2].body) == {"outputs": [[10.0, 12.0], [14.0, 16.0]]}  # type: ignore[union-attr]
    assert found[3] is None


def test_a_sequence_and_a_picture_run_alone():
    seen = Seen()
    desk = Desk(seen.session, (1, 2))
    desk.ask([[1, 1]], parameters={"sequence_id": 7})
    desk.ask([[2, 2]])
    desk.put(b"\xff\xd8", Op.INFER, ENCODER.encode(Head("image/jpeg")))
    found = desk.answers()
    assert found[2] is None
    assert seen.rows == [1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(-9, 12)), min_size=1, max_size=24))
def test_answers_are_as_alone(requests):
    seen = Seen()
    desk = Desk(seen.session, (1, 2, 4, 8))
    for rows, value in requests:
        desk.ask([[value, row] for row in range(rows)])
    for place, made in desk.answers().items():
        rows, value = requests[place]
        assert data_of(made) == [float(v) for row in range(rows) for v in (2 * value, 2 * row)]
    assert max(seen.rows) <= 8


def test_inputs_are_joined_by_name():
    one = [Tensor("b", DType.FP32, (1,), bytes(4)), Tensor("a", DType.BYTES, (1,), (b"x",))]
    other = [Tensor("a", DType.BYTES, (2,), (b"y", b"z")), Tensor("b", DType.FP32, (2,), b"\1" * 8)]
    assert list(joined([one, other])) == [
        Tensor("a", DType.BYTES, (3,), (b"x", b"y", b"z")),
        Tensor("b", DType.FP32, (3,), bytes(4) + b"\1" * 8),
    ]


def mean(feeds: Mapping[str, Any]) -> dict[str, Any]:
    x = np.asarray(feeds["x"])
    return {"y": x - x.mean(axis=0, keepdims=True)}


def test_a_model_whose_examples_see_one_another_is_found_out():
    assert independent(Seen().session)
    assert not independent(session(mean))
    assert not independent(session(lambda feeds: {"y": np.zeros((1, 2), np.float32)}))


ASKED = Order(path="m", sizes=(1, 2, 4), measure=False)


def test_sizes_that_are_asked_for_are_warmed():
    seen = Seen()
    assert choose(ASKED, seen.session, Clock(), 1.0) == (1, 2, 4)
    assert set(seen.rows) == {1, 2, 4}


@pytest.mark.parametrize(
    ("order", "found"),
    [
        (ASKED, session(mean)),
        (ASKED, session(lambda f: {"y": np.asarray(f["x"])}, [Spec("x", DType.FP32, (1, 2))])),
        (ASKED, session(lambda f: {"y": np.asarray(f["x"])}, [X], [Spec("y", DType.FP32, (2,))])),
        (Order(path="m", sizes=(), measure=False), Seen().session),
        (Order(path="m", sizes=(1,), measure=False), Seen().session),
        (Order(path="m"), session(lambda f: time.sleep(len(f["x"]) / 1000) or {"y": np.asarray(f["x"])})),
    ],
)
def test_requests_are_not_joined_where_that_is_wrong_or_does_not_pay(order, found):
    assert choose(order, found, Clock(), 1000.0) == ()


def test_a_model_that_does_not_run_on_made_up_inputs_is_not_joined():
    def fail(feeds: Mapping[str, Any]) -> dict[str, Any]:
        raise RunFailed("no")

    assert choose(ASKED, session(fail), Clock(), 1.0) == ()


def test_a_model_of_unknown_or_great_length_is_not_looked_at():
    seen = Seen()
    for run_us in (0.0, 1e6):
        assert choose(Order(path="m"), seen.session, Clock(), run_us) == ()
    assert seen.rows == []


class Costs(FakeClock):
    """A clock that a session moves: a run costs 1 ms and `each` for every example."""

    def __init__(self, each: float) -> None:
        super().__init__(0.0)
        self.each = each
        self.session = session(self._run, clock=self)

    def _run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        x = np.asarray(feeds["x"])
        self.time += 1e-3 + self.each * len(x)
        return {"y": x}


@pytest.mark.parametrize(
    ("each", "sizes"),
    [(0.0, (1, 2, 4, 8, 16, 32)), (1e-3, (1, 2, 4, 8)), (3e-3, (1, 2)), (2e-2, ())],
)
def test_sizes_are_chosen_by_what_runs_take(each, sizes):
    clock = Costs(each)
    found = sizes_that_pay(clock.session, clock)
    assert found == sizes[: len(found)]
    assert len(found) == len(sizes) or clock.time > 0.15  # a look ends when its time is over


def test_made_up_inputs_fit_every_type():
    for kind in DType:
        (tensor,) = made_up([Spec("x", kind, (-1, 3, -1))], 2)
        assert tensor.shape == (2, 3, 1)
        assert len(tensor.data) == (6 if kind is DType.BYTES else 6 * kind.size)


def gather(channel: Channel, **order: Any) -> Gather:
    return Gather(channel, threading.Lock(), Order(path="m", **order), (1, 2, 4))


def call(number: int, op: int = Op.INFER) -> tuple[int, ...]:
    return (number, 0, 0, op, 0, 0, 0, 0, 0)


def test_what_waits_is_taken_up_to_the_greatest_size():
    channel = Channel(CALL, ANSWER)
    for number in range(6):
        channel.send(*call(number))
    take = gather(channel)
    assert [[one[0] for one in take()] for _ in range(2)] == [[0, 1, 2, 3], [4, 5]]
    channel.close()


def test_a_call_that_is_no_inference_is_the_last_taken():
    channel = Channel(CALL, ANSWER)
    for number, op in enumerate((Op.INFER, Op.PING, Op.INFER, Op.STOP, Op.INFER)):
        channel.send(*call(number, op))
    take = gather(channel)
    assert [[one[0] for one in take()] for _ in range(3)] == [[0, 1], [2, 3], [4]]
    channel.close()


def test_nothing_is_taken_from_a_thread_that_is_free():
    channel = Channel(CALL, ANSWER)
    take = gather(channel)
    found: list[list[tuple[int, ...]]] = []
    free = threading.Thread(target=lambda: found.append(take()))
    free.start()
    while take._idle == 0:
        time.sleep(0.001)
    for number in range(3):
        channel.send(*call(number))
    found.append(take())
    free.join(5)
    while sum(map(len, found)) < 3:
        found.append(take())
    assert sorted(one[0] for calls in found for one in calls) == [0, 1, 2]
    assert min(map(len, found)) == 1
    channel.close()


def test_a_delay_waits_for_others_and_no_longer():
    channel = Channel(CALL, ANSWER)
    take = gather(channel, delay=300_000, preferred=(2,))
    channel.send(*call(0))
    later = threading.Timer(0.02, channel.send, call(1))
    later.start()
    began = time.monotonic()
    assert [one[0] for one in take()] == [0, 1]  # a preferred size goes at once
    assert time.monotonic() - began < 0.2
    channel.send(*call(2))
    began = time.monotonic()
    assert [one[0] for one in take()] == [2]
    assert time.monotonic() - began >= 0.3
    channel.close()


def test_more_never_blocks():
    channel = Channel(CALL, ANSWER)
    assert not channel.more()
    channel.send(*call(0))
    assert channel.more()
    assert not channel.more()
    assert not channel.more(0.001)
    assert channel.take()[0] == 0
    os.set_blocking(channel.fds[1], True)
    channel.close()


def dense(path: Path, width: int = 256) -> Path:
    """Write y = relu(x w1) w2, of random weights: what gains by being joined."""
    random = np.random.default_rng(1)
    weights = [(random.standard_normal((width, width)) / width**0.5).astype(np.float32) for _ in range(2)]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w0"], ["a"]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("MatMul", ["b", "w1"], ["y"]),
        ],
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", width])],
        [numpy_helper.from_array(array, f"w{place}") for place, array in enumerate(weights)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_a_real_worker_joins_concurrent_requests(tmp_path):
    from tests.node.kit import living, loader

    width = 64
    path = dense(tmp_path / "dense.onnx", width)
    weights = [numpy_helper.to_array(one) for one in onnx.load(str(path)).graph.initializer]
    order = Order(path=str(path), name="dense", version=1, bare=True, sizes=(1, 2, 4, 8), measure=False)
    x = np.random.default_rng(2).standard_normal((64, 1, width)).astype(np.float32)
    with living() as live:
        live.models.swap(loader().again(order, live.models.arena("dense")))
        worker = live.models.live("dense").queue.worker
        os.kill(worker.pid, signal.SIGSTOP)  # until all wait
        futures = []
        for row in x:
            one = {"name": "x", "datatype": "FP32", "shape": [1, width], "data": row.reshape(-1).tolist()}
            futures.append(live.submit("dense", json.dumps({"inputs": [one]}).encode()))
        bad = live.submit("dense", b'{"inputs": []}')
        os.kill(worker.pid, signal.SIGCONT)
        for row, future in zip(x, futures, strict=True):
            y = json.loads(future.result(20).body)["outputs"][0]["data"]
            np.testing.assert_allclose(y, (np.maximum(row @ weights[0], 0) @ weights[1])[0], rtol=1e-4, atol=1e-5)
        with pytest.raises(Invalid, match="inputs"):
            bad.result(20)
        live.quiet()
        generation = live.models.live("dense")
        reading = live.running.do(generation.series.reading)
        assert generation.hello.sizes == (1, 2, 4, 8)
        assert reading.requests == reading.examples == 64
        assert max(reading.batches) > 1
        assert set(reading.batches) <= {1, 2, 4, 8}
        assert sum(size * runs for size, (runs, *_) in reading.batches.items()) == 64
        assert isinstance(bad.exception(), SkerryError)
