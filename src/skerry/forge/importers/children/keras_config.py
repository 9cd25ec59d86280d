"""What a Keras file's own description may name before Keras builds it. Standard library only: a child reads it too.

Keras imports what `module` says and calls what it finds. Its safe mode has been left by way of modules of Keras
itself, so only those that hold layers and their parts are let through, and no layer that loads code or reads files.
"""

from __future__ import annotations

from typing import Any

PARTS = (
    "layers", "models", "initializers", "regularizers", "constraints", "activations", "dtype_policies", "quantizers",
    "optimizers", "losses", "metrics",
)  # fmt: skip
RUN_CODE = {"Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer", "function"}
READ_FILES = {"StringLookup", "IntegerLookup", "TextVectorization", "IndexLookup"}


def refusal(config: object) -> str:
    """Return why a model must not be built, naming the layer; empty if nothing speaks against it."""
    waiting: list[Any] = [config]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            why = _refused(one)
            if why:
                return why
            waiting += one.values()
    return ""


def _refused(one: dict[str, Any]) -> str:
    name = one.get("class_name")
    if name is None:
        return ""
    if not isinstance(name, str) or name in RUN_CODE:
        return f"layer {name!r} holds code, which is not run; build the model without it"
    inner = one.get("config")
    if name in READ_FILES and isinstance(inner, dict) and isinstance(inner.get("vocabulary"), str):
        return f"layer {name!r} reads its vocabulary from a file"
    module = one.get("module")
    if module is not None and not _of_keras(module):
        return f"{name!r} is a class of {module!r}, which is not Keras; export the model as a SavedModel instead"
    registered = one.get("registered_name")
    if registered is not None and registered != name:
        return f"{name!r} is a class of the user's own ({registered!r}); export the model as a SavedModel instead"
    return ""


def _of_keras(module: object) -> bool:
    if not isinstance(module, str):
        return False
    if module == "builtins":
        return True
    parts = module.split(".")
    if parts[:2] in (["keras", "src"], ["keras", "_tf_keras"]):
        parts = ["keras", *parts[2:]]
    return parts[0] == "keras" and (len(parts) == 1 or parts[1] in PARTS)
