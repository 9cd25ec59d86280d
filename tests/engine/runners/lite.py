"""TFLite models written for tests: an adder with a free batch, and what a test wants to be odd."""

from __future__ import annotations

from pathlib import Path

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

CODES, KINDS = schema.BuiltinOperator, schema.BuiltinOptions


def adder_tflite(path: Path, names: tuple[str, ...] = ("x", "y", "sum", "difference"), free: bool = True) -> Path:
    """Write a model of two inputs FP32 [-1, 3] and two outputs, their sum and their difference."""
    model = schema.ModelT()
    model.version, model.description = 3, "adder"
    model.buffers = [schema.BufferT()]
    model.operatorCodes = [_code(CODES.ADD), _code(CODES.SUB)]
    graph = schema.SubGraphT()
    graph.tensors = [_tensor(name, free) for name in names]
    graph.inputs, graph.outputs = [0, 1], [2, 3]
    graph.operators = [
        _operator(0, 2, KINDS.AddOptions, schema.AddOptionsT()),
        _operator(1, 3, KINDS.SubOptions, schema.SubOptionsT()),
    ]
    graph.name = "main"
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def _code(number: int) -> schema.OperatorCodeT:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = number
    code.version = 1
    return code


def _tensor(name: str, free: bool) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.buffer = name, schema.TensorType.FLOAT32, 0
    tensor.shape, tensor.shapeSignature = [1, 3], [-1, 3] if free else [1, 3]
    tensor.hasRank = True
    return tensor


def _operator(code: int, output: int, kind: int, options: object) -> schema.OperatorT:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, [0, 1], [output]
    operator.builtinOptionsType, operator.builtinOptions = kind, options
    return operator
