"""A bundle that runs: steps before, the model, steps after. Node, forge and tests all run bundles through here.

Two lanes: `infer` takes the model's own tensors and gives its own outputs; `look` takes an encoded image
through every declared step and gives findings.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np

from skerry.core.errors import Invalid, LoadFailed, RunFailed
from skerry.core.finding import Finding
from skerry.core.manifest import FileEntry, Manifest, Runtime
from skerry.core.names import ModelName
from skerry.core.tensor import Spec, Tensor, check
from skerry.engine.arrays import Array, to_array
from skerry.engine.bundle import Bundle, check_needs
from skerry.engine.runners.onnx import OnnxRunner
from skerry.engine.runners.runner import Load, Runner, Threads
from skerry.engine.steps.image import DecodeImage
from skerry.engine.steps.step import Named, PostStep, PreStep, Trace, read_step
from skerry.engine.steps.table import POST, PRE
from skerry.host.clock import Clock
from skerry.host.files import digest_file
from skerry.host.machine import Machine

RUNNERS: dict[str, Load] = {"onnx": OnnxRunner}


@dataclass(frozen=True)
class Sight:
    """What came of one image: findings best first, the arrays they were made from, the original's size, the phases."""

    findings: tuple[Finding, ...]
    arrays: Named
    width: int
    height: int
    millis: Mapping[str, float] = field(default_factory=dict)


class Session:
    """A loaded model with its steps. Safe to use from several threads."""

    def __init__(self, manifest: Manifest, runner: Runner, clock: Clock) -> None:
        self.manifest = manifest
        self._runner = runner
        self._clock = clock
        self._pre = [cast("PreStep", read_step(entry, PRE, "pre")) for entry in manifest.pre]
        self._post = [cast("PostStep", read_step(entry, POST, "post")) for entry in manifest.post]
        if self._pre and (len(runner.inputs) != 1 or not isinstance(self._pre[0], DecodeImage)):
            raise Invalid("pre: expected 'decode_image' first, and a model of one input")
        if self._post and not self._pre:
            raise Invalid("post: expected steps before the model too; without them it takes and gives plain tensors")

    @property
    def inputs(self) -> tuple[Spec, ...]:
        """What the model takes."""
        return self._runner.inputs

    @property
    def outputs(self) -> tuple[Spec, ...]:
        """What the model gives."""
        return self._runner.outputs

    @property
    def takes_images(self) -> bool:
        """Whether `look` can be used."""
        return bool(self._pre)

    @property
    def threshold(self) -> float:
        """The least score that a finding can have, 0 if the steps set none."""
        return max((getattr(step, "threshold", 0.0) for step in self._post), default=0.0)

    def infer(self, tensors: Sequence[Tensor]) -> Named:
        """Run the model on its own inputs; raise Invalid naming what is wrong with them."""
        given = {tensor.name: tensor for tensor in tensors}
        wanted = {spec.name for spec in self.inputs}
        if set(given) != wanted or len(tensors) != len(wanted):
            raise Invalid(
                f"inputs: expected {', '.join(sorted(wanted))}; got {', '.join(t.name for t in tensors) or 'none'}"
            )
        for spec in self.inputs:
            check(given[spec.name], spec)
        try:
            return self._runner.run({name: to_array(tensor) for name, tensor in given.items()})
        except RunFailed as error:
            # Each input is what its spec asks for: they do not fit together, or a value is off.
            raise Invalid(f"inputs: the model cannot run on them: {error}") from error

    def look(self, data: bytes) -> Sight:
        """Run every step on an encoded image; raise Invalid or TooLarge for a bad image, RunFailed for the rest."""
        trace, started = Trace(), self._clock.monotonic()
        value: Array = np.frombuffer(data, dtype=np.uint8)
        value = self._pre[0](value, trace)
        decoded = self._clock.monotonic()
        try:
            for step in self._pre[1:]:
                value = step(value, trace)
            feeds = {self.inputs[0].name: self._fed(value)}
            prepared = self._clock.monotonic()
            arrays = self._runner.run(feeds)
            ran = self._clock.monotonic()
            for after in self._post:
                arrays = after(arrays, trace)
        except (Invalid, IndexError, ValueError) as error:  # the steps do not fit the model: the bundle's fault
            raise RunFailed(f"bundle {self.manifest.name}: {error}") from error
        marks = (started, decoded, prepared, ran, self._clock.monotonic())
        phases = dict(zip(("decode", "prepare", "run", "finish"), _gaps(marks), strict=True))
        phases["total"] = (marks[-1] - marks[0]) * 1000
        return Sight(self._findings(arrays), arrays, trace.width, trace.height, phases)

    def close(self) -> None:
        """Free the model."""
        self._runner.close()

    def _fed(self, value: Array) -> Array:
        spec = self.inputs[0]
        kind = np.dtype(spec.dtype.numpy)
        if value.dtype != kind:
            if not (value.dtype == np.uint8 or value.dtype.kind == "f") or kind.kind != "f":
                raise Invalid(f"the steps give {value.dtype.name}, the model takes {kind.name}")
            value = value.astype(kind)
        if not spec.fits(value.shape):
            raise Invalid(f"the steps give the shape {list(value.shape)}, the model takes {list(spec.shape)}")
        return value

    def _findings(self, arrays: Named) -> tuple[Finding, ...]:
        if "classes" not in arrays or "scores" not in arrays:
            return ()
        if not all(np.isfinite(arrays[name]).all() for name in ("scores", "boxes") if name in arrays):
            raise RunFailed(f"bundle {self.manifest.name}: the model gave scores or boxes that are not numbers")
        boxes = arrays["boxes"].tolist() if "boxes" in arrays else [None] * len(arrays["classes"])
        pairs = zip(arrays["classes"].tolist(), arrays["scores"].tolist(), boxes, strict=True)
        return tuple(
            Finding(self.label(index), round(score, 6), index, None if box is None else tuple(box))
            for index, score, box in pairs
        )

    def label(self, index: int) -> str:
        """Return the label of a class, or its number if the manifest has none for it."""
        labels = self.manifest.labels
        return labels[index] if 0 <= index < len(labels) else str(index)


def open_session(bundle: Bundle, threads: Threads, machine: Machine, clock: Clock) -> Session:
    """Return a session of a bundle; raise LoadFailed, saying what this node can do, if it cannot run here."""
    manifest = bundle.manifest
    check_needs(manifest, machine)
    if manifest.runtime.name not in RUNNERS:
        raise LoadFailed(
            f"bundle {manifest.name}: unknown runtime '{manifest.runtime.name}'; "
            f"this node can do: {', '.join(sorted(RUNNERS))}"
        )
    runner = RUNNERS[manifest.runtime.name](bundle.model_file, threads)
    try:
        if (runner.inputs, runner.outputs) != (manifest.inputs, manifest.outputs):
            raise Invalid("inputs and outputs: the manifest's are not the model's")
        return Session(manifest, runner, clock)
    except Invalid as error:
        runner.close()
        raise LoadFailed(f"bundle {manifest.name}: {error}") from error


def open_bare(path: Path, name: ModelName, version: int, threads: Threads, clock: Clock) -> Session:
    """Return a session of an ONNX file without a bundle: plain tensors in and out, no steps, no goldens."""
    runner = OnnxRunner(path, threads)
    size, sha256 = digest_file(path)
    manifest = Manifest(
        name=name,
        version=version,
        runtime=Runtime("onnx", path.name),
        files={path.name: FileEntry(sha256, size)},
        inputs=runner.inputs,
        outputs=runner.outputs,
    )
    return Session(manifest, runner, clock)


def plan_threads(machine: Machine, intra: int = 0) -> Threads:
    """Return the thread plan: one run at a time on all processors (at most 4), as a camera asks one image at a time.

    Beyond 4 threads small models gain little and every other program on the box waits. `intra` overrules.
    """
    return Threads(intra=intra or min(machine.cpus, 4), runs=1)


def _gaps(marks: tuple[float, ...]) -> list[float]:
    return [(end - start) * 1000 for start, end in itertools.pairwise(marks)]
