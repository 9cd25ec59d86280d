"""The loop and the loader."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from skerry.core.errors import BadSignature, GoldenFailed, LoadFailed, WrongDigest
from skerry.core.manifest import FileEntry, digest_of
from skerry.core.trust import Trust
from skerry.engine.bundle import manifest_bytes, open_bundle
from skerry.host.ed25519 import PrivateKey
from skerry.host.keys import verify
from skerry.host.nursery import Nursery
from skerry.host.shared import Arena
from skerry.node.loop import Loop
from skerry.node.repository import find
from skerry.node.worker.life import bear
from skerry.node.worker.order import Order
from tests.models import adder_onnx, brightness_bundle
from tests.node.kit import loader, nursery

KEY = PrivateKey.make()


def test_a_loop_ticks_waits_and_outlives_a_fault(caplog):
    times, twice = [], threading.Event()

    def tick():
        times.append(1)
        if len(times) == 1:
            return 60.0
        if len(times) == 2:
            raise KeyError("ours")
        twice.set()
        return 60.0

    loop = Loop("tester", tick)
    loop.start()
    while not times:
        pass
    loop.nudge()
    while len(times) < 2:
        pass
    loop.nudge()
    loop.nudge()
    assert twice.wait(5)
    loop.stop(5)
    assert "tester: a fault of Skerry's own; going on" in caplog.text
    count = len(times)
    loop.nudge()
    assert len(times) == count


def test_a_loop_that_hangs_is_not_waited_for_for_ever():
    gate = threading.Event()
    loop = Loop("hangs", lambda: gate.wait(30) and 0.0)
    loop.start()
    loop.stop(0.05)
    gate.set()


# --- the loader ---


def trusting(*keys):
    return loader(Trust(keys, verify) if keys else None)


@pytest.fixture
def arena():
    found = Arena(1 << 24, 1 << 24)
    yield found
    found.close()


def test_a_bundle_is_verified_loaded_and_tried(tmp_path, arena):
    bundle = brightness_bundle(tmp_path / "b", key=KEY)
    worker = trusting(KEY.public).bundle(bundle, arena)
    assert (worker.manifest.name, worker.manifest.version, worker.digest) == ("brightness", 1, bundle.manifest.digest)
    hello = worker.hello
    assert (hello.images, hello.goldens) == (True, len(bundle.manifest.goldens))
    assert 0 < hello.run_us <= hello.slowest_us < hello.seconds * 1e6
    assert [(spec.name, spec.shape) for spec in worker.inputs] == [("image", (1, 3, 8, 8))]
    assert [spec.name for spec in worker.outputs] == ["probabilities"]
    worker.close()
    with pytest.raises(BadSignature):
        trusting(PrivateKey.make().public).bundle(bundle, arena)
    trusting().bundle(bundle, arena).close()
    (bundle.path / "goldens" / "0.png").write_bytes(b"x")
    with pytest.raises(WrongDigest, match=r"goldens/0\.png"):
        trusting().bundle(bundle, arena)


def test_a_bundle_with_a_wrong_golden_does_not_serve(tmp_path, arena):
    bundle = brightness_bundle(tmp_path / "b")
    answer = bundle.path / "goldens/0.answer.json"
    answer.write_bytes(answer.read_bytes().replace(b"bright", b"purple"))
    entry = FileEntry(digest_of(answer.read_bytes()), answer.stat().st_size)
    manifest = replace(bundle.manifest, files={**bundle.manifest.files, "goldens/0.answer.json": entry})
    (bundle.path / "manifest.json").write_bytes(manifest_bytes(manifest))
    with pytest.raises(GoldenFailed, match="purple"):
        trusting().bundle(open_bundle(bundle.path), arena)


def test_a_bare_file_is_loaded(tmp_path, arena):
    (found,) = find((adder_onnx(tmp_path / "a.onnx"),))
    worker = trusting().bare(found, arena)
    assert {spec.name for spec in worker.outputs} == {"sum", "difference"}
    worker.close()
    with pytest.raises(BadSignature, match="a bare file; this node serves signed bundles only"):
        trusting(KEY.public).bare(found, arena)
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(LoadFailed):
        trusting().bare(found, arena)


def test_a_process_that_dies_while_it_loads_is_a_failure_to_load(tmp_path, arena):
    (found,) = find((adder_onnx(tmp_path / "a.onnx"),))
    killing = Killing()
    with pytest.raises(LoadFailed, match="the process that loaded it died"):
        bear(killing, Order(path=str(found.path), name="a", version=1, bare=True), arena)


class Killing(Nursery):
    """A nursery whose children die young."""

    def __init__(self):
        """It bears with the one that all tests share."""

    def bear(self, fds):
        born = nursery().bear(fds)
        born.kill()
        return born


def test_what_fails_to_load_leaves_nothing_behind(tmp_path, arena):
    (tmp_path / "a.onnx").write_bytes(b"no model")
    (found,) = find((tmp_path / "a.onnx",))

    def held():
        return len(list(Path("/proc/self/fd").iterdir()))

    counts = []
    for _ in range(5):
        with pytest.raises(LoadFailed):
            trusting().bare(found, arena)
        counts.append(held())
    assert max(counts[1:]) <= counts[0]  # what earlier tests left may be collected meanwhile
