"""Updates on real processes: what is refused, what is told, what goes on serving, and death at every step."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.device.client import Client
from skerry.host.blobs import Blobs
from skerry.host.ed25519 import PrivateKey
from skerry.host.files import FaultyDisk
from tests.models import grey_png
from tests.system.world import World, ask_again, get, until

BRIGHT = grey_png(240)


def serves(url: str) -> int | None:
    """Return the version that answers on a node, or None."""
    reply = get(f"{url}/v2/models/brightness")
    return int(reply.json()["versions"][0]) if reply.status == 200 else None


def test_a_version_comes_into_service_only_after_its_goldens(world: World) -> None:
    world.publish(1)
    _, url = world.start_node("line-1")
    assert get(url + "/ready").status == 503
    assert "no model" in get(url + "/ready").json()["error"]
    until("enrolment", lambda: world.node("line-1"))
    assert world.rolled_out(1, "line-1")["state"] == "done"
    assert get(url + "/ready").status == 200
    answer = Client(url).infer("brightness", BRIGHT)
    assert (answer.findings[0].label, answer.version, answer.node) == ("bright", 1, "line-1")


def test_the_hub_may_be_away_at_the_start_and_come_back(world: World) -> None:
    world.publish(1)
    join = world.operator.join_token()
    assert world.hub is not None
    world.hub.stop()
    _, url = world.start_node("line-1", join=join)
    assert get(url + "/health").status == 200
    world.start_hub()
    until("enrolment", lambda: world.node("line-1"))
    assert world.rolled_out(1, "line-1")["state"] == "done"


def test_without_its_hub_a_restarted_node_serves_what_it_had(world: World) -> None:
    world.publish(1)
    node, _ = world.start_node("line-1")
    until("enrolment", lambda: world.node("line-1"))
    assert world.rolled_out(1, "line-1")["state"] == "done"
    assert world.hub is not None
    world.hub.kill()
    node.kill()
    _, url = world.start_node("line-1", join="none needed")
    assert ask_again(Client(url), "brightness", BRIGHT).version == 1


@pytest.mark.parametrize("what", ["tampered", "truncated", "wrong key", "bad golden"])
def test_a_bad_bundle_is_never_served_and_the_hub_hears_why(world: World, what: str) -> None:
    world.publish(1)
    settings = world.settings("line-1")
    node, url = world.start_node("line-1", settings)
    until("enrolment", lambda: world.node("line-1"))
    assert world.rolled_out(1, "line-1")["state"] == "done"
    reason = _spoil(world, what)
    rollout = world.roll_out(2, "line-1")
    if what == "truncated":  # may be the network's fault, so it is tried again and only told as trouble
        until("the trouble on the hub", lambda: reason in (world.node("line-1") or {})["facts"]["trouble"])
    else:
        ended = until("the refusal", lambda: world.ended(rollout["id"]))
        assert ended["state"] == "failed"
        assert reason in ended["nodes"][0]["reason"]
    assert serves(url) == 1
    assert get(url + "/ready").status == 200
    assert Client(url).infer("brightness", BRIGHT).version == 1
    node.kill()
    _, url = world.start_node("line-1", settings)
    assert ask_again(Client(url), "brightness", BRIGHT).version == 1


def _spoil(world: World, what: str) -> str:
    """Publish version 2 and spoil it; return what the reason must name."""
    if what == "wrong key":
        world.key = PrivateKey.make()
        world.publish(2)
        return "BadSignature"
    if what == "bad golden":
        _publish_with_a_wrong_answer(world)
        return "GoldenFailed"
    world.publish(2)
    blobs = Blobs(world.folder / "hub" / "blobs")
    model = world.folder / "bundle-2" / "model.onnx"
    place = blobs.path(blobs.put(model.read_bytes()))
    data = bytearray(place.read_bytes())
    if what == "truncated":
        place.write_bytes(data[: len(data) // 2])
        return "bytes"
    data[len(data) // 2] ^= 1
    place.write_bytes(data)
    return "WrongDigest"


def _publish_with_a_wrong_answer(world: World) -> None:
    from dataclasses import replace

    from skerry.core.manifest import FileEntry, digest_of
    from skerry.engine.bundle import manifest_bytes, open_bundle, sign
    from skerry.host.files import Disk
    from tests.models import brightness_bundle

    folder = world.folder / "bundle-2"
    bundle = brightness_bundle(folder, 2)
    answer = folder / "goldens" / "0.answer.json"
    answer.write_bytes(answer.read_bytes().replace(b"bright", b"purple"))
    entry = FileEntry(digest_of(answer.read_bytes()), answer.stat().st_size)
    manifest = replace(bundle.manifest, files={**bundle.manifest.files, "goldens/0.answer.json": entry})
    (folder / "manifest.json").write_bytes(manifest_bytes(manifest))
    sign(open_bundle(folder), world.key, Disk())
    world.operator.publish(folder)


def _dies_at(world: World, nth: int) -> bool:
    """Kill a node at its nth act while version 2 replaces version 1; what serves afterwards must be a verified one.

    Return whether it died: an update has only so many acts.
    """
    name = f"dies-{nth}"
    settings = world.settings(name)
    node, _ = world.start_node(name, settings)
    until("enrolment", lambda: world.node(name))
    assert world.rolled_out(1, name)["state"] == "done"
    node.kill()
    doomed = world.start_faulty(name, settings, nth, kill=True, join="none needed")
    rollout = world.roll_out(2, name)
    until("death or the end", lambda: not doomed.running or world.ended(rollout["id"]))
    survived = doomed.running
    doomed.kill()
    _, url = world.start_node(name, settings, join="none needed")
    answer = ask_again(Client(url), "brightness", BRIGHT)
    assert answer.version in (1, 2)
    ended = until("the rollout after the restart", lambda: world.ended(rollout["id"]))
    assert ended["state"] == "done", ended
    assert until("version 2", lambda: serves(url) == 2)
    return not survived


@pytest.mark.parametrize("nth", [1, 4, 8, 12, 16, 20, 24])
def test_death_at_some_steps_of_an_update(world: World, nth: int) -> None:
    world.publish(1)
    world.publish(2)
    assert _dies_at(world, nth)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_death_at_every_step_of_an_update(world: World) -> None:
    world.publish(1)
    world.publish(2)
    nth = 1
    while _dies_at(world, nth):
        nth += 1
    assert nth > 24, "the test above kills at acts that an update no longer has"


def test_a_full_disk_is_told_and_mended(world: World) -> None:
    world.publish(1)
    world.publish(2)
    settings = world.settings("line-1")
    node, _ = world.start_node("line-1", settings)
    until("enrolment", lambda: world.node("line-1"))
    assert world.rolled_out(1, "line-1")["state"] == "done"
    node.kill()
    full = world.start_faulty("line-1", settings, 3, kill=False, join="none needed")
    url = full.ready(40)["http"]
    rollout = world.roll_out(2, "line-1")
    until("the trouble on the hub", lambda: "No space left" in (world.node("line-1") or {})["facts"].get("trouble", ""))
    assert ask_again(Client(url), "brightness", BRIGHT).version == 1
    assert world.ended(rollout["id"]) is None
    full.kill()
    _, url = world.start_node("line-1", settings, join="none needed")
    assert until("the rollout", lambda: world.ended(rollout["id"]))["state"] == "done"
    assert serves(url) == 2


def test_faulty_disk_counts_every_act(tmp_path: Path) -> None:
    disk = FaultyDisk(10_000)
    disk.write(tmp_path / "a" / "b", b"x")
    assert [act.split()[0] for act in disk.acts] == ["folder", "write", "sync", "rename", "sync"]
