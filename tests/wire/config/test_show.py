"""The configuration that clients ask for: Triton's own message class reads it, and its text is read back by ours."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from google.protobuf import json_format, text_format

from skerry.core.tensor import DType, Spec
from skerry.wire.config import Options, config_json, read_config
from tests.data import DATA, needs
from tests.wire.config.test_read import RESHAPED, SEQUENCES, WHOLE

triton = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="tritonclient[grpc] is not installed")

X, Y = Spec("x", DType.FP32, (-1, 3, 8)), Spec("y", DType.BYTES, (-1, 10))
# What a Triton 24 server with an ONNX model answers to GET /v2/models/densenet_onnx/config, its keys and plain values.
DENSENET = json.loads(
    '{"name":"densenet_onnx","platform":"onnxruntime_onnx","backend":"onnxruntime","runtime":"","version_policy":'
    '{"latest":{"num_versions":1}},"max_batch_size":0,"input":[{"name":"data_0","data_type":"TYPE_FP32","format":'
    '"FORMAT_NONE","dims":[1,3,224,224],"is_shape_tensor":false,"allow_ragged_batch":false,"optional":false,'
    '"is_non_linear_format_io":false}],"output":[{"name":"fc6_1","data_type":"TYPE_FP32","dims":[1,1000,1,1],'
    '"label_filename":"","is_shape_tensor":false,"is_non_linear_format_io":false}],"batch_input":[],"batch_output":[],'
    '"default_model_filename":"model.onnx","cc_model_filenames":{},"metric_tags":{},"parameters":{},"model_warmup":[]}'
)


def test_what_triton_prints_is_printed():
    found = config_json(
        "densenet_onnx",
        Options(),
        [Spec("data_0", DType.FP32, (1, 3, 224, 224))],
        [Spec("fc6_1", DType.FP32, (1, 1000, 1, 1))],
        file="model.onnx",
    )
    assert {key: found[key] for key in DENSENET} == DENSENET
    assert set(found) - set(DENSENET) == {
        "optimization", "instance_group", "model_transaction_policy", "response_cache",
    }  # fmt: skip
    assert "dynamic_batching" not in found


def test_the_batch_is_no_dimension_where_requests_are_joined():
    batched = config_json("m", Options(max_batch_size=4), [X], [Y])
    assert (batched["max_batch_size"], batched["input"][0]["dims"], batched["output"][0]["dims"]) == (4, [3, 8], [10])
    assert batched["output"][0]["data_type"] == "TYPE_STRING"
    assert config_json("m", Options(), [X], [Y])["input"][0]["dims"] == [-1, 3, 8]


ACCELERATED = """
instance_group { kind: KIND_GPU gpus: 1 }
optimization { execution_accelerators {
  gpu_execution_accelerator { name: "tensorrt" } cpu_execution_accelerator { name: "openvino" }
} }
"""


def comes_back(options, name="boards"):
    """Through Triton's own message class: our JSON to its message, its text to our options."""
    shown = json.loads(json.dumps(config_json(name, options, [], [], options.runtime or "onnx")))
    message = json_format.ParseDict(shown, triton.ModelConfig())
    return read_config(text_format.MessageToString(message).encode(), name)


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        SEQUENCES % "",
        SEQUENCES % "direct { max_queue_delay_microseconds: 7 minimum_slot_utilization: 0.5 }",
        SEQUENCES % "oldest { max_candidate_sequences: 9 preferred_batch_size: [4, 2] preserve_ordering: true }",
        "max_batch_size: 2 version_policy { all { } }",
        ACCELERATED,
        RESHAPED,
        "max_batch_size: 2 version_policy { latest { num_versions: 3 } } dynamic_batching { }",
    ],
)
def test_triton_reads_what_we_show_and_we_read_it_back(text):
    options = replace(read_config(text.encode()), runtime="onnx")
    expected = replace(options, instances=options.instances or 1)
    assert comes_back(options) == expected


@needs("triton_models")
def test_the_examples_come_back():
    for path in DATA.glob("triton_models/*/config.pbtxt"):
        options = read_config(path.read_bytes())
        assert comes_back(options, path.parent.name) == replace(options, instances=options.instances or 1)
        message = text_format.Parse(path.read_text(), triton.ModelConfig())
        assert read_config(text_format.MessageToString(message).encode()) == options
