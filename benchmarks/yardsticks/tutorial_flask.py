"""The server that tutorials show: Flask's own threaded server, Pillow, numpy, one ONNX Runtime session a model.

A program for an environment of its own (flask, onnxruntime, pillow, numpy); it imports nothing of this repository.

    python tutorial_flask.py TINY.onnx CNN.onnx
"""

# mypy: ignore-errors
# (its libraries live in that other environment)

from __future__ import annotations

import io
import json
import sys

import numpy as np
import onnxruntime as ort
from flask import Flask, Response, jsonify, request
from PIL import Image
from werkzeug.serving import make_server

MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)

app = Flask(__name__)
options = ort.SessionOptions()
options.intra_op_num_threads = 1
sessions = {name: ort.InferenceSession(path, options) for name, path in zip(("tiny", "cnn"), sys.argv[1:], strict=True)}


def run(name: str, array: np.ndarray) -> np.ndarray:
    """Run a model on one array."""
    session = sessions[name]
    return session.run(None, {session.get_inputs()[0].name: array})[0]


@app.post("/json/<name>")
def as_json(name: str) -> Response:
    """Numbers in and out as JSON."""
    array = np.array(request.get_json()["instances"], dtype=np.float32)
    return jsonify({"predictions": run(name, array).tolist()})


@app.post("/binary/<name>")
def as_binary(name: str) -> Response:
    """Numbers in and out as bytes."""
    session = sessions[name]
    array = np.frombuffer(request.get_data(), dtype=np.float32).reshape(session.get_inputs()[0].shape)
    return Response(run(name, array).tobytes(), mimetype="application/octet-stream")


@app.post("/jpeg")
def as_jpeg() -> Response:
    """An image in, its best class out."""
    image = Image.open(io.BytesIO(request.get_data())).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
    array = (np.asarray(image, dtype=np.float32) / 255 - MEAN) / STD
    logits = run("cnn", np.ascontiguousarray(array.transpose(2, 0, 1)[np.newaxis]))
    return jsonify({"class": int(logits.argmax())})


if __name__ == "__main__":
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(json.dumps({"event": "ready", "http": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    server.serve_forever()
