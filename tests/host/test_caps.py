"""Caps: what is asked for, how it can be held, and that it is: folders that are made up, and what this machine has."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skerry.core.errors import Invalid
from skerry.host.caps import ALL, Cages, Cap, Caps, Ways, at_rest, counts, look, size, text, whole
from skerry.host.machine import CGROUP
from skerry.host.nursery import may_rise

MIB = 1 << 20


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (512 * MIB, 512 * MIB),
        ("512MiB", 512 * MIB),
        ("512 mib", 512 * MIB),
        ("1.5GiB", 1536 * MIB),
        ("1GB", 10**9),
        ("100000000", 10**8),
    ],
)
def test_sizes(value, expected):
    assert size(value) == expected


@pytest.mark.parametrize(
    "value", ["", "1", "-1GiB", "1e9", "512MiBs", "9TiB", "MiB", True, None, 1.5, 0, 2**60, [], "١GiB"]
)
def test_sizes_that_are_none(value):
    with pytest.raises(Invalid, match="expected"):
        size(value)


def test_text():
    assert text(512 * MIB) == "512 MiB"
    assert text(1536 * 1024) == "1.5 MiB"


def test_caps_of_models():
    caps = Caps.read({"big": {"memory": "1GiB"}, ALL: {"memory": "256MiB", "cpus": 1.5}})
    assert caps.of("big") == Cap(1024 * MIB, 1.5)
    assert caps.of("other") == Cap(256 * MIB, 1.5)
    assert Caps().of("m") == Cap()
    cages = Cages(caps, Ways())
    assert cages.words("big") == "1024 MiB of memory and 1.5 processors"
    assert Cages(Caps()).words("big") == ""
    assert Cages(Caps()).describe() == "none asked for"


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ({"m": {"memory": "small"}}, 'caps.m: memory: expected bytes, as 536870912 or "512MiB"'),
        ({"m": {"cpus": 0}}, "caps.m: cpus: expected a number from 0.05"),
        ({"m": {"disk": 1}}, "caps.m: cap: expected memory and cpus; got disk"),
        ({"m": 1}, "caps.m: expected an object"),
        ({"a b": {}}, "expected"),
        ([], "caps: expected an object"),
    ],
)
def test_caps_that_make_no_sense(value, match):
    with pytest.raises(Invalid, match=match):
        Caps.read(value)


def test_whole_processors_are_never_none():
    assert [whole(cpus) for cpus in (0.1, 1, 1.9, 2.0)] == [1, 1, 1, 2]


def test_counts_of_a_file():
    assert counts("low 0\noom_kill 3\n\nodd\nx y z\nn -1") == {"low": 0, "oom_kill": 3}


def second(root, own="/a", controllers="cpu memory pids", given="", procs=None):
    """Make up a hierarchy of version 2."""
    base = root / own.lstrip("/")
    base.mkdir(parents=True, exist_ok=True)
    (root / "cgroup.controllers").write_text(controllers)
    (base / "cgroup.controllers").write_text(controllers)
    (base / "cgroup.subtree_control").write_text(given)
    (base / "cgroup.procs").write_text(str(os.getpid()) if procs is None else procs)
    return base


def test_version_two_moves_this_process_first(tmp_path):
    base = second(tmp_path)
    ways = look(tmp_path, "0::/a\n")
    assert ways == Ways(2, base, base)
    assert (base / "skerry" / "cgroup.procs").read_text() == str(os.getpid())
    assert (base / "cgroup.subtree_control").read_text() == "+cpu +memory"
    assert ways.describe() == (
        f"memory by control groups (version 2) in {base}; processors by control groups (version 2) in {base}"
    )


def test_version_two_with_children_of_ours(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        base = second(tmp_path, procs=f"{os.getpid()}\n{child.pid}\n")
        assert look(tmp_path, "0::/a").version == 2
        assert (base / "skerry" / "cgroup.procs").read_text() in (str(os.getpid()), str(child.pid))
    finally:
        child.communicate(b"\n")


def test_version_two_that_was_set_up_before(tmp_path):
    base = second(tmp_path, given="cpu memory", procs="")
    assert look(tmp_path, "0::/a") == Ways(2, base, base)
    assert not (base / "skerry").exists()


def test_version_two_with_memory_alone(tmp_path):
    base = second(tmp_path, controllers="memory")
    assert look(tmp_path, "0::/a") == Ways(2, base, None)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"procs": f"{os.getpid()}\n1\n"}, "holds 1 processes of others"),
        ({"controllers": "pids io"}, "has neither the memory nor the cpu controller"),
    ],
)
def test_version_two_that_is_not_ours(tmp_path, changes, why):
    base = second(tmp_path, **changes)
    ways = look(tmp_path, "0::/a")
    assert (ways.version, ways.memory, ways.cpus) == (0, None, None)
    assert ways.describe() == (
        f"memory by RLIMIT_DATA (as asked for); processors by affinity (whole ones); {base} {why}"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_version_two_that_is_not_delegated(tmp_path):
    (second(tmp_path) / "cgroup.subtree_control").chmod(0o444)
    assert "is not delegated" in look(tmp_path, "0::/a").why


def first(root, **folders):
    """Make up hierarchies of version 1."""
    for name, own in folders.items():
        (root / name / own.lstrip("/")).mkdir(parents=True, exist_ok=True)
        (root / name / own.lstrip("/") / "cgroup.procs").write_text("")


def test_version_one(tmp_path):
    first(tmp_path, memory="/box/1", cpu="/")
    lines = "4:memory:/box/1\n2:cpuacct:/\n1:cpu:/\n0::/\n"
    assert look(tmp_path, lines) == Ways(1, tmp_path / "memory/box/1", tmp_path / "cpu")


def test_version_one_in_a_container_that_is_told_the_hosts_path(tmp_path):
    first(tmp_path, **{"memory": "/", "cpu,cpuacct": "/"})
    lines = "4:memory:/docker/12ab\n3:cpu,cpuacct:/docker/12ab\n"
    assert look(tmp_path, lines) == Ways(1, tmp_path / "memory", tmp_path / "cpu,cpuacct")


@pytest.mark.parametrize("lines", ["", "junk", "4:memory:/gone\n", "::\n:::\n"])
def test_no_control_groups(tmp_path, lines):
    assert look(tmp_path / "none", lines) == Ways(why="no control groups are mounted")


def child(code="import time; time.sleep(60)"):
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_written_in_the_folders(tmp_path, version):
    cages = Cages(Caps({ALL: Cap(100 * MIB, 1.5)}), Ways(version, tmp_path, tmp_path))
    cage = cages.cage("m")
    cage.put(12345)
    (folder,) = tmp_path.iterdir()
    assert folder.name == f"skerry-{os.getpid()}-0-m"
    found = {one.name: one.read_text() for one in folder.iterdir()}
    assert found.pop("cgroup.procs") == "12345"
    if version == 2:
        assert found == {
            "memory.high": str(95 * MIB & -4096),
            "memory.max": str(100 * MIB),
            "memory.oom.group": "1",
            "cpu.max": "150000 100000",
        }
        (folder / "memory.events").write_text("oom 1\noom_kill 0\n")
        assert cage.fate() == ""
        (folder / "memory.events").write_text("oom 1\noom_kill 1\n")
    else:
        assert found == {
            "memory.limit_in_bytes": str(100 * MIB),
            "cpu.cfs_period_us": "100000",
            "cpu.cfs_quota_us": "150000",
        }
        (folder / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert cage.fate() == "the kernel ended it at its memory cap of 100 MiB"
    assert not cage.remove()  # files: as a folder with a process in it
    for one in folder.iterdir():
        one.unlink()
    cages.left(cage)
    assert list(tmp_path.iterdir()) == []
    assert cage.remove()


def test_what_another_program_left_behind_goes(tmp_path):
    dead = child("")
    dead.wait()
    for name in (f"skerry-{dead.pid}-0-m", f"skerry-{os.getpid()}-0-m", "other"):
        (tmp_path / name).mkdir()
    Cages(Caps({ALL: Cap(cpus=1)}), Ways(1, None, tmp_path))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["other", f"skerry-{os.getpid()}-0-m"]


def test_limits_of_the_process_where_there_is_nothing_better():
    cage = Cages(Caps({ALL: Cap(256 * MIB, 1.5)}), Ways()).cage("m")
    process = child("import sys; sys.stdin.read() if 0 else None\nimport time; time.sleep(60)")
    try:
        cage.put(process.pid)
        assert resource.prlimit(process.pid, resource.RLIMIT_DATA) == (256 * MIB, 256 * MIB)
        assert len(os.sched_getaffinity(process.pid)) == 1
        assert cage.fate() == "its memory may not grow past 256 MiB (RLIMIT_DATA), which may be why"
        assert cage.remove()
    finally:
        process.kill()
        process.wait()


def test_affinities_are_spread():
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("one processor")
    cages, found = Cages(Caps({ALL: Cap(cpus=1)}), Ways()), []
    for _ in range(2):
        process = child()
        cages.cage("m").put(process.pid)
        found.append(os.sched_getaffinity(process.pid))
        process.kill()
        process.wait()
    assert found == [{allowed[0]}, {allowed[1]}]


def real_cpu():
    """The group of processors that this process is in, where it may make groups of its own: version 1."""
    ways = look()
    return ways.cpus if ways.version == 1 else None


@pytest.mark.skipif(not (CGROUP / "cpu/cpu.cfs_quota_us").exists() and not (CGROUP / "cpu/tasks").exists(), reason="v1")
def test_the_kernel_holds_a_share_of_a_processor():
    """A busy process with half a processor gets half of it, to within a tenth, over half a second."""
    base = real_cpu()
    if base is None:
        pytest.skip("no group of processors of version 1 that may be written")
    cages = Cages(Caps({ALL: Cap(cpus=0.5)}), Ways(1, None, base))
    cage = cages.cage("busy")
    process = child("while True: pass")
    try:
        try:
            cage.put(process.pid)
        except OSError as error:
            pytest.skip(f"the kernel holds no shares here: {error}")
        folder = next(base.glob(f"skerry-{os.getpid()}-*"))
        time.sleep(0.1)
        before, began = spent(process.pid), time.monotonic()
        time.sleep(0.6)
        share = (spent(process.pid) - before) / (time.monotonic() - began)
        assert 0.1 < share < 0.65
    finally:
        process.kill()
        process.wait()
        cages.left(cage)
        cages.close()
    assert not folder.exists()


def spent(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_process_at_rest():
    process = child()
    try:
        if not may_rise():
            assert not at_rest(process.pid, True)
            return
        assert at_rest(process.pid, True)
        assert os.sched_getscheduler(process.pid) == os.SCHED_IDLE
        assert at_rest(process.pid, False)
        assert os.sched_getscheduler(process.pid) == os.SCHED_OTHER
    finally:
        process.kill()
        process.wait()
    assert not at_rest(process.pid, True)
