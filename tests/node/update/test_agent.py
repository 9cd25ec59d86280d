"""The agent and the installer against a simulated hub."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from skerry.core.manifest import FileEntry, digest_of
from skerry.core.names import ModelName
from skerry.core.plan import Wanted, plan
from skerry.engine.bundle import manifest_bytes, open_bundle, sign
from skerry.host.ed25519 import PrivateKey
from skerry.host.files import Disk, FaultyDisk
from skerry.link.http import Reply
from skerry.node.update.slots import MAX_TRIES
from tests.node.update.sea import BRIGHTNESS, Boat, Sea


@pytest.fixture
def sea(tmp_path):
    found = Sea(tmp_path / "sea")
    yield found
    found.close()


@pytest.fixture
def boat(sea, tmp_path):
    return Boat(tmp_path / "boat", sea)


def resigned(sea, bundle, version=None, **files):
    """Change files of a bundle, name them rightly, sign it again and put it on the hub."""
    for path, data in files.items():
        place = bundle.path / path.replace("__", ".").replace("_in_", "/")
        place.write_bytes(data)
    entries = {p: FileEntry(digest_of((bundle.path / p).read_bytes()), (bundle.path / p).stat().st_size)
               for p in bundle.manifest.files}  # fmt: skip
    manifest = replace(bundle.manifest, files=entries, version=version or bundle.manifest.version)
    (bundle.path / "manifest.json").write_bytes(manifest_bytes(manifest))
    (bundle.path / "manifest.sig").unlink()
    from tests.node.update.sea import KEY

    sign(open_bundle(bundle.path), KEY, Disk())
    sea.put(open_bundle(bundle.path))
    return open_bundle(bundle.path).manifest


def test_what_is_desired_is_reached_and_told_at_once(sea, boat):
    one = sea.publish(1).manifest
    wait = boat.tick()
    assert 8 <= wait <= 12
    assert sea.reports[-1].models == ()
    assert sea.reports[-1].facts["not_ready"] == {"": "no model to serve yet"}
    assert (sea.reports[-1].node, sea.reports[-1].url, sea.enrolments) == ("boat", "http://boat", 1)
    sea.order(one)
    boat.tick()
    assert boat.version == 1
    assert sea.told == {("brightness", 1): ("serving", "")}
    assert sea.reports[-1].facts["not_ready"] == {}
    assert plan(sea.desired, boat.installer.held()) == ()
    count = len(sea.asked)
    boat.tick()
    assert len(sea.asked) == count + 1  # nothing is left to do: one check-in
    assert sea.enrolments == 1


def test_versions_come_and_go_and_two_stay_on_disk(sea, boat):
    manifests = [sea.publish(n).manifest for n in range(1, 5)]
    for n, one in enumerate(manifests, 1):
        sea.order(one, rollout=n)
        boat.tick()
        assert boat.version == n
    boat.tick()
    assert boat.bundles == {manifests[2].digest, manifests[3].digest}
    slot = boat.installer.slots.table.slots[BRIGHTNESS]
    assert (slot.committed.version, slot.previous.version, slot.provisional) == (4, 3, None)
    assert b'version="3"' not in boat.metrics.page()
    sea.order(manifests[2], rollout=9)  # back to the one that is still there
    before = len(sea.asked)
    boat.tick()
    assert boat.version == 3
    assert not [path for path, _ in sea.asked[before:] if "blobs" in path]


def test_a_model_that_is_no_longer_wanted_goes(sea, boat):
    sea.order(sea.publish(1).manifest)
    boat.tick()
    sea.order()
    boat.tick(2)
    assert boat.version is None
    assert boat.bundles == set()
    assert sea.told == {}


def test_without_the_hub_a_restarted_node_serves_what_it_had(sea, boat):
    sea.order(sea.publish(1).manifest)
    boat.tick()
    sea.down = True
    again = boat.again()
    waits = [again.tick() for _ in range(9)]
    assert again.version == 1
    assert waits[0] <= 0.5
    assert waits[5] >= 5
    assert max(waits) <= 60
    sea.down = False
    assert again.returns == 0
    assert again.tick() >= 8
    assert again.returns == 1
    assert sea.told == {("brightness", 1): ("serving", "")}
    again.close()


def test_a_hub_that_forgot_the_node_gets_it_again(sea, boat):
    sea.order(sea.publish(1).manifest)
    boat.tick()
    sea.known = False
    assert boat.tick() <= 0.5
    boat.tick()
    assert sea.enrolments == 2
    assert sea.told == {("brightness", 1): ("serving", "")}


# --- refusals: final for their rollout, told, and the old version serves on ---


def wrong_key(sea):
    return sea.publish(2, PrivateKey.make()).manifest


def tampered_file(sea):
    bundle = sea.publish(2)
    digest = bundle.manifest.files["model.onnx"].sha256
    data = bytearray(sea.blobs[digest])
    data[100] ^= 1
    sea.blobs[digest] = bytes(data)
    return bundle.manifest


def tampered_manifest(sea):
    bundle = sea.publish(2)
    key = f"{bundle.manifest.digest}/manifest"
    sea.texts[key] = sea.texts[key].replace(b'"bright"', b'"purple"')
    return bundle.manifest


def other_bundle(sea):
    one, two = sea.publish(1), sea.publish(2)
    for part in ("manifest", "signature"):
        sea.texts[f"{two.manifest.digest}/{part}"] = sea.texts[f"{one.manifest.digest}/{part}"]
    return two.manifest


def wrong_golden(sea):
    bundle = sea.publish(2)
    answer = (bundle.path / "goldens/0.answer.json").read_bytes()
    return resigned(sea, bundle, **{"goldens/0.answer.json": answer.replace(b"bright", b"purple")})


def no_model(sea):
    return resigned(sea, sea.publish(2), **{"model.onnx": b"hello"})


def malformed_manifest(sea):
    bundle = sea.publish(2)
    sea.texts[f"{bundle.manifest.digest}/manifest"] = b"{}"
    return bundle.manifest


BAD = {
    wrong_key: "BadSignature", tampered_file: "WrongDigest", tampered_manifest: "BadSignature",
    other_bundle: "WrongDigest", wrong_golden: "GoldenFailed", no_model: "LoadFailed",
    malformed_manifest: "Invalid",
}  # fmt: skip


@pytest.mark.parametrize("spoil", BAD, ids=lambda f: f.__name__)
def test_a_bad_bundle_is_refused_once_and_the_old_one_serves_on(sea, boat, spoil):
    sea.order(sea.publish(1).manifest)
    boat.tick()
    bad = spoil(sea)
    sea.order(bad, rollout=2)
    boat.tick()
    assert boat.version == 1
    state, reason = sea.told["brightness", bad.version]
    assert (state, reason.split(":")[0]) == ("refused", BAD[spoil])
    assert sea.told["brightness", 1] == ("serving", "")
    assert boat.models.troubles() == {}
    assert f'error="{BAD[spoil]}"' in boat.metrics.page().decode()
    asked = len(sea.asked)
    boat.tick(3)
    assert len(sea.asked) == asked + 3  # final: nothing is fetched again for this rollout
    again = boat.again()
    again.tick(2)
    assert again.version == 1
    assert ("brightness", bad.version) in sea.told
    assert not [p for p, _ in sea.asked[asked:] if "blobs" in p]
    again.close()


def test_a_bundle_mended_on_the_hub_is_taken_by_the_next_rollout(sea, boat):
    two = tampered_file(sea)
    sea.order(two, rollout=1)
    boat.tick()
    assert boat.version is None
    assert "WrongDigest" in boat.models.troubles()["brightness"]
    sea.publish(2).manifest  # noqa: B018 (the same bytes again, and whole)
    sea.order(two, rollout=2)
    boat.tick()
    assert boat.version == 2
    assert not (boat.state / "staging").exists()


@pytest.mark.parametrize(("name", "version"), [("faces", 2), ("brightness", 3)])
def test_a_wrong_name_or_version_is_refused(sea, boat, name, version):
    two = sea.publish(2).manifest
    sea.desired = (Wanted(ModelName(name), version, two.digest, 1),)
    boat.tick()
    reason = sea.told[name, version][1]
    assert f"WrongDigest: bundle {two.digest}: signed as brightness version 2; the hub calls it {name}" in reason
    assert not [path for path, _ in sea.asked if "blobs" in path]


def test_a_refused_model_that_nobody_wants_any_more_is_no_trouble(sea, boat):
    sea.order(tampered_file(sea))
    boat.tick()
    assert "brightness" in boat.models.troubles()
    sea.order()
    boat.tick()
    assert boat.models.troubles() == {"": "no model to serve yet"}


# --- trouble: told, and tried again ---


@pytest.mark.parametrize("reply", [Reply(404, b""), Reply(503, b""), Reply(500, b""), Reply(400, b"a proxy's page")])
@pytest.mark.parametrize("where", ["/manifest", "/signature", "/blobs/"])
def test_a_hub_in_trouble_is_asked_again(sea, boat, reply, where):
    sea.order(sea.publish(1).manifest)
    sea.answers[where] = reply
    boat.tick(2)
    assert boat.version is None
    assert sea.told == {}
    assert sea.trouble.startswith("fetch brightness: ")
    sea.answers.clear()
    boat.tick()
    assert boat.version == 1
    assert sea.trouble == ""


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b"{}", b'{"interval": 5, "desired": [{}]}'])
def test_orders_that_make_no_sense_change_nothing(sea, boat, body):
    sea.order(sea.publish(1).manifest)
    boat.tick()
    sea.answers["/check-in"] = Reply(200, body)
    assert boat.tick() <= 0.5
    assert boat.version == 1
    sea.answers.clear()
    boat.tick()
    assert boat.version == 1


def test_a_broken_download_goes_on_from_where_it_stopped(sea, boat):
    one = sea.publish(1).manifest
    sea.order(one)
    sea.line.cut_after = 20_000  # in the middle of the golden picture
    boat.tick()
    assert "the line is cut" in sea.trouble
    (staged,) = (boat.state / "staging").glob("*/goldens/0.png")
    size = staged.stat().st_size
    assert 10_000 < size <= 20_000
    asked = len(sea.asked)
    boat.tick()
    assert boat.version == 1
    blobs = [(path.rpartition("/")[2], start) for path, start in sea.asked[asked:] if "blobs" in path]
    files = one.files
    assert blobs == [(files["goldens/0.png"].sha256, f"bytes={size}-"), (files["model.onnx"].sha256, "")]
    assert not (boat.state / "staging").exists()


def test_a_download_may_break_at_every_piece(sea, boat):
    one = sea.publish(1)
    sea.order(one.manifest)
    for _ in range(200):
        sea.line.cut_after = 5000
        boat.tick()
        if boat.version:
            break
    assert boat.version == 1
    total = sum(len((one.path / p).read_bytes()) for p in one.manifest.files)
    pulled = [path for path, _ in sea.asked if "blobs" in path]
    assert 5 < len(pulled) <= total // 4900 + 3 * len(one.manifest.files)


def test_a_disk_that_fills_at_any_act_is_told_and_the_old_version_serves_on(sea, tmp_path):
    sea.order(sea.publish(1).manifest)
    boat = Boat(tmp_path / "boat", sea)
    boat.tick()
    boat.close()
    two = sea.publish(2).manifest
    sea.order(two, rollout=2)
    acts = FaultyDisk(10_000)
    shutil.copytree(tmp_path / "boat", tmp_path / "count")
    counted = Boat(tmp_path / "count", sea, acts)
    counted.tick()
    assert counted.version == 2
    counted.close()
    for nth in range(1, len(acts.acts) + 1):
        state = tmp_path / f"full-{nth}"
        shutil.copytree(tmp_path / "boat", state)
        full = Boat(state, sea, FaultyDisk(nth))
        full.tick(2)
        if full.version != 2:
            assert full.version == 1, nth
            assert "No space left on device" in sea.trouble or "would fill the disk" in sea.trouble
        assert ("brightness", 2) not in sea.told or sea.told["brightness", 2][0] == "serving"
        again = full.again(Disk())
        again.tick()
        assert again.version == 2, nth
        again.tick()
        assert not (state / "staging").exists()
        again.close()


def test_a_disk_that_is_full_at_a_refusal_is_trouble_told(sea, tmp_path):
    sea.order(sea.publish(1).manifest)
    boat = Boat(tmp_path / "boat", sea)
    boat.tick()
    boat.close()
    sea.order(tampered_file(sea), rollout=2)
    for nth in range(1, 25):
        shutil.copytree(tmp_path / "boat", tmp_path / f"full-{nth}")
        full = Boat(tmp_path / f"full-{nth}", sea, FaultyDisk(nth))
        full.tick(2)
        assert full.version == 1
        refused = sea.told.get(("brightness", 2), ("", ""))[0] == "refused"
        assert refused or "No space left on device" in sea.trouble
        full.close()


def test_a_bundle_that_would_fill_the_disk_is_not_begun(sea, boat, tmp_path):
    class Small(Disk):
        def free(self, path):
            return 1 << 20

    sea.order(sea.publish(1).manifest)
    small = Boat(tmp_path / "small", sea, Small())
    small.tick()
    assert "would fill the disk" in sea.trouble
    assert not [p for p, _ in sea.asked if "blobs" in p]
    assert not list((tmp_path / "small" / "staging").iterdir())


# --- crashes, damage on disk ---


def test_a_bundle_that_kills_the_node_is_refused_after_some_tries(sea, boat):
    one = sea.publish(1).manifest
    sea.order(one)
    boat.tick()
    two = sea.publish(2).manifest
    want = Wanted(BRIGHTNESS, 2, two.digest, 2)
    for _ in range(MAX_TRIES):  # each time the node dies between `begin` and `commit`
        boat.installer.slots.begin(want)
        boat = boat.again()
        boat.tick(0)
    sea.order(two, rollout=2)
    boat.tick()
    assert boat.version == 1
    assert f"this node died {MAX_TRIES} times while trying the bundle" in sea.told["brightness", 2][1]
    sea.order(two, rollout=3)  # a person may try again
    boat.tick()
    assert boat.version == 2


@pytest.mark.parametrize("path", ["model.onnx", "goldens/0.answer.json", "manifest.json", "manifest.sig"])
@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
def test_a_damaged_committed_bundle_gives_way_to_the_previous(sea, boat, path, how):
    for version in (1, 2):
        sea.order(sea.publish(version).manifest, rollout=version)
        boat.tick()
    digest = boat.installer.slots.table.slots[BRIGHTNESS].committed.digest
    place = boat.state / "bundles" / digest.removeprefix("sha256:") / path
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    if how == "gone":
        place.unlink()
    else:
        place.write_bytes(data if how == "flip" else data[: len(data) // 2])
    sea.down = True
    again = boat.again()
    again.tick()
    assert again.version == 1
    sea.down = False
    again.tick()
    assert again.version == 2  # the hub still wants it, so it is fetched again
    again.close()


def test_when_nothing_is_sound_the_node_says_so_and_mends_itself(sea, boat):
    for version in (1, 2):
        sea.order(sea.publish(version).manifest, rollout=version)
        boat.tick()
    shutil.rmtree(boat.state / "bundles")
    sea.down = True
    again = boat.again()
    again.tick()
    assert again.version is None
    assert "the committed bundle cannot serve" in again.models.troubles()["brightness"]
    sea.down = False
    again.tick()
    assert again.version == 2
    assert again.models.troubles() == {}
    again.close()


def test_what_nobody_names_is_tidied_away(sea, boat):
    (boat.state / "staging" / "old").mkdir(parents=True)
    (boat.state / "bundles" / ("a" * 64)).mkdir(parents=True)
    sea.order(sea.publish(1).manifest)
    boat.tick(2)
    assert boat.bundles == {sea.desired[0].digest}
    assert not (boat.state / "staging").exists()


def test_reports_are_json_whatever_the_reason(sea, boat):
    bad = wrong_golden(sea)
    sea.order(bad)
    boat.tick()
    assert len(json.dumps(sea.reports[-1].json())) < 1 << 20
    assert len(sea.told["brightness", 2][1]) <= 2000


def test_a_tail_that_a_power_cut_spoilt_is_fetched_again(sea, boat):
    sea.order(sea.publish(1).manifest)
    sea.line.cut_after = 20_000
    boat.tick()
    (staged,) = (boat.state / "staging").glob("*/goldens/0.png")
    staged.write_bytes(bytes(staged.stat().st_size))
    boat.tick()
    assert boat.version == 1


def test_half_a_deleted_bundle_is_fetched_again(sea, boat):
    one = sea.publish(1).manifest
    sea.order(one)
    boat.tick()
    sea.order(sea.publish(2).manifest, rollout=2)
    boat.tick(2)
    place = boat.state / "bundles" / one.digest.removeprefix("sha256:")
    (place / "manifest.json").unlink()  # a deletion that a power cut ended
    sea.order(one, rollout=3)
    boat.tick(2)
    assert boat.version == 1


def test_a_desired_model_that_is_not_there_yet_keeps_the_node_from_being_ready(sea, boat):
    sea.order(sea.publish(1).manifest)
    sea.line.cut_after = 100
    boat.tick()
    assert list(boat.models.troubles()) == ["brightness"]
