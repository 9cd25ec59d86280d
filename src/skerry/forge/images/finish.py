"""What is left of it: the float bundle shrunk and judged on the test, with its goldens, its card and the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from skerry.core.card import CARD, Card, Latency, Pass, Target
from skerry.core.card import Parity as CardParity
from skerry.core.gate import Verdict, accuracy_gate, limit_gate
from skerry.core.manifest import GoldenEntry
from skerry.core.version import VERSION
from skerry.engine.bundle import Bundle, write_bundle
from skerry.engine.golden import record
from skerry.engine.runners.runner import Threads
from skerry.engine.session import Session, open_session
from skerry.forge.data import Data, use_of
from skerry.forge.data.look import Watch
from skerry.forge.images.export import MODEL
from skerry.forge.images.prepare import Pictures
from skerry.forge.images.size import Budget
from skerry.forge.measure import Classified
from skerry.forge.pages import Point, Shown, card_page
from skerry.forge.parity import Parity
from skerry.forge.shrink.drive import Drive, Wishes
from skerry.forge.shrink.judge import Judge, State
from skerry.host.clock import Clock
from skerry.host.files import Disk
from skerry.host.machine import Machine

CALIBRATED = 256  # pictures of the training part that calibrate; more move no range
RACE_SECONDS = 4.0  # of the numbers that the card stands on
GOLDENS = 4  # pictures, each of another class
TOLERANCE = 0.02  # of a score; another processor rounds INT8 otherwise, and a step of 1/255 is 0.004
MISTAKES = 12  # pictures on the page
TOOLS = ("numpy", "onnx", "onnxruntime", "onnxscript", "torch")


@dataclass(frozen=True)
class Asked:
    """What is asked of the end: what may be lost, for how long it may be sought, and what must be reached."""

    most_loss: float = 0.005
    least: float = 0.0  # accuracy on the test; 0 asks nothing
    budget: Budget = field(default_factory=Budget)
    shrink: bool = True
    minutes: float = 5.0  # of the passes


@dataclass(frozen=True)
class Ended:
    """The states before and after, the passes between, and what the gates say."""

    first: State
    last: State
    passes: tuple[Pass, ...]
    gates: tuple[Verdict, ...]
    whole: Latency  # of one picture, from its file's bytes to the answer


@dataclass(frozen=True)
class Told:
    """Who hears how far it is, and what became of each pass."""

    watch: Watch
    done: Callable[[Pass], None]


def ended(source: Bundle, pictures: Pictures, folder: Path, asked: Asked, machine: Machine, told: Told) -> Ended:
    """Return the model after its passes, judged on the test part."""
    threads = asked.budget.threads
    judge = Judge(folder, calibration_of(pictures.data), pictures.data.part("test"), threads, machine)
    if asked.shrink:
        found = Drive(judge, Wishes(asked.most_loss, asked.minutes), told.watch, told.done).run(source)
        first, last, passes, gates = found.first, found.last, found.passes, [found.verdict]
    else:
        first = last = judge.first(source, told.watch)
        passes, gates = (), []
    raced = judge.race([first, last], RACE_SECONDS, told.watch)
    last = replace(last, effect=replace(last.effect, latency=raced.latencies[1], ratio=raced.ratios[1]))
    whole = judge.race([last], RACE_SECONDS, told.watch, whole=True).latencies[0]
    return Ended(first, last, passes, (*gates, *_gates(last, whole, asked)), whole)


def calibration_of(data: Data) -> Data:
    """Return the pictures that calibrate: of the training part, spread over it and so over its classes."""
    train = data.part("train")
    stride = max(1, -(-len(train.examples) // CALIBRATED))
    return train.only([index % stride == 0 for index in range(len(train.examples))])


def _gates(last: State, whole: Latency, asked: Asked) -> list[Verdict]:
    measured, budget, gates = last.measured, asked.budget, []
    assert isinstance(measured, Classified)
    assert last.effect.size is not None
    if asked.least:
        gates.append(accuracy_gate(int(measured.right.sum()), len(measured.truths), asked.least))
    if budget.p99_us:
        gates.append(limit_gate("p99 from file to answer", round(whole.p99_us), budget.p99_us, " us"))
    if budget.size:
        gates.append(limit_gate("size", last.effect.size, budget.size, " bytes"))
    return gates


@dataclass(frozen=True)
class Made:
    """How the float model came about, for the card."""

    options: Mapping[str, Any]
    seed: int
    parity: Parity
    notes: tuple[str, ...] = ()


def write(
    found: Ended, made: Made, pictures: Pictures, asked: Asked, out: Path, machine: Machine
) -> tuple[Bundle, Card]:
    """Write the bundle to `out` and its card's page to `out`.html; Conflict if there is something already."""
    card = card_of(found, made, pictures, asked, machine)
    plain, test = found.last.bundle, pictures.data.part("test")
    measured = found.last.measured
    assert isinstance(measured, Classified)
    with closing(open_session(plain, Threads(intra=asked.budget.threads), machine, Clock())) as session:
        files = _goldens(session, measured, test)
    entries = tuple(
        GoldenEntry(name, f"{Path(name).with_suffix('')}.answer.json", TOLERANCE)
        for name in sorted(files)
        if not name.endswith(".answer.json")
    )
    manifest = replace(plain.manifest, goldens=entries, files={})
    bundle = write_bundle(out, manifest, files | {MODEL: plain.model_file.read_bytes(), CARD: card.bytes}, Disk())
    places = [one.index for one in measured.mistakes(MISTAKES)]
    shown = Shown(measured, {test.examples[place].name: test.encoded(place) for place in places}, _points(found))
    page = card_page(str(manifest.name), card, shown)
    Disk().write(out.with_name(f"{out.name}.html"), page.encode())
    return bundle, card


def card_of(found: Ended, made: Made, pictures: Pictures, asked: Asked, machine: Machine) -> Card:
    """Return the card of what came of it."""
    first = found.first.effect.accuracy
    proof = made.parity.outputs[0]
    facts = {
        "architecture": machine.architecture,
        "cpus": str(machine.cpus),
        "p50 from file to answer": f"{found.whole.p50_us:.0f} us",
        "p99 from file to answer": f"{found.whole.p99_us:.0f} us",
    }
    return Card(
        measured=found.last.effect,
        scores=() if first is None or not asked.shrink else (replace(first, data=f"{first.data}, before the passes"),),
        data=(*pictures.uses(), use_of(calibration_of(pictures.data), "calibration", "of the training part"))
        if asked.shrink
        else pictures.uses(),
        recipe="images",
        options=made.options,
        seeds={"images": made.seed},
        tools={"skerry": VERSION, **{name: version(name) for name in TOOLS}},
        parity=(
            CardParity("PyTorch, pictures of validation", proof.maximum, proof.mean, made.parity.inputs,
                       made.parity.tolerance.absolute, {"output": proof.output}),
        ),
        passes=found.passes,
        target=Target(f"cpu-{asked.budget.threads}", facts),
        gates=found.gates,
        notes=made.notes,
    )  # fmt: skip


def _goldens(session: Session, measured: Classified, test: Data) -> dict[str, bytes]:
    """Return a picture of each of some classes, of those that the model gets right, with its answers."""
    chosen: dict[str, int] = {}
    for index, example in enumerate(test.examples):
        if measured.right[index] and len(chosen) < GOLDENS:
            chosen.setdefault(example.label, index)
    files = {}
    for place, index in enumerate(chosen.values()):
        data = test.encoded(index)
        files[f"goldens/{place}{Path(test.examples[index].name).suffix.lower()}"] = data
        files[f"goldens/{place}.answer.json"] = record(session, data)
    return files


def _points(found: Ended) -> list[Point]:
    """Return every candidate that was measured, the kept ones chosen."""
    points = []
    for done in found.passes:
        after = done.after
        if after.latency is not None and after.accuracy is not None and after is not done.before:
            points.append(Point(done.name, after.latency.p50_us, after.accuracy, after.size or 0, done.kept))
    return points
