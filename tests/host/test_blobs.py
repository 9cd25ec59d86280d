from __future__ import annotations

import hashlib
import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.errors import NotFound, TooLarge, WrongDigest
from skerry.core.names import Digest
from skerry.host.blobs import Blobs
from skerry.host.files import Disk, FaultyDisk


def named(data):
    """Return the digest of bytes."""
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


def take(blobs, digest, parts, limit=1 << 20):
    """Receive a blob in parts, as a server does."""
    incoming = blobs.receive(digest, limit)
    try:
        for part in parts:
            incoming.write(part)
        return incoming.keep()
    finally:
        incoming.drop()


def files(folder):
    """Return every file below a folder."""
    return [p for p in folder.rglob("*") if p.is_file()]


@settings(max_examples=40)  # each syncs folders
@given(st.lists(st.binary(max_size=50), max_size=6))
def test_what_was_put_or_received_is_read_back(parts):
    data = b"".join(parts)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        put, received = Blobs(Path(one)), Blobs(Path(two))
        digest = put.put(data)
        assert digest == named(data)
        assert take(received, digest, parts) == len(data)
        for blobs in (put, received):
            assert blobs.has(digest)
            assert blobs.sound(digest)
            assert blobs.size(digest) == len(data)
            assert blobs.read(digest) == b"".join(blobs.stream(digest)) == data
            assert files(blobs.root) == [blobs.path(digest)]


@given(st.binary(), st.binary())
def test_a_wrong_digest_leaves_nothing(data, other):
    with tempfile.TemporaryDirectory() as folder:
        blobs = Blobs(Path(folder))
        if data != other:
            with pytest.raises(WrongDigest, match=named(data)):
                take(blobs, named(data), [other])
            assert not blobs.has(named(data))
            assert not blobs.has(named(other))
        assert files(blobs.root) == []


@given(st.lists(st.binary(max_size=9), max_size=5), st.integers(0, 20))
def test_a_blob_over_its_limit_leaves_nothing(parts, limit):
    data = b"".join(parts)
    with tempfile.TemporaryDirectory() as folder:
        blobs = Blobs(Path(folder))
        if len(data) > limit:
            with pytest.raises(TooLarge, match=f"expected at most {limit} bytes"):
                take(blobs, named(data), parts, limit)
            assert files(blobs.root) == []
        else:
            assert take(blobs, named(data), parts, limit) == len(data)


def test_a_blob_that_is_not_here_is_not_found(tmp_path):
    blobs, digest = Blobs(tmp_path), named(b"x")
    assert not blobs.has(digest)
    assert not blobs.sound(digest)
    for look in (blobs.read, blobs.size, blobs.stream):
        with pytest.raises(NotFound, match=f"blob {digest}: not here"):
            look(digest)


def test_a_blob_that_rotted_is_not_sound(tmp_path):
    blobs = Blobs(tmp_path)
    digest = blobs.put(b"good")
    blobs.path(digest).write_bytes(b"goof")
    assert blobs.has(digest)
    assert not blobs.sound(digest)
    assert take(blobs, digest, [b"good"]) == 4  # to receive it again mends it
    assert blobs.sound(digest)


def test_to_put_again_is_free(tmp_path):
    Blobs(tmp_path).put(b"data")
    disk = FaultyDisk(1)
    assert Blobs(tmp_path, disk).put(b"data") == named(b"data")
    assert disk.acts == []


@pytest.mark.parametrize("way", ["put", "receive"])
def test_a_disk_that_fills_up_at_any_act_leaves_the_whole_blob_or_none(tmp_path, way):
    data = bytes(range(256)) * 200
    for nth in itertools.count(1):
        blobs = Blobs(tmp_path / str(nth), FaultyDisk(nth))
        try:
            blobs.put(data) if way == "put" else take(blobs, named(data), [data[:100], data[100:]])
        except OSError:
            assert [p.read_bytes() for p in files(tmp_path / str(nth))] in ([], [data])
            assert blobs.has(named(data)) == blobs.sound(named(data))
        else:
            break
    assert nth >= 5
    assert blobs.sound(named(data))


def test_what_cannot_be_flushed_is_deleted_all_the_same(tmp_path):
    class Full(Disk):
        """A disk whose files take nothing in: /dev/full behind a name of ours."""

        def append(self, path):
            super().append(path).close()
            return open("/dev/full", "ab")

    blobs = Blobs(tmp_path, Full())
    incoming = blobs.receive(named(b"x"), 10)
    incoming.write(b"x")
    with pytest.raises(OSError, match="No space left"):
        incoming.keep()
    with pytest.raises(OSError, match="No space left"):
        incoming.drop()
    assert files(tmp_path) == []
