from __future__ import annotations

import os

import pytest

from skerry.host import machine


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
