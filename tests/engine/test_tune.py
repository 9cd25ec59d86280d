"""The long look at a model: what is chosen of measured times, and that it ends when it should."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from skerry.core.errors import Invalid, NotFound, RunFailed
from skerry.core.manifest import FileEntry, Manifest, Runtime
from skerry.core.names import Digest, ModelName
from skerry.core.tensor import DType, Spec
from skerry.engine.known import bare_digest, runtime_of
from skerry.engine.runners.fake import FakeRunner
from skerry.engine.runners.runner import Threads
from skerry.engine.session import Session
from skerry.engine.tune import BATCHES, SPINNING, Timed, Trial, Tune, Wishes, checked, powers, rows
from skerry.engine.tuned import open_model
from skerry.host.clock import Clock
from skerry.host.profiles import Profile
from tests.core.values import DIGEST
from tests.engine.kit import HERE
from tests.models import adder_onnx, brightness_bundle

MS = 1_000_000  # ns


def opening(threads: Threads, free: bool = True) -> Session:
    """Return a session that adds 1."""
    spec, out = (Spec(name, DType.FP32, (-1 if free else 1, 2)) for name in ("x", "y"))
    manifest = Manifest(
        name=ModelName("m"),
        version=1,
        runtime=Runtime("onnx", "model.onnx"),
        files={"model.onnx": FileEntry(Digest(DIGEST), 1)},
        inputs=(spec,),
        outputs=(out,),
    )
    return Session(manifest, FakeRunner((spec,), (out,), lambda f: {"y": np.asarray(f["x"]) + 1}), Clock())


def quiet(_: float, __: str) -> None:
    """Tell nobody."""


def tuned(times: Mapping[Trial, tuple[float, float]], cpus: int = 4, **wishes: Any) -> Profile:
    """Return the profile of made-up times: ms of one run, and runs a second."""
    found = Tune(opening, cpus, Wishes(**wishes), Clock(), quiet)
    for trial, (ms, rate) in times.items():
        found.timed[trial] = Timed([int(ms * MS)] * 10, int(10 / rate * 1e9), 10)
    return found.profile()


LARGE = {  # a convolution: threads help one caller, runs at the same time help many
    Trial(1, 1): (8.0, 125.0),
    Trial(1, 2): (8.1, 240.0),
    Trial(1, 4): (8.4, 470.0),
    Trial(2, 1): (4.4, 227.0),
    Trial(2, 2): (4.6, 430.0),
    Trial(4, 1): (2.9, 340.0),
}


def plan(profile: Profile) -> tuple[int, int]:
    return profile.plan.intra, profile.plan.runs


def test_the_plan_for_one_caller_and_for_many():
    found = tuned(LARGE)
    assert (found.best_latency.intra, found.best_throughput.intra, found.best_throughput.runs) == (4, 1, 4)
    assert plan(found) == (1, 4)
    assert plan(tuned(LARGE, latency=True)) == (4, 1)
    assert plan(tuned(LARGE, latency=False)) == (1, 4)


def test_a_plan_that_answers_sooner_for_little_is_taken():
    assert plan(tuned({**LARGE, Trial(4, 1): (2.1, 430.0)})) == (4, 1)


def test_fewer_threads_are_taken_where_more_gain_nothing():
    found = tuned({Trial(1, 1): (1.0, 1000.0), Trial(1, 2): (1.0, 1900.0), Trial(2, 1): (0.97, 1030.0)}, cpus=2)
    assert (found.best_latency.intra, plan(found)) == (1, (1, 2))


def test_an_objective_chooses_among_the_plans_that_keep_it():
    assert plan(tuned(LARGE, slo_ms=10.0)) == (1, 4)
    assert plan(tuned(LARGE, slo_ms=5.0)) == (2, 2)
    assert plan(tuned(LARGE, slo_ms=1.0)) == (4, 1)  # none does: the soonest


def test_sizes_that_pay_within_the_objective():
    sizes = {Trial(1, 1, size, phase=BATCHES): (8.0 + size, 100.0) for size in (1, 2, 4, 8)}
    assert tuned({**LARGE, **sizes}).batches == (1, 2, 4, 8)
    assert tuned({**LARGE, **sizes}, slo_ms=13.0).batches == (1, 2, 4)
    assert tuned(LARGE).batches == ()


def test_spinning_is_taken_only_if_it_saves_a_tenth():
    plain, spun = (Trial(2, 1, 1, spins, SPINNING) for spins in (False, True))
    two = {**LARGE, Trial(4, 1): (4.3, 232.0), plain: (4.4, 227.0)}
    assert not tuned({**two, spun: (4.1, 240.0)}).spinning
    assert tuned({**two, spun: (3.5, 280.0)}).spinning


def test_a_real_look_measures_everything_and_ends():
    told: list[float] = []
    found = Tune(opening, 2, Wishes(seconds=1.5), Clock(), lambda share, _: told.append(share))
    profile = found.run()
    assert {Trial(1, 1), Trial(1, 2), Trial(2, 1)} <= set(found.timed)
    assert {trial.batch for trial in found.timed} >= {1, 2, 4}
    assert profile.seconds < 3.0
    assert profile.batches[:2] == (1, 2)  # what takes no longer for two pays
    assert all(one.nanos for one in found.timed.values())
    assert max(told) <= 1.0
    assert not found.stopped


def test_a_model_of_one_fixed_size_has_no_sizes():
    found = Tune(lambda threads: opening(threads, free=False), 1, Wishes(seconds=1.0), Clock(), quiet)
    assert found.run().batches == ()
    assert set(found.timed) == {Trial(1, 1)}


def test_ctrl_c_ends_with_what_is_known():
    def told(share: float, _: str) -> None:
        if share > 0.3:
            raise KeyboardInterrupt

    found = Tune(opening, 2, Wishes(seconds=2.0), Clock(), told)
    profile = found.run()
    assert found.stopped
    assert profile.seconds < 1.5
    assert plan(profile) in {(1, 1), (1, 2), (2, 1)}


def test_ctrl_c_before_anything_is_known_ends():
    def told(_: float, __: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Tune(opening, 2, Wishes(seconds=2.0), Clock(), told).run()


def test_a_model_that_fails_says_so():
    def fail(_: Mapping[str, Any]) -> dict[str, Any]:
        raise RunFailed("no")

    def broken(threads: Threads) -> Session:
        found = opening(threads)
        found._runner = FakeRunner(found.inputs, found.outputs, fail)
        return found

    with pytest.raises((RunFailed, Invalid), match="no"):
        Tune(broken, 2, Wishes(seconds=1.0), Clock(), quiet).run()


@pytest.mark.parametrize("wishes", [Wishes(0.5), Wishes(31.0), Wishes(slo_ms=0.0), Wishes(float("nan"))])
def test_wishes_that_cannot_be_kept(wishes):
    with pytest.raises(Invalid, match="expected"):
        checked(wishes)


@pytest.mark.parametrize(("most", "answer"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_powers(most, answer):
    assert powers(most) == answer


def test_rows_are_in_the_order_of_a_table():
    timed = Timed([1], 1, 1)
    trials = [Trial(2, 1, 1, True, SPINNING), Trial(1, 1, 4, phase=BATCHES), Trial(2, 1), Trial(1, 2), Trial(1, 1)]
    given = [*((trial, timed) for trial in trials), (Trial(9, 9), Timed())]
    assert [row[0] for row in rows(given)] == [trials[4], trials[3], trials[2], trials[1], trials[0]]


def test_a_model_is_known_by_what_runs(tmp_path):
    file = adder_onnx(tmp_path / "adder.onnx")
    found = open_model(file, HERE, Clock())
    assert found.digest == bare_digest(file)
    assert found.runtime == runtime_of("onnx")
    assert found.runtime.startswith("onnx 1.")
    session = found.opening(Threads())
    assert {spec.name for spec in session.inputs} == {"x", "y"}
    session.close()
    bundle = brightness_bundle(tmp_path / "b")
    assert open_model(bundle.path, HERE, Clock()).digest == bundle.manifest.digest
    with pytest.raises(NotFound, match="no file"):
        open_model(tmp_path / "none.onnx", HERE, Clock())
    assert runtime_of("abacus") == "abacus unknown"


def test_weights_beside_a_file_count(tmp_path):
    xml = tmp_path / "m.xml"
    xml.write_text("<net/>")
    alone = bare_digest(xml)
    xml.with_suffix(".bin").write_bytes(b"1")
    one = bare_digest(xml)
    xml.with_suffix(".bin").write_bytes(b"2")
    assert len({alone, one, bare_digest(xml)}) == 3
