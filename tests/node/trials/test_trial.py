"""Trials: shadow and canary beside a version that serves, through the real site; workers that a test holds."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
import numpy as np
import pytest

from skerry.core.agreement import Limits, Terms
from skerry.core.errors import Conflict, Invalid, LoadFailed, RunFailed
from skerry.node.alone import alone
from skerry.node.app import Shared
from skerry.node.serve.admin import Admin
from skerry.node.serve.rest import rest
from skerry.node.settings import NodeSettings
from skerry.node.trials.trial import Spare
from skerry.node.worker.fake import FakeWorker
from skerry.node.worker.order import Hello, Order
from tests.models import adder_onnx
from tests.node.kit import ONE_JSON, SECONDS, Held, Place, listen, loader, session, steady, until

INFER = "/v2/models/m/infer"
TRIAL = "/v2/models/m/trial"
ASKED = {"inputs": [ONE_JSON]}
LENIENT = Limits(1.0, 1.0, 1000)


@dataclass
class Shelf:
    """A repository that says yes."""

    def load(self, name): ...
    def unload(self, name): ...


class Stage(Place):
    """A site whose models may be put on trial by request."""

    def serve(self, recorded=None):
        listener = listen("127.0.0.1", 0)
        self.address = listener.getsockname()[:2]
        admin = Admin(self.models, self.metrics, Shelf())
        self.site = rest(self.models, self.metrics, self.clock, "here", admin, recorded)
        self.running.wait(self.site.start(listener))
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{self.address[1]}", timeout=SECONDS)
        self.load = 0.0
        self.models.trials.spare = Spare(lambda: self.load, 0.0)

    def begin(self, version=2, **terms):
        self.running.do(lambda: self.models.trials.begin("m", Terms(version, **terms)))

    def infer(self, **headers):
        """Ask version-less; return the version that answered."""
        status, found = self.post(INFER, ASKED, **headers)
        assert status == 200, found
        return int(found["model_version"])

    @property
    def told(self):
        return self.get(TRIAL)[1]


@contextmanager
def staging():
    found = Stage()
    try:
        found.serve()
        yield found
    finally:
        found.close()


@pytest.fixture
def stage():
    with staging() as found:
        yield found


def same(version, by=0.0):
    """A version that answers 1, and so much more."""
    return session("m", version, lambda f: {"y": np.full(f["x"].shape, 1 + by, np.float32)})


def broken(version, error=RunFailed):
    def run(_):
        raise error("it cannot")

    return session("m", version, run)


def both(stage, candidate, **terms):
    """Put version 1 into service, and version 2 on trial beside it."""
    stage.put(same(1))
    stage.begin(**terms)
    stage.put(candidate, keep=(1,))


def test_a_candidate_does_not_answer_who_names_no_version(stage):
    both(stage, steady(version=2), mode="shadow")
    assert stage.infer() == 1
    assert stage.post("/v2/models/m/versions/2/infer", ASKED)[1]["model_version"] == "2"
    assert stage.post("/v1/models/m/labels/canary:predict", {"instances": [1.0]})[1] == {"predictions": [2.0]}
    assert stage.told["stage"] == "running"
    assert stage.get("/v2/models/m")[1]["versions"] == ["1", "2"]
    assert b'skerry_serving_version{model="m"} 1.0' in stage.client.get("/metrics").content


def test_a_shadow_that_agrees(stage):
    both(stage, same(2), mode="shadow")
    for count in range(1, 6):
        assert stage.infer() == 1
        until("the comparison", lambda n=count: stage.told["compared"] == n)
    told = stage.told
    assert (told["agreed"], told["failed"], told["asked"], told["requests"]) == (5, 0, 5, 5)
    assert told["worst_difference"] == 0.0
    assert told["latency_ratio"] > 0
    page = stage.client.get("/metrics").text
    assert 'skerry_shadow_compared_total{model="m",version="2"} 5.0' in page
    assert 'skerry_shadow_agreed_total{model="m",version="2"} 5.0' in page
    assert stage.get("/stats")[1]["trials"][0]["agreed"] == 5
    reading = next(r for r in stage.metrics.readings() if r.version == "2")
    assert reading.requests == 0  # what nobody waited for is not counted as answered
    stage.quiet()


def test_a_shadow_that_says_otherwise_is_rolled_back(stage, caplog):
    both(stage, same(2, by=0.5), mode="shadow", limits=Limits(0.5, 0.1, 10))
    for count in (1, 2):
        assert stage.infer() == 1
        until("the comparison", lambda n=count: stage.told["compared"] == n)
    told = stage.told
    assert told["stage"] == "rolled back"
    assert told["worst_difference"] == 0.5
    assert told["why"] == (
        "2 of 2 requests were answered otherwise; at most 10.000% may be, of 10 or more; "
        "the last: output 'y': off by up to 0.5"
    )
    assert "model m: version 2 is rolled back: 2 of 2" in caplog.text
    assert 'skerry_rollbacks_total{model="m"} 1.0' in stage.client.get("/metrics").text
    assert stage.infer() == 1
    assert stage.told["requests"] == 2  # nothing is seen any more
    stage.quiet()


def test_a_shadow_that_fails_is_rolled_back(stage):
    both(stage, broken(2), mode="shadow", limits=Limits(0.1, 1.0, 10))
    for count in (1, 2):
        assert stage.infer() == 1
        until("the failure", lambda n=count: stage.told["failed"] == n)
    assert stage.told["stage"] == "rolled back"
    assert stage.told["last_trouble"] == "Invalid: inputs: the model cannot run on them: it cannot"
    assert 'skerry_shadow_errors_total{model="m",version="2"} 2.0' in stage.client.get("/metrics").text
    stage.quiet()


def test_a_shadow_sees_nothing_while_the_machine_is_busy(stage):
    both(stage, same(2), mode="shadow")
    stage.load = 0.9
    assert stage.infer() == 1
    assert (stage.told["asked"], stage.told["passed_over"]) == (0, 1)


def test_a_shadow_that_is_slow_keeps_nobody_waiting(stage):
    held = Held(version=2)
    both(stage, held.session, mode="shadow")
    assert stage.infer() == 1
    assert held.entered.acquire(timeout=SECONDS)
    for _ in range(5):
        assert stage.infer() == 1  # it is busy: these are not shown to it
    assert (stage.told["asked"], stage.told["passed_over"]) == (1, 5)
    held.gate.set()
    until("the comparison", lambda: stage.told["compared"] == 1)
    stage.quiet()


def test_a_shadow_sees_so_many_a_second_and_no_more(stage):
    stage.models.trials.spare = Spare(lambda: 0.0, 3600.0)
    both(stage, same(2), mode="shadow")
    for _ in range(5):
        assert stage.infer() == 1
    until("the comparison", lambda: stage.told["compared"] == 1)
    assert (stage.told["asked"], stage.told["passed_over"]) == (1, 4)


def test_a_share_of_a_shadow_is_counted_out(stage):
    both(stage, same(2), mode="shadow", share=0.25)
    for _ in range(8):
        stage.infer()
        until("quiet", lambda: stage.told["asked"] == stage.told["compared"])
    assert stage.told["asked"] == 2


def test_a_canary_answers_its_share(stage):
    both(stage, steady(version=2), mode="canary", share=0.25)
    assert [stage.infer() for _ in range(8)] == [1, 1, 1, 2, 1, 1, 1, 2]
    told = stage.told
    assert (told["requests"], told["asked"], told["failed"]) == (8, 2, 0)
    assert told["latency_ratio"] > 0
    assert stage.post("/v2/models/m/versions/1/infer", ASKED)[1]["model_version"] == "1"
    assert stage.told["requests"] == 8
    stage.quiet()


def test_what_a_canary_cannot_answer_the_other_does(stage):
    both(stage, broken(2), mode="canary", share=0.5, limits=LENIENT)
    assert [stage.infer() for _ in range(6)] == [1] * 6
    told = stage.told
    assert (told["asked"], told["failed"], told["stage"]) == (3, 3, "running")
    stage.quiet()


def test_what_neither_can_answer_is_no_fault_of_the_candidate(stage):
    stage.put(broken(1))
    stage.begin(mode="canary", share=1.0)
    stage.put(broken(2), keep=(1,))
    assert stage.post(INFER, ASKED) == (400, {"error": "inputs: the model cannot run on them: it cannot"})
    assert stage.post(INFER, {"inputs": [{**ONE_JSON, "name": "z"}]})[0] == 400
    assert stage.told["failed"] == 0
    stage.quiet()


def test_a_canary_that_fails_too_often_is_rolled_back(stage):
    both(stage, broken(2), mode="canary", share=0.5, limits=Limits(0.01, 1.0, 100))
    assert [stage.infer() for _ in range(8)] == [1] * 8
    told = stage.told
    assert told["stage"] == "rolled back"
    assert (told["asked"], told["failed"], told["requests"]) == (2, 2, 4)
    stage.quiet()


def test_a_canary_that_dies_leaves_its_requests_to_the_other(stage):
    held = Held(version=2)
    stage.nest.born["m", 2] = lambda order, _: FakeWorker(steady(version=2), order)
    both(stage, held.session, mode="canary", share=1.0, limits=LENIENT)
    found = []
    asking = threading.Thread(target=lambda: found.append(stage.infer()))
    asking.start()
    assert held.entered.acquire(timeout=SECONDS)
    stage.models.live("m", 2).queue.worker.kill()
    asking.join(SECONDS)
    assert found == [1]
    held.gate.set()
    assert stage.told["failed"] == 1
    until("its revival", lambda: stage.infer() == 2)
    stage.quiet()


def test_a_candidate_that_dies_again_and_again_is_rolled_back(stage):
    def dead(order: Order, _) -> FakeWorker:
        raise LoadFailed("it cannot be born")

    stage.nest.born["m", 2] = dead
    both(stage, steady(version=2), mode="canary", share=0.5)
    stage.models.live("m", 2).queue.worker.kill()
    until("the end", lambda: stage.told["stage"] == "rolled back")
    assert "quarantined" in stage.told["why"]
    assert [stage.infer() for _ in range(4)] == [1] * 4


def test_a_canary_with_a_full_queue_passes_requests_on(stage):
    held = Held(version=2)
    both(stage, held.session, mode="canary", share=1.0)
    stage.models.live("m", 2).queue.refusal = RunFailed("full")
    assert stage.infer() == 1
    assert (stage.told["asked"], stage.told["passed_over"]) == (0, 1)
    held.gate.set()


def test_promotion(stage):
    both(stage, steady(version=2), mode="canary", share=0.25)
    status, told = stage.post(TRIAL, {"promote": True})
    assert (status, told["stage"], told["serving"]) == (200, "promoted", 1)
    assert [stage.infer() for _ in range(4)] == [2] * 4
    assert stage.post(TRIAL, {"promote": True})[0] == 409
    assert b'skerry_serving_version{model="m"} 2.0' in stage.client.get("/metrics").content
    stage.put(steady(version=3), keep=(1, 2))  # what comes later is the default again
    assert stage.infer() == 3


def test_promotion_of_a_lower_version(stage):
    stage.put(steady(version=2))
    stage.put(steady(version=1), keep=(2,))
    assert stage.infer() == 2
    assert stage.post(TRIAL, {"version": 1, "mode": "canary"})[0] == 200
    assert stage.infer() == 2
    stage.post(TRIAL, {"promote": True})
    assert stage.infer() == 1


def test_a_trial_by_request(stage):
    stage.put(steady(version=1))
    assert stage.get(TRIAL) == (404, {"error": "model m: no version of it is on trial"})
    asked = {"version": 2, "mode": "canary", "share": 0.5, "errors": 0.2}
    assert stage.post(TRIAL, asked) == (404, {"error": "unknown version: 2 of model m; this node serves 1"})
    text = "model m: version 1 is the only one that serves; a trial needs two"
    assert stage.post(TRIAL, {"version": 1}) == (409, {"error": text})
    stage.put(steady(version=2), keep=(1,))
    assert stage.get(TRIAL)[0] == 404, "what was refused leaves nothing behind"
    status, told = stage.post(TRIAL, asked)
    assert (status, told["stage"], told["why"]) == (200, "running", "")
    assert told["limits"] == {"errors": 0.2, "disagreement": 0.05, "least": 100}
    assert [stage.infer() for _ in range(4)] == [1, 2, 1, 2]
    assert stage.post(TRIAL, {"version": 1})[0] == 409
    assert stage.client.delete(TRIAL).json()["stage"] == "ended"
    assert [stage.infer() for _ in range(4)] == [1] * 4
    assert stage.client.delete(TRIAL).status_code == 409
    assert stage.post(TRIAL, {"promote": True})[1]["stage"] == "promoted"
    assert stage.infer() == 2


@pytest.mark.parametrize(
    ("asked", "status", "text"),
    [
        ({}, 400, "version: expected this field"),
        ({"version": 0}, 400, "version: expected a whole number from 1"),
        ({"version": 2, "mode": "dark"}, 400, "mode: expected one of shadow, canary; got 'dark'"),
        ({"version": 2, "share": 1.5}, 400, "share: expected a number from 0.0 to 1.0; got 1.5"),
        ({"version": 2, "speed": 1}, 400, "trial: no field is called speed"),
        ({"promote": 1}, 400, "promote: expected true or false"),
        ([1], 400, "expected an object"),
    ],
)
def test_a_trial_that_makes_no_sense(stage, asked, status, text):
    stage.put(steady())
    found = stage.post(TRIAL, asked)
    assert found[0] == status
    assert text in found[1]["error"]


def test_who_may_not_control_may_not_try():
    found = Place()
    try:
        found.serve()
        found.put(steady())
        assert found.post(TRIAL, {"version": 2})[0] == 403
        assert found.client.delete(TRIAL).status_code == 403
        assert found.post("/v2/models/none/trial", {"version": 2})[0] == 403
    finally:
        found.close()


def test_an_unknown_model_is_not_tried(stage):
    assert stage.post("/v2/models/none/trial", {"version": 2})[0] == 404
    assert stage.client.delete("/v2/models/none/trial").status_code == 404


def test_a_version_that_leaves_makes_its_trial_wait(stage):
    both(stage, steady(version=2), mode="canary", share=1.0)
    assert stage.infer() == 2
    stage.models.drop("m", 2)
    assert (stage.told["stage"], stage.told["why"]) == ("waiting", "a version is not there any more")
    assert stage.infer() == 1
    stage.put(steady(version=2), keep=(1,))
    assert stage.told["stage"] == "running"
    assert stage.infer() == 2
    stage.put(steady(version=1))  # the one that serves is loaded again, and nobody said to keep the candidate
    assert stage.told["stage"] == "running"
    stage.models.drop("m", 1)
    assert stage.told["stage"] == "waiting"
    assert stage.infer() == 2  # alone, it is better than nothing


def test_the_settings_ask_for_trials_and_labels():
    with staging() as stage:
        stage.models.follow({"m": {"best": 2}}, {"m": Terms(2, "canary", 0.5)})
        stage.put(steady(version=1))
        stage.put(steady(version=2), keep=(1,))
        assert [stage.infer() for _ in range(2)] == [1, 2]
        assert stage.models.held() == {"m": {1, 2}}
        assert stage.post("/v1/models/m/labels/best:predict", {"instances": [1.0]})[1] == {"predictions": [2.0]}
        stage.models.label("m", {"best": 1, "other": 1})
        assert stage.models.live("m", label="best").manifest.version == 2
        assert stage.models.live("m", label="other").manifest.version == 1
        with pytest.raises(Invalid, match="Unrecognized servable version label: stable"):
            stage.models.live("m", label="stable")


@pytest.mark.parametrize("first", [1, 2])
def test_a_model_that_remembers_is_not_tried_whoever_asks(caplog, first):
    text = "model m: it remembers sequences, whose requests must all see one version"
    with staging() as stage:
        stage.models.follow({}, {"m": Terms(2, "canary", 0.5)})
        for version in (first, 3 - first):
            worker = FakeWorker(steady(version=version))
            worker.hello = Hello(manifest=worker.hello.manifest, remembers=version == 2)
            stage.models.swap(worker, keep=(1, 2))
        assert [stage.infer() for _ in range(4)] == [1] * 4
        assert (stage.told["stage"], stage.told["why"]) == ("rolled back", text)
        assert f"version 2 is rolled back: {text}" in caplog.text
        assert stage.post(TRIAL, {"version": 2}) == (409, {"error": text})


def test_a_folder_that_keeps_the_latest_keeps_what_a_trial_needs(tmp_path):
    """Version 1 serves, version 2 comes: the policy would have that one alone, the trial has both, and so it stays."""

    def add(version):
        folder = tmp_path / "models/m" / str(version)
        folder.mkdir(parents=True)
        adder_onnx(folder / "model.onnx")

    add(1)
    with staging() as stage:
        shared = Shared(
            NodeSettings(paths=(tmp_path / "models",)), "", loader(), stage.models, stage.metrics, stage.clock
        )
        life, ready = alone(shared), threading.Event()
        life.start(lambda _: ready.set(), ready.set)
        try:
            assert ready.wait(SECONDS)
            stage.begin(mode="canary", share=0.0)  # as the settings do
            add(2)
            until("the candidate", lambda: stage.told["stage"] == "running")
            assert stage.get("/v2/models/m")[1]["versions"] == ["1", "2"]
            assert stage.client.delete(TRIAL).status_code == 200
            time.sleep(2.5)  # two looks at the disk
            assert stage.get("/v2/models/m")[1]["versions"] == ["1", "2"]
            assert stage.models.live("m").manifest.version == 1
            stage.post(TRIAL, {"promote": True})
            until("the old one to leave", lambda: stage.get("/v2/models/m")[1]["versions"] == ["2"])
        finally:
            life.stop()


def test_two_trials_of_one_model_are_one_too_many(stage):
    stage.begin(version=2)
    with pytest.raises(Conflict, match="version 2 is on trial already; end that first"):
        stage.begin(version=3)


@pytest.mark.parametrize("kind", ["json", "binary", "tfs"])
def test_real_workers_in_the_shadow(kind, tmp_path):
    """Two real processes: the candidate reads the request where it lies and judges the answer itself."""
    with staging() as stage:
        stage.put_file(adder_onnx(tmp_path / "one.onnx"), "m", 1)
        stage.begin(mode="shadow")
        stage.put_file(adder_onnx(tmp_path / "two.onnx"), "m", 2, keep=(1,))
        one = stage.models.live("m", 1)
        for count in range(1, 4):
            ask(stage, kind, one.inputs)
            until("the comparison", lambda n=count: stage.told["compared"] + stage.told["failed"] == n)
        assert (stage.told["agreed"], stage.told["last_trouble"]) == (3, "")
        assert stage.told["worst_difference"] == 0
        stage.quiet()


def ask(stage, kind, specs):
    shapes = {spec.name: [2 if size == -1 else size for size in spec.shape] for spec in specs}
    values = {spec.name: np.ones(shapes[spec.name], spec.dtype.numpy) for spec in specs}
    if kind == "tfs":
        status, found = stage.post("/v1/models/m:predict", {"inputs": {n: v.tolist() for n, v in values.items()}})
    elif kind == "json":
        inputs = [
            {
                "name": s.name,
                "datatype": s.dtype.value,
                "shape": shapes[s.name],
                "data": values[s.name].ravel().tolist(),
            }
            for s in specs
        ]
        status, found = stage.post(INFER, {"inputs": inputs})
    else:
        inputs = [
            {"name": s.name, "datatype": s.dtype.value, "shape": shapes[s.name],
             "parameters": {"binary_data_size": values[s.name].nbytes}} for s in specs
        ]  # fmt: skip
        head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
        reply = stage.client.post(
            INFER,
            content=head + b"".join(v.tobytes() for v in values.values()),
            headers={"inference-header-content-length": str(len(head))},
        )
        status, found = reply.status_code, reply.content
    assert status == 200, found


def test_a_real_candidate_runs_only_when_nothing_else_does(tmp_path):
    with staging() as stage:
        stage.put_file(adder_onnx(tmp_path / "one.onnx"), "m", 1)
        stage.begin(mode="shadow")
        stage.put_file(adder_onnx(tmp_path / "two.onnx"), "m", 2, keep=(1,))
        ask(stage, "json", stage.models.live("m", 1).inputs)
        until("the comparison", lambda: stage.told["compared"] == 1)
        pid = stage.models.live("m", 2).pid
        rested = os.sched_getscheduler(pid)
        stage.post(TRIAL, {"promote": True})
        assert os.sched_getscheduler(pid) == os.SCHED_OTHER
        assert rested in (os.SCHED_IDLE, os.SCHED_OTHER)  # only where it may be taken back
