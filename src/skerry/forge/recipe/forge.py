"""From data to a proven bundle: look, check, split, train, export with parity, measure, gate, write.

Nothing in the bundle tells the time, so the same data, dials, tools and kind of processor give the same bytes. How fast
it is can be asked at any time (`skerry forge race`).
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch

from skerry.core import names
from skerry.core.card import CARD, Card, Effect, Target
from skerry.core.card import Parity as Proven
from skerry.core.errors import Conflict, Invalid
from skerry.core.gate import Verdict, accuracy_gate
from skerry.core.manifest import GoldenEntry, Manifest, Runtime
from skerry.core.names import model_name
from skerry.core.version import VERSION
from skerry.engine.arrays import to_tensor
from skerry.engine.bundle import Bundle, write_bundle
from skerry.engine.golden import record, tensors_file
from skerry.engine.runners.runner import Threads
from skerry.engine.session import Session, open_session
from skerry.forge.data import ARRAYS, Data, Shares, check, check_labels, leaks, look, split, use_of, without
from skerry.forge.data.look import Watch
from skerry.forge.data.split import way
from skerry.forge.importers.onnx_source import runner_of
from skerry.forge.importers.torch_source import TorchModel, quiet, to_onnx
from skerry.forge.measure import Classified, measure
from skerry.forge.measure.measure import fitted
from skerry.forge.pages import Shown, card_page
from skerry.forge.parity import Feeds, Parity, prove
from skerry.forge.recipe.recipe import Asked, Parts, Recipe, dials_of
from skerry.host import machine
from skerry.host.clock import Clock
from skerry.host.files import Disk

MODEL = "model.onnx"
LEAST = 8  # examples of each part: fewer prove nothing
PROVED = 256  # rows on which the exported model is compared with PyTorch's
GOLDENS = 4  # examples, each of another class
TOLERANCE = 1e-3  # of a probability; another processor adds in another order
TOOLS = ("numpy", "onnx", "onnxruntime", "onnxscript")
EXAMPLES = 2  # a trace with one row would fix the number of rows


@dataclass(frozen=True)
class Forged:
    """What came of a run."""

    bundle: Bundle
    card: Card
    measured: Classified


def forge(recipe: Recipe, data: Data, asked: Asked, out: Path, watch: Watch) -> Forged:
    """Run a recipe; write the bundle to `out`, its card's page to `out`.html. Raises before training what is wrong."""
    if out.exists():
        raise Conflict(f"{out}: there is something already; remove it or choose another folder")
    dials = dials_of(recipe, asked.dials)
    asked = replace(asked, dials=dials, name=model_name(asked.name or _plain(data.name)))
    parts = parts_of(data, asked, watch)
    with seeded(asked.seed):
        module = recipe.train(parts, dials, watch).eval()
    with tempfile.TemporaryDirectory(prefix="skerry-forge-") as scratch:
        model, parity = exported(module, parts, Path(scratch))
        plain = write_bundle(
            Path(scratch, "bundle"), _manifest(model, asked, parts, Path(scratch)), {MODEL: model}, Disk()
        )
        with closing(open_session(plain, Threads(), machine.look(), Clock())) as session:
            measured = measure(session, parts.test, watch)
            assert isinstance(measured, Classified)
            files = _goldens(session, measured, parts.test)
        card = _card(recipe, asked, parts, parity, measured, len(model))
        entries = tuple(GoldenEntry(n, _answer(n), TOLERANCE) for n in sorted(files) if n != _answer(n))
        whole = replace(plain.manifest, goldens=tuple(e for e in entries if e.answer in files), files={})
        bundle = write_bundle(out, whole, {**files, MODEL: model, CARD: card.bytes}, Disk())
    page = card_page(asked.name, card, Shown(measured))
    Disk().write(out.with_name(f"{out.name}.html"), page.encode())
    return Forged(bundle, card, measured)


def parts_of(data: Data, asked: Asked, watch: Watch) -> Parts:
    """Return the data looked at and split; raise Invalid for data that no model can be trained or judged on."""
    if data.takes != ARRAYS or len(data.arrays) != 1:
        found = ", ".join(data.arrays) or data.takes
        raise Invalid(f"data {data.name}: expected rows of numbers, one array; got {found}")
    looked = look(data, watch)
    check(looked)
    if asked.labels:
        check_labels(looked.data, asked.labels)
    whole = split(looked.data, Shares(asked.val, asked.test, asked.seed))
    whole = without(whole, leaks(looked, whole))
    check(looked, whole)
    train, val, test = (whole.part(name) for name in ("train", "val", "test"))
    for name, part in (("train", train), ("val", val), ("test", test)):
        if len(part.examples) < LEAST:
            raise Invalid(f"data {data.name}: expected {LEAST} examples for {name} or more; got {len(part.examples)}")
    told = Shares(asked.val, asked.test, asked.seed).told(way(looked.data))
    return Parts(train, val, test, asked.labels or looked.data.labels, told)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Give PyTorch a seed and one thread, as sums over several threads may be added in another order; both go back."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def exported(module: torch.nn.Module, parts: Parts, scratch: Path) -> tuple[bytes, Parity]:
    """Return a module as ONNX, proven on rows of the test; raise ParityLost if it answers otherwise."""
    x, _ = parts.rows(parts.test)
    ((name, _),) = parts.test.arrays.items()
    rows = torch.export.Dim("rows")
    with quiet():
        program = torch.export.export(module, (x[:EXAMPLES],), dynamic_shapes=({0: rows},), strict=False)
    model = TorchModel(program, module.__class__.__name__)
    data = renamed(to_onnx(model), model.inputs[0], name)
    feeds: list[Feeds] = [{name: x[:PROVED].numpy()}]
    with closing(runner_of(data, scratch)) as runner:
        return data, prove(lambda given: model.answer({model.inputs[0]: given[name]}), runner, feeds)


def renamed(data: bytes, old: str, new: str) -> bytes:
    """Return a model whose input has the data's name."""
    proto = onnx.load_from_string(data)
    if old == new:
        return data
    proto.graph.input[0].name = new
    for node in proto.graph.node:
        for place, one in enumerate(node.input):
            if one == old:
                node.input[place] = new
    return proto.SerializeToString(deterministic=True)


def _manifest(model: bytes, asked: Asked, parts: Parts, scratch: Path) -> Manifest:
    with closing(runner_of(model, scratch)) as runner:
        return Manifest(
            name=model_name(asked.name),
            version=names.version(asked.version),
            runtime=Runtime("onnx", MODEL),
            files={},
            inputs=runner.inputs,
            outputs=runner.outputs,
            labels=parts.labels,
        )


def _goldens(session: Session, measured: Classified, test: Data) -> dict[str, bytes]:
    """Return inputs with their answers: the first example of some classes that the model gets right."""
    chosen: dict[str, int] = {}
    for index in np.flatnonzero(measured.right).tolist():
        chosen.setdefault(test.examples[index].label, index)
    files = {}
    for place, index in enumerate(list(chosen.values())[:GOLDENS]):
        arrays = fitted(session.inputs, test.feeds(index))
        tensors = [to_tensor(name, np.ascontiguousarray(array)) for name, array in arrays.items()]
        name = f"goldens/{place}.json"
        files[name], files[_answer(name)] = tensors_file(tensors), record(session, tensors)
    return files


def _answer(name: str) -> str:
    return f"{Path(name).with_suffix('')}.answer.json"


def _card(recipe: Recipe, asked: Asked, parts: Parts, parity: Parity, measured: Classified, size: int) -> Card:
    return Card(
        measured=Effect(size=size, accuracy=replace(measured.accuracy(), data=f"{parts.test.name}, test")),
        data=tuple(use_of(part, use, parts.split) for use, part in uses(parts).items()),
        recipe=recipe.name,
        options=asked.json(),
        seeds={"run": asked.seed},
        tools=tools(),
        parity=tuple(
            Proven("PyTorch", one.maximum, one.mean, parity.inputs, parity.tolerance.absolute, {"output": one.output})
            for one in parity.outputs
        ),
        target=Target("cpu-1", processor()),
        gates=gates(measured, asked.least),
    )


def uses(parts: Parts) -> dict[str, Data]:
    """Return each part by what it was used for."""
    return {"train": parts.train, "validation": parts.val, "test": parts.test}


def tools() -> dict[str, str]:
    """Return the version of all that has a hand in the bytes."""
    return {"skerry": VERSION, "torch": str(torch.__version__), **{name: version(name) for name in TOOLS}}


def processor() -> dict[str, str]:
    """Return what of this processor has a hand in the bytes: which kernels PyTorch takes."""
    return {"architecture": platform.machine(), "kernels": torch.backends.cpu.get_cpu_capability()}


def gates(measured: Classified, least: float) -> tuple[Verdict, ...]:
    """Return the verdicts: better than always naming the commonest label, and at least as good as is asked for."""
    hits, count = int(measured.right.sum()), len(measured.truths)
    guess = float(np.bincount(measured.truths).max()) / count
    found = [accuracy_gate(hits, count, guess, "accuracy, against naming the commonest label,")]
    if least > 0:
        found.append(accuracy_gate(hits, count, least))
    return tuple(found)


def _plain(text: str) -> str:
    return "".join(one if one.isascii() and one.isalnum() else "-" for one in text.lower()).strip("-") or "model"
