"""The control calls of the Open Inference Protocol, against tritonclient's own classes."""

from __future__ import annotations

import contextlib

import pytest
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as theirs

from skerry.core.errors import Invalid
from skerry.core.tensor import DType, Spec
from skerry.wire.config import Options, config_json
from skerry.wire.protos import control

SPECS = (Spec("x", DType.FP32, (-1, 3)),)


@pytest.mark.parametrize(
    "kind",
    [
        theirs.ModelReadyRequest,
        theirs.ModelMetadataRequest,
        theirs.ModelConfigRequest,
        theirs.ModelStatisticsRequest,
    ],
)
def test_a_named_model_is_read(kind):
    assert control.decode_named(kind(name="m", version="3").SerializeToString()) == ("m", "3")
    assert control.decode_named(b"") == ("", "")


def test_the_model_of_an_inference_is_read_without_its_tensors():
    request = theirs.ModelInferRequest(
        model_name="m", model_version="3", inputs=[{"name": "x"}], raw_input_contents=[b"\xff"]
    )
    assert control.decode_named(request.SerializeToString()) == ("m", "3")


def test_flags_are_sent():
    for value in (True, False):
        assert theirs.ServerLiveResponse.FromString(control.encode_flag(value)).live is value
        assert theirs.ServerReadyResponse.FromString(control.encode_flag(value)).ready is value
        assert theirs.ModelReadyResponse.FromString(control.encode_flag(value)).ready is value


def test_metadata_is_sent():
    server = theirs.ServerMetadataResponse.FromString(control.encode_server("skerry", "1.0", ["statistics"]))
    assert (server.name, server.version, list(server.extensions)) == ("skerry", "1.0", ["statistics"])
    model = theirs.ModelMetadataResponse.FromString(control.encode_model("m", [2, 3], "onnx", SPECS, SPECS))
    assert (model.name, list(model.versions), model.platform) == ("m", ["2", "3"], "onnx")
    for ports in (model.inputs, model.outputs):
        assert [(one.name, one.datatype, list(one.shape)) for one in ports] == [("x", "FP32", [-1, 3])]


def test_a_config_is_sent_as_rest_has_it():
    value = {
        "name": "m",
        "max_batch_size": 8,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}],
        "dynamic_batching": {"preferred_batch_size": [4], "max_queue_delay_microseconds": 100},
        "parameters": {"a": {"string_value": "b"}},
    }
    config = theirs.ModelConfigResponse.FromString(control.encode_config(value)).config
    assert (config.name, config.max_batch_size, list(config.input[0].dims)) == ("m", 8, [3])
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    with pytest.raises(Invalid, match=r'inference.ModelConfigResponse: .*no field named "nonsense"'):
        control.encode_config({"nonsense": 1})


def test_what_the_node_says_of_a_model_is_a_config():
    value = config_json("m", Options(), SPECS, SPECS)
    config = theirs.ModelConfigResponse.FromString(control.encode_config(value)).config
    assert (config.name, config.input[0].name) == ("m", "x")


def test_statistics_are_sent_as_rest_has_them():
    duration = {"count": 1, "ns": 2}
    names = ["success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"]
    value = {
        "model_stats": [
            {
                "name": "m",
                "version": "3",
                "last_inference": 1,
                "inference_count": 2,
                "execution_count": 3,
                "inference_stats": dict.fromkeys(names, duration),
                "batch_stats": [{"batch_size": 1, "compute_infer": duration}],
            }
        ]
    }
    answer = theirs.ModelStatisticsResponse.FromString(control.encode_statistics(value))
    stats = answer.model_stats[0]
    assert (stats.inference_count, stats.execution_count, stats.inference_stats.queue.ns) == (2, 3, 2)
    assert MessageToDict(stats.inference_stats).keys() == {"success", "fail", "queue", "computeInput", "computeInfer",
                                                           "computeOutput", "cacheHit", "cacheMiss"}  # fmt: skip


def test_the_repository_is_read_and_sent():
    asked = theirs.RepositoryIndexRequest(repository_name="r", ready=True).SerializeToString()
    assert control.decode_index(asked) == control.Index("r", ready=True)
    held = [control.Held("m", "3", "READY"), control.Held("n", "", "UNAVAILABLE", "broken")]
    answer = theirs.RepositoryIndexResponse.FromString(control.encode_index(held))
    assert [(one.name, one.version, one.state, one.reason) for one in answer.models] == [tuple(one) for one in held]


def test_a_load_and_an_unload_are_read():
    given = {"config": {"string_param": "{}"}, "file:1/m.onnx": {"bytes_param": b"\xff"}}
    load = theirs.RepositoryModelLoadRequest(repository_name="r", model_name="m", parameters=given)
    wanted = control.Load("r", "m", {"config": "{}", "file:1/m.onnx": b"\xff"})
    assert control.decode_load(load.SerializeToString()) == wanted
    given = {"unload_dependents": {"bool_param": True}}
    unload = theirs.RepositoryModelUnloadRequest(model_name="m", parameters=given)
    assert control.decode_load(unload.SerializeToString()) == control.Load("", "m", {"unload_dependents": True})
    with pytest.raises(Invalid, match="parameters: 'x': expected a value; got none"):
        control.decode_load(theirs.RepositoryModelLoadRequest(parameters={"x": {}}).SerializeToString())
    assert theirs.RepositoryModelLoadResponse.FromString(control.EMPTY) == theirs.RepositoryModelLoadResponse()


def test_shared_memory_is_read_and_sent():
    asked = theirs.SystemSharedMemoryRegisterRequest(name="r", key="/k", offset=8, byte_size=16)
    region = control.Region("r", "/k", 8, 16)
    assert control.decode_region(asked.SerializeToString()) == region
    for kind in (
        theirs.SystemSharedMemoryStatusRequest,
        theirs.SystemSharedMemoryUnregisterRequest,
        theirs.CudaSharedMemoryStatusRequest,
        theirs.CudaSharedMemoryUnregisterRequest,
    ):
        assert control.decode_region_name(kind(name="r").SerializeToString()) == "r"
    answer = theirs.SystemSharedMemoryStatusResponse.FromString(control.encode_regions([region])).regions["r"]
    assert (answer.name, answer.key, answer.offset, answer.byte_size) == region
    assert not theirs.CudaSharedMemoryStatusResponse.FromString(control.encode_regions([])).regions


def test_settings_are_read_and_sent():
    trace = theirs.TraceSettingRequest(settings={"trace_level": {"value": ["TIMESTAMPS"]}, "x": {}}, model_name="m")
    assert control.decode_trace(trace.SerializeToString()) == ("m", {"trace_level": ("TIMESTAMPS",), "x": ()})
    answer = theirs.TraceSettingResponse.FromString(control.encode_trace({"trace_level": ("OFF",)}))
    assert list(answer.settings["trace_level"].value) == ["OFF"]
    log = theirs.LogSettingsRequest(
        settings={"log_info": {"bool_param": True}, "log_verbose_level": {"uint32_param": 2}}
    )
    wanted = {"log_info": True, "log_verbose_level": 2}
    assert control.decode_log(log.SerializeToString()) == wanted
    values = {**wanted, "log_format": "default"}
    found = theirs.LogSettingsResponse.FromString(control.encode_log(values)).settings
    assert {name: getattr(found[name], found[name].WhichOneof("parameter_choice")) for name in found} == values
    with pytest.raises(Invalid, match="settings: 'x': expected a value; got none"):
        control.decode_log(theirs.LogSettingsRequest(settings={"x": {}}).SerializeToString())
    many = theirs.TraceSettingRequest(settings={str(at): {} for at in range(1001)})
    with pytest.raises(Invalid, match="settings: expected at most 1000; got 1001"):
        control.decode_trace(many.SerializeToString())


def test_health_is_read_and_sent():
    assert control.decode_health(health_pb2.HealthCheckRequest(service="s").SerializeToString()) == "s"
    for status in ("SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"):
        answer = health_pb2.HealthCheckResponse.FromString(control.encode_health(status))
        assert health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status) == status


@given(st.binary(max_size=40))
def test_arbitrary_bytes_raise_invalid_alone(data):
    for read in (
        control.decode_named,
        control.decode_index,
        control.decode_load,
        control.decode_region_name,
        control.decode_region,
        control.decode_trace,
        control.decode_log,
        control.decode_health,
    ):
        with contextlib.suppress(Invalid):
            read(data)
