"""The race: on a simulated machine with disturbances, and on the real one."""

from __future__ import annotations

import numpy as np
import pytest

from skerry.core.errors import Invalid
from skerry.core.names import ModelName
from skerry.core.tensor import DType, Spec
from skerry.engine.runners.fake import FakeRunner
from skerry.engine.runners.runner import Threads
from skerry.engine.session import Session, open_bare, open_session
from skerry.forge.measure import Lane, race
from skerry.host.clock import Clock, FakeClock
from tests.engine.kit import HERE, graph, manifest
from tests.models import brightness_bundle, grey_png

SPEC = (Spec("x", DType.FP32, (1,)),)
FEED = [{"x": np.float32([1])}]


class Machine:
    """A machine whose runs take a known time, at times twice as long, and for seconds on end half as fast."""

    def __init__(self, seed: int) -> None:
        self.clock = FakeClock(0.0)
        self._random = np.random.default_rng(seed)

    def lane(self, seconds: float) -> Lane:
        """Return a lane that takes so long on a quiet machine."""

        def run(feeds):
            slow = 2.0 if int(self.clock.time * 3) % 4 == 0 else 1.0  # another program, a third of a second each
            spike = 5.0 if self._random.random() < 0.02 else 1.0
            self.clock.time += seconds * slow * spike * self._random.lognormal(0, 0.1)
            return dict(feeds)

        return Lane(Session(manifest(SPEC, SPEC), FakeRunner(SPEC, SPEC, run), self.clock), FEED)


def test_the_ratio_is_found_on_a_noisy_machine():
    held = 0
    for seed in range(10):
        machine = Machine(seed)
        lanes = [machine.lane(0.001), machine.lane(0.0008), machine.lane(0.001)]
        raced = race(lanes, 6.0, machine.clock)
        assert [ratio.value for ratio in raced.ratios] == pytest.approx([1.0, 0.8, 1.0], rel=0.02)
        assert raced.ratios[0].interval.low == raced.ratios[0].interval.high == 1.0
        held += 0.8 in raced.ratios[1].interval
        assert raced.latencies[0].p50_us < raced.latencies[0].p99_us
        assert raced.latencies[0].samples > 1000
    assert held >= 8


def test_a_slow_model_is_run_a_few_times_in_each_of_a_few_rounds():
    machine = Machine(1)
    heard = []
    raced = race([machine.lane(3.0), machine.lane(6.0)], 1.0, machine.clock, lambda *told: heard.append(told))
    assert [latency.samples for latency in raced.latencies] == [15, 15]
    assert raced.ratios[1].rounds == 5
    assert heard[-1] == (1, 1, "racing")


def test_a_larger_model_is_slower_on_the_real_runner(tmp_path):
    def layers(count: int) -> Lane:
        nodes = [("MatMul", [f"h{n}" if n else "x", "w"], [f"h{n + 1}"]) for n in range(count)]
        weights = {"w": np.eye(256, dtype=np.float32)}
        path = graph(tmp_path / f"{count}.onnx", nodes, {"x": (1, [64, 256])}, {f"h{count}": (1, [64, 256])}, weights)
        session = open_bare(path, ModelName("m"), 1, Threads(), Clock())
        return Lane(session, [{"x": np.ones((64, 256), np.float32)}])

    raced = race([layers(2), layers(8)], 0.3, Clock())
    assert 1.5 < raced.ratios[1].value < 8
    assert raced.ratios[1].interval.low > 1.0


def test_pictures_run_through_every_step(tmp_path):
    bundle = brightness_bundle(tmp_path / "b" / "1")
    lanes = [Lane(open_session(bundle, Threads(), HERE, Clock()), [grey_png(9), grey_png(99)]) for _ in range(2)]
    raced = race(lanes, 0.1, Clock())
    assert raced.latencies[0].p50_us > 10


def test_what_is_wrong_is_named():
    machine = Machine(0)
    with pytest.raises(Invalid, match="race: expected a lane; got none"):
        race([], 1, Clock())
    with pytest.raises(Invalid, match="race: expected inputs for each lane; got none"):
        race([Lane(machine.lane(1).session, [])], 1, Clock())
    with pytest.raises(Invalid, match="shape"):
        race([Lane(machine.lane(1).session, [{"x": np.ones((2, 2))}])], 1, Clock())
