"""The watchdog with its clock by hand: who is asked, who is ended, and when memory is given back."""

from __future__ import annotations

import os
import threading

import numpy as np
import onnx
import pytest

from skerry.core.errors import RunFailed
from skerry.host.clock import FakeClock
from skerry.node.generation import State
from skerry.node.watchdog import GOLDEN_SECONDS, PING_SECONDS, QUIET_SECONDS, STILL_SECONDS, TICK_SECONDS, Watchdog
from skerry.node.worker.fake import FakeWorker
from skerry.node.worker.order import Op
from skerry.node.worker.ticket import Answered, Ticket
from tests.node.kit import SECONDS, Held, living, session, steady, until


@pytest.fixture
def live():
    with living(FakeClock(1000.0)) as found:
        found.nest.born["m", 1] = lambda order, _: next_worker(found, order)
        yield found
        found.quiet()


def next_worker(live, order):
    live.fakes.append(FakeWorker(steady(), order, clock=live.clock))
    return live.fakes[-1]


class Ticks:
    """A watchdog that looks when the test says so."""

    def __init__(self, live):
        self.live, self.watchdog = live, Watchdog(live.models, live.clock)

    def __call__(self, seconds: float = 0.0) -> None:
        def tick():
            self.live.clock.time += seconds
            self.watchdog.tick()

        self.live.running.do(tick)


def sent(worker):
    """Count what a fake was asked."""
    counts = []
    before = worker.send

    def send(ticket, now):
        counts.append(int(ticket.op))
        before(ticket, now)

    worker.send = send
    return counts


def test_one_with_nothing_to_do_is_asked_now_and_then_and_proved_seldom(live):
    worker = live.put(steady())
    asked, tick = sent(worker), Ticks(live)
    for _ in range(int(GOLDEN_SECONDS / PING_SECONDS) + 3):
        tick(PING_SECONDS)
        live.quiet()
        until("the answer", lambda: not worker.flying)
    assert asked.count(3) == 1
    assert asked.count(2) >= GOLDEN_SECONDS / PING_SECONDS - 1
    assert not worker.ended
    assert live.models.live("m").series.reading().requests == 0


def test_one_that_hangs_is_ended_and_what_it_had_is_answered_by_the_next(live, caplog):
    held = Held()
    worker = live.put(held.session)
    waits, tick = live.submit(), Ticks(live)
    assert held.entered.acquire(timeout=SECONDS)
    tick(STILL_SECONDS * 0.9)
    assert not worker.ended
    tick(STILL_SECONDS * 0.2)
    assert waits.result(SECONDS)
    assert worker.ended
    held.gate.set()
    assert "model m version 1: its worker hangs for 1.1 s" in caplog.text
    assert live.metrics.counts("m")["restarts"] == 1


def test_one_that_answers_is_not_ended_for_those_that_wait_their_turn_in_it(live):
    gate = threading.Semaphore(0)

    def slow(feeds):
        assert gate.acquire(timeout=SECONDS)
        return {"y": feeds["x"]}

    worker, tick = live.put(session("m", 1, slow), depth=8), Ticks(live)
    waits = [live.submit() for _ in range(8)]
    for one in waits:
        for _ in range(3):
            tick(STILL_SECONDS / 4)
        gate.release()
        assert one.result(SECONDS)
    assert not worker.ended


def test_one_that_has_left_and_hangs_is_ended_and_what_it_had_is_answered_by_the_next(live, caplog):
    held = Held()
    old = live.put(held.session)
    waits, tick = live.submit(), Ticks(live)
    assert held.entered.acquire(timeout=SECONDS)
    live.put(steady(version=2))
    tick(STILL_SECONDS * 1.1)
    assert b'"model_version":"2"' in waits.result(SECONDS).body
    assert old.ended
    assert live.running.do(live.models.leaving) == []
    held.gate.set()
    assert "model m version 1: its worker hangs for 1.1 s" in caplog.text


def test_after_it_stood_still_itself_the_watchdog_blames_nobody(live):
    held = Held()
    worker = live.put(held.session)
    waits, watchdog = live.submit(), Watchdog(live.models, live.clock)
    assert held.entered.acquire(timeout=SECONDS)

    def again(seconds):
        live.clock.time += seconds
        watchdog._again()

    live.running.do(watchdog.start)
    live.running.do(lambda: again(30.0))
    for _ in range(int(STILL_SECONDS / TICK_SECONDS)):
        live.running.do(lambda: again(TICK_SECONDS))
    assert not worker.ended
    live.running.do(lambda: again(TICK_SECONDS))
    live.running.do(watchdog.stop)
    assert waits.result(SECONDS)
    assert worker.ended
    held.gate.set()


def test_one_that_lies_is_ended(live, caplog):
    def lies(_):
        raise RunFailed("the memory is spoilt")

    worker, tick = live.put(session("m", 1, lies)), Ticks(live)
    for _ in range(int(GOLDEN_SECONDS / PING_SECONDS) + 3):
        tick(PING_SECONDS)
        until("the answer", lambda: not worker.flying)
    until("the next", lambda: worker.ended and live.models.live("m").state is State.SERVING)
    assert "model m version 1: it lies now" in caplog.text
    assert live.ask().y == [1]


def test_memory_is_given_back_when_all_is_quiet(live):
    live.put(steady())
    arena, tick = live.models.arena("m"), Ticks(live)

    def touch():
        block = arena.cut(8 << 20)
        arena.view[block.at : block.at + block.size] = bytes(block.size)
        arena.free(block)

    tick()
    live.running.do(touch)
    tick(QUIET_SECONDS - 1)
    assert held(arena) >= 8 << 20
    tick(2)
    assert held(arena) < 1 << 20


def held(arena):
    return os.fstat(arena.fd).st_blocks * 512


def test_a_model_that_cannot_run_on_zeros_is_not_ended_for_it(tmp_path):
    """It takes the thousandth of its rows, more than it is warmed with. It has no golden, so it is only asked."""
    index = onnx.numpy_helper.from_array(np.array([999]), "place")
    node = onnx.helper.make_node("Gather", ["x", "place"], ["y"])
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 2]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([node], "g", value[:1], value[1:], [index])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with living() as found:
        found.put_file(path, "m")
        (generation,) = found.models.generations()
        assert generation.hello.run_us == 0
        answers = []

        def ask():
            ticket = Ticket(Op.GOLDEN, generation.arena, 0, 4096)
            ticket.done = lambda _, answer: answers.append(answer)
            generation.queue.worker.send(ticket, found.clock.nanos())

        found.running.do(ask)
        until("the answer", lambda: answers)
        assert isinstance(answers[0], Answered)
