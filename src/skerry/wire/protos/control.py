"""The rest of the Open Inference Protocol over gRPC: health, metadata, configuration, statistics, repository, memory.

Source: triton-inference-server/common, protobuf/grpc_service.proto. An answer that holds nothing is EMPTY.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf.json_format import ParseDict, ParseError

from skerry.core.errors import Invalid
from skerry.core.tensor import Spec
from skerry.wire.protos.pool import message, read
from skerry.wire.protos.scan import Data, lift, text

EMPTY = b""  # load, unload, register and unregister: done
MAX_FIELDS = 8000  # of a request's own fields, of which an inference has the most
MAX_SETTINGS = 1000  # of one trace or log request

_FIRST, _SECOND = 1 << 3 | 2, 2 << 3 | 2
_SKIPPED = frozenset(number << 3 | 2 for number in range(1, 8))  # all of a ModelInfer request
_FLAG = message("inference.ModelReadyResponse")
_SERVER = message("inference.ServerMetadataResponse")
_MODEL = message("inference.ModelMetadataResponse")
_CONFIG = message("inference.ModelConfigResponse")
_STATISTICS = message("inference.ModelStatisticsResponse")
_INDEX = message("inference.RepositoryIndexRequest")
_INDEX_ANSWER = message("inference.RepositoryIndexResponse")
_LOAD = message("inference.RepositoryModelLoadRequest")
_REGION = message("inference.SystemSharedMemoryRegisterRequest")
_REGIONS = message("inference.SystemSharedMemoryStatusResponse")
_TRACE = message("inference.TraceSettingRequest")
_TRACE_ANSWER = message("inference.TraceSettingResponse")
_LOG = message("inference.LogSettingsRequest")
_LOG_ANSWER = message("inference.LogSettingsResponse")
_HEALTH = message("grpc.health.v1.HealthCheckRequest")
_HEALTH_ANSWER = message("grpc.health.v1.HealthCheckResponse")


class Load(NamedTuple):
    """A request to load or unload a model; parameters are such as "config" and "unload_dependents"."""

    repository: str
    model: str
    parameters: Mapping[str, bool | int | str | bytes]


class Index(NamedTuple):
    """A request for what a repository holds, all or what is ready alone."""

    repository: str
    ready: bool


class Held(NamedTuple):
    """A model version that a repository holds, and in which state, such as "READY"."""

    name: str
    version: str
    state: str
    reason: str = ""


class Region(NamedTuple):
    """A piece of shared memory as a client registers it."""

    name: str
    key: str
    offset: int
    size: int


def decode_named(data: Data) -> tuple[str, str]:
    """Return the model and the version, "" for any, of a request for one; nothing else of it is read.

    These are ModelInfer, ModelReady, ModelMetadata, ModelConfig and ModelStatistics.
    """
    _, found = lift(data, _SKIPPED, MAX_FIELDS)
    return text(found, _FIRST, "model name"), text(found, _SECOND, "model version")


def encode_flag(value: bool) -> bytes:
    """Return a ServerLiveResponse, ServerReadyResponse or ModelReadyResponse."""
    return _bytes(_FLAG(ready=value))


def encode_server(name: str, version: str, extensions: Sequence[str]) -> bytes:
    """Return a ServerMetadataResponse."""
    return _bytes(_SERVER(name=name, version=version, extensions=extensions))


def encode_model(
    name: str, versions: Sequence[int], platform: str, inputs: Sequence[Spec], outputs: Sequence[Spec]
) -> bytes:
    """Return a ModelMetadataResponse."""
    return _bytes(
        _MODEL(
            name=name,
            versions=[str(version) for version in versions],
            platform=platform,
            inputs=[{"name": one.name, "datatype": one.dtype.value, "shape": one.shape} for one in inputs],
            outputs=[{"name": one.name, "datatype": one.dtype.value, "shape": one.shape} for one in outputs],
        )
    )


def encode_config(config: Mapping[str, Any]) -> bytes:
    """Return a ModelConfigResponse from what GET /v2/models/M/config answers."""
    return _parsed({"config": config}, _CONFIG)


def encode_statistics(statistics: Mapping[str, Any]) -> bytes:
    """Return a ModelStatisticsResponse from what GET /v2/models/M/stats answers."""
    return _parsed(dict(statistics), _STATISTICS)


def decode_index(data: Data) -> Index:
    """Return what a RepositoryIndex request asks for."""
    given = read(_INDEX, data)
    return Index(given.repository_name, given.ready)


def encode_index(held: Sequence[Held]) -> bytes:
    """Return a RepositoryIndexResponse."""
    return _bytes(_INDEX_ANSWER(models=[one._asdict() for one in held]))


def decode_load(data: Data) -> Load:
    """Return what a RepositoryModelLoad or RepositoryModelUnload request asks for."""
    given = read(_LOAD, data)
    found = {}
    for name in given.parameters:
        choice = given.parameters[name].WhichOneof("parameter_choice")
        if choice is None:
            raise Invalid(f"parameters: '{name}': expected a value; got none")
        found[name] = getattr(given.parameters[name], choice)
    return Load(given.repository_name, given.model_name, found)


def decode_region_name(data: Data) -> str:
    """Return the region, "" for all, of a shared memory status or unregister request, system or CUDA."""
    return str(read(_HEALTH, data).service)


def decode_region(data: Data) -> Region:
    """Return the region of a SystemSharedMemoryRegister request."""
    given = read(_REGION, data)
    return Region(given.name, given.key, given.offset, given.byte_size)


def encode_regions(regions: Sequence[Region]) -> bytes:
    """Return a SystemSharedMemoryStatusResponse; without any it is a CudaSharedMemoryStatusResponse too."""
    answer = _REGIONS()
    for one in regions:
        status = answer.regions[one.name]
        status.name, status.key, status.offset, status.byte_size = one
    return _bytes(answer)


def decode_trace(data: Data) -> tuple[str, Mapping[str, tuple[str, ...]]]:
    """Return the model, "" for all, and the settings to change of a TraceSetting request; empty values clear one."""
    given = read(_TRACE, data)
    _few(given.settings)
    return given.model_name, {name: tuple(given.settings[name].value) for name in given.settings}


def encode_trace(settings: Mapping[str, Sequence[str]]) -> bytes:
    """Return a TraceSettingResponse."""
    answer = _TRACE_ANSWER()
    for name, values in settings.items():
        answer.settings[name].value.extend(values)
    return _bytes(answer)


def decode_log(data: Data) -> Mapping[str, bool | int | str]:
    """Return the settings to change of a LogSettings request."""
    given = read(_LOG, data).settings
    _few(given)
    found = {}
    for name in given:
        choice = given[name].WhichOneof("parameter_choice")
        if choice is None:
            raise Invalid(f"settings: '{name}': expected a value; got none")
        found[name] = getattr(given[name], choice)
    return found


def encode_log(settings: Mapping[str, bool | int | str]) -> bytes:
    """Return a LogSettingsResponse."""
    kinds = {bool: "bool_param", int: "uint32_param", str: "string_param"}
    answer = _LOG_ANSWER()
    for name, value in settings.items():
        setattr(answer.settings[name], kinds[type(value)], value)
    return _bytes(answer)


def decode_health(data: Data) -> str:
    """Return the service, "" for the whole server, of a health Check or Watch request."""
    return str(read(_HEALTH, data).service)


def encode_health(status: str) -> bytes:
    """Return a HealthCheckResponse: "SERVING", "NOT_SERVING", or "SERVICE_UNKNOWN" (in Watch alone)."""
    return _bytes(_HEALTH_ANSWER(status=status))


def _parsed(value: dict[str, Any], kind: Any) -> bytes:
    try:
        return _bytes(ParseDict(value, kind()))
    except ParseError as error:
        raise Invalid(f"{kind.DESCRIPTOR.full_name}: {error}") from None


def _few(settings: Any) -> None:
    if len(settings) > MAX_SETTINGS:
        raise Invalid(f"settings: expected at most {MAX_SETTINGS}; got {len(settings)}")


def _bytes(given: Any) -> bytes:
    return bytes(given.SerializeToString())
