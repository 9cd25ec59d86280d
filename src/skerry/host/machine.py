"""This machine: how many processors and how much memory this process may really use, what it is, how busy it is."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
PROC = Path("/proc")
MAX_SMALL_FILE = 64 << 10  # bytes; files of /proc and /sys
PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes


@dataclass(frozen=True)
class Machine:
    """What the thread plan and the report need to know."""

    cpus: int  # processors that this process may use at once: affinity and cgroup quota counted in
    memory: int  # bytes, the cgroup's limit counted in
    architecture: str  # as the kernel names it: x86_64, aarch64
    system: str
    host: str


@dataclass(frozen=True)
class Load:
    """How busy the whole machine is."""

    cpu: float  # 0 to 1, over all processors, since the last look
    memory_total: int  # bytes
    memory_used: int  # bytes that no program could have; what is only cached is not used


class Meter:
    """Looks at how busy the machine is; each look is about the time since the one before."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc
        self._last = (0, 0)  # ticks busy, ticks in all

    def look(self) -> Load:
        """Return the load since the last look, the first since the machine started. 50 us."""
        ticks = _ticks(_text(self._proc / "stat"))
        busy, every = ticks[0] - self._last[0], ticks[1] - self._last[1]
        self._last = ticks
        sizes = _sizes(_text(self._proc / "meminfo"))
        total = sizes.get("MemTotal", 0)
        free = sizes.get("MemAvailable", sizes.get("MemFree", 0))
        return Load(min(1.0, max(0.0, busy / every)) if every > 0 else 0.0, total, max(0, total - free))


def resident(pid: int, proc: Path = PROC) -> int:
    """Return the bytes of a process that are in memory, 0 if it is gone."""
    found = _text(proc / str(pid) / "statm").split()
    return int(found[1]) * PAGE if len(found) > 1 and found[1].isdecimal() else 0


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
    total = PAGE * os.sysconf("SC_PHYS_PAGES")
    for path in (cgroup / "memory.max", cgroup / "memory/memory.limit_in_bytes"):
        text = _text(path)
        if text.isdigit():
            return min(total, int(text))
    return total


def _ticks(stat: str) -> tuple[int, int]:
    """Return the ticks in which processors were busy, and all, of the first line of /proc/stat.

    It says user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice; what guests had is in user too.
    """
    first = stat.partition("\n")[0].split()
    if not first or first[0] != "cpu" or not all(map(str.isdecimal, first[1:])):
        return 0, 0
    ticks = [*map(int, first[1:9]), 0, 0, 0, 0, 0]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _sizes(meminfo: str) -> dict[str, int]:
    """Return the bytes in the lines of /proc/meminfo such as "MemTotal: 24684084 kB"."""
    rows = (line.split() for line in meminfo.splitlines())
    return {row[0].rstrip(":"): int(row[1]) << 10 for row in rows if len(row) == 3 and row[1].isdecimal()}


def _text(path: Path) -> str:
    try:
        return path.read_text()[:MAX_SMALL_FILE].strip()
    except OSError:
        return ""
