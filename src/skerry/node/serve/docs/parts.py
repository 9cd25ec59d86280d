"""What the OpenAPI documents share: schemas, parameters and responses, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skerry.core.tensor import DType

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
FLAG: Json = {"type": "boolean"}
WHOLE: Json = {"type": "integer"}
COUNT: Json = {"type": "integer", "minimum": 0}
NUMBER: Json = {"type": "number"}
VERSION_NUMBER: Json = {"type": "integer", "minimum": 1, "maximum": (1 << 63) - 1}
ERRORS = {
    "400": "the request is wrong: the text names the field, what was expected and what came",
    "403": "this node does not do that by request",
    "404": "there is no such model, version or label here",
    "409": "it cannot be done as things stand",
    "413": "the body is too large",
    "500": "the model failed, or the node; its log has the details",
    "501": "the protocol knows it, and it is not done here",
    "503": "busy, or the model is not ready: try again after Retry-After seconds",
    "504": "the request's deadline passed",
}


def obj(required: Sequence[str] = (), /, **fields: Json) -> Json:
    """Return the schema of an object, which may have fields beside these."""
    found: Json = {"type": "object", "properties": fields}
    if required:
        found["required"] = list(required)
    return found


def many(items: Json, **limits: int) -> Json:
    """Return the schema of a list."""
    return {"type": "array", "items": items, **limits}


def ref(name: str) -> Json:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def either(*schemas: Json) -> Json:
    """Return the schema of what is one of these."""
    return {"anyOf": list(schemas)}


def path_parameter(name: str, about: str, schema: Json, examples: Sequence[str] = ()) -> Json:
    """Return a part of the path."""
    found: Json = {"name": name, "in": "path", "required": True, "description": about, "schema": schema}
    if examples:
        found["examples"] = {one: {"value": one} for one in examples}
    return found


def query(name: str, about: str, schema: Json) -> Json:
    """Return a field of the query, which may be left out."""
    return {"name": name, "in": "query", "required": False, "description": about, "schema": schema}


def body(content: Mapping[str, Json], required: bool = True) -> Json:
    """Return a request's body by media type."""
    return {"required": required, "content": dict(content)}


def answer(about: str, content: Mapping[str, Json]) -> Json:
    """Return a response of 200."""
    return {"200": {"description": about, "content": dict(content)}}


def as_json(schema: Json, examples: Mapping[str, Any] | None = None) -> dict[str, Json]:
    """Return the content of a body in JSON."""
    found: Json = {"schema": schema}
    if examples:
        found["examples"] = {name: {"value": value} for name, value in examples.items()}
    return {"application/json": found}


def failures(*statuses: str) -> Json:
    """Return the responses of these errors, and of any other: each has the one form."""
    return {status: {"$ref": f"#/components/responses/Error{status}"} for status in statuses} | {
        "default": {"$ref": "#/components/responses/Error"}
    }


def document(title: str, about: str, version: str, paths: Json, schemas: Json) -> Json:
    """Return a whole OpenAPI document."""
    content = as_json(ref("Error"))
    responses = {f"Error{status}": {"description": text, "content": content} for status, text in ERRORS.items()}
    responses["Error503"]["headers"] = {"Retry-After": {"description": "seconds", "schema": COUNT}}
    responses["Error"] = {"description": "any other error has the same form", "content": content}
    error = obj(("error",), error={**TEXT, "description": "one text for people"})
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": about, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": {"Error": error, **schemas}, "responses": responses},
    }


DATATYPE: Json = {"type": "string", "enum": [kind.value for kind in DType]}
SHAPE = many({"type": "integer", "minimum": 0}, maxItems=16)
FREE_SHAPE = many({"type": "integer", "minimum": -1}, maxItems=16)
PARAMETERS: Json = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
VALUE: Json = {"type": ["number", "string", "boolean"]}
DATA: Json = {
    "description": "the values in row-major order, flat or in lists within lists",
    **many(either(VALUE, {"type": "array"})),
}
