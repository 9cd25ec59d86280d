from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from skerry.core.errors import BadSignature, Conflict, Invalid, NotFound, SkerryError, WrongDigest
from skerry.core.manifest import MANIFEST, SIGNATURE
from skerry.core.trust import Trust
from skerry.engine.bundle import manifest_bytes, open_bundle, sign, verify, write_bundle
from skerry.host.ed25519 import PrivateKey
from skerry.host.files import Disk, FaultyDisk
from skerry.host.keys import verify as check_signature
from tests.engine.kit import IMAGE, manifest
from tests.models import brightness_bundle

KEY = PrivateKey.make()
TRUST = Trust((KEY.public,), check_signature)
FILES = {"model.onnx": b"the model", "goldens/0.png": b"picture"}


def small(path, files=FILES):
    return write_bundle(path, manifest(IMAGE, IMAGE), files, Disk())


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    one, two = brightness_bundle(tmp_path / "one" / "b"), brightness_bundle(tmp_path / "two" / "b")
    assert contents(one.path) == contents(two.path)
    assert one.manifest.digest == two.manifest.digest
    small(tmp_path / "three")
    small(tmp_path / "four", dict(reversed(FILES.items())))
    assert contents(tmp_path / "three") == contents(tmp_path / "four")


def test_what_was_written_can_be_opened_and_is_good(tmp_path):
    bundle = small(tmp_path / "b")
    found = open_bundle(tmp_path / "b")
    assert found == bundle
    assert found.model_file.read_bytes() == b"the model"
    verify(found)


def test_nothing_is_overwritten_and_nothing_is_half(tmp_path):
    small(tmp_path / "b")
    with pytest.raises(Conflict, match="there is something already"):
        small(tmp_path / "b")
    acts = FaultyDisk(10_000)
    write_bundle(tmp_path / "c", manifest(IMAGE, IMAGE), FILES, acts)
    for nth in range(1, len(acts.acts) + 1):
        place = tmp_path / f"d{nth}"
        try:
            write_bundle(place, manifest(IMAGE, IMAGE), FILES, FaultyDisk(nth))
        except OSError:
            if place.exists():  # only the last act, the sync after the rename, comes later
                verify(open_bundle(place))
            else:
                small(place)  # what a full disk left behind does not stand in the way
        verify(open_bundle(place))


def test_no_bundle_and_no_manifest(tmp_path):
    with pytest.raises(NotFound, match=r"no manifest\.json in it"):
        open_bundle(tmp_path)
    (tmp_path / MANIFEST).write_bytes(b"{}")
    with pytest.raises(Invalid, match=r"manifest\.schema"):
        open_bundle(tmp_path)
    with pytest.raises(Invalid, match=r"runtime\.file"):
        write_bundle(tmp_path / "x", manifest(IMAGE, IMAGE), {"other": b""}, Disk())


@pytest.mark.parametrize("path", ["../model.onnx", "/model.onnx", "a/../../b", ".hidden", MANIFEST, SIGNATURE])
def test_files_cannot_leave_the_folder(tmp_path, path):
    with pytest.raises(Invalid):
        write_bundle(tmp_path / "x", manifest(IMAGE, IMAGE), {"model.onnx": b"", path: b""}, Disk())
    assert not (tmp_path / "x").exists()


def test_every_flipped_byte_of_every_file_is_caught(tmp_path):
    bundle = small(tmp_path / "b")
    sign(bundle, KEY, Disk())
    verify(bundle, TRUST)
    for place in sorted(p for p in bundle.path.rglob("*") if p.is_file()):
        good = place.read_bytes()
        step = 3 if place.name == MANIFEST else 1
        for where in range(0, len(good), step):
            place.write_bytes(good[:where] + bytes([good[where] ^ 0x10]) + good[where + 1 :])
            try:
                verify(open_bundle(bundle.path), TRUST)
            except SkerryError:
                continue
            # The canonical form alone is signed: a space may become another byte only if the meaning stays.
            assert place.name in (MANIFEST, SIGNATURE)
            assert open_bundle(bundle.path).manifest.digest == bundle.manifest.digest
        place.write_bytes(good)
    verify(open_bundle(bundle.path), TRUST)


@pytest.mark.parametrize("name", sorted([*FILES]))
def test_a_missing_or_changed_file_is_a_wrong_digest(tmp_path, name):
    bundle = small(tmp_path / "b")
    (bundle.path / name).write_bytes(FILES[name] + b"x")
    with pytest.raises(WrongDigest, match=f"file {name}: expected {len(FILES[name])} bytes"):
        verify(bundle)
    (bundle.path / name).unlink()
    with pytest.raises(WrongDigest, match=f"file {name} is missing"):
        verify(bundle)
    (bundle.path / name).mkdir()
    with pytest.raises(WrongDigest, match="is missing"):
        verify(bundle)


def test_who_signed_counts(tmp_path):
    bundle = small(tmp_path / "b")
    with pytest.raises(BadSignature, match="not signed; sign it with 'skerry bundle sign"):
        verify(bundle, TRUST)
    other = PrivateKey.make()
    sign(bundle, other, Disk())
    with pytest.raises(BadSignature, match="trusted here"):
        verify(bundle, TRUST)
    sign(bundle, KEY, Disk())
    verify(bundle, TRUST)
    verify(bundle, Trust((other.public,), check_signature))  # the first signature stays
    (bundle.path / MANIFEST).write_bytes(manifest_bytes(replace(bundle.manifest, version=2)))
    with pytest.raises(BadSignature):
        verify(open_bundle(bundle.path), TRUST)


def test_a_signature_of_another_bundle_does_not_do(tmp_path):
    one, two = small(tmp_path / "a"), small(tmp_path / "b", {**FILES, "more": b"1"})
    sign(one, KEY, Disk())
    shutil.copy(one.path / SIGNATURE, two.path / SIGNATURE)
    with pytest.raises(BadSignature):
        verify(two, TRUST)


def test_a_file_that_nobody_signed_is_refused(tmp_path):
    key = PrivateKey.make()
    bundle = brightness_bundle(tmp_path / "b", key=key)
    trust = Trust((key.public,), check_signature)
    verify(bundle, trust)
    (tmp_path / "b" / "model.onnx.data").write_bytes(b"weights from elsewhere")
    verify(bundle)  # nobody was said to be trusted
    with pytest.raises(WrongDigest, match=r"model\.onnx\.data is not in the signed manifest"):
        verify(bundle, trust)
    (tmp_path / "b" / "model.onnx.data").unlink()
    (tmp_path / "b" / "goldens" / "link").symlink_to("/etc/hostname")
    with pytest.raises(WrongDigest, match="link is not in"):
        verify(bundle, trust)
