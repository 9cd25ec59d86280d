"""The two lives of a node, alone and obedient, without their web server."""

from __future__ import annotations

import os
import stat
import threading
import time
from dataclasses import replace

import pytest

from skerry.core.errors import Conflict, Invalid, LoadFailed, NotFound
from skerry.core.trust import Trust
from skerry.host.files import Disk
from skerry.host.keys import verify
from skerry.node.alone import Alone, alone
from skerry.node.app import Shared
from skerry.node.layers import Recorded
from skerry.node.obedient import Obedient
from skerry.node.serve.tfs import statuses
from skerry.node.settings import NodeSettings, node_name
from tests.engine.kit import HERE
from tests.link.server import serving
from tests.models import adder_onnx, brightness_bundle, brightness_onnx, grey_png
from tests.node.kit import SECONDS, Place, loader, until
from tests.node.update.sea import KEY, Sea


@pytest.fixture
def live():
    found = Place()
    yield found
    found.quiet()
    found.close()


def shared(live, settings, trust=None, record=False):
    return Shared(settings, "http://me", loader(trust, record=record), live.models, live.metrics, live.clock)


def settled(live, *paths):
    """Let a node alone load these; return it, and what it called ready or False if it gave up."""
    ended, told = threading.Event(), []
    life = alone(shared(live, NodeSettings(paths=paths)))
    life.start(lambda names: (told.append(names), ended.set()), lambda: (told.append(False), ended.set()))
    assert ended.wait(SECONDS)
    life.stop()
    return life, told[0]


def older(path, seconds=60):
    """Make a file seem to be written some time ago; one just written may be half of what it will be."""
    at = time.time() - seconds
    os.utime(path, (at, at))
    return path


def test_alone_it_loads_bundles_and_files(live, tmp_path):
    bundle = brightness_bundle(tmp_path / "b")
    life, told = settled(live, adder_onnx(tmp_path / "adder.onnx"), bundle.path)
    assert told == ["adder", "brightness"]
    assert life.failure is None
    assert live.models.troubles() == {}


def test_alone_a_bad_model_is_named_and_the_others_serve(live, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"x")
    life, told = settled(live, adder_onnx(tmp_path / "adder.onnx"), tmp_path / "bad.onnx")
    assert told == ["adder"]
    assert life.failure is None
    assert "cannot load bad.onnx" in live.models.troubles()["bad"]


def test_alone_with_nothing_that_loads_it_gives_up(live, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"x")
    life, told = settled(live, tmp_path / "bad.onnx")
    assert told is False
    assert isinstance(life.failure, LoadFailed)
    assert "ONNX Runtime cannot load bad.onnx" in str(life.failure)


def test_alone_it_follows_what_changes(live, tmp_path):
    place = tmp_path / "models" / "adder"
    for version in (1, 2):
        (place / str(version)).mkdir(parents=True)
    older(adder_onnx(place / "1" / "model.onnx"))
    ready = threading.Event()
    life = alone(shared(live, NodeSettings(paths=(tmp_path / "models",))))
    assert isinstance(life, Alone)
    life.start(lambda _: ready.set(), ready.set)
    assert ready.wait(SECONDS)
    assert live.models.live("adder").manifest.version == 1
    older(adder_onnx(place / "2" / "model.onnx"))
    until("version 2", lambda: live.models.live("adder").manifest.version == 2)
    life.unload("adder")
    assert live.models.names() == []
    with pytest.raises(NotFound, match="model adder: not in service"):
        life.unload("adder")
    with pytest.raises(NotFound, match="model none: not in the repository"):
        life.load("none")
    life.load("adder")
    assert live.models.live("adder").manifest.version == 2
    (place / "2" / "model.onnx").write_bytes(b"spoilt")
    older(place / "2" / "model.onnx", 30)
    time.sleep(1.5)
    assert live.models.names() == ["adder"]  # what serves is not lost to a file that cannot
    assert live.models.fallen() == {}
    (place / "3").mkdir()
    (place / "3" / "model.onnx").write_bytes(b"no model")
    older(place / "3" / "model.onnx")
    until("the refusal", lambda: ("adder", 3) in live.models.fallen())
    assert [row[:2] for row in statuses(live.models, "adder", None, None)] == [(3, "END"), (2, "AVAILABLE")]
    life.stop()


def test_alone_with_nothing_there_it_says_so(live, tmp_path):
    with pytest.raises(NotFound):
        alone(shared(live, NodeSettings(paths=(tmp_path / "none",))))
    with pytest.raises(Invalid, match="nothing to serve: give a bundle, a model file or a repository"):
        alone(shared(live, NodeSettings()))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "README").touch()
    with pytest.raises(NotFound, match="neither a bundle"):
        alone(shared(live, NodeSettings(paths=(tmp_path / "other",))))


def test_alone_with_an_empty_folder_it_waits_for_models(live, tmp_path, caplog):
    (tmp_path / "models").mkdir()
    life, told = alone(shared(live, NodeSettings(paths=(tmp_path / "models",)))), []
    life.start(told.append, lambda: told.append(False))
    until("the start", lambda: told)
    assert told == [[]]
    assert f"nothing to serve yet: {tmp_path / 'models'}: empty" in caplog.text
    assert live.models.troubles() == {"": "no model to serve yet"}
    (tmp_path / "models" / "adder" / "1").mkdir(parents=True)
    adder_onnx(tmp_path / "models" / "adder" / "1" / "model.onnx")
    until("the model", lambda: live.models.names() == ["adder"])
    assert live.models.troubles() == {}
    life.stop()


def test_what_is_merely_rewritten_is_not_said_to_be_gone(live, tmp_path, caplog):
    place = tmp_path / "models" / "adder" / "1"
    place.mkdir(parents=True)
    adder_onnx(place / "model.onnx")  # younger than the grace period as it starts
    life, told = alone(shared(live, NodeSettings(paths=(tmp_path / "models",)))), []
    life.start(told.append, lambda: told.append(False))
    until("the start", lambda: told)
    (worker,) = [one.pid for one in live.models.generations()]
    brightness_onnx(place / "model.onnx")
    until("the other file", lambda: [one.pid for one in live.models.generations()] not in ([], [worker]))
    assert "no longer there" not in caplog.text
    (place / "model.onnx").unlink()
    until("the note", lambda: "no longer there, or not whole; it goes on serving" in caplog.text)
    assert live.models.names() == ["adder"]
    life.stop()


def obedient(live, settings, *keys):
    return Obedient(shared(live, settings, Trust(keys, verify), record=True), Disk())


def test_obedient_it_serves_what_the_hub_desires_and_keeps_results(live, tmp_path):
    sea = Sea(tmp_path / "sea")
    sea.order(sea.publish(1).manifest)
    state = tmp_path / "state"
    state.mkdir()
    (state / "secret").write_text("secret\n")

    def act(asked):
        reply = sea(asked.method, asked.path, asked.body, dict(asked.headers))
        asked.answer(reply.status, reply.body)

    with serving(act) as url:
        settings = NodeSettings(hub=url, name="boat", state=state, join_token="j")
        life, told = obedient(live, settings, KEY.public), []
        life.start(told.append, lambda: None)
        assert told == [[]]
        until("the model", live.models.names)
        assert isinstance(life.recorded, Recorded)
        live.serve(life.recorded)
        reply = live.client.post("/predict?source=cam", content=grey_png(255))
        epoch, seq = reply.json()["result"].split("/")
        assert (len(epoch), seq) == (16, "1")
        until("the report", lambda: sea.reports and sea.reports[-1].models)
        facts = sea.reports[-1].facts
        assert {"skerry", "cpus", "memory", "architecture", "system", "runtimes", "disk_free"} <= set(facts)
        assert b"skerry_journal_backlog 1.0" in live.metrics.page()
        life.stop()


def test_obedient_it_makes_a_secret_of_its_own_once(live, tmp_path):
    settings = NodeSettings(hub="http://127.0.0.1:1", name="boat", state=tmp_path / "state")
    first = obedient(live, settings, KEY.public)
    with pytest.raises(Conflict, match="another process uses this folder"):
        obedient(live, settings, KEY.public)
    first.stop()
    secret = (tmp_path / "state" / "secret").read_bytes()
    assert len(secret) >= 40
    assert stat.S_IMODE((tmp_path / "state" / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    obedient(live, settings, KEY.public).stop()
    assert (tmp_path / "state" / "secret").read_bytes() == secret


def test_obedient_it_trusts_somebody_and_has_a_name(live, tmp_path):
    with pytest.raises(Invalid, match="needs at least one publisher's public key; see --trust"):
        obedient(live, NodeSettings(hub="http://x", name="boat", state=tmp_path))
    assert node_name(NodeSettings(name="boat"), HERE) == "boat"
    assert node_name(NodeSettings(), replace(HERE, host="box-7.lan.example")) == "box-7"
    with pytest.raises(Invalid, match="node name"):
        node_name(NodeSettings(), replace(HERE, host=""))
