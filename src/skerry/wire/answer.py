"""The answer of `POST /predict`: what a node found in one image. Read by the SDK, written by the node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from skerry.core import names
from skerry.core.fields import Fields, number
from skerry.core.finding import Finding
from skerry.core.names import Digest, ModelName


@dataclass(frozen=True)
class Answer:
    """Findings in one image, best first, and by which bundle on which node they were made."""

    model: ModelName
    version: int
    digest: Digest
    findings: tuple[Finding, ...]
    width: int  # pixels of the original image; boxes are in these pixels
    height: int
    millis: Mapping[str, float] = field(default_factory=dict)  # milliseconds of each phase, and their "total"
    node: str = ""
    result: str = ""  # "epoch/seq" of the journal entry, "" on a stand-alone node

    def json(self) -> dict[str, Any]:
        """Return the answer as JSON values."""
        return {
            "model": self.model,
            "version": self.version,
            "digest": self.digest,
            "node": self.node,
            "findings": [f.json() for f in self.findings],
            "width": self.width,
            "height": self.height,
            "millis": {phase: round(ms, 3) for phase, ms in self.millis.items()},
            "result": self.result,
        }

    @staticmethod
    def read(value: object) -> Answer:
        """Return the answer in a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "answer")
        return Answer(
            model=fields.read("model", names.model_name),
            version=fields.read("version", names.version),
            digest=fields.read("digest", names.digest),
            findings=fields.many("findings", Finding.read),
            width=fields.whole("width"),
            height=fields.whole("height"),
            millis=fields.read("millis", _millis, default={}),
            node=fields.text("node", default=""),
            result=fields.text("result", default=""),
        )


def _millis(value: object) -> dict[str, float]:
    fields = Fields(value, "")
    return {phase: fields.read(phase, number) for phase in fields.rest()}
