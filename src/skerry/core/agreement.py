"""When two versions of a model agree, and what a trial of the newer one may cost before it ends. Pure rules.

Findings agree when each has one of its class at its place on the other side; a trial is judged by its counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from skerry.core import names
from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.core.finding import Box, Finding

LEAST_IOU = 0.5  # of two boxes that mean one object; the usual measure of detectors
MODES = ("shadow", "canary")
RULES = ("auto", "top1", "values")


@dataclass(frozen=True)
class Limits:
    """What a trial may cost. A share is of the requests counted, or of `least` while there are fewer."""

    errors: float = 0.01  # share of requests that the candidate alone could not answer
    disagreement: float = 0.05  # share of answers compared
    least: int = 100  # requests; so the second error of the first hundred ends a trial, and not the first

    def json(self) -> dict[str, Any]:
        """Return the limits as JSON values."""
        return {"errors": self.errors, "disagreement": self.disagreement, "least": self.least}


@dataclass(frozen=True)
class Terms:
    """What was asked of a trial.

    `rule` says when arrays agree: "top1", the greatest of each row of every output of floats stands in the same
    place; "values", every number is within `tolerance`; "auto", top1 for an output as wide as the model has labels.
    """

    version: int
    mode: str = "shadow"
    share: float = 1.0  # of the requests that name no version
    rule: str = "auto"
    tolerance: float = 1e-3  # absolute and relative; other processors add in another order
    limits: Limits = field(default_factory=Limits)

    @staticmethod
    def read(value: object) -> Terms:
        """Return the terms in a JSON or TOML value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        plain = Limits()
        mode = fields.choice("mode", MODES, default="shadow")
        found = Terms(
            version=fields.read("version", names.version),
            mode=mode,
            share=fields.real("share", default=1.0 if mode == "shadow" else 0.1, low=0.0, high=1.0),
            rule=fields.choice("rule", RULES, default="auto"),
            tolerance=fields.real("tolerance", default=1e-3, low=0.0),
            limits=Limits(
                fields.real("errors", default=plain.errors, low=0.0, high=1.0),
                fields.real("disagreement", default=plain.disagreement, low=0.0, high=1.0),
                fields.whole("least", default=plain.least, low=1, high=1_000_000),
            ),
        )
        if fields.rest():
            raise Invalid(f"trial: no field is called {', '.join(sorted(fields.rest()))}")
        return found


@dataclass
class Tally:
    """What a trial has counted."""

    asked: int = 0  # requests that the candidate was given
    failed: int = 0  # of those, what it could not answer and the version beside it could
    compared: int = 0
    agreed: int = 0


def breach(limits: Limits, tally: Tally) -> str:
    """Return why a trial must end, "" while it may go on."""
    for what, count, of, limit in (
        ("could not be answered", tally.failed, tally.asked, limits.errors),
        ("were answered otherwise", tally.compared - tally.agreed, tally.compared, limits.disagreement),
    ):
        if count > limit * max(of, limits.least):
            return f"{count} of {of} requests {what}; at most {limit:.3%} may be, of {limits.least} or more"
    return ""


def turn(number: int, share: float) -> bool:
    """Whether the request of that number, counted from 1, is one of the share: evenly spread, and no dice."""
    return int(number * share + 1e-9) > int((number - 1) * share + 1e-9)


def same_findings(served: Sequence[Finding], found: Sequence[Finding]) -> bool:
    """Whether two answers say the same of one input.

    Objects: each has one of its class on the other side whose box overlaps by LEAST_IOU, best first. Classes: the
    best one is the same.
    """
    if not any(one.box for one in (*served, *found)):
        best = [max(one, key=lambda f: f.score).label if one else None for one in (served, found)]
        return best[0] == best[1]
    if len(served) != len(found):
        return False
    left = list(found)
    for want in sorted(served, key=lambda one: -one.score):
        near = [one for one in left if one.label == want.label and overlap(want.box, one.box) >= LEAST_IOU]
        if not near:
            return False
        left.remove(max(near, key=lambda one: overlap(want.box, one.box)))
    return True


def overlap(one: Box | None, other: Box | None) -> float:
    """Return the area that two boxes share, over the area that they cover together; 0 without a box."""
    if one is None or other is None:
        return 0.0
    if one == other:
        return 1.0
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height)
