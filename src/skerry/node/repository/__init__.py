"""Models on this node's own disk: what a path given to `skerry serve` means, and what to do when it changes.

parts/                                   a bundle (it has a manifest.json)
model.onnx                               a file (.onnx, .tflite, .xml): served under its stem as version 1
models/<model>/<version>/model.onnx      a repository, as Triton and TensorFlow Serving lay it out; model.tflite,
                                         model.xml and the files of a bundle may stand there too
models/<model>/config.pbtxt              what Triton's configuration asks of the model
models/<bundle>/                         bundles may stand in a repository without a version's folder
"""

from skerry.node.repository.disk import pulse
from skerry.node.repository.found import Found, Listing, Refusal, Source
from skerry.node.repository.labels import read_labels
from skerry.node.repository.look import find, look
from skerry.node.repository.watch import Change, Do, Watch, changes

__all__ = [
    "Change",
    "Do",
    "Found",
    "Listing",
    "Refusal",
    "Source",
    "Watch",
    "changes",
    "find",
    "look",
    "pulse",
    "read_labels",
]
