"""An ONNX file as a source, and the clean-up that every ONNX file of ours gets.

A file that needs nothing keeps its very bytes. The proof compares ONNX Runtime's plain kernels on the file as it
was given with the engine's runner on the file that came out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, shape_inference, version_converter

from skerry.core.errors import Invalid, LoadFailed
from skerry.core.names import shown
from skerry.core.tensor import DType
from skerry.engine.runners.onnx import OnnxRunner
from skerry.engine.runners.runner import Threads, Wish
from skerry.forge.importers.onnx_checks import check_operators, opset, pull_in, read_onnx
from skerry.forge.importers.what import OPSET, Import, Watch
from skerry.forge.parity import Asked

OLDEST = 13  # of ONNX's operators; below it there is no scale per channel, which INT8 needs
RUNTIME_OLDEST = 7  # ONNX Runtime promises nothing for operators below it
IR_VERSION = 10  # what OPSET needs; higher ones are refused by runtimes of before 2025
_TYPES: dict[int, DType] = {
    TensorProto.BOOL: DType.BOOL,
    TensorProto.UINT8: DType.UINT8,
    TensorProto.UINT16: DType.UINT16,
    TensorProto.UINT32: DType.UINT32,
    TensorProto.UINT64: DType.UINT64,
    TensorProto.INT8: DType.INT8,
    TensorProto.INT16: DType.INT16,
    TensorProto.INT32: DType.INT32,
    TensorProto.INT64: DType.INT64,
    TensorProto.FLOAT16: DType.FP16,
    TensorProto.BFLOAT16: DType.BF16,
    TensorProto.FLOAT: DType.FP32,
    TensorProto.DOUBLE: DType.FP64,
    TensorProto.STRING: DType.BYTES,
}


def bring_onnx(path: Path, wishes: Import, watch: Watch) -> bytes:
    """Return one self-contained ONNX file of OLDEST operators or newer; raise what is wrong with the given one."""
    model = read_onnx(path)
    check_operators(model, str(path))
    changed = pull_in(model, path)
    if changed:
        watch("external data is in the file now")
    changed |= _constants_are_no_inputs(model)
    if wishes.shapes:
        fix_shapes(model, wishes.shapes)
        changed = True
    if opset(model) < OLDEST:
        model, raised = _raise_opset(model, str(path), watch)
        changed |= raised
    check_whole(model, str(path))
    return model.SerializeToString(deterministic=True) if changed else path.read_bytes()


def plain_runner(path: Path) -> OnnxRunner:
    """Return a runner that changes nothing in the graph: the reference."""
    return OnnxRunner(path, Threads(), Wish(options={"optimisation": "none"}))


def asked_of(model: ModelProto) -> tuple[Asked, ...]:
    """Return what a model takes, with the names of its free dimensions; raise LoadFailed for what is no tensor."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return tuple(_asked(value) for value in model.graph.input if value.name not in constants)


def _asked(value: ValueInfoProto) -> Asked:
    tensor = value.type.tensor_type
    kind = _TYPES.get(tensor.elem_type)
    if kind is None or not tensor.HasField("shape"):
        raise LoadFailed(f"input {shown(value.name)}: expected a plain tensor with a shape")
    shape: list[int | str] = []
    for place, d in enumerate(tensor.shape.dim):
        if d.HasField("dim_value"):
            shape.append(d.dim_value)
        else:
            shape.append(d.dim_param or ("batch" if place == 0 else f"{value.name}.{place}"))
    return Asked(value.name, kind, tuple(shape))


def fix_shapes(model: ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Give inputs the shapes that were asked for, -1 for a free dimension; shapes that follow are found anew."""
    inputs = {value.name: value for value in model.graph.input}
    sizes: dict[str, int] = {}
    for name, shape in shapes.items():
        if name not in inputs:
            raise Invalid(f"shape: the model has no input '{name}'; it has {', '.join(inputs)}")
        _fix(inputs[name], shape, sizes)
    for value in (*model.graph.input, *model.graph.output):
        for d in value.type.tensor_type.shape.dim:
            if d.dim_param in sizes:
                d.dim_value = sizes[d.dim_param]
    del model.graph.value_info[:]
    for value in model.graph.output:  # what is still free is found from the inputs: an old name would only be believed
        for d in value.type.tensor_type.shape.dim:
            if d.HasField("dim_param"):
                d.ClearField("dim_param")
    _infer(model)


def _fix(value: ValueInfoProto, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    """Set one input's dimensions; `sizes` are those of named ones so far."""
    tensor, where = value.type.tensor_type, f"shape: input '{value.name}'"
    if tensor.HasField("shape") and len(tensor.shape.dim) != len(shape):
        raise Invalid(f"{where} has {len(tensor.shape.dim)} dimensions; got {list(shape)}")
    for place, size in enumerate(shape):
        d = tensor.shape.dim[place] if place < len(tensor.shape.dim) else tensor.shape.dim.add()
        if d.HasField("dim_value") and d.dim_value != size:
            raise Invalid(f"{where}: dimension {place} is {d.dim_value} and stays so; got {size}")
        if size >= 0:
            if d.dim_param and sizes.setdefault(d.dim_param, size) != size:
                raise Invalid(f"shape: dimension '{d.dim_param}' cannot be {sizes[d.dim_param]} and {size}")
            d.dim_value = size


def clean(model: ModelProto, name: str) -> None:
    """Remove what names the machine that exported (stack traces, paths, module names) and what is stale.

    Shapes said of constants go too: tools that turn a weight around believe them and fail.
    """
    model.doc_string, model.producer_name, model.producer_version = "", "skerry", ""
    del model.metadata_props[:]
    model.graph.name = name
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        for node in function.node:
            _forget(node)
    _clean_graph(model.graph)


def _clean_graph(graph: GraphProto) -> None:
    graph.doc_string = ""
    del graph.metadata_props[:]
    constants = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.value_info if value.name not in constants]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    for item in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        _forget(item)
    for node in graph.node:
        for attribute in node.attribute:
            attribute.doc_string = ""
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _clean_graph(inner)


def _forget(item: Any) -> None:
    item.doc_string = ""
    del item.metadata_props[:]


def check_whole(model: ModelProto, where: str) -> None:
    """Raise LoadFailed unless ONNX's own checker passes the model, with its shapes."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise LoadFailed(f"{where}: ONNX's checker refuses it: {_first(str(error))}") from None


def _constants_are_no_inputs(model: ModelProto) -> bool:
    """Take constants out of the inputs, where files of before 2019 list them: a client could override a weight."""
    constants = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in constants]
    if len(kept) == len(model.graph.input):
        return False
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, 4)  # the first in which constants need be no inputs
    return True


def _raise_opset(model: ModelProto, where: str, watch: Watch) -> tuple[ModelProto, bool]:
    """Return the model in newer operators; as it was if the converter cannot and ONNX Runtime knows the old ones."""
    before = opset(model)
    try:
        found = version_converter.convert_version(model, OPSET)
        check_operators(found, where)
        onnx.checker.check_model(found, full_check=True)
    except Exception as error:  # boundary: the converter raises bare RuntimeErrors of C++ assertions
        if before < RUNTIME_OLDEST:
            raise LoadFailed(
                f"{where}: operators of version {before}, which cannot be converted: {_first(str(error))}"
            ) from None
        watch(f"operators stay at version {before}: {_first(str(error))}")
        return model, False
    found.ir_version = max(found.ir_version, IR_VERSION)
    watch(f"operators converted from version {before} to {OPSET}")
    return found, True


def _infer(model: ModelProto) -> None:
    try:
        found = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise Invalid(f"shape: the model cannot take it: {_first(str(error))}") from None
    model.CopyFrom(found)


def _first(text: str) -> str:
    """Return the start of an error text of C++, on one line."""
    return " ".join(text.split())[:400]


def runner_of(data: bytes, folder: Path) -> OnnxRunner:
    """Return the engine's runner of a file's bytes; the file lies in `folder`."""
    path = folder / "imported.onnx"
    path.write_bytes(data)
    return OnnxRunner(path, Threads())
