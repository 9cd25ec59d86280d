"""This machine: how many processors and how much memory this process may really use, and what it is."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MAX_SMALL_FILE = 64 << 10  # bytes; files of /proc and /sys


@dataclass(frozen=True)
class Machine:
    """What the thread plan and the report need to know."""

    cpus: int  # processors that this process may use at once: affinity and cgroup quota counted in
    memory: int  # bytes, the cgroup's limit counted in
    architecture: str  # as the kernel names it: x86_64, aarch64
    system: str
    host: str


def look() -> Machine:
    """Return what this process may use of this machine."""
    mine = CGROUP / _text(Path("/proc/self/cgroup")).rpartition("0::/")[2].partition("\n")[0]  # version 2's line
    affinity = len(os.sched_getaffinity(0))
    return Machine(
        cpus=max(1, min(affinity, quota(CGROUP) or affinity, quota(mine) or affinity)),
        memory=min(memory(CGROUP), memory(mine)),
        architecture=platform.machine(),
        system=f"{platform.system()} {platform.release()}",
        host=platform.node(),
    )


def quota(cgroup: Path) -> int | None:
    """Return the whole processors that the cgroup's quota allows (at least 1), or None without a quota."""
    two = _text(cgroup / "cpu.max").split()
    if len(two) == 2 and all(map(str.isdecimal, two)) and int(two[1]):
        return max(1, int(two[0]) // int(two[1]))
    one, period = _text(cgroup / "cpu/cpu.cfs_quota_us"), _text(cgroup / "cpu/cpu.cfs_period_us")
    if one.isdecimal() and period.isdecimal() and int(one) and int(period):  # v1 writes -1 for no quota
        return max(1, int(one) // int(period))
    return None


def memory(cgroup: Path) -> int:
    """Return the bytes of memory that the cgroup allows, at most those of the machine."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in (cgroup / "memory.max", cgroup / "memory/memory.limit_in_bytes"):
        text = _text(path)
        if text.isdigit():
            return min(total, int(text))
    return total


def _text(path: Path) -> str:
    try:
        return path.read_text()[:MAX_SMALL_FILE].strip()
    except OSError:
        return ""
