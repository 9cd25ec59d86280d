"""Run as a program of its own where TensorFlow is: Keras files and SavedModels become ONNX or TFLite, and answer.

The task is a JSON file named first; one line of JSON is printed at the end. It never imports our package: it runs
in another environment. Its own folder is on the path, so it can read `keras_config`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

OUT = os.fdopen(os.dup(1), "w")  # what is said to the parent; what frameworks print goes to standard error
os.dup2(2, 1)

import h5py  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf2onnx  # noqa: E402
from keras_config import refusal  # noqa: E402

MAX_CONFIG = 64 << 20  # bytes of a description of layers


class Refused(Exception):
    """An error that the user reads; `kind` is the name of ours."""

    def __init__(self, text: str, kind: str = "LoadFailed") -> None:
        super().__init__(text)
        self.kind = kind


def say(text: str) -> None:
    """Tell of progress."""
    print(f"> {text}", file=sys.stderr, flush=True)


def saved_model(task: dict[str, Any]) -> str:
    """Return a SavedModel folder for the source; a Keras file is exported first."""
    if task["kind"] == "saved":
        return str(task["source"])
    source = task["source"]
    if task["kind"] == "hdf5":
        look_into(source)
    say("Keras reads the model")
    try:
        model = keras.models.load_model(source, compile=False, safe_mode=True)
    except Exception as error:  # boundary: frameworks raise what they like
        raise Refused(f"Keras {keras.__version__} cannot read it: {first(error)}") from error
    folder = f"{task['scratch']}/exported"
    say("Keras exports the model")
    model.export(folder, format="tf_saved_model", verbose=False)
    return folder


def look_into(path: str) -> None:
    """Refuse an HDF5 file that names other files, or whose layers hold code."""

    def visit(name: str, link: Any) -> None:
        if isinstance(link, h5py.ExternalLink):
            raise Refused(f"it names another file: '{name}'")

    def visit_item(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            raise Refused(f"its weights '{name}' lie in another file")

    try:
        with h5py.File(path, "r") as file:
            file.visititems_links(visit)
            file.visititems(visit_item)
            config = file.attrs.get("model_config")
            layers = list(file)
    except OSError as error:
        raise Refused(f"a broken or truncated HDF5 file: {first(error)}") from error
    if config is None:
        raise Refused(f"it holds weights alone, not a model (groups {layers[:5]}): save the whole model, as .keras")
    text = config if isinstance(config, str) else bytes(config).decode("utf-8", "replace")
    why = refusal(json.loads(text)) if len(text) <= MAX_CONFIG else "its description is too long"
    if why:
        raise Refused(why)


class Modern:
    """A signature of a SavedModel as TensorFlow 2 loads it."""

    def __init__(self, folder: str, name: str) -> None:
        self.loaded = tf.saved_model.load(folder)
        expect_signature(name, list(self.loaded.signatures))
        self.function = self.loaded.signatures[name]
        if any(op.type in ("VariableV2", "Variable") for op in self.function.graph.get_operations()):
            raise ValueError("variables of TensorFlow 1")
        said = self.function.structured_input_signature[1]
        self.inputs = {key: (spec.shape, spec.dtype) for key, spec in said.items()}
        self.outputs = list(self.function.structured_outputs)

    def call(self, feeds: dict[str, Any]) -> dict[str, Any]:
        """Run on tensors."""
        return dict(self.function(**feeds))

    def answer(self, feeds: dict[str, Any]) -> dict[str, Any]:
        """Run on arrays."""
        return {name: value.numpy() for name, value in self.call({n: tf.constant(a) for n, a in feeds.items()}).items()}


class Old:
    """A signature of a SavedModel as TensorFlow 1 loads it: a session, and the graph with its weights as constants."""

    def __init__(self, folder: str, name: str) -> None:
        with tf.Graph().as_default() as graph:
            self.session = tf.compat.v1.Session(graph=graph)
            meta = tf.compat.v1.saved_model.load(self.session, ["serve"], folder)
            expect_signature(name, list(meta.signature_def))
            said = meta.signature_def[name]
            self.ins = {key: info.name for key, info in said.inputs.items()}
            self.outs = {key: info.name for key, info in said.outputs.items()}
            ends = [place.split(":")[0] for place in self.outs.values()]
            self.frozen = tf.compat.v1.graph_util.convert_variables_to_constants(
                self.session, graph.as_graph_def(), ends
            )
        self.inputs = {
            key: (tf.TensorShape(info.tensor_shape), tf.dtypes.as_dtype(info.dtype))
            for key, info in said.inputs.items()
        }
        self.outputs = list(self.outs)
        whole = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(self.frozen, name=""), [])
        self.names = list(self.ins)
        self.loaded = whole
        feeds = [whole.graph.as_graph_element(self.ins[key]) for key in self.names]
        self.function = whole.prune(feeds, {key: whole.graph.as_graph_element(p) for key, p in self.outs.items()})

    def call(self, feeds: dict[str, Any]) -> dict[str, Any]:
        """Run on tensors."""
        return dict(self.function(*(feeds[name] for name in self.names)))

    def answer(self, feeds: dict[str, Any]) -> dict[str, Any]:
        """Run on arrays, in the session, on the graph as it was given."""
        return dict(self.session.run(self.outs, {self.ins[name]: array for name, array in feeds.items()}))


def expect_signature(name: str, there: list[str]) -> None:
    """Refuse a signature that is not there."""
    if name not in there:
        have = ", ".join(n for n in there if not n.startswith("__")) or "none"
        raise Refused(f"signature: the SavedModel has no '{name}'; it has {have}", "Invalid")


def signature_of(folder: str, name: str) -> Modern | Old:
    """Return one signature of a SavedModel; what only TensorFlow 1's loader takes is loaded so."""
    say("TensorFlow reads the model")
    try:
        return Modern(folder, name)
    except Refused:
        raise
    except Exception as error:  # boundary: frameworks raise what they like
        modern = error
    try:
        return Old(folder, name)
    except Refused:
        raise
    except Exception as error:  # boundary: frameworks raise what they like
        raise Refused(
            f"TensorFlow {tf.__version__} cannot read it: {first(modern)}; as TensorFlow 1: {first(error)}"
        ) from error


def wrapped(source: Modern | Old, shapes: dict[str, list[int]]) -> tuple[Any, list[tf.TensorSpec]]:
    """Return a module with one function of positional inputs, in the order of their names, with the asked shapes."""
    strange = sorted(set(shapes) - set(source.inputs))
    if strange:
        raise Refused(
            f"shape: the model has no input '{strange[0]}'; it has {', '.join(sorted(source.inputs))}", "Invalid"
        )
    names = sorted(source.inputs)
    specs = []
    for name in names:
        shape, kind = source.inputs[name]
        if name in shapes:
            wanted = [None if n < 0 else n for n in shapes[name]]
            if not shape.is_compatible_with(wanted):
                raise Refused(f"shape: input '{name}' is {shape}; got {shapes[name]}", "Invalid")
            shape = tf.TensorShape(wanted)
        if shape.rank is None:
            raise Refused(f"input '{name}' says not how many dimensions it has; give its shape", "Invalid")
        specs.append(tf.TensorSpec(shape, kind, name=name))

    def call(*arrays: Any) -> Any:
        return source.call(dict(zip(names, arrays, strict=True)))

    module = tf.Module()
    module.loaded = source.loaded
    module.call = tf.function(call, input_signature=specs)
    return module, specs


def convert(task: dict[str, Any]) -> dict[str, Any]:
    """Write the model as ONNX or TFLite."""
    folder = saved_model(task)
    source = signature_of(folder, task["signature"])
    module, specs = wrapped(source, task["shapes"])
    if task["lite"]:
        fixed = f"{task['scratch']}/fixed"
        tf.saved_model.save(module, fixed, signatures={"serving_default": module.call})
        data = to_lite(fixed, task)
    else:
        say("tf2onnx converts the model")
        model, _ = tf2onnx.convert.from_function(module.call, input_signature=specs, opset=task["opset"])
        data = model.SerializeToString(deterministic=True)
    Path(task["out"]).write_bytes(data)
    return {
        "inputs": [[s.name, s.dtype.name, [d if d is not None else -1 for d in s.shape]] for s in specs],
        "outputs": source.outputs,
        "folder": folder,
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__, "tf2onnx": tf2onnx.__version__},
    }


def to_lite(folder: str, task: dict[str, Any]) -> bytes:
    """Return the SavedModel as TFLite of the asked kind; its inputs and outputs stay as they are."""
    say("TensorFlow converts the model")
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
    if task["lite"] != "float":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if task["lite"] == "int8":
        samples = [read(path) for path in task["calibration"]]
        converter.representative_dataset = lambda: iter([("serving_default", one) for one in samples])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    try:
        return bytes(converter.convert())
    except Exception as error:  # boundary: frameworks raise what they like
        raise Refused(f"TensorFlow's converter cannot write it as TFLite: {first(error)}") from error


def answer(task: dict[str, Any]) -> dict[str, Any]:
    """Write what the source gives for each input file; an input that it refuses is said."""
    source = signature_of(task["folder"], task["signature"])
    refused = {}
    for path, out in task["feeds"]:
        try:
            np.savez(out, **source.answer(read(path)))
        except Exception as error:  # boundary: frameworks raise what they like
            refused[out] = first(error)
    return {"refused": refused}


def read(path: str) -> dict[str, Any]:
    """Return the arrays of a file."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def first(error: BaseException) -> str:
    """Return an error's text, short and on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:600]


def main() -> None:
    """Do the task; print one line of JSON."""
    task = json.loads(Path(sys.argv[1]).read_text())
    try:
        done = {"convert": convert, "answer": answer}[task["do"]](task)
        print(json.dumps({"done": done}), file=OUT, flush=True)
    except Refused as error:
        print(json.dumps({"error": str(error), "kind": error.kind}), file=OUT, flush=True)
    except Exception as error:  # boundary: frameworks raise what they like
        traceback.print_exc()
        print(json.dumps({"error": first(error), "kind": "RunFailed"}), file=OUT, flush=True)
    finally:
        shutil.rmtree(f"{task['scratch']}/fixed", ignore_errors=True)


if __name__ == "__main__":
    main()
