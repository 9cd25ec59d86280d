"""An optimised bundle made again: the passes that its card says were kept, without the measuring that chose them.

Which passes pay is measured and may fall out otherwise on another day; what a kept pass does to the model is not.
The card, which holds those times, is carried over.
"""

from __future__ import annotations

import re
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import onnx

from skerry.core.card import CARD, Card
from skerry.core.errors import Invalid
from skerry.core.manifest import Manifest, Runtime
from skerry.engine.bundle import Bundle, write_bundle
from skerry.engine.golden import read_inputs, record
from skerry.engine.runners.onnx import OnnxRunner
from skerry.engine.runners.runner import Threads
from skerry.engine.session import open_session
from skerry.forge.data import Data, Shares
from skerry.forge.data.look import Watch
from skerry.forge.optimise.dynamic import DynamicInt8
from skerry.forge.optimise.graph import Compact, Simplify, Slim
from skerry.forge.optimise.half import Half, Widen
from skerry.forge.optimise.pixels import take_pixels
from skerry.forge.optimise.quantise import LADDER, WIDEST, calibrated
from skerry.forge.optimise.work import Work
from skerry.forge.shrink.judge import MODEL, Samples
from skerry.forge.shrink.write import Parts
from skerry.host import machine
from skerry.host.clock import Clock
from skerry.host.files import Disk

PLAIN = {one.name: one for one in (Widen(), Simplify(), Slim(), DynamicInt8(), Half(), Compact())}
RUNGS = {f"int8, {what}": recipe for what, recipe in LADDER}
SHARES = re.compile(r"val ([\d.e-]+), test ([\d.e-]+), seed (\d+)$")


def shares_of(card: Card) -> Shares:
    """Return how the data were split, from the words of the card; raise Invalid for words that say it not."""
    found = SHARES.search(next((use.split for use in card.data), ""))
    if found is None:
        raise Invalid("card.data: expected a split such as 'by content, val 0, test 0.5, seed 0'")
    return Shares(float(found[1]), float(found[2]), int(found[3]))


def replay(source: Bundle, bundle: Bundle, card: Card, parts: Parts, out: Path, watch: Watch) -> Bundle:
    """Write the bundle again from the one that it was made of; raise Invalid for a pass that chance had a hand in."""
    with tempfile.TemporaryDirectory(prefix="skerry-replay-") as scratch:
        model, manifest = onnx.load(str(source.model_file)), source.manifest
        for place, done in enumerate(one for one in card.passes if one.kept):
            now = _written(Path(scratch, str(place)), model, manifest)
            model, manifest = _again(done.name, model, now, parts.calibration, card.seeds.get("optimise", 0), watch)
        plain = _written(Path(scratch, "last"), model, manifest)
        files = {name: (bundle.path / name).read_bytes() for name in bundle.manifest.files}
        files[MODEL] = plain.model_file.read_bytes()
        threads = Threads(intra=int(card.target.name.partition("-")[2] or 1))
        with closing(open_session(plain, threads, machine.look(), Clock())) as session:
            for golden in bundle.manifest.goldens:
                data = files[golden.input]
                given = read_inputs(data, golden.input) if golden.input.endswith(".json") else data
                files[golden.answer] = record(session, given)
        assert CARD in files
        whole = replace(bundle.manifest, pre=plain.manifest.pre, inputs=plain.manifest.inputs)
        return write_bundle(out, replace(whole, outputs=plain.manifest.outputs), files, Disk())


def _again(
    name: str, model: onnx.ModelProto, now: Bundle, data: Data, seed: int, watch: Watch
) -> tuple[onnx.ModelProto, Manifest]:
    work = Work(Samples(now, data, Clock()), seed, watch)
    made: onnx.ModelProto | None = None
    if name == "pixels":
        raw = take_pixels(model, now.manifest.pre, work)
        if raw is not None:
            return raw.model, replace(now.manifest, pre=raw.steps)
    elif name in RUNGS:
        made = calibrated(model, WIDEST, work).quantised(RUNGS[name])
    elif name in PLAIN:
        made = PLAIN[name](model, work)
    elif name.startswith("int8"):
        raise Invalid(f"pass '{name}': its nodes were chosen by measured times, so it cannot be repeated exactly")
    else:
        raise Invalid(f"pass '{name}': not known to this version of Skerry; it knows {', '.join(PLAIN)}, pixels, int8")
    if made is None:
        raise Invalid(f"pass '{name}': it was kept, and now has nothing to do: is --from what the bundle was made of?")
    return made, now.manifest


def _written(path: Path, model: onnx.ModelProto, manifest: Manifest) -> Bundle:
    """Write a bundle of a model without goldens, as the passes need one to make their samples."""
    data, probe = model.SerializeToString(deterministic=True), path.with_suffix(".onnx")
    Disk().write(probe, data)
    with closing(OnnxRunner(probe, Threads())) as runner:
        manifest = replace(manifest, inputs=runner.inputs, outputs=runner.outputs, goldens=())
    runtime = Runtime("onnx", MODEL, manifest.runtime.extra)
    return write_bundle(path, replace(manifest, runtime=runtime), {MODEL: data}, Disk())
