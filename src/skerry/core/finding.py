"""What a model found: the one value that rules read, answers carry and the console draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skerry.core.errors import Invalid
from skerry.core.fields import Fields, number
from skerry.core.names import shown

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the original image


@dataclass(frozen=True)
class Finding:
    """One class or one object: its label, its index in the model's labels, how sure (0 to 1), and where."""

    label: str
    score: float
    index: int = -1
    box: Box | None = None

    def json(self) -> dict[str, Any]:
        """Return the finding as JSON values; no `box` for a class."""
        plain: dict[str, Any] = {"label": self.label, "score": self.score, "index": self.index}
        return plain if self.box is None else {**plain, "box": list(self.box)}

    @staticmethod
    def read(value: object) -> Finding:
        """Return the finding in a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        return Finding(
            label=fields.text("label"),
            score=fields.real("score"),
            index=fields.whole("index", default=-1, low=-1),
            box=fields.read("box", _box, default=None),
        )


def _box(value: object) -> Box:
    if isinstance(value, list) and len(value) == 4:
        left, top, right, bottom = map(number, value)
        return left, top, right, bottom
    raise Invalid(f"expected four numbers: left, top, right, bottom; got {shown(value)}")
