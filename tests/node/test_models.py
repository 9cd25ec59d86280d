from __future__ import annotations

import asyncio
import threading
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from skerry.core.errors import Invalid, NotFound, NotReady, QueueFull, RunFailed
from skerry.core.names import ModelName
from skerry.core.tensor import DType, Tensor
from skerry.host.clock import Clock
from skerry.node.metrics import Metrics
from skerry.node.models import Ask, Models
from skerry.node.worker import CALLERS, Retired, Worker
from tests.node.kit import Held, session, steady

ONE = (Tensor("x", DType.FP32, (1,), bytes(4)),)


def ask(models, name="m", version=None, tensors=ONE, image=None):
    return asyncio.run(models.infer(Ask(name, version, image, tensors)))


@pytest.fixture
def models():
    found = Models(Clock(), Metrics())
    yield found
    found.close()


def versions(metrics):
    """Return every (model, version) that has a series."""
    families = text_string_to_metric_families(metrics.page().decode())
    samples = [s for family in families for s in family.samples if "version" in s.labels]
    return {(s.labels["model"], s.labels["version"]) for s in samples}


def test_the_states_of_a_model(models):
    m = ModelName("m")
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
    models.swap(Worker(steady(version=2), 1))
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


def test_the_default_is_the_only_one(models):
    with pytest.raises(Invalid, match="this node serves none"):
        models.default()
    models.expect(ModelName("a"))
    assert models.default() == "a"
    models.swap(Worker(steady("b"), 1))
    with pytest.raises(Invalid, match="this node serves a, b; choose with"):
        models.default()


def test_an_answer_says_by_whom(models):
    models.swap(Worker(steady(version=4), 1))
    seen = ask(models)
    assert (seen.manifest.version, seen.digest, seen.result) == (4, seen.manifest.digest, "")
    assert seen.arrays["y"].tolist() == [4]
    with pytest.raises(Invalid, match="takes tensors, not images; 'skerry bundle init' declares"):
        ask(models, tensors=(), image=b"x")
    with pytest.raises(Invalid, match="inputs: expected x"):
        ask(models, tensors=())


def test_a_swap_under_load_fails_nobody(models):
    models.swap(Worker(steady(version=1), 64))
    stop, failures, seen = threading.Event(), [], set()

    async def client():
        while not stop.is_set():
            try:
                found = await models.infer(Ask("m", tensors=ONE))
                assert found.arrays["y"].tolist() == [found.manifest.version]
                seen.add(found.manifest.version)
            except Exception as error:
                failures.append(error)
                raise

    async def all_clients():
        await asyncio.gather(*[client() for _ in range(8)])

    threads = [threading.Thread(target=lambda: asyncio.run(all_clients())) for _ in range(2)]
    for thread in threads:
        thread.start()
    sessions = []
    for version in range(2, 60):
        sessions.append(steady(version=version))
        models.swap(Worker(sessions[-1], 64))
        time.sleep(0.005)
    stop.set()
    for thread in threads:
        thread.join(10)
    assert failures == []
    assert len(seen) > 10
    assert all(s._runner.closed for s in sessions[:-1])
    assert not sessions[-1]._runner.closed
    assert versions(models._metrics) == {("m", "59")}


def test_the_old_model_answers_what_it_took_and_is_freed_then(models):
    old = Held(version=1)
    models.swap(Worker(old.session, 4))
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(ask(models)))
    waiting.start()
    assert old.entered.acquire(timeout=5)
    swapping = threading.Thread(target=lambda: models.swap(Worker(steady(version=2), 4)))
    swapping.start()
    deadline = time.monotonic() + 5
    while models.live("m").manifest.version == 1:
        assert time.monotonic() < deadline
    assert ask(models).manifest.version == 2  # the new one answers while the old one still works
    assert not old.runner.closed
    old.gate.set()
    waiting.join(5)
    swapping.join(5)
    assert [a.manifest.version for a in answers] == [1]
    assert old.runner.closed
    assert versions(models._metrics) == {("m", "2")}


def test_failures_are_counted_by_class_and_dropped_with_their_version(models):
    def fails(_):
        raise RunFailed("no")

    models.swap(Worker(session("m", 1, fails), 1))
    with pytest.raises(Invalid, match="no"):  # the caller's tensors, as far as anyone can tell
        ask(models)
    assert b'outcome="Invalid",version="1"} 1.0' in models._metrics.page()
    models.swap(Worker(steady(version=2), 1))
    assert versions(models._metrics) == set()
    ask(models)
    assert versions(models._metrics) == {("m", "2")}
    models.drop(ModelName("m"))
    assert versions(models._metrics) == set()


def test_close_frees_everything(models):
    sessions = [steady(name) for name in "abc"]
    for one in sessions:
        models.swap(Worker(one, 1))
    models.close()
    assert all(s._runner.closed for s in sessions)
    assert models.names() == []


# --- the worker ---


def test_a_worker_takes_so_many_and_then_no_more():
    held = Held()
    worker = Worker(held.session, waiting=3)
    futures = [worker.submit(lambda s: s.infer(ONE)) for _ in range(3 + CALLERS)]
    with pytest.raises(QueueFull, match=f"model m: {3 + CALLERS} requests are waiting; try later"):
        worker.submit(lambda s: s.infer(ONE))
    held.gate.set()
    assert all(f.result(5)["y"].tolist() == [0] for f in futures)
    for _ in range(20):  # places come back, also from failures and cancelled ones
        assert worker.submit(lambda _: 1 / 1).result(5) == 1
        with pytest.raises(ZeroDivisionError):
            worker.submit(lambda _: 1 / 0).result(5)
    worker.retire()
    with pytest.raises(Retired):
        worker.submit(lambda s: s)


def test_a_cancelled_call_gives_its_place_back():
    held = Held()
    worker = Worker(held.session, waiting=1)
    futures = [worker.submit(lambda s: s.infer(ONE)) for _ in range(CALLERS + 1)]
    assert futures[-1].cancel()
    last = worker.submit(lambda s: s.infer(ONE))
    held.gate.set()
    assert last.result(5)["y"].tolist() == [0]
    worker.retire()
    assert held.runner.closed
