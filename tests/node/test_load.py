"""How a model is loaded: with the threads and sizes of the setting, the configuration, the profile, or the machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skerry.core.batch import SIZES
from skerry.core.errors import LoadFailed
from skerry.core.names import ModelName
from skerry.core.tensor import DType
from skerry.engine.known import bare_digest, runtime_of
from skerry.host.files import Disk
from skerry.host.profiles import Cpu, Plan, Profile, Profiles
from skerry.host.shared import Arena
from skerry.node.load import MAX_DELAY, NOTHING, Loader
from skerry.node.repository import Found
from skerry.node.worker.life import Worker
from skerry.node.worker.order import Order
from skerry.wire.config import Batching, Options, Port, Queueing, WarmInput, Warmup
from tests.engine.kit import HERE
from tests.models import adder_onnx, brightness_bundle
from tests.node.kit import nursery

FOUR = replace(HERE, cpus=4)
PLAN = Plan(2, 2, 1.0, 1.0, 1.0, 1)
PROFILE = Profile(PLAN, PLAN, PLAN, (1, 2), True)
NOBODY = Cpu("x", "y", 4)


def loaded(path: Path, options: Options = NOTHING, threads: int = 0, profiles: Profiles | None = None) -> Order:
    """Return the order that a real worker was given for a model of two inputs."""
    loader = Loader(nursery(), None, FOUR, threads, False, profiles=profiles)
    worker = loader.bare(Found(ModelName("adder"), 1, path, True, options=options), Arena(1 << 20, 1 << 20))
    worker.close()
    return worker.order


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return adder_onnx(tmp_path / "adder.onnx")


@pytest.fixture
def profiles(tmp_path: Path, model: Path) -> Profiles:
    found = Profiles(tmp_path / "profiles", NOBODY)
    found.keep(bare_digest(model), runtime_of("onnx"), PROFILE, Disk())
    return found


def test_without_a_word_the_worker_finds_out_what_pays(model):
    order = loaded(model)
    assert (order.intra, order.runs, order.sizes, order.measure) == (1, 4, SIZES, True)


def test_a_profile_is_used(model, profiles):
    order = loaded(model, profiles=profiles)
    assert (order.intra, order.runs, order.sizes, order.measure) == (2, 2, (1, 2), False)
    assert order.spinning


def test_a_profile_of_another_model_is_not_used(tmp_path, model, profiles):
    model.write_bytes(adder_onnx(tmp_path / "other.onnx").read_bytes() + b"\x3a\x02\x12\x00")  # an empty field more
    assert loaded(model, profiles=profiles).measure


def test_a_bundle_has_its_profile_by_its_digest(tmp_path):
    bundle = brightness_bundle(tmp_path / "b")
    profiles = Profiles(tmp_path / "profiles", NOBODY)
    profiles.keep(bundle.manifest.digest, runtime_of("onnx"), PROFILE, Disk())
    loader = Loader(nursery(), None, FOUR, 0, False, profiles=profiles)
    worker = loader.bundle(bundle, Arena(1 << 20, 1 << 20))
    worker.close()
    assert (worker.order.intra, worker.order.runs) == (2, 2)
    assert worker.hello.sizes == ()  # its first dimension is fixed, whatever the profile says


def test_settings_and_configuration_come_before_the_profile(model, profiles):
    order = loaded(model, threads=3, profiles=profiles)
    assert (order.intra, order.runs) == (3, 1)
    order = loaded(model, Options(threads=4), profiles=profiles)
    assert (order.intra, order.runs) == (4, 1)
    order = loaded(model, Options(instances=3), profiles=profiles)
    assert (order.intra, order.runs) == (1, 3)


@pytest.mark.parametrize(
    ("options", "sizes", "delay"),
    [
        (Options(max_batch_size=0), (), 0),
        (Options(max_batch_size=8), (), 0),
        (Options(max_batch_size=1, batching=Batching()), (), 0),
        (Options(max_batch_size=6, batching=Batching((3,), 500)), (1, 2, 3, 4, 6), 500),
        (Options(max_batch_size=2, batching=Batching(delay=1 << 40)), (1, 2), MAX_DELAY),
    ],
)
def test_a_configuration_says_what_runs_together(model, profiles, options, sizes, delay):
    order = loaded(model, options, profiles=profiles)
    assert (order.sizes, order.delay, order.measure) == (sizes, delay, False)


WARM = Warmup("w", 2, {name: WarmInput(DType.FP32, (3,), "file", "f") for name in ("x", "y")}, 2)


def configured(model: Path, **options: Any) -> Worker:
    """Return a worker of a model file that lies where a repository has it, with a configuration."""
    found = Found(ModelName("adder"), 1, model, True, options=Options(**options), folder=model.parent)
    worker = Loader(nursery(), None, FOUR, 0, False).bare(found, Arena(1 << 20, 1 << 20))
    worker.close()
    return worker


def test_warm_ups_are_run_before_a_worker_serves(model):
    with pytest.raises(LoadFailed, match=r"^config\.pbtxt: model_warmup 'w': expected warmup/f; it is not there"):
        configured(model, max_batch_size=4, warmup=(WARM,))
    (model.parent / "warmup").mkdir()
    (model.parent / "warmup" / "f").write_bytes(bytes(8))
    with pytest.raises(LoadFailed, match="model_warmup 'w': input 'x': expected 12 bytes in warmup/f"):
        configured(model, max_batch_size=4, warmup=(WARM,))
    (model.parent / "warmup" / "f").write_bytes(bytes(12))
    configured(model, max_batch_size=4, warmup=(WARM,))
    with pytest.raises(
        LoadFailed, match="model_warmup 'w': inference request batch-size must be <= 1 for 'adder'; got 2"
    ):
        configured(model, max_batch_size=1, warmup=(WARM,))


def test_where_it_matters_who_waits_the_worker_is_given_no_more_than_it_runs(model):
    free = configured(model, max_batch_size=4, batching=Batching())
    bound = configured(model, max_batch_size=4, batching=Batching(queue=Queueing(timeout=1000)))
    alone = configured(model, max_batch_size=1, batching=Batching(levels=2, level=1))
    runs = bound.order.runs
    assert (free.depth > runs * 4, bound.depth, alone.depth) == (True, runs * 4, runs)


def test_clients_see_the_shapes_that_are_declared(model):
    ports = (Port("x", DType.FP32, (3, 1), reshape=(3,)), Port("y", DType.FP32, (3,)))
    worker = configured(model, max_batch_size=4, inputs=ports)
    assert [spec.shape for spec in worker.inputs] == [(-1, 3, 1), (-1, 3)]


def test_an_accelerator_that_is_missing_is_told_by_its_field(model):
    with pytest.raises(
        LoadFailed, match=r"needs RknpuExec.* \(config\.pbtxt: optimization\.execution_accelerators: rknpu\)"
    ):
        configured(model, accelerators=("rknpu",))


def test_what_is_passed_over_is_told(model, caplog):
    configured(model, ignored=("optimization.cuda: why",), parameters={"mine": "1"})
    assert [one.getMessage() for one in caplog.records if one.levelname == "WARNING"] == [
        "adder version 1: config.pbtxt: optimization.cuda: why",
        "adder version 1: config.pbtxt: parameters 'mine': runtime onnx has no such parameter",
    ]


def test_a_worker_that_joins_may_have_enough_calls_for_it(model):
    loader = Loader(nursery(), None, FOUR, 0, False)
    options = Options(max_batch_size=16, batching=Batching())
    worker = loader.bare(Found(ModelName("adder"), 1, model, True, options=options), Arena(1 << 20, 1 << 20))
    worker.close()
    assert worker.hello.sizes == (1, 2, 4, 8, 16)
    assert worker.depth >= 16 * 4
