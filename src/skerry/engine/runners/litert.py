"""The LiteRT runner (TensorFlow Lite files). The only place that imports ai_edge_litert.

An interpreter runs one request at a time, so there is one for each run that may go on at the same time. Quantised
inputs and outputs stay as they are: uint8 or int8 tensors.

Some models keep state inside: layers with variable tensors, which a reset of 0.25 us clears before every request,
and resource variables, which no reset clears (seen with LiteRT 2.3.0), so that every request gets an interpreter of
its own, 0.2 ms for a wake word model.

Options of `runtime` in a manifest: `delegate` (a library's file name), `delegate_options` (names to texts),
`xnnpack` (true).
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType, load_delegate

from skerry.core.errors import Invalid, LoadFailed, RunFailed
from skerry.core.fields import Fields, string
from skerry.core.names import shown
from skerry.core.tensor import DType, Spec
from skerry.engine.arrays import Array
from skerry.engine.runners.litert_file import RESOURCES, VARIABLES, operators
from skerry.engine.runners.runner import MAX_ERROR, PLAIN, Lane, Threads, Wish, expect, shut, unread

_TYPES = {d.numpy: d for d in DType if d not in (DType.BF16, DType.BYTES)} | {"bytes_": DType.BYTES}


@dataclass(frozen=True)
class Opening:
    """How interpreters of one model are made."""

    path: Path
    threads: int
    xnnpack: bool
    delegate: str
    delegate_options: Mapping[str, str]

    def make(self, content: bytes | None = None) -> Interpreter:
        """Return a new interpreter of the file, or of its content; raise LoadFailed with the runtime's own words."""
        found = {"model_path": str(self.path)} if content is None else {"model_content": content}
        off = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            interpreter = Interpreter(
                **found,
                num_threads=self.threads,
                experimental_op_resolver_type=OpResolverType.AUTO if self.xnnpack else off,
                experimental_delegates=self._delegates(),
            )
            interpreter.allocate_tensors()
        except LoadFailed:
            raise
        except Exception as error:  # boundary: the binding raises ValueError, RuntimeError, OSError and others
            raise LoadFailed(f"LiteRT cannot load {self.path.name}: {str(error)[:MAX_ERROR]}") from error
        return interpreter

    def _delegates(self) -> list[Any]:
        if not self.delegate:
            return []
        try:
            ctypes.CDLL(self.delegate)  # LiteRT's own report of a library that is missing ends in another error
            return [load_delegate(self.delegate, dict(self.delegate_options))]
        except Exception as error:  # boundary: a foreign library is loaded; ctypes raises OSError, the plug-in others
            raise LoadFailed(f"runtime litert: delegate {self.delegate}: {str(error)[:MAX_ERROR]}") from error


class Seat:
    """An interpreter with the sizes that its free inputs have now."""

    def __init__(self, interpreter: Interpreter, inputs: Sequence[tuple[Spec, int]]) -> None:
        self.interpreter = interpreter
        self._free = [(spec.name, index) for spec, index in inputs if -1 in spec.shape]
        self._sizes: list[tuple[int, ...]] = []

    def fit(self, feeds: Mapping[str, Array]) -> None:
        """Resize the free inputs to these arrays, if the last run's were others."""
        if not self._free:
            return
        sizes = [feeds[name].shape for name, _ in self._free]
        if sizes == self._sizes:
            return
        self._sizes = []  # whatever they are if the runtime fails half way
        for (name, index), size in zip(self._free, sizes, strict=True):
            if 0 in size:  # kernels divide by a size of 0 (SIGFPE ends the process)
                raise Invalid(f"input '{name}': LiteRT cannot run on an empty tensor; got {list(size)}")
            self.interpreter.resize_tensor_input(index, size)
        self.interpreter.allocate_tensors()
        self._sizes = sizes


class LiteRunner:
    """Interpreters of one model, `threads.runs` of them."""

    def __init__(self, path: Path, threads: Threads, wish: Wish = PLAIN) -> None:
        self._opening = _opening(path, threads, wish)
        first = self._opening.make()
        signature = _signature(first)
        ins, outs = first.get_input_details(), first.get_output_details()
        self.inputs = _specs(ins, signature.get("inputs", {}), "input")
        self.outputs = _specs(outs, signature.get("outputs", {}), "output")
        self._places = [(spec, int(detail["index"])) for spec, detail in zip(self.inputs, ins, strict=True)]
        self._results = [(spec.name, int(detail["index"])) for spec, detail in zip(self.outputs, outs, strict=True)]
        used = operators(path)
        self.remembers = bool(used & (VARIABLES | RESOURCES))
        self._fresh = bool(used & RESOURCES)
        # Later interpreters of a model that remembers come from these bytes: the file may be gone by then.
        self._content = path.read_bytes() if self.remembers else None
        self._runs = threads.runs
        self._turns: SimpleQueue[Seat | None] = SimpleQueue()  # None: closed
        self._turns.put(Seat(first, self._places))
        for _ in range(threads.runs - 1):
            self._turns.put(self.seat())

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return every output by name, from the model's start state; Invalid for wrong feeds, RunFailed if it fails."""
        turn = self._turns.get()
        try:
            if turn is None:
                raise RunFailed("LiteRT: the model has been closed")
            if self._fresh:
                return self._run(self.seat(), feeds)
            if self.remembers:
                turn.interpreter.reset_all_variables()
            return self._run(turn, feeds)
        finally:
            self._turns.put(turn)

    def lane(self) -> Lane:
        """Return an interpreter of its own, which runs when it is this model's turn."""
        return LiteLane(self)

    def close(self) -> None:
        """Free the interpreters when no run is in one any more."""
        shut(self._turns, self._runs)

    def seat(self) -> Seat:
        """Return a new interpreter; RunFailed if there is none to be had, as when memory has run out."""
        try:
            return Seat(self._opening.make(self._content), self._places)
        except LoadFailed as error:
            raise RunFailed(str(error)) from error

    def run_in(self, seat: Seat, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run in a lane's seat when it is this model's turn."""
        turn = self._turns.get()
        try:
            if turn is None:
                raise RunFailed("LiteRT: the model has been closed")
            return self._run(seat, feeds)
        finally:
            self._turns.put(turn)

    def _run(self, seat: Seat, feeds: Mapping[str, Array]) -> dict[str, Array]:
        expect(feeds, self.inputs)
        try:
            seat.fit(feeds)
            interpreter = seat.interpreter
            for spec, index in self._places:
                interpreter.set_tensor(index, feeds[spec.name])
            interpreter.invoke()
            return {name: interpreter.get_tensor(index) for name, index in self._results}
        except Invalid:
            raise
        except Exception as error:  # boundary: the binding raises ValueError and RuntimeError alike
            raise RunFailed(f"LiteRT: {str(error)[:MAX_ERROR]}") from error


class LiteLane:
    """One interpreter that keeps its variables from run to run."""

    def __init__(self, runner: LiteRunner) -> None:
        self._runner = runner
        self._seat = runner.seat()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return every output by name; the variables go on."""
        return self._runner.run_in(self._seat, feeds)


def _opening(path: Path, threads: Threads, wish: Wish) -> Opening:
    fields = wish.fields()
    options = Fields(fields.raw("delegate_options", {}), "runtime.delegate_options").rest()
    found = Opening(
        path=path,
        threads=threads.intra,
        xnnpack=fields.flag("xnnpack", default=True),
        delegate=fields.text("delegate", default=""),
        delegate_options={string(name): string(value) for name, value in options.items()},
    )
    unread(fields)
    if wish.accelerator:
        raise LoadFailed(f"runtime litert: accelerator '{wish.accelerator}' is not to be had; name a 'delegate'")
    return found


def _signature(interpreter: Interpreter) -> Mapping[str, Mapping[str, int]]:
    """Return the only signature's names and tensors; nothing if there are several, or none."""
    found = interpreter._get_full_signature_list()  # the public list has no tensor indices
    return next(iter(found.values())) if len(found) == 1 else {}


def _specs(details: Sequence[Mapping[str, Any]], names: Mapping[str, int], what: str) -> tuple[Spec, ...]:
    """Return specs with the signature's names where it names every tensor, else the tensors' own, made unique."""
    named = {index: name for name, index in names.items()}
    if len(named) != len(names) or {d["index"] for d in details} != set(named):
        named = {d["index"]: d["name"] for d in details}
    found: dict[str, Spec] = {}
    for place, detail in enumerate(details):
        name = named[detail["index"]] or f"{what}_{place}"
        if name in found:
            name = f"{name}#{place}"
        kind = _TYPES.get(np.dtype(detail["dtype"]).name if detail["dtype"] is not np.bytes_ else "bytes_")
        if kind is None:
            raise LoadFailed(f"'{name}' is {shown(str(detail['dtype']))}; this node serves plain tensors only")
        signature = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
        found[name] = Spec(name, kind, tuple(int(size) for size in signature))
    return tuple(found.values())
