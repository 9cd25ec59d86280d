"""What processes use: memory, processor time, and how busy the machine is beside them. Linux's /proc, nothing else."""

from __future__ import annotations

import os
import resource
import time
from collections import defaultdict
from pathlib import Path

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")
FIRST = -15  # niceness of what goes before others
BUSY = (0, 1, 2, 5, 6)  # columns of /proc/stat: user, nice, system, irq, softirq


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants that live."""
    children: dict[int, list[int]] = defaultdict(list)
    for place in PROC.glob("[0-9]*/stat"):
        text = _text(place)
        if text:
            children[int(text.rpartition(")")[2].split()[1])].append(int(text.partition(" ")[0]))
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += children[found[-1]]
    return found


def memory(pid: int, kind: str = "Pss") -> int:
    """Return the bytes of a process and its descendants; "Pss" shares out what several of them map, "Rss" does not."""
    total = 0
    for one in tree(pid):
        for line in _text(PROC / str(one) / "smaps_rollup").splitlines():
            if line.startswith(f"{kind}:"):
                total += int(line.split()[1]) * 1024
    return total


def processor_seconds(pid: int) -> float:
    """Return the time on a processor of a process and its descendants, to the nanosecond where the kernel tells."""
    total = 0
    for one in tree(pid):
        for thread in (PROC / str(one) / "task").glob("*/schedstat"):
            total += int((_text(thread) or "0").split()[0])
    return total / 1e9


def put_first(pid: int) -> None:
    """Let a process and its descendants go before what is not ours; raise PermissionError unless we are root.

    Its scheduling group counts too where the kernel groups by session (sched_autogroup): niceness works within one.
    """
    for one in tree(pid):
        for thread in (PROC / str(one) / "task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), FIRST)
        if (group := PROC / str(one) / "autogroup").exists():
            group.write_text(str(FIRST))


class Others:
    """How many processors programs that are not ours kept busy, from one call of `cores` to the next."""

    def __init__(self) -> None:
        self._before = self._now()

    def cores(self) -> float:
        """Return the mean since the last call."""
        now = self._now()
        wall, machine, ours = (after - before for after, before in zip(now, self._before, strict=True))
        self._before = now
        return max(0.0, (machine - ours) / wall)

    @staticmethod
    def _now() -> tuple[float, float, float]:
        fields = _text(PROC / "stat").split("\n", 1)[0].split()[1:]
        machine = sum(int(fields[column]) for column in BUSY) / TICK
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.perf_counter(), machine, processor_seconds(os.getpid()) + ended.ru_utime + ended.ru_stime


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # it ended meanwhile
        return ""
