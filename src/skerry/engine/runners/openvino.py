"""The OpenVINO runner: .xml, .onnx and .tflite files. The only place that imports openvino.

Floats are computed as float32: on processors with AMX or AVX512-BF16 OpenVINO would take bfloat16 by itself, and
answers would depend on the box. Threads are not pinned to processors, which other models use too.

Options of `runtime` in a manifest: `device` ("CPU"), `precision` (f32, f16, bf16).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from skerry.core.errors import LoadFailed, RunFailed
from skerry.core.tensor import DType, Spec
from skerry.engine.arrays import BF16, Array, numpy_of
from skerry.engine.runners.runner import MAX_ERROR, PLAIN, Lane, Threads, Wish, expect, shut, unread

# `import openvino` tells Google Analytics of itself from a thread, and leaves a number for the machine in the home
# folder, unless it cannot import this library. No node calls anybody whom it was not told to call.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # Python's own way to say: not here
import openvino as ov  # noqa: E402

_TYPES = {
    "boolean": DType.BOOL,
    "u8": DType.UINT8,
    "u16": DType.UINT16,
    "u32": DType.UINT32,
    "u64": DType.UINT64,
    "i8": DType.INT8,
    "i16": DType.INT16,
    "i32": DType.INT32,
    "i64": DType.INT64,
    "f16": DType.FP16,
    "bf16": DType.BF16,
    "f32": DType.FP32,
    "f64": DType.FP64,
}
DEVICES = {"gpu": "GPU", "npu": "NPU"}  # a manifest's need -> OpenVINO's device


class OpenvinoRunner:
    """One compiled model, with `threads.runs` infer requests."""

    def __init__(self, path: Path, threads: Threads, wish: Wish = PLAIN) -> None:
        fields = wish.fields()
        device = fields.text("device", default=_device(wish.accelerator))
        precision = fields.choice("precision", ("f32", "f16", "bf16"), default="f32")
        unread(fields)
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        if device == "CPU":
            total = threads.intra * threads.runs
            # With one thread and a stream, OpenVINO 2026.4 swallows a failed run and gives the last run's answer; with
            # no stream the caller's own thread runs the model, and errors come through.
            streams = threads.runs if total > 1 else 0
            options |= {"INFERENCE_NUM_THREADS": total, "NUM_STREAMS": streams, "ENABLE_CPU_PINNING": False}
        try:
            core = ov.Core()
            _present(core, device)
            model = core.read_model(path)
            self.inputs = _specs(model.inputs, "input")
            self.outputs = _specs(model.outputs, "output")
            self._model = core.compile_model(model, device, options)
            requests = [self._model.create_infer_request() for _ in range(threads.runs)]
            self.remembers = bool(requests[0].query_state())
        except LoadFailed:
            raise
        except Exception as error:  # boundary: the binding raises bare RuntimeError, and ValueError
            raise LoadFailed(f"OpenVINO cannot load {path.name}: {_words(error)}") from error
        self._runs = threads.runs
        self._turns: SimpleQueue[Request | None] = SimpleQueue()  # None: closed
        for request in requests:
            self._turns.put(Request(request, self.inputs, self.outputs))

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return every output by name, from the model's start state; Invalid for wrong feeds, RunFailed if it fails."""
        turn = self._turns.get()
        try:
            if turn is None:
                raise RunFailed("OpenVINO: the model has been closed")
            if self.remembers:
                turn.request.reset_state()
            return turn.run(feeds)
        finally:
            self._turns.put(turn)

    def lane(self) -> Lane:
        """Return a request of its own, which runs when it is this model's turn."""
        try:
            made = self._model.create_infer_request()
        except RuntimeError as error:
            raise RunFailed(f"OpenVINO: {_words(error)}") from error
        return OpenvinoLane(Request(made, self.inputs, self.outputs), self._turns)

    def close(self) -> None:
        """Free the model when no run is in it any more."""
        shut(self._turns, self._runs)
        self._model = None


class Request:
    """An infer request with the tensors that it is fed through."""

    def __init__(self, request: Any, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> None:
        self.request = request
        self._inputs = inputs
        self._outputs = outputs
        self._rooms: list[Array | None] = [None] * len(inputs)  # where the values of an input are put
        self._kinds = [ov.Type.bf16 if spec.dtype is DType.BF16 else ov.Type(numpy_of(spec.dtype)) for spec in inputs]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return every output by name, copied out of the request."""
        expect(feeds, self._inputs)  # OpenVINO itself would take other types and even other shapes in silence
        try:
            for place, spec in enumerate(self._inputs):
                self._feed(place, spec, feeds[spec.name])
            self.request.infer(share_inputs=True)
            return {spec.name: self._taken(place, spec) for place, spec in enumerate(self._outputs)}
        except Exception as error:  # boundary: the binding raises bare RuntimeError
            raise RunFailed(f"OpenVINO: {_words(error)}") from error

    def _feed(self, place: int, spec: Spec, array: Array) -> None:
        room = self._rooms[place]
        if room is None or room.shape != array.shape:
            tensor = ov.Tensor(self._kinds[place], array.shape)
            self.request.set_input_tensor(place, tensor)
            room = tensor.data.view(np.uint16) if spec.dtype is DType.BF16 else tensor.data
            self._rooms[place] = room
        room[...] = array

    def _taken(self, place: int, spec: Spec) -> Array:
        found: Array = self.request.get_output_tensor(place).data.copy()
        return found.view(BF16) if spec.dtype is DType.BF16 else found


class OpenvinoLane:
    """One request that keeps its variables from run to run."""

    def __init__(self, request: Request, turns: SimpleQueue[Request | None]) -> None:
        self._request = request
        self._turns = turns

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return every output by name; the variables go on."""
        turn = self._turns.get()
        try:
            if turn is None:
                raise RunFailed("OpenVINO: the model has been closed")
            return self._request.run(feeds)
        finally:
            self._turns.put(turn)


def _device(accelerator: str) -> str:
    if accelerator and accelerator not in DEVICES:
        raise LoadFailed(f"runtime openvino: unknown accelerator '{accelerator}'; it knows {', '.join(DEVICES)}")
    return DEVICES.get(accelerator, "CPU")


def _present(core: ov.Core, device: str) -> None:
    """Raise LoadFailed unless a device is there; GPU stands for the first of GPU.0, GPU.1."""
    there = core.available_devices
    if device not in there and device.split(".", maxsplit=1)[0] not in {name.split(".")[0] for name in there}:
        raise LoadFailed(f"runtime openvino: needs the device {device}; here are {', '.join(there)}")


def _specs(ports: Sequence[Any], what: str) -> tuple[Spec, ...]:
    """Return specs; a port of several names has the first of them in the alphabet, one of none has its place."""
    found: dict[str, Spec] = {}
    for place, port in enumerate(ports):
        name = min(port.get_names(), default=f"{what}_{place}")
        if name in found:
            name = f"{name}#{place}"
        kind, shape = port.get_element_type().get_type_name(), port.get_partial_shape()
        if shape.rank.is_dynamic:
            raise LoadFailed(f"'{name}' says not how many dimensions it has; export it with a shape")
        if kind not in _TYPES:
            raise LoadFailed(f"'{name}' is of type {kind}; this node serves plain tensors only")
        sizes = tuple(-1 if size.is_dynamic else int(size.get_length()) for size in shape)
        found[name] = Spec(name, _TYPES[kind], sizes)
    return tuple(found.values())


def _words(error: Exception) -> str:
    """Return the part of an OpenVINO error that is not the places in its source."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Exception from src", "Check '"))]
    return "; ".join(said or lines)[:MAX_ERROR]
