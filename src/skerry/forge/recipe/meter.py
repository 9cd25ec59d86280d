"""Bundles on labelled data: which part of it, how right one is there, and which of several is the fastest."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from skerry.core.errors import Invalid
from skerry.engine.bundle import Bundle, open_bundle, verify
from skerry.engine.runners.runner import Threads
from skerry.engine.session import open_session
from skerry.forge.data import Data, Shares, look, split
from skerry.forge.data.look import Watch
from skerry.forge.measure import Lane, Measured, Raced, measure, open_wide, race
from skerry.forge.tabular.rows import data_of
from skerry.host import machine
from skerry.host.clock import Clock

PARTS = ("test", "val", "train", "all")
RACED = 8  # inputs that a race takes in turn


def part_of(path: Path, part: str, shares: Shares, watch: Watch) -> Data:
    """Return one part of some data, or all of it; raise Invalid for a part of no examples."""
    if part not in PARTS:
        raise Invalid(f"split: expected {', '.join(PARTS)}; got {part!r}")
    looked = look(data_of(path), watch)
    found = looked.data if part == "all" else split(looked.data, shares).part(part)
    if not found.examples:
        raise Invalid(f"data {path}: no examples in {part}; choose another --split, or larger shares")
    return found


def measured_on(bundle: Bundle, part: Data, watch: Watch, threads: int = 1) -> Measured:
    """Return what a bundle says of every example, in the session that a node serves with."""
    with closing(open_wide(bundle, Threads(intra=threads), machine.look(), Clock())) as session:
        return measure(session, part, watch)


def raced(
    folders: Sequence[Path], path: Path, seconds: float, threads: int, watch: Watch
) -> tuple[tuple[Bundle, ...], Raced]:
    """Return the bundles and how fast they are beside the first, with every step, on the first examples of the data."""
    if len(folders) < 2:
        raise Invalid(f"race: expected two bundles or more; got {len(folders)}")
    here = machine.look()
    if threads > here.cpus:
        raise Invalid(f"threads: expected 1 to {here.cpus}, which this machine has; got {threads}")
    data = data_of(path)
    inputs = list(data.only([place < RACED for place in range(len(data.examples))]).inputs())
    bundles = tuple(open_bundle(folder) for folder in folders)
    with ExitStack() as open_ones:
        lanes = []
        for bundle in bundles:
            verify(bundle)
            session = open_session(bundle, Threads(intra=threads), here, Clock())
            open_ones.enter_context(closing(session))
            lanes.append(Lane(session, inputs, threads))
        return bundles, race(lanes, seconds, Clock(), watch)
