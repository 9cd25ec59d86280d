"""The same work in this process: the bounds. Nothing that a server does can be faster than these."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image

from benchmarks.graphs import SIDE
from benchmarks.models import MEAN, STD
from benchmarks.stats import Round, counted
from skerry.core.tensor import DType, Spec
from skerry.wire import tfs

try:
    import simplejpeg
except ImportError:  # then Pillow's own scaled decoding is the best there is
    simplejpeg = None

MAX_BODY = 64 << 20  # bytes; the node's own limit
MIN_CALLS = 3  # of a round, however slow


def session(path: Path, threads: int = 1) -> ort.InferenceSession:
    """Return a bare session; no spinning, as a machine that does other things wants it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def measure(call: Callable[[], object], callers: int, seconds: float) -> Round:
    """Call from so many threads, each one after the other, until `seconds` are over."""
    spent: list[list[int]] = [[] for _ in range(callers)]
    start = threading.Barrier(callers + 1)

    def work(mine: list[int]) -> None:
        start.wait()
        before = time.perf_counter_ns()
        end = before + int(seconds * 1e9)
        while before < end or len(mine) < MIN_CALLS:
            call()
            now = time.perf_counter_ns()
            mine.append(now - before)
            before = now

    threads = [threading.Thread(target=work, args=(mine,)) for mine in spent]
    for thread in threads:
        thread.start()
    start.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - started
    return Round(took, sum(map(len, spent)), counted(value for mine in spent for value in mine))


def classify(data: bytes, model: ort.InferenceSession) -> int:
    """Return the best class of a JPEG by the shortest way known: decode at half size, resize, scale by plane, run."""
    pixels = resized(data)
    feed = np.empty((1, 3, SIDE, SIDE), dtype=np.float32)
    for plane in range(3):
        np.multiply(pixels[:, :, plane], np.float32(1 / 255 / STD[plane]), out=feed[0, plane])
        feed[0, plane] -= np.float32(MEAN[plane] / STD[plane])
    return int(model.run(None, {"image": feed})[0].argmax())


def resized(data: bytes) -> np.ndarray:
    """Return uint8 [224, 224, 3] of a JPEG that is larger."""
    if simplejpeg is not None:
        scaled = simplejpeg.decode_jpeg(data, "RGB", min_height=SIDE, min_width=SIDE, min_factor=1)
        image = Image.fromarray(scaled)
    else:
        image = Image.open(io.BytesIO(data))
        image.draft("RGB", (SIDE, SIDE))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def instances(seed: int) -> bytes:
    """Return the body of a TensorFlow Serving request with one 224 x 224 x 3 image of floats."""
    image = np.random.default_rng(seed).random((1, SIDE, SIDE, 3)).astype(np.float32)
    return json.dumps({"instances": [[[[round(v, 6) for v in p] for p in row] for row in image[0].tolist()]]}).encode()


def plain_json(body: bytes) -> np.ndarray:
    """Return the tensor as every tutorial reads it."""
    return np.array(json.loads(body)["instances"], dtype=np.float32)


def our_json(body: bytes) -> np.ndarray:
    """Return the tensor as the node reads it."""
    spec = Spec("image", DType.FP32, (-1, SIDE, SIDE, 3))
    (tensor,) = tfs.decode(body, MAX_BODY, (spec,)).inputs
    assert not isinstance(tensor.data, tuple)
    return np.frombuffer(tensor.data, dtype="<f4").reshape(tensor.shape)
