"""Metrics, the loop, the loader and what a path means."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from skerry.core.errors import BadSignature, GoldenFailed, Invalid, LoadFailed, NotFound, WrongDigest
from skerry.core.manifest import FileEntry, digest_of
from skerry.core.trust import Trust
from skerry.engine.bundle import manifest_bytes, open_bundle
from skerry.host.clock import Clock
from skerry.host.keys import PrivateKey, verify
from skerry.node.load import Loader
from skerry.node.loop import Loop
from skerry.node.metrics import Metrics
from skerry.node.repository import Found, find
from tests.engine.kit import HERE
from tests.models import adder_onnx, brightness_bundle, grey_png

KEY = PrivateKey.make()


def page(metrics):
    families = text_string_to_metric_families(metrics.page().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def test_metrics_are_counted_by_phase_and_outcome():
    metrics = Metrics()
    metrics.swapped("m", 1)
    metrics.inference("m", 1, {"run": 2.0, "total": 3.0})
    metrics.inference("m", 1, {"run": 2.0, "total": 3.0})
    metrics.failure("m", 1, "Invalid")
    metrics.refused("WrongDigest")
    metrics.alarm("a rule")
    metrics.unrecorded.inc(3)
    metrics.backlog.set_function(lambda: 7)
    found = page(metrics)
    label = (("model", "m"), ("phase", "run"), ("version", "1"))
    assert found["skerry_inference_seconds_count", label] == 2
    assert found["skerry_inference_seconds_sum", label] == pytest.approx(0.004)
    assert found["skerry_inferences_total", (("model", "m"), ("outcome", "ok"), ("version", "1"))] == 2
    assert found["skerry_inferences_total", (("model", "m"), ("outcome", "Invalid"), ("version", "1"))] == 1
    assert found["skerry_refusals_total", (("error", "WrongDigest"),)] == 1
    assert found["skerry_alarms_total", (("rule", "a rule"),)] == 1
    assert found["skerry_results_unrecorded_total", ()] == 3
    assert found["skerry_journal_backlog", ()] == 7
    assert found["skerry_swaps_total", (("model", "m"),)] == 1


def test_a_thousand_versions_leave_the_series_of_one():
    metrics = Metrics()
    for version in range(1, 1001):
        metrics.swapped("m", version)
        metrics.swapped("other", 5)
        metrics.inference("m", version, {"total": 1.0})
    assert len(page(metrics)) < 60
    metrics.dropped("m")
    metrics.dropped("m")
    assert not any(("model", "m") in labels and "inference" in name for name, labels in page(metrics))


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


def loader(*keys):
    return Loader(Trust(keys, verify) if keys else None, HERE, Clock(), threads=1, waiting=2)


def test_a_bundle_is_verified_loaded_and_tried(tmp_path):
    bundle = brightness_bundle(tmp_path / "b", key=KEY)
    worker = loader(KEY.public).load(bundle)
    assert worker.submit(lambda s: s.look(grey_png(255)).findings[0].label).result(5) == "bright"
    worker.retire()
    with pytest.raises(BadSignature):
        loader(PrivateKey.make().public).load(bundle)
    loader().load(bundle).retire()
    (bundle.path / "goldens" / "0.png").write_bytes(b"x")
    with pytest.raises(WrongDigest, match=r"goldens/0\.png"):
        loader().load(bundle)


def test_a_bundle_with_a_wrong_golden_does_not_serve(tmp_path):
    bundle = brightness_bundle(tmp_path / "b")
    answer = bundle.path / "goldens/0.answer.json"
    answer.write_bytes(answer.read_bytes().replace(b"bright", b"purple"))
    entry = FileEntry(digest_of(answer.read_bytes()), answer.stat().st_size)
    manifest = replace(bundle.manifest, files={**bundle.manifest.files, "goldens/0.answer.json": entry})
    (bundle.path / "manifest.json").write_bytes(manifest_bytes(manifest))
    with pytest.raises(GoldenFailed, match="purple"):
        loader().load(open_bundle(bundle.path))


def test_a_bare_file_is_loaded(tmp_path):
    (found,) = find((adder_onnx(tmp_path / "a.onnx"),))
    assert {s.name for s in loader().load_bare(found).session.outputs} == {"sum", "difference"}
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(LoadFailed):
        loader().load_bare(found)


# --- the repository ---


def put(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    return root


def test_a_file_a_bundle_and_a_folder(tmp_path):
    file = put(tmp_path, "my.model-1.onnx") / "my.model-1.onnx"
    bundle = brightness_bundle(tmp_path / "some folder", version=4).path
    put(tmp_path / "models", "a/1/model.onnx")
    found = find((file, bundle, tmp_path / "models"))
    assert found == (
        Found("my.model-1", 1, file, True),
        Found("brightness", 4, bundle, False),
        Found("a", 1, tmp_path / "models/a/1/model.onnx", True),
    )


def test_a_repository_with_strays(tmp_path):
    put(
        tmp_path, "README.md", "a/config.pbtxt", "a/1/model.onnx", "a/3/model.onnx", "a/20/model.onnx",
        "a/007/model.onnx",
        "a/9/other.onnx", "a/x/model.onnx", "a/99", "b/2/model.onnx", "empty/config.pbtxt", ".git/HEAD",
        "lost+found/x", "no version/model.onnx", "a/0/model.onnx",
    )  # fmt: skip
    brightness_bundle(tmp_path / "bundle", version=2)
    assert [(f.name, f.version, f.bare) for f in find((tmp_path,))] == [
        ("a", 20, True),
        ("b", 2, True),
        ("brightness", 2, False),
    ]
    assert [(f.name, f.version) for f in find((tmp_path / "a",))] == [("a", 20)]


def test_a_linked_model_has_the_links_name(tmp_path):
    put(tmp_path, "store/rev-8/1/model.onnx", "models/x")
    (tmp_path / "models" / "board").symlink_to(tmp_path / "store" / "rev-8")
    assert [f.name for f in find((tmp_path / "models",))] == ["board"]


def test_the_folder_that_one_stands_in(tmp_path, monkeypatch):
    put(tmp_path, "m/1/model.onnx")
    monkeypatch.chdir(tmp_path / "m")
    from pathlib import Path

    assert [f.name for f in find((Path(),))] == ["m"]
    monkeypatch.chdir(tmp_path / "m" / "1")
    assert [f.name for f in find((Path(".."),))] == ["m"]


def test_what_holds_no_model_is_named(tmp_path):
    put(tmp_path, "notes.txt", "e/README", "x/m/1/model.onnx", "y/m/1/model.onnx")
    for path, kind, text in [
        ("none", NotFound, "none: no such file or folder"),
        ("notes.txt", Invalid, r"expected a bundle, a repository or a \.onnx file"),
        ("e", NotFound, r"neither a bundle \(manifest.json in it\) nor a repository"),
    ]:
        with pytest.raises(kind, match=text):
            find((tmp_path / path,))
    with pytest.raises(Invalid, match=r"model m: found at .*x/m/1.* and at .*y/m/1.*; rename one"):
        find((tmp_path / "x", tmp_path / "y"))


def test_names_that_no_url_can_hold_are_made_into_ones(tmp_path):
    put(tmp_path, "my model (2).onnx", "a.ONNX", "ünï.onnx", "r/größe 3/1/model.onnx")
    found = find(tuple(tmp_path / n for n in ("my model (2).onnx", "a.ONNX", "ünï.onnx", "r")))
    assert [one.name for one in found] == ["my-model-2", "a", "n", "gr-e-3"]


def test_an_odd_folder_in_a_repository_stops_no_other(tmp_path, caplog):
    put(tmp_path, "r/good/1/model.onnx", "r/.hidden/1/model.onnx", "r/bad/manifest.json")
    assert [one.name for one in find((tmp_path / "r",))] == ["good"]
    assert "bad: passed over: manifest.json: JSON Parse error" in caplog.text
