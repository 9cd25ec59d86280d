"""The Open Inference Protocol (V2): requests to typed values, values to answers, as JSON, binary and shared memory.

Sources: kserve/open-inference-protocol, specification/protocol/inference_rest.md; triton-inference-server/server,
docs/protocol/: extension_binary_data.md, extension_classification.md, extension_shared_memory.md,
extension_sequence.md, extension_schedule_policy.md, extension_parameters.md. Wider than Triton in one thing: FP16
may be JSON numbers both ways.
"""

from skerry.wire.oip.envelope import MAX_DEPTH, MAX_TENSORS, Parameter
from skerry.wire.oip.request import (
    MAX_CLASSES,
    Asked,
    InferRequest,
    Place,
    decode_raw,
    decode_request,
    read_tensors,
)
from skerry.wire.oip.response import classify, encode_response, raw_bytes, spec_json, tensor_json
from skerry.wire.oip.tensors import Regions

__all__ = [
    "MAX_CLASSES",
    "MAX_DEPTH",
    "MAX_TENSORS",
    "Asked",
    "InferRequest",
    "Parameter",
    "Place",
    "Regions",
    "classify",
    "decode_raw",
    "decode_request",
    "encode_response",
    "raw_bytes",
    "read_tensors",
    "spec_json",
    "tensor_json",
]
