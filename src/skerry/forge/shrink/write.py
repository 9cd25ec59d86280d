"""What is left of it: the bundle with its goldens and its card, and the card as a page beside it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from skerry.core.card import CARD, Card, DataUse, Target
from skerry.core.manifest import GoldenEntry, Manifest
from skerry.core.version import VERSION
from skerry.engine.arrays import to_tensor
from skerry.engine.bundle import Bundle, write_bundle
from skerry.engine.golden import read_inputs, record, tensors_file
from skerry.engine.runners.runner import Threads
from skerry.engine.session import Session, open_session
from skerry.forge.data import ARRAYS, Data, use_of
from skerry.forge.measure import Classified
from skerry.forge.measure.measure import fitted
from skerry.forge.pages import Point, Shown, card_page
from skerry.forge.shrink.drive import Shrunk, Wishes
from skerry.forge.shrink.judge import MODEL
from skerry.host.clock import Clock
from skerry.host.files import Disk
from skerry.host.machine import Machine

GOLDENS = 4  # examples, each of another class
TOLERANCE = 0.02  # of a score; another processor rounds INT8 otherwise, and a step of 1/255 is 0.004
MISTAKES = 12  # pictures on the page
TOOLS = ("numpy", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Parts:
    """The data as they were used."""

    calibration: Data
    test: Data
    split: str

    def uses(self) -> tuple[DataUse, ...]:
        """Return what the card says of them."""
        return use_of(self.calibration, "calibration", self.split), use_of(self.test, "test", self.split)


def write(
    source: Bundle, found: Shrunk, parts: Parts, wishes: Wishes, out: Path, threads: int, machine: Machine
) -> tuple[Bundle, Card]:
    """Write the bundle to `out` and its card's page to `out`.html; Conflict if there is something already."""
    card = card_of(found, parts, wishes, threads, machine)
    plain = found.last.bundle
    with closing(open_session(plain, Threads(intra=threads), machine, Clock())) as session:
        files = _goldens(source, session, found, parts.test)
    entries = tuple(
        GoldenEntry(name, f"{Path(name).with_suffix('')}.answer.json", TOLERANCE)
        for name in sorted(files)
        if not name.endswith(".answer.json")
    )
    manifest: Manifest = replace(plain.manifest, version=source.manifest.version + 1, goldens=entries, files={})
    files |= {MODEL: plain.model_file.read_bytes(), CARD: card.bytes}
    bundle = write_bundle(out, manifest, files, Disk())
    page = card_page(str(manifest.name), card, _shown(found, parts.test))
    Disk().write(out.with_name(f"{out.name}.html"), page.encode())
    return bundle, card


def card_of(found: Shrunk, parts: Parts, wishes: Wishes, threads: int, machine: Machine) -> Card:
    """Return the card of what came of it."""
    first = found.first.effect.accuracy
    return Card(
        measured=found.last.effect,
        scores=() if first is None else (replace(first, data=f"{first.data}, before"),),
        data=parts.uses(),
        recipe="optimise",
        options={"max_loss": wishes.most, "minutes": wishes.minutes},
        seeds={"optimise": wishes.seed},
        tools={"skerry": VERSION, **{name: version(name) for name in TOOLS}},
        passes=found.passes,
        target=Target(f"cpu-{threads}", {"architecture": machine.architecture, "cpus": str(machine.cpus)}),
        gates=(found.verdict,),
    )


def _goldens(source: Bundle, session: Session, found: Shrunk, test: Data) -> dict[str, bytes]:
    """Return golden inputs with the answers of the new model: the source's own inputs, or examples of the test."""
    inputs = {golden.input: (source.path / golden.input).read_bytes() for golden in source.manifest.goldens}
    if not inputs:
        inputs = dict(_examples(session, found, test))
    files = dict(inputs)
    for name, data in inputs.items():
        given = read_inputs(data, name) if name.endswith(".json") else data
        files[f"{Path(name).with_suffix('')}.answer.json"] = record(session, given)
    return files


def _examples(session: Session, found: Shrunk, test: Data) -> Mapping[str, bytes]:
    """Return the first example of each of some classes, of those that the model gets right."""
    measured = found.last.measured
    chosen: dict[str, int] = {}
    for index, example in enumerate(test.examples):
        right = not isinstance(measured, Classified) or bool(measured.right[index])
        key = example.label or str(index)
        if right and key not in chosen and len(chosen) < GOLDENS:
            chosen[key] = index
    files = {}
    for place, index in enumerate(chosen.values()):
        if test.takes == ARRAYS:
            arrays = fitted(session.inputs, test.feeds(index))
            tensors = [to_tensor(name, np.ascontiguousarray(array)) for name, array in arrays.items()]
            files[f"goldens/{place}.json"] = tensors_file(tensors)
        else:
            files[f"goldens/{place}{Path(test.examples[index].name).suffix.lower()}"] = test.encoded(index)
    return files


def _shown(found: Shrunk, test: Data) -> Shown:
    measured, threshold = found.last.measured, _threshold(found.last.bundle)
    if isinstance(measured, Classified):
        places = [one.index for one in measured.mistakes(MISTAKES)]
    else:
        places = list(measured.worst(threshold, MISTAKES))
    pictures = {test.examples[place].name: test.encoded(place) for place in places} if test.takes == "image" else {}
    return Shown(measured, pictures, _points(found), threshold)


def _threshold(bundle: Bundle) -> float:
    """Return the score that the bundle's steps let through."""
    found = [entry.options["threshold"] for entry in bundle.manifest.post if "threshold" in entry.options]
    return float(found[0]) if found else 0.5


def _points(found: Shrunk) -> list[Point]:
    """Return every candidate that was measured, the kept ones chosen."""
    points = []
    for done in found.passes:
        after = done.after
        if after.latency is not None and after.accuracy is not None and after is not done.before:
            points.append(Point(done.name, after.latency.p50_us, after.accuracy, after.size or 0, done.kept))
    return points
