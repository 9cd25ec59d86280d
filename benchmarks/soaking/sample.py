"""One look at the node and the machine: memory by process, files, threads, processor, heat, disk, and the lanes."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import watch
from benchmarks.soaking.lanes import Lane
from benchmarks.soaking.strain import names

MIB = 1 << 20
THERMAL = Path("/sys/class/thermal")


@dataclass(frozen=True)
class Ask:
    """What one lane saw between two looks. Milliseconds are None where nothing was answered."""

    done: int
    p50: float | None
    p99: float | None
    failures: dict[str, int]


@dataclass(frozen=True)
class Sample:
    """One look."""

    at: float  # seconds since the soak began
    lanes: dict[str, Ask]
    own: dict[str, float]  # MiB, by what the process is: memory of its own, its part of what is shared by fork
    pss: dict[str, float]  # and its part of libraries' files, which depends on who else is running
    rss: dict[str, float]
    files: dict[str, int]
    threads: dict[str, int]
    processor: float  # cores that the node kept busy
    heat: float | None  # degrees Celsius, of the hottest zone
    disk: float  # MiB that the node's folder takes
    free: float = field(default=0.0)  # MiB of the disk


class Sampler:
    """Looks again and again."""

    def __init__(self, pid: int, lanes: Sequence[Lane], folder: Path) -> None:
        self._pid = pid
        self._lanes = lanes
        self._folder = folder
        self._began = self._before = time.monotonic()
        self._spent = watch.processor_seconds(pid)

    def look(self) -> Sample:
        """Return what is to be seen now."""
        now, spent = time.monotonic(), watch.processor_seconds(self._pid)
        cores = max(0.0, spent - self._spent) / max(0.001, now - self._before)  # a dead worker takes its time along
        self._before, self._spent = now, spent
        tables: dict[str, dict[str, float]] = {
            name: defaultdict(float) for name in ("own", "pss", "rss", "files", "threads")
        }
        for pid, name in names(self._pid).items():
            role = "node" if pid == self._pid else name
            with contextlib.suppress(OSError):  # it ended meanwhile
                for key, value in _process(pid).items():
                    tables[key][role] += value
        return Sample(
            at=round(now - self._began, 1),
            lanes={lane.name: _ask(lane) for lane in self._lanes},
            own={key: round(value / MIB, 2) for key, value in tables["own"].items()},
            pss={key: round(value / MIB, 2) for key, value in tables["pss"].items()},
            rss={key: round(value / MIB, 2) for key, value in tables["rss"].items()},
            files={key: int(value) for key, value in tables["files"].items()},
            threads={key: int(value) for key, value in tables["threads"].items()},
            processor=round(cores, 3),
            heat=heat(),
            disk=round(_size(self._folder) / MIB, 2),
            free=round(shutil.disk_usage(self._folder).free / MIB, 1),
        )


def _ask(lane: Lane) -> Ask:
    found = lane.take()
    ordered = sorted(found.millis)
    middle, high = (ordered[int(len(ordered) * share)] if ordered else None for share in (0.5, 0.99))
    return Ask(len(ordered), middle, high, dict(found.failures))


def _process(pid: int) -> dict[str, float]:
    place = watch.PROC / str(pid)
    told = {}
    for line in (place / "smaps_rollup").read_text().splitlines()[1:]:
        key, _, value = line.partition(":")
        told[key] = int(value.split()[0]) * 1024
    found: dict[str, float] = {"pss": told["Pss"], "rss": told["Rss"]}
    found["own"] = told["Pss_Anon"] + told["Pss_Shmem"] if "Pss_Anon" in told else told["Pss"]  # Linux before 5.3
    found["own"] += told.get("SwapPss", 0)
    found["files"] = len(list((place / "fd").iterdir()))
    found["threads"] = len(list((place / "task").iterdir()))
    return found


def heat() -> float | None:
    """Return the temperature of the hottest zone, None where the machine does not tell."""
    found = []
    for zone in THERMAL.glob("thermal_zone*/temp"):
        with contextlib.suppress(OSError, ValueError):
            found.append(int(zone.read_text()) / 1000)
    return max(found, default=None)


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total
