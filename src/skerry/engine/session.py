"""A bundle that runs: steps before, the model, steps after. Node, forge and tests all run bundles through here.

Two lanes: `infer` takes the model's own tensors and gives its own outputs; `look` takes an encoded input (an image,
a sound) through every declared step and gives findings. A model that remembers keeps state for a sequence alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np

from skerry.core.errors import Invalid, LoadFailed, RunFailed
from skerry.core.fields import Fields
from skerry.core.finding import Finding
from skerry.core.manifest import FileEntry, Manifest, Runtime
from skerry.core.names import ModelName, shown
from skerry.core.tensor import DType, Spec, Tensor, check
from skerry.engine import state
from skerry.engine.arrays import Array, to_array
from skerry.engine.bundle import Bundle, check_needs
from skerry.engine.control import Asked, controlled
from skerry.engine.known import SUFFIXES, runtimes
from skerry.engine.runners.runner import Runner, Threads, Wish
from skerry.engine.runners.table import open_runner
from skerry.engine.steps.audio.slide import Slide
from skerry.engine.steps.plan import plan
from skerry.engine.steps.step import Named, PostStep, PreStep, Trace, read_step
from skerry.engine.steps.table import POST, PRE
from skerry.host.clock import Clock
from skerry.host.files import digest_file
from skerry.host.machine import Machine

RUNNERS = runtimes()  # what this node can run
NOTHING = Asked()
_VALUES = (DType.FP16, DType.BF16, DType.FP32, DType.FP64, DType.BOOL)  # no value of these breaks a model


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

    def __init__(self, manifest: Manifest, runner: Runner, clock: Clock, limits: state.Limits | None = None) -> None:
        self.manifest = manifest
        self._runner = runner
        self._clock = clock
        self._specs = {spec.name: spec for spec in runner.inputs}
        limits = limits or state.Limits()
        self._sequences = state.Sequences(runner, limits, clock, manifest.name) if runner.remembers else None
        self.demands = limits.demanded  # every request must belong to a sequence
        self.most = 0  # examples that one request may have; 0: as many as it likes
        self._certain = all(spec.dtype in _VALUES and -1 not in spec.shape for spec in runner.inputs)
        declared = [cast("PreStep", read_step(entry, PRE, "pre")) for entry in manifest.pre]
        self._pre = plan(declared)
        self._slides = any(isinstance(step, Slide) for step in declared)
        self._post = [cast("PostStep", read_step(entry, POST, "post")) for entry in manifest.post]
        self.takes: str = getattr(declared[0], "takes", "") if declared else ""  # "image", "audio"; "" for tensors
        if self._pre and (len(runner.inputs) != 1 or not self.takes):
            raise Invalid("pre: expected a step that decodes first, as 'decode_image', and a model of one input")
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

    @property
    def remembers(self) -> bool:
        """Whether the requests of a sequence see what came before them."""
        return self._sequences is not None

    @property
    def sequences(self) -> int:
        """How many sequences live."""
        return len(self._sequences) if self._sequences is not None else 0

    def infer(self, tensors: Sequence[Tensor], sequence: state.Sequence | None = None) -> Named:
        """Run the model on its own inputs; raise Invalid naming what is wrong with them.

        A sequence matters to a model that remembers alone: QueueFull if too many live.
        """
        feeds, specs = {}, self._specs
        for tensor in tensors:
            spec = specs.get(tensor.name)
            if spec is None or tensor.dtype is not spec.dtype or not _fits(spec.shape, tensor.shape):
                self._refuse(tensors)
            feeds[tensor.name] = to_array(tensor)
        if len(tensors) != len(specs) or len(feeds) != len(specs):
            self._refuse(tensors)
        if self.most and tensors and tensors[0].shape[:1] > (self.most,):
            raise Invalid(f"inference request batch-size must be <= {self.most} for '{self.manifest.name}'; "
                          f"got {tensors[0].shape[0]}")  # fmt: skip
        try:
            return self._run(feeds, sequence)
        except RunFailed as error:
            if self._certain:
                raise
            # Each input is what its spec asks for: they do not fit together, or a value is off.
            raise Invalid(f"inputs: the model cannot run on them: {error}") from error

    def feed(self, feeds: dict[str, Array]) -> Named:
        """Run the model on arrays of the very names, types and shapes that `infer` has found good before."""
        return self._run(feeds, None)

    def look(self, data: bytes | memoryview, sequence: state.Sequence | None = None) -> Sight:
        """Run every step on an encoded input; raise Invalid or TooLarge for a bad one, RunFailed for the rest."""
        trace, started = Trace(), self._clock.monotonic()
        value: Array = np.frombuffer(data, dtype=np.uint8)
        value = self._pre[0](value, trace)
        decoded = self._clock.monotonic()
        with self._fitting():
            for step in self._pre[1:]:
                value = step(value, trace) if value.size else value
            value = self._fed(value) if value.size else value
        if not value.size:
            raise Invalid(f"{self.takes}: too short: expected enough for one run of the model")
        prepared = self._clock.monotonic()
        arrays = self._run_each(value) if self._slides else self._run({self.inputs[0].name: value}, sequence)
        ran = self._clock.monotonic()
        with self._fitting():
            for after in self._post:
                arrays = after(arrays, trace)
        marks = (started, decoded, prepared, ran, self._clock.monotonic())
        phases = dict(zip(("decode", "prepare", "run", "finish"), _gaps(marks), strict=True))
        phases["total"] = (marks[-1] - marks[0]) * 1000
        return Sight(self._findings(arrays), arrays, trace.width, trace.height, phases)

    def close(self) -> None:
        """Free the model."""
        self._runner.close()

    def _run(self, feeds: Named, sequence: state.Sequence | None) -> Named:
        if sequence is not None and self._sequences is not None:
            return self._sequences.run(feeds, sequence)
        return self._runner.run(feeds)

    def _run_each(self, windows: Array) -> Named:
        """Run the windows of one sound in turn; nothing goes on from here to another request."""
        name, among = self.inputs[0].name, self._runner.lane() if self._runner.remembers else self._runner
        found = [among.run({name: window}) for window in windows]
        return {output: np.stack([one[output] for one in found]) for output in found[0]}

    def _refuse(self, tensors: Sequence[Tensor]) -> None:
        """Raise Invalid if the tensors are not the model's inputs, saying what is wrong."""
        given = {tensor.name: tensor for tensor in tensors}
        if set(given) != set(self._specs) or len(tensors) != len(self._specs):
            wanted, got = ", ".join(sorted(self._specs)), ", ".join(t.name for t in tensors) or "none"
            raise Invalid(f"inputs: expected {wanted}; got {got}")
        for name, spec in self._specs.items():
            check(given[name], spec)

    @contextmanager
    def _fitting(self) -> Iterator[None]:
        """Steps that do not fit the model are the bundle's fault, not the caller's."""
        try:
            yield
        except (Invalid, IndexError, ValueError) as error:
            raise RunFailed(f"bundle {self.manifest.name}: {error}") from error

    def _fed(self, value: Array) -> Array:
        spec = self.inputs[0]
        kind = np.dtype(spec.dtype.numpy)
        if value.dtype != kind:
            if not (value.dtype == np.uint8 or value.dtype.kind == "f") or kind.kind != "f":
                raise Invalid(f"the steps give {value.dtype.name}, the model takes {kind.name}")
            value = value.astype(kind)
        shape = value.shape[1:] if self._slides else value.shape
        if not spec.fits(shape):
            raise Invalid(f"the steps give the shape {list(shape)}, the model takes {list(spec.shape)}")
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
    needs = dict(manifest.needs)
    accelerator = needs.pop("accelerator", "")
    check_needs(replace(manifest, needs=needs), machine)
    try:
        if not isinstance(accelerator, str):
            raise Invalid(f"needs.accelerator: expected a name; got {shown(accelerator)}")
        return _opened(bundle, threads, clock, accelerator)
    except (Invalid, LoadFailed) as error:
        raise LoadFailed(f"bundle {manifest.name}: {error}") from error


def _opened(bundle: Bundle, threads: Threads, clock: Clock, accelerator: str) -> Session:
    manifest = bundle.manifest
    options = dict(manifest.runtime.extra)
    own = Fields({key: options.pop(key) for key in ("state", "sequences") if key in options}, "runtime")
    runner = open_runner(manifest.runtime.name, bundle.model_file, threads, Wish(accelerator, options))
    try:
        seen, limits = state.read_state(own, runner)
        if (seen.inputs, seen.outputs) != (manifest.inputs, manifest.outputs):
            raise Invalid("inputs and outputs: the manifest's are not the model's")
        return Session(manifest, seen, clock, limits)
    except Invalid:
        runner.close()
        raise


def open_bare(
    path: Path,
    name: ModelName,
    version: int,
    threads: Threads,
    clock: Clock,
    labels: tuple[str, ...] = (),
    asked: Asked = NOTHING,
) -> Session:
    """Return a session of a model file without a bundle: plain tensors in and out, no steps, no goldens.

    What runs it is told by its name: .tflite is LiteRT, .xml OpenVINO, anything else ONNX.
    """
    runtime = SUFFIXES.get(path.suffix, "onnx")
    runner = open_runner(runtime, path, threads, Wish(options=asked.options))
    try:
        seen, limits = controlled(runner, asked, name)
    except Invalid as error:
        runner.close()
        raise LoadFailed(str(error)) from error
    files = {}
    for file in (path, path.with_suffix(".bin")):  # OpenVINO's weights stand beside its .xml
        if file == path or (runtime == "openvino" and file.is_file()):
            size, sha256 = digest_file(file)
            files[file.name] = FileEntry(sha256, size)
    manifest = Manifest(
        name=name,
        version=version,
        runtime=Runtime(runtime, path.name),
        files=files,
        inputs=seen.inputs,
        outputs=seen.outputs,
        labels=labels,
    )
    return Session(manifest, seen, clock, limits)


def plan_threads(machine: Machine, intra: int = 0) -> Threads:
    """Return the thread plan: one run at a time on all processors (at most 4), as a camera asks one image at a time.

    Beyond 4 threads small models gain little and every other program on the box waits. `intra` overrules.
    """
    return Threads(intra=intra or min(machine.cpus, 4), runs=1)


def _gaps(marks: tuple[float, ...]) -> list[float]:
    return [(end - start) * 1000 for start, end in itertools.pairwise(marks)]


def _fits(want: tuple[int, ...], got: tuple[int, ...]) -> bool:
    """As `Spec.fits`, sooner for the shape that is wanted to the letter."""
    return want == got or (len(want) == len(got) and all(map(_same, want, got)))


def _same(want: int, got: int) -> bool:
    return want in (-1, got)
