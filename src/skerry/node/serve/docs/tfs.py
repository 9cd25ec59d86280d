"""The OpenAPI document of TensorFlow Serving's REST API, as this node serves it."""

from __future__ import annotations

from collections.abc import Sequence

from skerry.core.version import VERSION
from skerry.node.generation import Generation
from skerry.node.serve.docs import sample
from skerry.node.serve.docs.oip import model_parameter, version_parameter
from skerry.node.serve.docs.parts import (
    TEXT,
    Json,
    answer,
    as_json,
    body,
    document,
    either,
    failures,
    many,
    obj,
    path_parameter,
    ref,
)

ABOUT = (
    "TensorFlow Serving's REST API. Its parser is kept to: unknown keys are ignored, NaN and Infinity are numbers, and "
    "whatever is not a path of the API is a 400 with its text 'Malformed request', a wrong method too."
)
_STATES = ["UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END"]


def tfs(generations: Sequence[Generation]) -> Json:
    """Return the document."""
    return document("Skerry: TensorFlow Serving", ABOUT, VERSION, _paths(generations), _schemas())


def _paths(generations: Sequence[Generation]) -> Json:
    model, version = model_parameter(generations), version_parameter(generations, "^[0-9]{1,18}$")
    label = path_parameter("label", "a label of one of its versions", {**TEXT, "minLength": 1})
    examples = {str(one.manifest.name): made for one in generations if (made := sample.predict_body(one)) is not None}
    found: Json = {"/v1/models": {"get": _get("list", "The models in service", "Models")}}
    for base, more, suffix in (
        ("/v1/models/{model_name}", [model], ""),
        ("/v1/models/{model_name}/versions/{model_version}", [model, version], "OfVersion"),
        ("/v1/models/{model_name}/labels/{label}", [model, label], "OfLabel"),
    ):
        found[base] = {"parameters": more, "get": _get("status" + suffix, "The state of each version", "Status")}
        found[f"{base}/metadata"] = {
            "parameters": more,
            "get": _get("metadata" + suffix, "The signature: inputs and outputs", "Metadata"),
        }
        for verb, about, asked, given in (
            ("predict", "Run the model", "PredictRequest", "PredictResponse"),
            ("classify", "Run a model with labels on examples", "ExampleRequest", "ClassifyResponse"),
            ("regress", "Run a model of one output on examples", "ExampleRequest", "RegressResponse"),
        ):
            shown = examples if verb == "predict" else None
            found[f"{base}:{verb}"] = {
                "parameters": more,
                "post": {
                    "operationId": verb + suffix,
                    "summary": about,
                    "requestBody": body(as_json(ref(asked), shown)),
                    "responses": answer("the outputs", as_json(ref(given)))
                    | failures("400", "404", "413", "500", "501", "503", "504"),
                },
            }
    return found


def _get(name: str, about: str, schema: str) -> Json:
    responses = answer(about, as_json(ref(schema))) | failures("400", "404", "503")
    return {"operationId": name, "summary": about, "responses": responses}


def _schemas() -> Json:
    anything: Json = {}
    signature = {"type": "string", "description": "'serving_default', if it is left out"}
    state = obj(
        ("version", "state", "status"),
        version=TEXT,
        state={**TEXT, "enum": _STATES},
        status=obj(("error_code", "error_message"), error_code=TEXT, error_message=TEXT),
    )
    rows = obj(("instances",), instances={**many(anything), "minItems": 1}, signature_name=signature)
    columns = obj(("inputs",), inputs=anything, signature_name=signature)
    return {
        "PredictRequest": either(
            {**rows, "not": {"required": ["inputs"]}}, {**columns, "not": {"required": ["instances"]}}
        ),
        "PredictResponse": either(
            obj(("predictions",), predictions=many(anything)), obj(("outputs",), outputs=anything)
        ),
        "ExampleRequest": obj(
            ("examples",),
            examples={**many({"type": "object"}), "minItems": 1},
            context={"type": "object"},
            signature_name=signature,
        ),
        "ClassifyResponse": obj(("results",), results=many(many({"type": "array", "prefixItems": [TEXT, {}]}))),
        "RegressResponse": obj(("results",), results=many({"type": "number"})),
        "Models": obj(("models",), models=many(TEXT)),
        "Status": obj(("model_version_status",), model_version_status=many(state)),
        "Metadata": obj(
            ("model_spec", "metadata"),
            model_spec=obj(("name", "version"), name=TEXT, signature_name=TEXT, version=TEXT),
            metadata=obj(("signature_def",), signature_def=obj(("signature_def",), signature_def={"type": "object"})),
        ),
    }
