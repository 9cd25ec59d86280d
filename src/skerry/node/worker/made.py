"""What answering a request makes: the answer's bytes, what they are, how long each phase took."""

from __future__ import annotations

from dataclasses import dataclass

from skerry.node.worker.order import Kind


@dataclass(slots=True)
class Made:
    """An answer."""

    body: bytes
    kind: int = Kind.JSON  # and its content coding's number above (worker/coding.py)
    json_length: int = 0  # bytes of JSON in front of binary tensors
    notes: bytes = b""
    phases: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)  # ns of parse, preprocess, infer, postprocess, encode
    batch: int = 1  # examples in the request
    company: int = 0  # examples of the whole run, 0: it ran alone; negative in all answers of a run but one
