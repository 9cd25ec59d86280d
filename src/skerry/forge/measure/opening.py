"""Opening a bundle for measuring: with the whole curve of a detector, or without its last steps."""

from __future__ import annotations

from dataclasses import replace

from skerry.core.manifest import StepEntry
from skerry.engine.bundle import Bundle
from skerry.engine.runners.runner import Threads
from skerry.engine.session import Session, open_session
from skerry.host.clock import Clock
from skerry.host.machine import Machine

FLOOR = 0.05  # score below which an answer moves no average precision worth having


def open_wide(bundle: Bundle, threads: Threads, machine: Machine, clock: Clock, floor: float = FLOOR) -> Session:
    """Return a session of the bundle whose steps let every answer above `floor` through."""
    post = tuple(
        StepEntry(entry.step, {**entry.options, "threshold": floor}) if "threshold" in entry.options else entry
        for entry in bundle.manifest.post
    )
    return open_session(Bundle(bundle.path, replace(bundle.manifest, post=post)), threads, machine, clock)


def open_plain(bundle: Bundle, threads: Threads, machine: Machine, clock: Clock) -> Session:
    """Return a session of the bundle that gives the model's own outputs, without the steps after it; for `differ`."""
    return open_session(Bundle(bundle.path, replace(bundle.manifest, post=())), threads, machine, clock)
