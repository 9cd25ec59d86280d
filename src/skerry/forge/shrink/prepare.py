"""Before any long work: the bundle and the data are read, looked at and split, and what is wrong is told."""

from __future__ import annotations

from pathlib import Path

from skerry.core.errors import Conflict, Invalid
from skerry.engine.bundle import Bundle, open_bundle, verify
from skerry.forge.data import Shares, check, check_labels, look, read_data, split
from skerry.forge.data.look import Watch
from skerry.forge.data.split import way
from skerry.forge.shrink.write import Parts

LEAST = 8  # examples of each part: fewer calibrate nothing and prove nothing


def parts_of(data: Path, bundle: Bundle, shares: Shares, watch: Watch) -> Parts:
    """Return what the passes are calibrated with and what they are judged on; raise Invalid for data unfit for that.

    The test part is the data's own, or chosen by content (or group); what is neither test nor named so calibrates.
    """
    found = read_data(data)
    if bundle.manifest.labels:
        check_labels(found, bundle.manifest.labels)
    looked = look(found, watch)
    check(looked)
    whole = split(looked.data, shares)
    test = whole.part("test")
    calibration = whole.only([example.split != "test" for example in whole.examples])
    for what, part in (("test", test), ("calibration", calibration)):
        if len(part.examples) < LEAST:
            raise Invalid(f"data {found.name}: expected {LEAST} examples for {what} or more; got {len(part.examples)}")
    return Parts(calibration, test, shares.told(way(looked.data)))


def loss_of(text: str) -> float:
    """Return a share from "0.5pt" (points) or "0.005"."""
    number, points = (text[:-2].strip(), 100) if text.endswith("pt") else (text.strip(), 1)
    try:
        found = float(number) / points
    except ValueError:
        found = 0.0
    if not 0 < found < 1:
        raise Invalid(f"max-loss: expected points such as 0.5pt, over 0 and under 100; got {text!r}")
    return found


def threads_of(target: str, cpus: int) -> int:
    """Return the threads that a target such as cpu-2 has; what is not here cannot be measured."""
    kind, _, number = target.partition("-")
    threads = int(number) if number.isascii() and number.isdigit() else 0
    if kind != "cpu" or not 1 <= threads <= cpus:
        raise Invalid(f"target: expected cpu-1 to cpu-{cpus}, which can be measured here; got {target!r}")
    return threads


def source_of(path: Path, out: Path) -> Bundle:
    """Return a bundle whose files are what its manifest says; Conflict if `out` is there already."""
    if out.exists():
        raise Conflict(f"{out}: there is something already; remove it or choose another folder")
    bundle = open_bundle(path)
    verify(bundle)
    return bundle
