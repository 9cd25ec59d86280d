"""What the OpenAPI documents have beside inference: shared memory and settings by Triton's extensions, and trials."""

from __future__ import annotations

from skerry.core.agreement import MODES, RULES
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
    failures,
    many,
    obj,
    ref,
)
from skerry.node.serve.docs.parts import path_parameter as part
from skerry.node.serve.logs import FORMATS, MAX_VERBOSE

_SHARE: Json = {**NUMBER, "minimum": 0, "maximum": 1}
_RULE: Json = {**TEXT, "enum": list(RULES)}
_MODE: Json = {**TEXT, "enum": list(MODES)}

MEMORY_SCHEMAS: Json = {
    "Region": obj(("name", "key", "offset", "byte_size"), name=TEXT, key=TEXT, offset=COUNT, byte_size=COUNT),
    "Register": obj(("key", "byte_size"), key=TEXT, offset=COUNT, byte_size={**COUNT, "minimum": 1}),
}


def _words(**word: object) -> Json:
    """Return the schema of a trace setting: a text, a list of it, or nothing, which takes the setting back."""
    return {"anyOf": [{**TEXT, **word}, {"type": "array", "items": {**TEXT, **word}, "maxItems": 1}, {"type": "null"}]}


_SHUT: Json = {"additionalProperties": False}
SETTING_SCHEMAS: Json = {
    "LogSettings": obj(
        log_file={**TEXT, "maxLength": 0},
        log_info=FLAG,
        log_warning=FLAG,
        log_error=FLAG,
        log_verbose_level={**COUNT, "maximum": MAX_VERBOSE},
        log_format={**TEXT, "enum": list(FORMATS)},
    )
    | _SHUT,
    "TraceSettings": obj(
        trace_level=_words(enum=["TIMESTAMPS", "OFF"]),
        trace_rate=_words(pattern="^[0-9]{1,9}$"),
        trace_count=_words(pattern="^(-1|[0-9]{1,9})$"),
        trace_mode=_words(enum=["opentelemetry"]),
    )
    | _SHUT,
}
TRIAL_SCHEMAS: Json = {
    "Terms": obj(
        ("version",),
        version=VERSION_NUMBER,
        mode=_MODE,
        share={**_SHARE, "description": "of the requests that name no version"},
        rule=_RULE,
        tolerance={**NUMBER, "minimum": 0},
        errors={**_SHARE, "description": "share of requests that the candidate alone may fail"},
        disagreement={**_SHARE, "description": "share of answers that may differ"},
        least={"type": "integer", "minimum": 1, "maximum": 1_000_000},
    )
    | _SHUT,
    "Promote": obj(("promote",), promote={"const": True}),
    "Trial": obj(("model", "version", "mode", "stage"), model=TEXT, version=COUNT, mode=_MODE, stage=TEXT),
}


def memory() -> Json:
    """Return the paths of shared memory."""
    found: Json = {}
    region = part("region", "the region's name", {**TEXT, "minLength": 1})
    rows = as_json(many(ref("Region")))
    for kind, base in (("system", "/v2/systemsharedmemory"), ("cuda", "/v2/cudasharedmemory")):
        errors = ("400", "403", "404", "409") if kind == "system" else ("501",)
        one = base + "/region/{region}"
        status = answer("the regions", rows) | failures(*errors)
        done = answer("it is done", as_json(obj())) | failures(*errors)
        what = f"{kind} shared memory"
        given = body(as_json(ref("Register"))) if kind == "system" else body(as_json(obj()), required=False)
        found |= {
            f"{base}/status": {"get": _call(f"{kind}Status", f"All regions of {what}", status)},
            f"{base}/unregister": {"post": _call(f"{kind}UnregisterAll", f"Forget all {what}", done)},
            f"{one}/status": {"parameters": [region], "get": _call(f"{kind}RegionStatus", "One region", status)},
            f"{one}/register": {
                "parameters": [region],
                "post": {**_call(f"{kind}Register", f"Register {what}", done), "requestBody": given},
            },
            f"{one}/unregister": {"parameters": [region], "post": _call(f"{kind}Unregister", "Forget a region", done)},
        }
    return found


def settings(name: str, what: str, schema: str, *errors: str) -> Json:
    """Return what may be done with the settings of a path."""
    found = answer("all of them", as_json(ref(schema))) | failures("400", *errors)
    changed = answer("all of them", as_json(ref(schema))) | failures("400", "403", "409", *errors)
    return {
        "get": _call(f"{name}Settings", f"The {what} settings", found),
        "post": {
            **_call(f"{name}Change", f"Change some {what} settings", changed),
            "requestBody": body(as_json(ref(schema))),
        },
    }


def trial(model: Json) -> Json:
    """Return the paths of trials; `model` is the parameter of the path."""
    stands = answer("how it stands", as_json(ref("Trial"))) | failures("400", "403", "404", "409", "503")
    asked = {"anyOf": [ref("Terms"), ref("Promote")]}
    examples = {"a tenth of the requests": {"version": 2, "mode": "canary", "share": 0.1}, "promote": {"promote": True}}
    return {
        "/v2/models/{model_name}/trial": {
            "parameters": [model],
            "get": _call("trial", "How the last trial of a version stands", stands),
            "post": {
                **_call("beginTrial", "Try a version beside the one that serves, or promote it", stands),
                "requestBody": body(as_json(asked, examples)),
            },
            "delete": _call("endTrial", "End a trial", stands),
        }
    }


def _call(name: str, about: str, responses: Json) -> Json:
    return {"operationId": name, "summary": about, "responses": responses}
