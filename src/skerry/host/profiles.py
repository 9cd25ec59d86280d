"""What was measured of a model on this machine, kept for the next time that it is loaded here.

A profile belongs to the bytes of a model, to a processor and to a runtime's version: with any other of these it is not
found, and the model is measured again or loaded without one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from skerry.core.errors import Invalid, SkerryError
from skerry.core.fields import Fields, parse
from skerry.core.names import Digest
from skerry.host.files import Disk, read

log = logging.getLogger(__name__)

HOME = Path("~/.cache/skerry/profiles")
MAX_PROFILE = 64 << 10  # bytes; one with every plan of a 64-processor machine has 20 KiB
MAX_PLANS = 1024
MAX_THREADS = 1024
FEW = 16  # hexadecimal digits of a hash that are enough to tell processors and models of one machine apart
KIND = 1  # of the file; another one is not read


@dataclass(frozen=True)
class Cpu:
    """A processor, as far as it decides how fast a model runs."""

    model: str
    flags: str  # hash of what it can do
    cpus: int  # that this process may use

    def json(self) -> dict[str, object]:
        """Return it as JSON."""
        return {"model": self.model, "flags": self.flags, "cpus": self.cpus}


@dataclass(frozen=True)
class Plan:
    """Threads inside one run, and runs at the same time, with what they gave."""

    intra: int
    runs: int
    p50_us: float  # of one run
    p99_us: float
    rate: float  # runs a second, of all together
    count: int  # runs that were timed

    def json(self) -> dict[str, object]:
        """Return it as JSON."""
        return dict(vars(self))

    @classmethod
    def read(cls, value: object) -> Plan:
        """Return the plan in a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        return cls(
            intra=fields.whole("intra", low=1, high=MAX_THREADS),
            runs=fields.whole("runs", low=1, high=MAX_THREADS),
            p50_us=fields.real("p50_us", low=0.0),
            p99_us=fields.real("p99_us", low=0.0),
            rate=fields.real("rate", low=0.0),
            count=fields.whole("count"),
        )


@dataclass(frozen=True)
class Profile:
    """What is best for one model here. `plan` is the one to use: the operator's wish, made when it was measured."""

    best_latency: Plan
    best_throughput: Plan
    plan: Plan
    batches: tuple[int, ...] = ()  # sizes of runs that pay; none: each request runs alone
    spinning: bool = False
    seconds: float = 0.0  # that were spent on it
    slo_ms: float | None = None  # that the sizes keep

    def json(self) -> dict[str, object]:
        """Return it as JSON."""
        plans = {name: getattr(self, name).json() for name in ("best_latency", "best_throughput", "plan")}
        return {
            **plans,
            "batches": list(self.batches),
            "spinning": self.spinning,
            "seconds": round(self.seconds, 2),
            "slo_ms": self.slo_ms,
        }

    @classmethod
    def read(cls, value: object) -> Profile:
        """Return the profile in a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "profile")
        batches = fields.many("batches", _size, default=(), limit=MAX_PLANS)
        if list(batches) != sorted(set(batches)):
            raise Invalid("profile.batches: expected sizes from small to large, each once")
        slo = fields.raw("slo_ms", None)
        return cls(
            best_latency=fields.read("best_latency", Plan.read),
            best_throughput=fields.read("best_throughput", Plan.read),
            plan=fields.read("plan", Plan.read),
            batches=tuple(batches),
            spinning=fields.flag("spinning", default=False),
            seconds=fields.real("seconds", default=0.0, low=0.0),
            slo_ms=None if slo is None else Fields({"slo_ms": slo}, "profile").real("slo_ms", low=0.0),
        )


class Profiles:
    """The profiles of one folder."""

    def __init__(self, folder: Path, cpu: Cpu) -> None:
        self._folder = folder.expanduser()
        self._cpu = cpu

    def path(self, digest: Digest, runtime: str) -> Path:
        """Return where the profile of a model lies; `runtime` is the runtime's name and version."""
        text = json.dumps({"kind": KIND, "runtime": runtime, **self._cpu.json()}, sort_keys=True)
        here = hashlib.sha256(text.encode()).hexdigest()[:FEW]
        return self._folder / f"{digest.rpartition(':')[2]}-{here}.json"

    def any(self) -> bool:
        """Whether there is a profile of any model; a file need not be hashed if there is none."""
        return self._folder.is_dir() and any(self._folder.glob("*.json"))

    def find(self, digest: Digest, runtime: str) -> Profile | None:
        """Return the profile of a model, None if there is none that can be read."""
        path = self.path(digest, runtime)
        try:
            data = read(path, MAX_PROFILE)
            return None if data is None else Profile.read(parse(data, str(path), MAX_PROFILE))
        except (SkerryError, OSError) as error:
            log.warning("profile %s: not used: %s", path, error)
            return None

    def keep(self, digest: Digest, runtime: str, profile: Profile, disk: Disk) -> Path:
        """Put a profile on the disk, whole or not at all; return where it is."""
        path = self.path(digest, runtime)
        told = {"kind": KIND, "model": digest, "runtime": runtime, "cpu": self._cpu.json(), **profile.json()}
        disk.write(path, json.dumps(told, indent=2).encode() + b"\n")
        return path


def cpu(cpus: int, info: Path = Path("/proc/cpuinfo")) -> Cpu:
    """Return the processor of this machine, of which `cpus` may be used."""
    try:
        text = info.read_text("utf-8", "replace")
    except OSError:
        text = ""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())  # of the first one; big and little ones make one machine
    model = found.get("model name") or found.get("Model") or found.get("Hardware") or "unknown"
    part = " ".join(found.get(key, "") for key in ("CPU implementer", "CPU part"))
    flags = " ".join(sorted((found.get("flags") or found.get("Features") or "").split()))
    hashed = hashlib.sha256(f"{part}\n{flags}".encode()).hexdigest()[:FEW]
    return Cpu(re.sub(r"\s+", " ", model)[:128], hashed, cpus)


def _size(value: object) -> int:
    return Fields({"size": value}, "").whole("size", low=1, high=1 << 20)
