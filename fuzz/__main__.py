"""`python -m fuzz run [TARGET …] --seconds N`, `python -m fuzz keep [TARGET …]`, `python -m fuzz again FILE …`.

`run` fuzzes with coverage (atheris; `pip install atheris`) in a working folder; `keep` adds to the corpus of the
repository the few small inputs that reach something new; `again` runs inputs by the names of their folders.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
MAX_FILES = 15  # of one target in the repository: 13 targets stay under 200 files
MAX_SIZE = 2048  # bytes of one of them
FAULT = "found-"  # how an input's name begins that found a fault once: it stays for good
MEMORY = 2048  # MB that a run may take
STILL = 20  # seconds that one input may take


def listen() -> None:
    """Have what the node logs as its own fault kept for the targets."""
    from fuzz.connections import FAULTS  # noqa: PLC0415

    logging.getLogger("skerry").addHandler(FAULTS)
    logging.getLogger("skerry").propagate = False


def fuzz(target: str, arguments: list[str]) -> None:
    """Give this process to the engine."""
    atheris = import_module("atheris")  # it instruments what is imported after it, and replay does without it

    with atheris.instrument_imports(include=["skerry"]):
        from fuzz.targets import TARGETS  # noqa: PLC0415

    listen()
    one = TARGETS[target]
    atheris.Setup([f"fuzz-{target}", f"-max_len={one.size}", *arguments], one.run)
    atheris.Fuzz()


def child(target: str, *arguments: str) -> int:
    """Run the engine in a process of its own; return its status."""
    argv = [sys.executable, "-m", "fuzz", "engine", target, "--", *arguments]
    return subprocess.run(argv, check=False).returncode


def run(target: str, work: Path, seconds: int) -> int:
    """Fuzz one target."""
    from fuzz.seeds import SEEDS  # noqa: PLC0415

    found = work / target
    found.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS[target]():
        (found / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    kept = CORPUS / target
    return child(
        target, f"-max_total_time={seconds}", f"-timeout={STILL}", f"-rss_limit_mb={MEMORY}", "-print_final_stats=1",
        f"-artifact_prefix={work}/{target}-", str(found), *([str(kept)] if kept.is_dir() else []),
    )  # fmt: skip


def steps(run: Callable[[bytes], None], data: bytes) -> set[tuple[str, int, int]]:
    """Return which line of the product followed which as a target ran."""
    found: set[tuple[str, int, int]] = set()

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        file = frame.f_code.co_filename
        if "/skerry/" not in file:
            return None
        before = frame.f_lineno if event == "call" else 0

        def line(inner: FrameType, what: str, _: object) -> Callable[..., Any]:
            nonlocal before
            if what == "line":
                found.add((file, before, inner.f_lineno))
                before = inner.f_lineno
            return line

        return line

    sys.settrace(trace)
    try:
        run(data)
    finally:
        sys.settrace(None)
    return found


def keep(target: str, work: Path) -> None:
    """Put the smallest inputs that reach something new into the repository, as many as have a place there."""
    from fuzz.seeds import SEEDS  # noqa: PLC0415
    from fuzz.targets import TARGETS  # noqa: PLC0415

    kept = CORPUS / target
    kept.mkdir(parents=True, exist_ok=True)
    found = [file.read_bytes() for folder in (kept, work / target) if folder.is_dir() for file in folder.iterdir()]
    run, seen = TARGETS[target].run, set[tuple[str, int, int]]()
    for seed in SEEDS[target]():
        seen |= steps(run, seed)
    gains = []
    for one in sorted({*found}, key=lambda one: (len(one), one)):
        fresh = steps(run, one) - seen if len(one) <= MAX_SIZE else set()
        if fresh:
            gains.append((len(fresh), one))
            seen |= fresh
    for file in kept.iterdir():
        if not file.name.startswith(FAULT):
            file.unlink()
    for _, one in sorted(gains, reverse=True)[:MAX_FILES]:
        (kept / hashlib.sha256(one).hexdigest()[:16]).write_bytes(one)
    print(f"{target}: {min(len(gains), MAX_FILES)} of {len(found)}")


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("what", choices=("run", "keep", "again", "engine"))
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--work", type=Path, default=Path("fuzz-work"), help="folder for what is found")
    given, rest = parser.parse_known_args()
    if given.what == "engine":
        fuzz(given.names[0], [*given.names[1:], *rest])
        return
    from fuzz.targets import TARGETS  # noqa: PLC0415

    if given.what == "again":
        listen()
        for file in map(Path, given.names):
            TARGETS[file.parent.name if file.parent.name in TARGETS else file.name.partition("-")[0]].run(
                file.read_bytes()
            )
        return
    for target in given.names or list(TARGETS):
        if given.what == "keep":
            listen()
            keep(target, given.work)
        elif run(target, given.work, given.seconds):
            sys.exit(f"fuzz: {target}: see {given.work}/{target}-*")


if __name__ == "__main__":
    main()
