"""The OpenAPI document of the Open Inference Protocol (V2), as this node serves it."""

from __future__ import annotations

from collections.abc import Sequence

from skerry.core.version import VERSION
from skerry.node.generation import Generation
from skerry.node.serve.docs import sample
from skerry.node.serve.docs.extras import MEMORY_SCHEMAS, SETTING_SCHEMAS, memory, settings
from skerry.node.serve.docs.parts import (
    COUNT,
    DATA,
    DATATYPE,
    FLAG,
    FREE_SHAPE,
    PARAMETERS,
    SHAPE,
    TEXT,
    WHOLE,
    Json,
    answer,
    as_json,
    body,
    document,
    failures,
    many,
    obj,
    path_parameter,
    ref,
)
from skerry.wire.routes import JSON_LENGTH

ABOUT = (
    "The Open Inference Protocol, version 2, with the extensions that GET /v2 lists. Tensors travel as JSON, as bytes "
    f"behind JSON ({JSON_LENGTH}: the bytes of JSON), as the bytes of one tensor alone ({JSON_LENGTH}: 0), "
    "as NPY, or, to a model with steps, as an image or a sound."
)
IMAGES = ("image/jpeg", "image/png", "image/webp")
_DURATION = obj(("count", "ns"), count=COUNT, ns=COUNT)
_PHASES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")


def oip(generations: Sequence[Generation]) -> Json:
    """Return the document."""
    return document("Skerry: Open Inference Protocol", ABOUT, VERSION, _paths(generations), _schemas())


def model_parameter(generations: Sequence[Generation]) -> Json:
    """Return the model's part of a path."""
    names = [str(name) for name in dict.fromkeys(one.manifest.name for one in generations)]
    schema: Json = {**TEXT, "minLength": 1, **({"enum": names} if names else {})}
    return path_parameter("model_name", "a model that this node serves", schema, names)


def version_parameter(generations: Sequence[Generation], pattern: str = "^[1-9][0-9]{0,17}$") -> Json:
    """Return the version's part of a path."""
    found = list(dict.fromkeys(str(one.manifest.version) for one in generations))
    return path_parameter("model_version", "one of its versions", {**TEXT, "pattern": pattern}, found)


def _paths(generations: Sequence[Generation]) -> Json:
    model, version = model_parameter(generations), version_parameter(generations)
    names = list(dict.fromkeys(str(one.manifest.name) for one in generations))
    held = path_parameter("model_name", "a model of the node's repository", {**TEXT, "minLength": 1}, names)
    found: Json = {
        "/v2": {"get": _get("serverMetadata", "Name, version and extensions", "ServerMetadata")},
        "/v2/health/live": {"get": _get("serverLive", "Whether the process answers", "Live")},
        "/v2/health/ready": {"get": _get("serverReady", "Whether every model serves", "Ready", "503")},
        "/v2/models/stats": {"get": _get("allStatistics", "How often and how long, of all models", "Statistics")},
        "/v2/repository/index": {"post": _index()},
        "/v2/logging": settings("logging", "log", "LogSettings"),
        "/v2/trace/setting": settings("trace", "trace", "TraceSettings"),
        **memory(),
    }
    for verb in ("load", "unload"):
        found[f"/v2/repository/models/{{model_name}}/{verb}"] = {"parameters": [held], "post": _control(verb)}
    for base, more, suffix in (
        ("/v2/models/{model_name}", [model], ""),
        ("/v2/models/{model_name}/versions/{model_version}", [model, version], "OfVersion"),
    ):
        errors = ("400", "404", "503")
        for tail, name, about, schema in (
            ("", "modelMetadata", "Versions, inputs and outputs", "ModelMetadata"),
            ("/ready", "modelReady", "Whether the model serves", "ModelReady"),
            ("/config", "modelConfig", "The configuration, as Triton writes it", "ModelConfig"),
            ("/stats", "modelStatistics", "How often and how long", "Statistics"),
        ):
            found[base + tail] = {"parameters": more, "get": _get(name + suffix, about, schema, *errors)}
        found[base + "/trace/setting"] = {
            "parameters": more,
            **settings("modelTrace" + suffix, "trace", "TraceSettings", "404", "503"),
        }
        found[base + "/infer"] = {"parameters": more, "post": _infer("infer" + suffix, generations)}
    return found


def _get(name: str, about: str, schema: str, *errors: str) -> Json:
    responses = answer(about, as_json(ref(schema))) | failures(*errors)
    return {"operationId": name, "summary": about, "responses": responses}


def _index() -> Json:
    asked = obj(ready={**FLAG, "description": "only what serves"})
    return {
        "operationId": "repositoryIndex",
        "summary": "What the repository holds",
        "requestBody": body(as_json(asked, {"all": {}, "serving": {"ready": True}}), required=False),
        "responses": answer("every version that serves or might", as_json(many(ref("IndexEntry")))) | failures("400"),
    }


def _control(verb: str) -> Json:
    about = "Load a model, or load it again" if verb == "load" else "Take a model out of service"
    taken = {} if verb == "load" else {"unload_dependents": {**FLAG, "description": "changes nothing here"}}
    asked = obj(parameters={**obj(**taken), "additionalProperties": False})
    examples = {"all": {}} if verb == "load" else {"all": {}, "triton": {"parameters": {"unload_dependents": False}}}
    return {
        "operationId": f"repository{verb.capitalize()}",
        "summary": about,
        "requestBody": body(as_json(asked, examples), required=False),
        "responses": answer("it is done", as_json(obj())) | failures("400", "403", "404", "500"),
    }


def _infer(name: str, generations: Sequence[Generation]) -> Json:
    examples = {str(one.manifest.name): found for one in generations if (found := sample.infer_body(one)) is not None}
    content: Json = as_json(ref("InferRequest"), examples)
    file: Json = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
    content |= {"application/octet-stream": file, "application/x-npy": file}
    if any(sample.takes(one.manifest) == "image" for one in generations):
        content |= dict.fromkeys(IMAGES, file)
        content["multipart/form-data"] = {"schema": obj(("image",), image={"type": "string", "format": "binary"})}
    if any(sample.takes(one.manifest) == "audio" for one in generations):
        content["audio/wav"] = file
    header = {
        "name": JSON_LENGTH,
        "in": "header",
        "required": False,
        "description": "bytes of JSON in front of binary tensors; 0: the body is one tensor's bytes",
        "schema": COUNT,
    }
    good = answer("the outputs", as_json(ref("InferResponse")) | {"application/octet-stream": file})
    return {
        "operationId": name,
        "summary": "Run the model",
        "parameters": [header],
        "requestBody": body(content),
        "responses": good | failures("400", "404", "413", "500", "503", "504"),
    }


def _schemas() -> Json:
    spec = obj(("name", "datatype", "shape"), name=TEXT, datatype=DATATYPE, shape=FREE_SHAPE)
    tensor = {"name": TEXT, "datatype": DATATYPE, "shape": SHAPE, "parameters": PARAMETERS, "data": DATA}
    asked = obj(("name",), name=TEXT, parameters=PARAMETERS)
    return {
        **MEMORY_SCHEMAS,
        **SETTING_SCHEMAS,
        "ServerMetadata": obj(("name", "version", "extensions"), name=TEXT, version=TEXT, extensions=many(TEXT)),
        "Live": obj(("live",), live=FLAG),
        "Ready": obj(("ready",), ready=FLAG),
        "ModelReady": obj(("name", "ready"), name=TEXT, ready=FLAG),
        "ModelMetadata": obj(
            ("name", "versions", "platform", "inputs", "outputs"),
            name=TEXT,
            versions=many(TEXT),
            platform=TEXT,
            inputs=many(ref("Spec")),
            outputs=many(ref("Spec")),
        ),
        "Spec": spec,
        "ModelConfig": obj(
            ("name", "max_batch_size", "input", "output"),
            name=TEXT,
            platform=TEXT,
            backend=TEXT,
            max_batch_size=COUNT,
            input=many(obj()),
            output=many(obj()),
        ),
        "IndexEntry": obj(("name", "version", "state", "reason"), name=TEXT, version=TEXT, state=TEXT, reason=TEXT),
        "Statistics": obj(("model_stats",), model_stats=many(ref("ModelStatistics"))),
        "ModelStatistics": obj(
            ("name", "version", "last_inference", "inference_count", "execution_count", "inference_stats"),
            name=TEXT,
            version=TEXT,
            last_inference=COUNT,
            inference_count=COUNT,
            execution_count=COUNT,
            inference_stats=obj(_PHASES, **dict.fromkeys(_PHASES, _DURATION)),
            batch_stats=many(obj(("batch_size",), batch_size=COUNT)),
            memory_usage=many(obj(("type", "id", "byte_size"), type=TEXT, id=WHOLE, byte_size=COUNT)),
        ),
        "InferRequest": obj(
            ("inputs",),
            id=TEXT,
            parameters=PARAMETERS,
            inputs=many(obj(("name", "datatype", "shape"), **tensor)),
            outputs=many(asked),
        ),
        "InferResponse": obj(
            ("model_name", "model_version", "outputs"),
            model_name=TEXT,
            model_version=TEXT,
            id=TEXT,
            outputs=many(obj(("name", "datatype", "shape"), **tensor)),
        ),
    }
