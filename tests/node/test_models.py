"""Models and their generations behind workers that a test holds: who answers, what is refused, what a death does."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from skerry.core.errors import Invalid, LoadFailed, NotFound, NotReady, QueueFull, RunFailed
from skerry.core.names import ModelName
from skerry.node.generation import MAX_DEATHS, State
from skerry.node.serve.tfs import statuses
from skerry.node.worker.fake import FakeWorker
from skerry.node.worker.order import ENCODER, Head, Op, Order
from skerry.node.worker.ticket import Answered, Ticket
from tests.engine.kit import identity
from tests.node.kit import SECONDS, Held, living, session, steady, until


@pytest.fixture
def live():
    with living() as found:
        yield found
        found.quiet()


def versions(metrics):
    """Return every (model, version) that has a series."""
    families = text_string_to_metric_families(metrics.page().decode())
    samples = [s for family in families for s in family.samples if "version" in s.labels]
    return {(s.labels["model"], s.labels["version"]) for s in samples}


def test_the_states_of_a_model(live):
    models, m = live.models, ModelName("m")
    assert models.troubles() == {"": "no model to serve yet"}
    with pytest.raises(NotFound, match="unknown model: m; this node serves: none"):
        models.live("m")
    models.expect(m)
    assert models.troubles() == {"m": "loading"}
    with pytest.raises(NotReady, match="model m: not ready: loading"):
        models.live("m", 5)
    models.expect(m, "too big")
    with pytest.raises(NotReady, match="not ready: too big"):
        models.live("m")
    live.put(steady(version=2))
    assert models.troubles() == {}
    assert models.live("m").manifest.version == models.live("m", 2).manifest.version == 2
    with pytest.raises(NotFound, match="unknown version: 1 of model m; this node serves 2"):
        models.live("m", 1)
    models.expect(m, "version 3 was refused")
    assert models.troubles() == {}  # an older version serves
    assert models.names() == ["m"]
    models.drop(m)
    with pytest.raises(NotFound):
        models.live("m")
    models.drop(m)


def test_the_default_is_the_only_one(live):
    with pytest.raises(Invalid, match="this node serves none"):
        live.models.default()
    live.models.expect(ModelName("a"))
    assert live.models.default() == "a"
    live.put(steady("b"))
    with pytest.raises(Invalid, match="this node serves a, b; choose with"):
        live.models.default()


def test_an_answer_says_by_whom(live):
    live.put(steady(version=4))
    seen = live.ask()
    assert (seen.version, seen.y) == (4, [4])
    with pytest.raises(Invalid, match="inputs: expected x"):
        live.ask(body=b'{"inputs": [{"name": "z", "datatype": "FP32", "shape": [1], "data": [1]}]}')


def test_a_swap_under_load_fails_nobody(live):
    live.put(steady(version=1), depth=4)
    stop, failures, seen = threading.Event(), [], set()

    def client():
        while not stop.is_set():
            try:
                found = live.ask()
                assert found.y == [found.version]
                seen.add(found.version)
            except Exception as error:
                failures.append(error)
                raise

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for version in range(2, 60):
        live.put(steady(version=version), depth=4)
        time.sleep(0.005)
    stop.set()
    for thread in threads:
        thread.join(SECONDS)
    assert failures == []
    assert len(seen) > 10
    until("the old ones to be freed", lambda: all(one._session._runner.closed for one in live.fakes[:-1]))
    assert not live.fakes[-1]._session._runner.closed
    assert versions(live.metrics) == {("m", "59")}


def test_the_old_model_answers_what_it_took_and_is_freed_then(live):
    old = Held(version=1)
    live.put(old.session)
    runs, waits = live.submit(), live.submit()
    assert old.entered.acquire(timeout=SECONDS)
    live.put(steady(version=2))
    assert b'"model_version":"2"' in waits.result(SECONDS).body.replace(b" ", b"")  # what waited moves to the new one
    assert live.ask().version == 2
    assert not old.runner.closed
    assert not runs.done()
    old.gate.set()
    assert b'"model_version":"1"' in runs.result(SECONDS).body.replace(b" ", b"")
    until("the old one to be freed", lambda: old.runner.closed)
    assert versions(live.metrics) == {("m", "2")}


def test_two_versions_side_by_side(live):
    for version in (1, 2, 3):
        live.put(steady(version=version), keep=(1, 2))
    assert [one.manifest.version for one in live.models.generations("m")] == [1, 2, 3]
    assert [live.ask(version=v).version for v in (None, 1, 2, 3)] == [3, 1, 2, 3]
    live.put(steady(version=2), keep=(1, 3))  # the same again: the newest stays the default
    assert live.ask().version == 3
    live.models.drop("m", 3)
    assert [live.ask(version=v).version for v in (None, 1)] == [2, 1]
    with pytest.raises(NotFound, match="unknown version: 3 of model m; this node serves 1, 2"):
        live.models.live("m", 3)
    live.put(steady(version=4))
    assert [one.manifest.version for one in live.models.generations("m")] == [4]
    until("the others to be freed", lambda: sum(one._session._runner.closed for one in live.fakes) == 4)
    assert versions(live.metrics) == {("m", "4")}


def test_what_waits_for_a_dropped_version_is_answered_by_the_one_that_stays(live):
    held = Held(version=2)
    live.put(steady(version=1))
    live.put(held.session, keep=(1,))
    runs, waits = live.submit(version=2), live.submit(version=2)
    live.models.drop("m", 2)
    assert b'"model_version":"1"' in waits.result(SECONDS).body.replace(b" ", b"")
    held.gate.set()
    assert b'"model_version":"2"' in runs.result(SECONDS).body.replace(b" ", b"")


def test_what_waits_for_a_dropped_model_is_told(live):
    held = Held()
    live.put(held.session)
    runs, waits = live.submit(), live.submit()
    live.models.drop("m")
    with pytest.raises(NotReady, match="model m: out of service"):
        waits.result(SECONDS)
    held.gate.set()
    assert runs.result(SECONDS)
    until("it to be freed", lambda: held.runner.closed)


def test_failures_are_counted_by_class_and_dropped_with_their_version(live):
    def fails(_):
        raise RunFailed("no")

    live.put(session("m", 1, fails))
    with pytest.raises(Invalid, match="no"):  # the caller's tensors, as far as anyone can tell
        live.ask()
    assert b'outcome="Invalid",version="1"} 1.0' in live.metrics.page()
    live.put(steady(version=2))
    assert ("m", "1") not in versions(live.metrics)
    live.ask()
    assert versions(live.metrics) == {("m", "2")}
    live.models.drop(ModelName("m"))
    assert versions(live.metrics) == set()


def test_close_frees_everything(live):
    fakes = [live.put(steady(name)) for name in "abc"]
    live.running.do(live.models.close)
    assert all(one._session._runner.closed for one in fakes)
    assert live.models.names() == []


def test_whoever_asked_to_be_told_hears_of_every_change(live):
    told = []
    live.models.changed.append(lambda: told.append(live.models.names()))
    live.put(steady())
    live.models.drop("m")
    assert told == [["m"], []]


# --- deaths ---


def bears(live, make, version=1):
    """Say what is born when the worker of a version has died."""

    def again(order: Order, _) -> FakeWorker:
        made = make()
        live.fakes.append(FakeWorker(made, order))
        return live.fakes[-1]

    live.nest.born["m", version] = again


def state(live, version=None):
    return live.models.live("m", version).state


def kill(live, version=None):
    """Kill the worker of a version; wait until that is seen."""
    generation = live.models.live("m", version)
    worker = generation.queue.worker
    worker.kill()
    until("the death to be seen", lambda: generation.queue.worker is not worker)


def test_a_worker_that_dies_is_replaced_and_nobody_notices(live):
    held = Held()
    bears(live, steady)
    live.put(held.session, depth=2)
    asked = [live.submit() for _ in range(5)]
    assert held.entered.acquire(timeout=SECONDS)
    kill(live)
    assert all(b'"data":[1' in one.result(SECONDS).body.replace(b" ", b"") for one in asked)
    held.gate.set()
    assert state(live) is State.SERVING
    assert live.models.troubles() == {}
    assert live.metrics.counts("m") == {"swaps": 1, "restarts": 1, "quarantines": 0}


def test_while_it_is_away_the_node_says_so_and_requests_wait(live):
    gate = threading.Event()
    bears(live, lambda: (gate.wait(SECONDS), steady())[1])
    live.put(steady())
    kill(live)
    assert state(live) is State.REVIVING
    assert live.models.troubles() == {"m": "its worker died; a new one is starting"}
    with pytest.raises(NotReady, match="model m: its worker died; a new one is starting"):
        live.models.live("m").check()
    waits = live.submit()
    gate.set()
    assert waits.result(SECONDS)
    assert live.models.troubles() == {}


def test_a_request_that_kills_is_refused_the_second_time(live):
    first, second = Held(), Held()
    sessions = iter([second.session, steady()])
    bears(live, lambda: next(sessions))
    live.put(first.session)
    deadly, other = live.submit(), live.submit()
    assert first.entered.acquire(timeout=SECONDS)
    kill(live)
    assert second.entered.acquire(timeout=SECONDS)
    kill(live)
    with pytest.raises(NotReady, match="its worker died twice under this request"):
        deadly.result(SECONDS)
    assert other.result(SECONDS)
    first.gate.set()
    second.gate.set()


def test_one_that_cannot_be_born_again_is_quarantined(live, caplog):
    live.put(steady())
    waits = live.submit()
    waits.result(SECONDS)
    kill(live)
    until("the quarantine", lambda: state(live) is State.QUARANTINED)
    told = "version 1 is quarantined: it could not be loaded again: m: nobody bears it again"
    assert live.models.troubles() == {"m": told}
    with pytest.raises(NotReady, match="quarantined"):
        live.ask()
    assert live.metrics.counts("m")["quarantines"] == 1
    assert told in caplog.text
    live.put(steady(version=2))
    assert live.ask().version == 2
    assert live.models.troubles() == {}


def test_a_crash_loop_falls_back_to_the_last_good_version(live, caplog):
    bears(live, lambda: steady(version=1), 1)
    bears(live, lambda: steady(version=2), 2)
    live.put(steady(version=1))
    live.put(steady(version=2))
    for _ in range(MAX_DEATHS - 1):
        kill(live)
        until("the new worker", lambda: state(live) is State.SERVING)
        assert live.ask().version == 2
    kill(live)
    until("the fallback", lambda: live.models.live("m").manifest.version == 1)
    assert live.ask().version == 1
    assert "version 2 is quarantined: its worker died 3 times in 60 s" in caplog.text
    assert live.metrics.counts("m") == {"swaps": 3, "restarts": 3, "quarantines": 1}
    assert [order.version for order in live.nest.asked] == [2, 2, 1]
    assert "version 2 is quarantined" in live.models.live("m").trouble
    assert list(live.models.fallen()) == [("m", 2)]
    rows = statuses(live.models, "m", None, None)
    assert [row[:3] for row in rows] == [(2, "END", "INTERNAL"), (1, "AVAILABLE", "OK")]
    assert statuses(live.models, "m", 2, None) == rows[:1]
    live.put(steady(version=3))
    assert live.models.fallen() == {}


@pytest.mark.parametrize("how", ["swapped out", "dropped", "loaded again"])
def test_what_is_fallen_back_on_is_the_version_before_however_it_left(live, how):
    for version in (1, 2):
        live.nest.born["m", version] = lambda order, _, v=version: FakeWorker(steady(version=v), order)
    live.put(steady(version=1))
    live.put(steady(version=2), keep=(1,) if how == "dropped" else ())
    if how == "dropped":
        live.models.drop("m", 1)  # as a repository's policy has it, once the new one serves
    elif how == "loaded again":
        live.put(steady(version=2))
    for _ in range(MAX_DEATHS):
        two = live.models.live("m", 2)
        until("a worker", lambda two=two: two.state is State.SERVING)
        worker = two.queue.worker
        worker.kill()
        until("the death", lambda two=two, worker=worker: two.queue.worker is not worker)
    until("the fallback", lambda: live.models.live("m").manifest.version == 1)
    assert live.ask().version == 1


def test_a_crash_loop_without_a_good_version_is_told(live):
    bears(live, steady)
    live.put(steady())
    for _ in range(MAX_DEATHS - 1):
        kill(live)
        until("the new worker", lambda: state(live) is State.SERVING)
    kill(live)
    until("the quarantine", lambda: state(live) is State.QUARANTINED)
    assert live.models.troubles() == {"m": "version 1 is quarantined: its worker died 3 times in 60 s"}
    with pytest.raises(NotReady, match="model m: version 1 is quarantined"):
        live.ask()


def test_a_fallback_that_fails_too_is_told(live):
    bears(live, lambda: steady(version=2), 2)
    live.put(steady(version=1))
    live.put(steady(version=2))
    for _ in range(MAX_DEATHS):
        kill(live)
        until("the end", lambda: state(live) is not State.REVIVING)
    until("the refusal", lambda: live.models.live("m").queue.refusal is not None)
    with pytest.raises(NotReady, match="version 2 is quarantined"):
        live.ask()
    assert live.metrics.counts("m")["quarantines"] == 1


def test_a_fallback_that_comes_too_late_is_let_go(live):
    gate = threading.Event()
    bears(live, lambda: (gate.wait(SECONDS), steady(version=1))[1], 1)
    bears(live, lambda: steady(version=2), 2)
    live.put(steady(version=1))
    live.put(steady(version=2))
    for _ in range(MAX_DEATHS):
        kill(live)
        until("the end", lambda: state(live) is not State.REVIVING)
    live.models.drop("m")
    gate.set()
    until("the late one to be freed", lambda: len(live.fakes) == 5 and live.fakes[4]._session._runner.closed)
    assert live.models.names() == []


def test_a_dropped_model_gives_its_memory_back(live):
    live.put(steady())
    arena = live.models.arena("m")
    live.ask(body=b" " * (8 << 20) + b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}')
    assert os.fstat(arena.fd).st_blocks * 512 > 8 << 20
    live.models.drop("m")
    assert os.fstat(arena.fd).st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("bound", [False, True])
def test_what_an_old_worker_had_when_it_died_is_asked_of_the_new_one_but_for_who_named_the_old(live, bound):
    held = Held(version=1)
    live.put(held.session, depth=1)
    runs, waits = live.submit(bound=bound), live.submit()
    assert held.entered.acquire(timeout=SECONDS)
    old = live.fakes[-1]
    live.put(steady(version=2))
    assert waits.result(SECONDS)
    old.kill()
    if bound:
        with pytest.raises(NotReady, match="out of service"):
            runs.result(SECONDS)
    else:
        assert b'"model_version":"2"' in runs.result(SECONDS).body
    held.gate.set()
    assert live.ask().version == 2
    assert live.metrics.counts("m")["restarts"] == 0


def test_what_waits_for_a_version_by_its_name_is_not_answered_by_another(live):
    held = Held(version=1)
    live.put(held.session, depth=1)
    runs, waits = live.submit(), live.submit(bound=True)
    assert held.entered.acquire(timeout=SECONDS)
    live.put(steady(version=2))
    with pytest.raises(NotReady, match="out of service"):
        waits.result(SECONDS)
    held.gate.set()
    assert b'"model_version":"1"' in runs.result(SECONDS).body


def test_one_that_is_dropped_while_it_is_born_again_stays_away(live):
    gate = threading.Event()
    bears(live, lambda: (gate.wait(SECONDS), steady())[1])
    live.put(steady())
    kill(live)
    waits = live.submit()
    live.models.drop("m")
    with pytest.raises(NotReady, match="out of service"):
        waits.result(SECONDS)
    gate.set()
    until("the late one to be freed", lambda: len(live.fakes) == 2 and live.fakes[1]._session._runner.closed)
    assert live.models.names() == []


def test_a_swap_while_it_is_born_again_answers_what_waits(live):
    gate = threading.Event()
    bears(live, lambda: (gate.wait(SECONDS), steady())[1])
    live.put(steady())
    kill(live)
    waits = live.submit()
    live.put(steady(version=2))
    assert b'"model_version":"2"' in waits.result(SECONDS).body.replace(b" ", b"")
    gate.set()
    until("the late one to be freed", lambda: len(live.fakes) == 3 and live.fakes[2]._session._runner.closed)


def test_loading_that_fails_raises_in_the_thread_that_asked(live):
    with pytest.raises(LoadFailed):
        live.nest(Order(path="fake", name="m"), live.models.arena("m"))


def test_an_answer_for_which_there_is_no_room_is_refused_and_forgotten(tmp_path):
    """The worker stands still while the memory is used up, so that its answer finds none."""
    with living() as live:
        live.put_file(identity(tmp_path / "m.onnx"), "m")
        (generation,) = live.models.generations()
        arena, worker = generation.arena, generation.queue.worker
        outcomes, blocks = [], []

        def submit(rows):
            data = b"[" + b",".join([b"0.1"] * rows * 2) + b"]"
            body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[%d,2],"data":%b}]}' % (rows, data)
            ticket = Ticket(Op.INFER, arena, len(body), 0)
            ticket.body[:] = body
            ticket.put_head(ENCODER.encode(Head()))
            ticket.done = lambda _, found: outcomes.append(found)
            generation.queue.submit(ticket)

        def use_up():
            size = 256 << 20
            while size >= 4096:
                try:
                    blocks.append(arena.cut(size))
                except QueueFull:
                    size //= 2

        os.kill(worker.pid, signal.SIGSTOP)
        status = Path(f"/proc/{worker.pid}/stat")
        until("it stands", lambda: status.read_text().rpartition(")")[2].split()[0] == "T")
        live.running.do(lambda: (submit(100_000), use_up()))
        os.kill(worker.pid, signal.SIGCONT)
        until("the refusal", lambda: outcomes)
        assert isinstance(outcomes[0], QueueFull)
        live.running.do(lambda: [arena.free(block) for block in blocks])
        live.running.do(lambda: submit(100_000))
        until("the next answer", lambda: len(outcomes) == 2)
        assert isinstance(outcomes[1], Answered)
        live.quiet()
