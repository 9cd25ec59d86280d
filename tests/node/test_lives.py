"""The two lives of a node, alone and obedient, without their web server."""

from __future__ import annotations

import asyncio
import stat
import threading
from dataclasses import replace

import pytest

from skerry.core.errors import Conflict, Invalid, LoadFailed
from skerry.core.trust import Trust
from skerry.host.clock import Clock
from skerry.host.files import Disk
from skerry.host.keys import verify
from skerry.node.alone import Alone
from skerry.node.load import Loader
from skerry.node.metrics import Metrics
from skerry.node.models import Ask, Models
from skerry.node.obedient import Obedient, node_name
from skerry.node.repository import find
from skerry.node.settings import NodeSettings
from tests.engine.kit import HERE
from tests.link.server import serving
from tests.models import adder_onnx, brightness_bundle, grey_png
from tests.node.update.sea import KEY, Sea
from tests.system.world import until


@pytest.fixture
def models():
    found = Models(Clock(), Metrics())
    yield found
    found.close()


def alone(models, *paths):
    """Let a node alone load these; return it, and what it called ready or False if it gave up."""
    ended, told = threading.Event(), []
    life = Alone(find(paths), Loader(None, HERE, Clock(), 1, 4), models)
    life.start(lambda names: (told.append(names), ended.set()), lambda: (told.append(False), ended.set()))
    assert ended.wait(20)
    life.stop()
    return life, told[0]


def test_alone_it_loads_bundles_and_files(models, tmp_path):
    bundle = brightness_bundle(tmp_path / "b")
    life, told = alone(models, adder_onnx(tmp_path / "adder.onnx"), bundle.path)
    assert told == ["adder", "brightness"]
    assert life.failure is None
    assert models.troubles() == {}


def test_alone_a_bad_model_is_named_and_the_others_serve(models, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"x")
    life, told = alone(models, adder_onnx(tmp_path / "adder.onnx"), tmp_path / "bad.onnx")
    assert told == ["adder"]
    assert life.failure is None
    assert "cannot load bad.onnx" in models.troubles()["bad"]


def test_alone_with_nothing_that_loads_it_gives_up(models, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"x")
    life, told = alone(models, tmp_path / "bad.onnx")
    assert told is False
    assert isinstance(life.failure, LoadFailed)
    assert "bad.onnx: ONNX Runtime cannot load bad.onnx" in str(life.failure)


def obedient(models, settings, *keys):
    return Obedient(
        settings, "http://me", models, models._metrics, Loader(Trust(keys, verify), HERE, Clock(), 1, 4), Disk()
    )


def test_obedient_it_serves_what_the_hub_desires_and_keeps_results(models, tmp_path):
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
        life, told = obedient(models, settings, KEY.public), []
        life.start(told.append, lambda: None)
        assert told == [[]]
        until("the model", models.names, 20)
        seen = asyncio.run(life.infer(Ask("brightness", image=grey_png(255), source="cam")))
        epoch, seq = seen.result.split("/")
        assert (len(epoch), seq) == (16, "1")
        until("the report", lambda: sea.reports and sea.reports[-1].models, 20)
        facts = sea.reports[-1].facts
        assert {"skerry", "cpus", "memory", "architecture", "system", "runtimes", "disk_free"} <= set(facts)
        assert b"skerry_journal_backlog 1.0" in models._metrics.page()
        life.stop()


def test_obedient_it_makes_a_secret_of_its_own_once(models, tmp_path):
    settings = NodeSettings(hub="http://127.0.0.1:1", name="boat", state=tmp_path / "state")
    first = obedient(models, settings, KEY.public)
    with pytest.raises(Conflict, match="another process uses this folder"):
        obedient(models, settings, KEY.public)
    first.stop()
    secret = (tmp_path / "state" / "secret").read_bytes()
    assert len(secret) >= 40
    assert stat.S_IMODE((tmp_path / "state" / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    obedient(models, settings, KEY.public).stop()
    assert (tmp_path / "state" / "secret").read_bytes() == secret


def test_obedient_it_trusts_somebody_and_has_a_name(models, tmp_path):
    with pytest.raises(Invalid, match="needs at least one publisher's public key; see --trust"):
        obedient(models, NodeSettings(hub="http://x", name="boat", state=tmp_path))
    assert node_name(NodeSettings(name="boat"), HERE) == "boat"
    assert node_name(NodeSettings(), replace(HERE, host="box-7.lan.example")) == "box-7"
    with pytest.raises(Invalid, match="node name"):
        node_name(NodeSettings(), replace(HERE, host=""))
