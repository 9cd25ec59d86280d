"""A full disk and a power cut at every act of a write: what is read afterwards is the old or the new, whole."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import stat
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import TooLarge
from skerry.host.files import CHUNK, PRIVATE, Disk, FaultyDisk, chunks, digest_file, read

OLD, NEW = b"old" * 1000, b"new" * 5000

WRITE_AND_DIE = """
import sys
from pathlib import Path
from skerry.host.files import FaultyDisk
disk = FaultyDisk(int(sys.argv[2]), kill=True)
disk.write(Path(sys.argv[1]), b"new" * 5000)
print(len(disk.acts))
"""


def seen(folder):
    """Return the files below a folder, by their paths."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("data", [b"", NEW])
@pytest.mark.parametrize("there", [False, True])
def test_what_is_written_is_there(tmp_path, data, there):
    path = tmp_path / "a" / "b" / "file"
    if there:
        Disk().write(path, OLD)
    Disk().write(path, data)
    assert seen(tmp_path) == {"a/b/file": data}
    assert read(path, len(data)) == data


def test_the_acts_of_a_write_are_known(tmp_path):
    disk = FaultyDisk(99)
    disk.write(tmp_path / "a" / "file", NEW)
    assert [act.split()[0] for act in disk.acts] == ["folder", "write", "sync", "rename", "sync"]


@pytest.mark.parametrize("old", [None, OLD])
@pytest.mark.parametrize("below", ["", "new/folders"])
def test_a_disk_that_fills_up_at_any_act_leaves_the_old_or_the_new_and_nothing_else(tmp_path, old, below):
    for nth in itertools.count(1):
        folder = tmp_path / str(nth)
        path = folder / below / "file"
        if old is not None:
            Disk().write(path, old)
        folder.mkdir(exist_ok=True)
        disk = FaultyDisk(nth)
        try:
            disk.write(path, NEW)
        except OSError:
            assert list(seen(folder).values()) in ([] if old is None else [old], [NEW])
        else:
            assert list(seen(folder).values()) == [NEW]
            break
    assert nth == len(disk.acts) + 1 >= 5


@pytest.mark.parametrize("old", [None, OLD])
def test_a_power_cut_at_any_act_leaves_the_old_or_the_new_whole(tmp_path, source, old):
    for nth in itertools.count(1):
        path = tmp_path / str(nth) / "file"
        if old is not None:
            Disk().write(path, old)
        child = subprocess.run([sys.executable, "-c", WRITE_AND_DIE, path, str(nth)], env=source, check=False)
        found = read(path, len(NEW))
        if child.returncode == 0:
            assert found == NEW
            break
        assert child.returncode == -signal.SIGKILL
        assert found in (old, NEW)
        Disk().write(path, NEW)  # what the dead left behind is in nobody's way
        assert read(path, len(NEW)) == NEW
    assert nth >= 5


def test_threads_that_write_the_same_path_never_show_a_mixture(tmp_path):
    path, wrong = tmp_path / "file", []
    contents = [bytes([n]) * 20_000 for n in range(4)]
    Disk().write(path, contents[0])

    def write(data):
        for _ in range(15):
            try:
                Disk().write(path, data)
                if read(path, 20_000) not in contents:
                    wrong.append("a mixture")
            except OSError as error:
                wrong.append(error)

    threads = [threading.Thread(target=write, args=(data,)) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert list(seen(tmp_path)) == ["file"]


def test_a_mode_holds_from_the_first_byte(tmp_path):
    Disk().write(tmp_path / "file", OLD)
    Disk().write(tmp_path / "file", NEW, PRIVATE)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_append_sync_and_move(tmp_path):
    disk = FaultyDisk(99)
    for data in (b"one", b"two"):
        with disk.append(tmp_path / "log") as file:
            file.write(data)
            disk.sync(file)
            assert (tmp_path / "log").read_bytes().endswith(data)
    disk.folder(tmp_path / "sub")
    disk.move(tmp_path / "log", tmp_path / "sub" / "log")
    assert seen(tmp_path) == {"sub/log": b"onetwo"}
    with os.fdopen(os.open(tmp_path / "x", os.O_WRONLY | os.O_CREAT), "wb") as file:
        disk.sync(file)  # a file that was opened by number has no name


def test_a_folder_moves_whole_and_never_onto_another(tmp_path):
    Disk().write(tmp_path / "one" / "a", OLD)
    Disk().write(tmp_path / "two" / "b", NEW)
    with pytest.raises(OSError, match="not empty"):
        Disk().move(tmp_path / "one", tmp_path / "two")
    Disk().move(tmp_path / "one", tmp_path / "three")
    assert seen(tmp_path) == {"three/a": OLD, "two/b": NEW}


def test_folders_are_made_once_with_their_mode(tmp_path):
    disk = FaultyDisk(99)
    for _ in range(2):
        disk.folder(tmp_path / "a" / "b", 0o700)
    assert disk.acts == ["folder a", "folder b"]
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_remove_takes_files_folders_links_and_nothing(tmp_path):
    disk = Disk()
    disk.write(tmp_path / "kept" / "file", OLD)
    disk.write(tmp_path / "gone" / "sub" / "file", OLD)
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    for name in ("gone", "link", "nothing"):
        disk.remove(tmp_path / name)
    assert seen(tmp_path) == {"kept/file": OLD}
    disk.remove(tmp_path / "kept" / "file")
    assert seen(tmp_path) == {}


def test_a_full_disk_can_still_delete(tmp_path):
    Disk().write(tmp_path / "file", OLD)
    FaultyDisk(1).remove(tmp_path / "file")
    assert seen(tmp_path) == {}


def test_read_has_a_limit_and_knows_what_is_not_there(tmp_path):
    Disk().write(tmp_path / "file", b"12345")
    assert read(tmp_path / "file", 5) == b"12345"
    assert read(tmp_path / "nothing", 5) is None
    assert read(tmp_path / "file" / "below", 5) is None
    with pytest.raises(TooLarge, match="file: expected at most 4 bytes"):
        read(tmp_path / "file", 4)


@given(size=st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK]))
def test_a_file_is_hashed_as_it_is(tmp_path_factory, size):
    path, data = tmp_path_factory.mktemp("hash") / "file", os.urandom(size)
    path.write_bytes(data)
    assert digest_file(path) == (size, f"sha256:{hashlib.sha256(data).hexdigest()}")
    assert b"".join(chunks(path)) == data
    assert all(0 < len(chunk) <= CHUNK for chunk in chunks(path))
