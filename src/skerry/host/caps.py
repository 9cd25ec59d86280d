"""What a worker may take of this machine: caps on memory and processors, and who yields to whom.

Held by the kernel in the best way that there is here, for each of the two: a folder of control groups (version 2,
where this program's own has been delegated to it; else version 1), or limits of the process itself. Nothing is held
that nobody asked for, and what is held, and how, can be read (`describe`).
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import re
import resource
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from skerry.core import names
from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.core.names import shown
from skerry.host.machine import CGROUP, MAX_SMALL_FILE
from skerry.host.nursery import may_rise

ALL = "*"  # the name under which the caps of models without their own stand
LEAST_MEMORY = 64 << 20  # bytes; a worker with its runtime and no model takes about 40 MiB
PERIOD = 100_000  # microseconds, the kernel's own, over which a share of processors is held
HIGH = 0.95  # of the memory; from there on the kernel takes back what is only cached, before it must kill
TRY_SECONDS = 0.02  # a folder can be removed once the kernel has buried its last process
TRIES = 150
FOLDER = "skerry"
_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([A-Za-z]{0,3})")


def size(value: object) -> int:
    """Return the bytes in a number or in text such as "512MiB"; raise Invalid for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        found = value
    else:
        match = _SIZE.fullmatch(value) if isinstance(value, str) else None
        if match is None or match[2].upper() not in _UNITS:
            raise Invalid(f'expected bytes, as 536870912 or "512MiB"; got {shown(value)}')
        found = int(float(match[1]) * _UNITS[match[2].upper()])
    if not LEAST_MEMORY <= found < 1 << 50:
        raise Invalid(f"expected at least {text(LEAST_MEMORY)}, which a worker needs; got {shown(value)}")
    return found


def text(count: int) -> str:
    """Return bytes as people write them."""
    return f"{count / (1 << 20):g} MiB"


@dataclass(frozen=True)
class Cap:
    """What one worker may take; None: whatever there is."""

    memory: int | None = None  # bytes
    cpus: float | None = None  # processors, on average over PERIOD

    @staticmethod
    def read(value: object) -> Cap:
        """Return the cap in {"memory": "512MiB", "cpus": 1.5}; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        found = Cap(fields.read("memory", size, None), fields.real("cpus", None, 0.05, 4096))
        if fields.rest():
            raise Invalid(f"cap: expected memory and cpus; got {', '.join(sorted(fields.rest()))}")
        return found


@dataclass(frozen=True)
class Caps:
    """The caps of every model by its name; ALL's are for what a model's own leaves open."""

    by_model: Mapping[str, Cap] = field(default_factory=lambda: MappingProxyType({}))

    @staticmethod
    def read(value: object) -> Caps:
        """Return the caps in a settings' table; raise Invalid naming what is wrong."""
        fields = Fields(value, "caps")
        return Caps({name if name == ALL else names.model_name(name): fields.read(name, Cap.read)
                     for name in fields.rest()})  # fmt: skip

    def of(self, name: str) -> Cap:
        """Return a model's cap."""
        own, rest = self.by_model.get(name, Cap()), self.by_model.get(ALL, Cap())
        return Cap(own.memory or rest.memory, own.cpus or rest.cpus)


@dataclass(frozen=True)
class Ways:
    """How caps can be held here: the folder in which folders may be made, or None, for each of the two."""

    version: int = 0  # of the control groups; 0: none
    memory: Path | None = None
    cpus: Path | None = None
    why: str = ""  # there is no better way

    def describe(self) -> str:
        """Return it in words."""
        groups = f"control groups (version {self.version})"
        memory = f"memory by {groups} in {self.memory}" if self.memory else "memory by RLIMIT_DATA (as asked for)"
        cpus = f"processors by {groups} in {self.cpus}" if self.cpus else "processors by affinity (whole ones)"
        return f"{memory}; {cpus}{f'; {self.why}' if self.why else ''}"


def look(root: Path = CGROUP, mine: str | None = None) -> Ways:
    """Return how caps can be held; `mine` is the text of /proc/self/cgroup. Moves this process where it must.

    Version 2 gives out controllers only to folders below one without processes, so this process goes into a folder
    of its own; if others stand beside it, the folder is not ours to change.
    """
    lines = _read(Path("/proc/self/cgroup")) if mine is None else mine
    own = dict(line.split(":", 2)[1:] for line in lines.splitlines() if line.count(":") >= 2)
    why = "no control groups are mounted"
    if "" in own and (root / "cgroup.controllers").exists():
        found, why = _second(_at(root, own[""]))
        if found is not None:
            return found
    memory, cpus = _first(root, own, "memory"), _first(root, own, "cpu")
    if memory or cpus:
        return Ways(1, memory, cpus)
    return Ways(why=why)


def _second(base: Path) -> tuple[Ways | None, str]:
    """Return the way by version 2, or None and why there is none."""
    if not os.access(base / "cgroup.subtree_control", os.W_OK):
        return None, f"{base} is not delegated to this program"
    have, given = (set(_read(base / f"cgroup.{name}").split()) for name in ("controllers", "subtree_control"))
    wanted = {"memory", "cpu"} & have
    if not wanted:
        return None, f"{base} has neither the memory nor the cpu controller"
    if not wanted <= given:
        inside = set(map(int, _read(base / "cgroup.procs").split()))
        others = {pid for pid in inside if not _ours(pid)}
        if others:
            return None, f"{base} holds {len(others)} processes of others"
        try:
            (base / FOLDER).mkdir(exist_ok=True)
            for pid in inside:
                _write(base / FOLDER / "cgroup.procs", pid)
            _write(base / "cgroup.subtree_control", " ".join(f"+{one}" for one in sorted(wanted)))
        except OSError as error:
            with contextlib.suppress(OSError):
                for pid in inside:
                    _write(base / "cgroup.procs", pid)
                (base / FOLDER).rmdir()
            return None, f"{base}: {error.strerror}"
    return Ways(2, base if "memory" in wanted else None, base if "cpu" in wanted else None), ""


def _ours(pid: int) -> bool:
    """Whether a process is this one or comes from it."""
    while pid > 1 and pid != os.getpid():
        rest = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
        pid = int(rest[1]) if len(rest) > 1 else 0
    return pid == os.getpid()


def _first(root: Path, own: Mapping[str, str], controller: str) -> Path | None:
    """Return the folder of version 1 in which this program may make folders, None if there is none."""
    for names_here, path in own.items():
        if controller in names_here.split(","):
            for mount in (root / names_here, root / controller):
                base = _at(mount, path)
                if (base / "cgroup.procs").exists() and os.access(base, os.W_OK):
                    return base
    return None


def _at(mount: Path, path: str) -> Path:
    """Return a group's folder; in a container the path is often the host's, and the mount is the group itself."""
    inner = mount / path.lstrip("/")
    return inner if inner.is_dir() else mount


class Cage:
    """The caps of one worker, and what holds them."""

    def __init__(self, ways: Ways, cap: Cap, name: str, spread: int) -> None:
        self.cap = cap
        self._ways = ways
        self._spread = spread
        self._folders: dict[Path, str] = {}  # -> the controllers that it holds
        for base, what in ((ways.memory, cap.memory), (ways.cpus, cap.cpus)):
            if base is not None and what is not None:
                self._folders[base / name] = ""

    def put(self, pid: int) -> None:
        """Hold a process that has just been born, before it loads anything; raise OSError if the kernel refuses."""
        cap, ways = self.cap, self._ways
        for folder in self._folders:
            folder.mkdir(exist_ok=True)
            if cap.memory is not None and ways.memory == folder.parent:
                self._hold_memory(folder, cap.memory)
            if cap.cpus is not None and ways.cpus == folder.parent:
                self._hold_cpus(folder, cap.cpus)
            _write(folder / "cgroup.procs", pid)
        if cap.memory is not None and ways.memory is None:
            resource.prlimit(pid, resource.RLIMIT_DATA, (cap.memory, cap.memory))
        if cap.cpus is not None and ways.cpus is None:
            allowed = sorted(os.sched_getaffinity(0))
            count = min(len(allowed), whole(cap.cpus))
            first = self._spread * count
            os.sched_setaffinity(pid, {allowed[(first + i) % len(allowed)] for i in range(count)})

    def fate(self) -> str:
        """Return what the caps have to do with the death of the process, "" if nothing is known."""
        if self.cap.memory is None:
            return ""
        limit = text(self.cap.memory)
        if self._ways.memory is None:
            return f"its memory may not grow past {limit} (RLIMIT_DATA), which may be why"
        folder = next(one for one in self._folders if one.parent == self._ways.memory)
        file = "memory.events" if self._ways.version == 2 else "memory.oom_control"
        kills = counts(_read(folder / file)).get("oom_kill", 0)
        return f"the kernel ended it at its memory cap of {limit}" if kills else ""

    def remove(self) -> bool:
        """Take the folders away; return whether they are gone. A process in one keeps it."""
        for folder in list(self._folders):
            with contextlib.suppress(FileNotFoundError):
                try:
                    folder.rmdir()
                except OSError:
                    continue
            del self._folders[folder]
        return not self._folders

    def _hold_memory(self, folder: Path, memory: int) -> None:
        if self._ways.version == 1:
            _write(folder / "memory.limit_in_bytes", memory)
            return
        _write(folder / "memory.high", int(memory * HIGH) & -4096)
        _write(folder / "memory.max", memory)
        with contextlib.suppress(OSError):  # since Linux 4.19
            _write(folder / "memory.oom.group", 1)

    def _hold_cpus(self, folder: Path, cpus: float) -> None:
        quota = max(1000, int(cpus * PERIOD))  # microseconds; the kernel takes no less than 1,000
        if self._ways.version == 1:
            _write(folder / "cpu.cfs_period_us", PERIOD)
            _write(folder / "cpu.cfs_quota_us", quota)
        else:
            _write(folder / "cpu.max", f"{quota} {PERIOD}")


class Cages:
    """Makes cages for workers, and takes their folders away when the workers are gone. Any thread may use it."""

    def __init__(self, caps: Caps, ways: Ways | None = None) -> None:
        self._caps = caps
        self._ways = (look() if ways is None else ways) if caps.by_model else Ways()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._ended: list[Cage] = []
        self._never = threading.Event()
        for base in {self._ways.memory, self._ways.cpus} - {None}:
            _sweep(base)  # type: ignore[arg-type]

    def cap(self, name: str) -> Cap:
        """Return a model's cap."""
        return self._caps.of(name)

    def cage(self, name: str) -> Cage:
        """Return a cage for a worker of a model."""
        number = next(self._numbers)
        return Cage(self._ways, self._caps.of(name), f"{FOLDER}-{os.getpid()}-{number}-{name}", number)

    def left(self, cage: Cage) -> None:
        """The worker is gone, or is just going: its folders go as soon as the kernel lets them."""
        if cage.remove():
            return
        with self._lock:
            self._ended.append(cage)
        threading.Thread(target=self.close, name="caps", daemon=True).start()

    def close(self) -> None:
        """Take away what is left; waits a little for processes that are just ending."""
        for _ in range(TRIES):
            with self._lock:
                self._ended = [cage for cage in self._ended if not cage.remove()]
                if not self._ended:
                    return
            self._never.wait(TRY_SECONDS)

    def words(self, name: str) -> str:
        """Return what a model's workers may take, in words; "" if that is what there is."""
        cap = self._caps.of(name)
        parts = [f"{text(cap.memory)} of memory"] if cap.memory is not None else []
        parts += [f"{cap.cpus:g} processors"] if cap.cpus is not None else []
        return " and ".join(parts)

    def describe(self) -> str:
        """Return in words how caps are held, or that none is."""
        return self._ways.describe() if self._caps.by_model else "none asked for"


def whole(cpus: float) -> int:
    """Return the whole processors in a share: a cap is not exceeded, but no process can run on none."""
    return max(1, math.floor(cpus))


def counts(found: str) -> dict[str, int]:
    """Return the numbers in a file of lines such as "oom_kill 1"."""
    rows = (line.split() for line in found.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdecimal()}


def at_rest(pid: int, rest: bool) -> bool:
    """Let every thread of a process run only when nothing else wants the processor, or as usual again.

    Returns whether it was done; not for a process that is gone, nor where it could not be taken back.
    """
    policy = os.SCHED_IDLE if rest else os.SCHED_OTHER
    if rest and not may_rise():
        return False
    try:
        threads = [int(one.name) for one in Path(f"/proc/{pid}/task").iterdir()]
        for thread in threads:
            os.sched_setscheduler(thread, policy, os.sched_param(0))
    except OSError:
        return False
    return bool(threads)


def _sweep(base: Path) -> None:
    """Take away the folders of programs that are no more; one with a process in it cannot be removed."""
    for folder in base.glob(f"{FOLDER}-*-*"):
        if not Path("/proc", folder.name.split("-")[1]).exists():
            with contextlib.suppress(OSError):
                folder.rmdir()


def _read(path: Path) -> str:
    try:
        return path.read_text()[:MAX_SMALL_FILE].strip()
    except OSError:
        return ""


def _write(path: Path, value: object) -> None:
    path.write_text(str(value))
