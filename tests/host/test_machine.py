from __future__ import annotations

import os

import pytest

from skerry.host import machine
from skerry.host.machine import Load, Meter, resident


def cgroup(folder, **files):
    """Make a cgroup folder; `__` in a name stands for '/'."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("max 100000\n", None),
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("1600000 100000\n", 16),
        ("", None),
        ("max", None),
    ],
)
def test_the_quota_of_version_2(tmp_path, text, want):
    (tmp_path / "cpu.max").write_text(text)
    assert machine.quota(tmp_path) == want


@pytest.mark.parametrize(
    ("quota", "period", "want"),
    [
        ("-1", "100000", None),
        ("400000", "100000", 4),
        ("150000\n", "100000\n", 1),
        ("10000", "100000", 1),
        ("", "", None),
        ("0", "1", None),
    ],
)
def test_the_quota_of_version_1(tmp_path, quota, period, want):
    cgroup(tmp_path, cpu__cpu=""), (tmp_path / "cpu" / "cpu").unlink()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text(period)
    assert machine.quota(tmp_path) == want


def test_no_cgroup_is_no_quota(tmp_path):
    assert machine.quota(tmp_path / "nothing") is None
    (tmp_path / "cpu.max").mkdir()
    assert machine.quota(tmp_path) is None


def test_this_machine():
    here = machine.look()
    assert 1 <= here.cpus <= len(os.sched_getaffinity(0))
    assert 1 << 20 < here.memory <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert here.architecture
    assert here.system.startswith("Linux ")


@pytest.mark.parametrize(
    ("file", "text", "limited"),
    [
        ("memory.max", "1048576\n", True),
        ("memory.max", "max\n", False),
        ("memory/memory.limit_in_bytes", "1048576\n", True),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", False),
        ("else", "1", False),
    ],
)
def test_the_limit_of_memory(tmp_path, file, text, limited):
    (tmp_path / "memory").mkdir()
    (tmp_path / file).write_text(text)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine.memory(tmp_path) == (1048576 if limited else total)


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        ("cpu  10 0 10 80 0 0 0 0 0 0", "cpu  60 0 60 80 0 0 0 0 0 0", 1.0),
        ("cpu  10 0 10 80 0 0 0 0 0 0", "cpu  10 0 10 180 0 0 0 0 0 0", 0.0),
        ("cpu  10 0 10 80 0 0 0 0 0 0", "cpu  20 0 20 100 60 0 0 0 0 0", 0.2),  # waiting for the disk is not busy
        ("cpu  10 0 10 80 0 0 0 0 5 0", "cpu  20 0 10 90 0 0 0 0 90 0", 0.5),  # a guest's time is in user already
        ("cpu  10 0 10 80", "cpu  10 0 10 80", 0.0),
        ("", "", 0.0),
        ("cpu  x 0 10 80", "intr 5", 0.0),
    ],
)
def test_how_busy_the_machine_is(tmp_path, before, after, share):
    (tmp_path / "meminfo").write_text(
        "MemTotal:    1000 kB\nMemFree:  10 kB\nMemAvailable:   400 kB\nHugePages_Total: 0\n"
    )
    (tmp_path / "stat").write_text(f"{before}\ncpu0 1 2 3\n")
    meter = Meter(tmp_path)
    meter.look()
    (tmp_path / "stat").write_text(f"{after}\ncpu0 1 2 3\n")
    found = meter.look()
    assert found.cpu == pytest.approx(share)
    assert (found.memory_total, found.memory_used) == (1000 << 10, 600 << 10)


def test_an_old_kernel_and_none(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 10 kB\nMemFree: 4 kB\n")
    assert Meter(tmp_path).look() == Load(0.0, 10 << 10, 6 << 10)
    assert Meter(tmp_path / "none").look() == Load(0.0, 0, 0)


def test_this_machine_is_somewhere_between():
    found = Meter().look()
    assert 0 <= found.cpu <= 1
    assert 0 < found.memory_used < found.memory_total


def test_the_memory_of_a_process(tmp_path):
    assert resident(os.getpid()) > 5 << 20
    assert resident(1 << 30) == 0
    (tmp_path / "7").mkdir()
    (tmp_path / "7/statm").write_text("junk")
    assert resident(7, tmp_path) == 0
