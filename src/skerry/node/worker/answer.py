"""From a request's bytes to its answer's bytes: decode the protocol, run the model, encode. No network, no process.

Here: the table of operations, and what takes encoded inputs (images, sound). Plain tensors are in the files beside.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from skerry.core.errors import Invalid
from skerry.core.names import MAX_NAME
from skerry.core.tensor import DType, Tensor
from skerry.engine.session import Session, Sight
from skerry.engine.steps.step import Named
from skerry.host.clock import Clock
from skerry.host.regions import Regions
from skerry.node.worker import coding
from skerry.node.worker.body import MULTIPART, first_file, inflated
from skerry.node.worker.inference import Inference, demanded, encoded, tensors_of
from skerry.node.worker.made import Made
from skerry.node.worker.opened import Opened
from skerry.node.worker.order import ENCODER, HEADS, MAX_BODY, Head, Note, Op
from skerry.node.worker.serving import Serving
from skerry.wire import oip, tfs
from skerry.wire.answer import Answer
from skerry.wire.results import Result

MAX_IMAGES = 64  # images of one request; each is run after the other
RAW = ("application/octet-stream",)

Open = Callable[[Head, memoryview], Opened]


class Answers:
    """Answers requests with one session. `record`: results of images are wanted beside the answers."""

    def __init__(self, session: Session, clock: Clock, record: bool, regions: Regions | None = None) -> None:
        self._session = session
        self._clock = clock
        self._record = record
        self._inference = Inference(session, clock, regions or Regions())
        self._serving = serving = Serving(session)
        self._opens: dict[int, Open] = {
            Op.TFS_CLASSIFY: serving.classify,
            Op.TFS_REGRESS: serving.regress,
            Op.GRPC_INFER: self._inference.open_grpc,
            Op.GRPC_PREDICT: serving.grpc_predict,
            Op.GRPC_CLASSIFY: serving.grpc_classify,
            Op.GRPC_REGRESS: serving.grpc_regress,
            Op.GRPC_MULTI: serving.grpc_multi,
        }
        self.quick = self._inference.quick
        self._calls: dict[int, Callable[[Head, memoryview], Made]] = {
            Op.INFER: self._infer,
            Op.PREDICT: self._predict,
            Op.TFS_PREDICT: self._tfs_predict,
            **{op: partial(self._whole, open_) for op, open_ in self._opens.items()},
        }
        if not session.takes_images:
            self._opens |= {Op.INFER: self._inference.open_http, Op.TFS_PREDICT: serving.predict}

    def __call__(self, op: int, head: bytes | memoryview, body: memoryview) -> Made:
        """Return the answer; raise Invalid, TooLarge, or what the session raises."""
        read = HEADS.decode(head)
        made = self._calls[op](read, inflated(body, read.encoding) if read.encoding else body)
        if read.accept:
            self._pack(made, read)
        return made

    def open(self, op: int, head: bytes | memoryview, body: memoryview) -> Opened | None:
        """Return a decoded request of plain tensors, None for what must be answered whole; raise Invalid, TooLarge."""
        open_, read = self._opens.get(op), HEADS.decode(head)
        if open_ is None or (op == Op.INFER and read.json_length is None and _seen_as(read.content_type)):
            return None
        opened = open_(read, inflated(body, read.encoding) if read.encoding else body)
        if read.accept:
            opened.close = partial(self._close_packed, opened.close, read)
        return opened

    def _close_packed(self, close: Callable[[Named], Made], head: Head, arrays: Named) -> Made:
        made = close(arrays)
        coding.put(made, head)
        return made

    def _whole(self, open_: Open, head: Head, body: memoryview) -> Made:
        nanos = self._clock.nanos
        began = nanos()
        opened = open_(head, body)
        parsed = nanos()
        arrays = self._session.infer(opened.inputs, demanded(self._session, opened.sequence))
        ran = nanos()
        made = opened.close(arrays)
        made.phases = (parsed - began, 0, ran - parsed, 0, nanos() - ran)
        return made

    def _pack(self, made: Made, head: Head) -> None:
        began = self._clock.nanos()
        coding.put(made, head)
        made.phases = (*made.phases[:4], made.phases[4] + self._clock.nanos() - began)

    def _infer(self, head: Head, body: memoryview) -> Made:
        if head.json_length is not None or not head.content_type:
            return self._inference.http(head, body)
        kind = _plain(head.content_type)
        if _seen_as(kind) or (kind in RAW and self._session.takes == "raw"):
            return self._infer_encoded(head, kind, body)
        return self._inference.http(head, body)

    def _infer_encoded(self, head: Head, kind: str, body: memoryview) -> Made:
        session = self._session
        if not session.takes_images:
            name = session.manifest.name
            raise Invalid(f"model {name} takes tensors, not {kind}; its inputs are at /v2/models/{name}")
        data, source = self._file(head, body)
        sight = session.look(data)
        ran = self._clock.nanos()
        made = encoded(session.manifest, oip.InferRequest(()), _seen(sight))
        made.phases = (*_phases(sight), self._clock.nanos() - ran)
        made.notes = self._noted([(sight, source, _picture(head, data))])
        return made

    def _predict(self, head: Head, body: memoryview) -> Made:
        session, manifest = self._session, self._session.manifest
        if not session.takes_images:
            raise Invalid(
                f"model {manifest.name} takes tensors, not images; "
                f"'skerry bundle init' declares the steps from one to the other"
            )
        data, source = self._file(head, body)
        sight = session.look(data)
        ran = self._clock.nanos()
        if "classes" not in sight.arrays:
            raise Invalid(
                f"model {manifest.name}: its steps end in tensors, not in findings; "
                f"ask /v2/models/{manifest.name}/infer"
            )
        answer = Answer(
            model=manifest.name,
            version=manifest.version,
            digest=manifest.digest,
            findings=sight.findings,
            width=sight.width,
            height=sight.height,
            millis=sight.millis,
        )
        made = Made(json.dumps(answer.json()).encode())
        made.phases = (*_phases(sight), self._clock.nanos() - ran)
        made.notes = self._noted([(sight, source, _picture(head, data))])
        return made

    def _tfs_predict(self, head: Head, body: memoryview) -> Made:
        if self._session.takes_images:
            images = tfs.images(tfs.parse_body(body, MAX_BODY))
            if images is not None:
                return self._tfs_images(images)
        return self._whole(self._serving.predict, head, body)

    def _tfs_images(self, images: Sequence[bytes]) -> Made:
        if len(images) > MAX_IMAGES:
            raise Invalid(f"instances: expected at most {MAX_IMAGES} images; got {len(images)}")
        rows, sights = [], []
        for image in images:
            sight = self._session.look(image)
            sights.append((sight, "", image))
            row: dict[str, Any] = {}
            for tensor in _seen(sight):
                row |= tfs.row_value(tensor)
            rows.append(row)
        made = Made(tfs.encode_rows(rows))
        each = [_phases(sight) for sight, _, _ in sights]
        made.phases = (0, sum(p[1] for p in each), sum(p[2] for p in each), sum(p[3] for p in each), 0)
        made.batch = len(images)
        made.notes = self._noted(sights)
        return made

    @staticmethod
    def _file(head: Head, body: memoryview) -> tuple[bytes | memoryview, str]:
        if _plain(head.content_type) != MULTIPART:
            return body, head.source
        data, name = first_file(head.content_type, body)
        return data, head.source or name

    def _noted(self, sights: Sequence[tuple[Sight, str, bytes | None]]) -> bytes:
        if not self._record:
            return b""
        manifest = self._session.manifest
        notes = []
        for sight, source, picture in sights:
            result = Result(
                model=manifest.name,
                version=manifest.version,
                digest=manifest.digest,
                source=source[:MAX_NAME],
                findings=sight.findings,
                width=sight.width,
                height=sight.height,
                millis=round(sight.millis["total"], 3),
            )
            notes.append(Note(json.dumps(result.json()).encode(), picture))
        return ENCODER.encode(notes)


def _plain(content_type: str) -> str:
    return content_type.split(";", 1)[0].strip().lower()


def _seen_as(content_type: str) -> bool:
    """Whether a body of this type is an encoded input: an image, a sound, or a form with one."""
    return content_type.lower().startswith(("image/", "audio/", MULTIPART))


def _picture(head: Head, data: bytes | memoryview) -> bytes | None:
    """Return the picture for a note, None where the body as it came is the picture."""
    return bytes(data) if head.encoding or _plain(head.content_type) == MULTIPART else None


def _seen(sight: Sight) -> list[Tensor]:
    """Return what an image gave as tensors: the arrays of the last step, and the classes' labels as text."""
    tensors = tensors_of(sight.arrays)
    if "classes" in sight.arrays:
        labels = tuple(finding.label.encode() for finding in sight.findings)
        tensors.append(Tensor("labels", DType.BYTES, (len(labels),), labels))
    return tensors


def _phases(sight: Sight) -> tuple[int, int, int, int]:
    millis = sight.millis
    before = millis["decode"] + millis["prepare"]
    return 0, int(before * 1e6), int(millis["run"] * 1e6), int(millis["finish"] * 1e6)
