"""The OpenAPI document of the node's own calls: images in, findings out; health, metrics and statistics."""

from __future__ import annotations

from collections.abc import Sequence

from skerry.core.version import VERSION
from skerry.node.generation import Generation
from skerry.node.serve.docs import sample
from skerry.node.serve.docs.extras import TRIAL_SCHEMAS, trial
from skerry.node.serve.docs.oip import IMAGES, model_parameter
from skerry.node.serve.docs.parts import (
    COUNT,
    FLAG,
    NUMBER,
    TEXT,
    VERSION_NUMBER,
    Json,
    answer,
    as_json,
    body,
    document,
    failures,
    many,
    obj,
    query,
    ref,
)

ABOUT = "Skerry's own calls beside the two protocols: the one that a camera needs, and what operators look at."
PLAIN: Json = {"text/plain": {"schema": TEXT}}
PAGE: Json = {"text/html": {"schema": TEXT}}
_MILLIS: Json = {"type": ["number", "null"]}


def own(generations: Sequence[Generation]) -> Json:
    """Return the document."""
    return document("Skerry: the node", ABOUT, VERSION, _paths(generations), _schemas())


def _paths(generations: Sequence[Generation]) -> Json:
    found: Json = {
        "/predict": {"post": _predict(generations)},
        "/health": {"get": _get("health", "Whether the process answers", as_json(ref("Health")))},
        "/ready": {"get": _get("ready", "Whether every model serves", as_json(ref("Ready")), "503")},
        "/metrics": {"get": _get("metrics", "Metrics for Prometheus", PLAIN)},
        "/monitoring/prometheus/metrics": {"get": _get("servingMetrics", "The same, as TensorFlow Serving", PLAIN)},
        "/stats": {"get": _get("stats", "Statistics for people", as_json(ref("Stats")) | PLAIN)},
        "/": {"get": _get("home", "The models of this node, a page", PAGE)},
        "/docs": {"get": _get("docs", "The same page", PAGE)},
        "/docs/{model_name}": {
            "parameters": [model_parameter(generations)],
            "get": _get("modelDocs", "One model, a page", PAGE, "404", "503"),
        },
        **trial(model_parameter(generations)),
    }
    found["/stats"]["get"]["parameters"] = [query("as", "'text' for plain text", TEXT)]
    found["/docs/{model_name}"]["get"]["parameters"] = [query("version", "one of its versions", VERSION_NUMBER)]
    for name in ("oip", "tfs", "node"):
        about = f"The OpenAPI document of {name}"
        found[f"/openapi/{name}.json"] = {
            "get": _get(f"{name}Document", about, as_json(obj(("openapi",), openapi=TEXT)))
        }
    return found


def _get(name: str, about: str, content: Json, *errors: str) -> Json:
    return {"operationId": name, "summary": about, "responses": answer(about, content) | failures(*errors)}


def _predict(generations: Sequence[Generation]) -> Json:
    file: Json = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
    content: Json = dict.fromkeys((*IMAGES, "audio/wav", "application/octet-stream"), file)
    content["multipart/form-data"] = {"schema": obj(("image",), image={"type": "string", "format": "binary"})}
    names = [one.manifest.name for one in generations if sample.takes(one.manifest)]
    model = query("model", "the only model, if it is left out", TEXT)
    if names:
        model["examples"] = {name: {"value": name} for name in names}
    return {
        "operationId": "predict",
        "summary": "An image (or a sound, or a frame) in, findings out",
        "parameters": [
            model,
            query(
                "version",
                "the version that serves, if it is left out",
                VERSION_NUMBER,
            ),
            query("source", "the input's name in the results", TEXT),
        ],
        "requestBody": body(content),
        "responses": answer("the findings, best first", as_json(ref("Answer")))
        | failures("400", "404", "413", "500", "503", "504"),
    }


def _schemas() -> Json:
    finding = obj(
        ("label", "score", "index"),
        label=TEXT,
        score=NUMBER,
        index={"type": "integer"},
        box={**many(NUMBER), "description": "left, top, right, bottom in pixels of the image"},
    )
    return {
        **TRIAL_SCHEMAS,
        "Health": obj(("status",), status=TEXT),
        "Ready": obj(("ready", "models"), ready=FLAG, models=many(TEXT)),
        "Finding": finding,
        "Answer": obj(
            ("model", "version", "digest", "node", "findings", "width", "height", "millis", "result"),
            model=TEXT,
            version=COUNT,
            digest=TEXT,
            node=TEXT,
            findings=many(ref("Finding")),
            width=COUNT,
            height=COUNT,
            millis={"type": "object", "additionalProperties": NUMBER},
            result=TEXT,
        ),
        "Stats": obj(("models",), models=many(ref("ModelStats"))),
        "ModelStats": obj(
            ("model", "version", "requests", "mean_ms", "errors"),
            model=TEXT,
            version=TEXT,
            requests=COUNT,
            p50_ms=_MILLIS,
            p99_ms=_MILLIS,
            mean_ms={"type": "object", "additionalProperties": _MILLIS},
            errors={"type": "object", "additionalProperties": COUNT},
        ),
    }
