"""The definitions: compiled from the files beside them, true to the originals, at peace with a client's copies."""

from __future__ import annotations

import base64
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_health.v1 import health_pb2
from ovmsclient import make_grpc_client, make_tensor_proto
from ovmsclient.tfs_compat.grpc.requests import make_predict_request
from ovmsclient.tfs_compat.protos.tensorflow.core.example import example_pb2, feature_pb2
from ovmsclient.tfs_compat.protos.tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from ovmsclient.tfs_compat.protos.tensorflow.core.protobuf import error_codes_pb2, meta_graph_pb2
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2,
    predict_pb2,
    prediction_service_pb2,
    regression_pb2,
)
from ovmsclient.tfs_compat.protos.tensorflow_serving.config import (
    file_system_storage_path_source_pb2,
    log_collector_config_pb2,
    logging_config_pb2,
    model_server_config_pb2,
)
from ovmsclient.tfs_compat.protos.tensorflow_serving.util import status_pb2
from tritonclient.grpc import model_config_pb2, service_pb2

from skerry.core.errors import Invalid
from skerry.wire import protos
from skerry.wire.protos.binary import DESCRIPTORS
from skerry.wire.protos.pool import POOL, message, read

FOLDER = Path(protos.__file__).parent
TENSORFLOW = [
    types_pb2, tensor_pb2, tensor_shape_pb2, example_pb2, feature_pb2, meta_graph_pb2, error_codes_pb2, model_pb2,
    predict_pb2, get_model_metadata_pb2, get_model_status_pb2, input_pb2, classification_pb2, regression_pb2,
    inference_pb2, model_management_pb2, model_service_pb2, prediction_service_pb2, model_server_config_pb2,
    file_system_storage_path_source_pb2, logging_config_pb2, log_collector_config_pb2, status_pb2,
]  # fmt: skip
TRITON = [service_pb2, model_config_pb2, health_pb2]


def test_what_is_committed_is_what_the_files_say(tmp_path):
    found = tmp_path / "set"
    files = sorted(str(path) for path in FOLDER.glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={FOLDER}", "--include_imports"]
    subprocess.run([*command, f"--descriptor_set_out={found}", *files], check=True)
    committed = FileDescriptorSet.FromString(zlib.decompress(base64.b64decode(DESCRIPTORS)))
    assert committed == FileDescriptorSet.FromString(found.read_bytes()), "run scripts/protos.sh"


def renamed(name):
    """Return an original's full name as it is here: ovmsclient has put its own name in front of TensorFlow's."""
    return name.replace("ovmsclient", "tensorflow", 1) if name.startswith("ovmsclient") else name


def described(field):
    """Return all of a field that the wire depends on, and its name."""
    kind = field.message_type or field.enum_type
    inside = [described(one) for one in kind.fields] if field.message_type and kind.GetOptions().map_entry else []
    oneof = field.containing_oneof.name if field.containing_oneof else ""
    own = renamed(kind.full_name) if kind else ""
    return field.name, field.number, field.type, field.is_repeated, field.is_packed, oneof, own, inside


def all_of(kinds):
    """Yield messages and those inside them."""
    for kind in kinds:
        if not kind.GetOptions().map_entry:
            yield kind
            yield from all_of(kind.nested_types)


ORIGINALS = {
    renamed(kind.full_name): kind
    for module in TRITON + TENSORFLOW
    for kind in all_of(module.DESCRIPTOR.message_types_by_name.values())
}
ENUMS = {
    renamed(kind.full_name): kind
    for module in TRITON + TENSORFLOW
    for kind in [
        *module.DESCRIPTOR.enum_types_by_name.values(),
        *(one for owner in all_of(module.DESCRIPTOR.message_types_by_name.values()) for one in owner.enum_types),
    ]
}


def files():
    """Return our files' descriptors."""
    return [POOL.FindFileByName(path.name) for path in sorted(FOLDER.glob("*.proto"))]


def test_every_message_is_the_originals():
    ours = [kind for file in files() for kind in all_of(file.message_types_by_name.values())]
    assert len(ours) > 100
    for kind in ours:
        fields = {field.number: described(field) for field in ORIGINALS[kind.full_name].fields}
        for field in kind.fields:
            assert described(field) == fields[field.number], kind.full_name


def test_every_enum_is_the_originals():
    ours = [*(kind for file in files() for kind in file.enum_types_by_name.values())]
    ours += [
        kind for file in files() for owner in all_of(file.message_types_by_name.values()) for kind in owner.enum_types
    ]
    assert len(ours) > 10
    for kind in ours:
        numbers = {value.name: value.number for value in ENUMS[kind.full_name].values}
        assert {value.name: value.number for value in kind.values}.items() <= numbers.items()


def test_tritons_messages_are_whole():
    for module in TRITON:
        for kind in all_of(module.DESCRIPTOR.message_types_by_name.values()):
            ours = POOL.FindMessageTypeByName(kind.full_name)
            assert [field.name for field in sorted(ours.fields, key=lambda one: one.number)] == [
                field.name for field in sorted(kind.fields, key=lambda one: one.number)
            ]


@pytest.mark.parametrize("module", [service_pb2, health_pb2, prediction_service_pb2, model_service_pb2])
def test_every_call_is_the_originals(module):
    for service in module.DESCRIPTOR.services_by_name.values():
        ours = POOL.FindServiceByName(renamed(service.full_name))
        assert [signature(one) for one in ours.methods] == [signature(one) for one in service.methods]


def signature(method):
    """Return how a call is made."""
    kinds = renamed(method.input_type.full_name), renamed(method.output_type.full_name)
    return method.name, *kinds, method.client_streaming, method.server_streaming


def test_a_clients_copies_and_ours_live_in_one_process():
    theirs = service_pb2.ModelReadyRequest(name="m", version="3").SerializeToString()
    assert message("inference.ModelReadyRequest").FromString(theirs).name == "m"
    request = make_predict_request({"x": make_tensor_proto([1.5])}, "m", 3).raw_request
    ours = message("tensorflow.serving.PredictRequest").FromString(request.SerializeToString())
    assert (ours.model_spec.name, ours.inputs["x"].tensor_content) == ("m", b"\0\0\xc0?")
    assert make_grpc_client("localhost:1") is not None


def test_an_unknown_field_of_a_config_is_named():
    config = message("inference.ModelConfig")
    assert text_format.Parse("name: 'm' dynamic_batching {}", config()).HasField("dynamic_batching")
    with pytest.raises(text_format.ParseError, match='no field named "nonsense"'):
        text_format.Parse("nonsense: 1", config())


def test_bytes_that_are_no_message_are_named():
    with pytest.raises(Invalid, match=r"inference.ModelReadyRequest: expected a message; got 1 bytes that are none"):
        read(message("inference.ModelReadyRequest"), b"\xff")
