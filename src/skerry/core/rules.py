"""When a node acts by itself: "k of the last n results match" fires once, and re-arms when it is over.

Pure and small enough to reason about: a rule, its memory (the last n yes-or-no answers and whether it has
fired), and `feed`, which returns the new memory and whether to act now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from skerry.core import names
from skerry.core.errors import Invalid
from skerry.core.fields import Fields, canonical, string
from skerry.core.finding import Finding
from skerry.core.names import ModelName

MAX_WINDOW = 10_000  # results a rule may look back on


@dataclass(frozen=True)
class Rule:
    """Fire when `count` of the last `window` results of `model` hold a finding of `labels` (any, if empty)."""

    name: str
    model: ModelName
    count: int
    window: int
    labels: tuple[str, ...] = ()
    min_score: float = 0.0
    webhook: str | None = field(default=None, repr=False)  # URL that gets the alarm; may hold a token

    @staticmethod
    def read(value: object) -> Rule:
        """Return the rule in a TOML or JSON table; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "rule")
        rule = Rule(
            name=fields.text("name", limit=128),
            model=fields.read("model", names.model_name),
            count=fields.whole("count", default=1, low=1, high=MAX_WINDOW),
            window=fields.whole("window", default=1, low=1, high=MAX_WINDOW),
            labels=fields.many("labels", string, default=()),
            min_score=fields.real("min_score", default=0.0, low=0.0, high=1.0),
            webhook=fields.text("webhook", default=None),
        )
        if rule.count > rule.window:
            raise Invalid(f"rule.count: expected at most the window, {rule.window}; got {rule.count}")
        if rule.webhook is not None and not rule.webhook.startswith(("http://", "https://")):
            raise Invalid(f"rule.webhook: expected an http:// or https:// URL; got {rule.webhook!r}")
        if fields.rest():
            raise Invalid(f"rule '{rule.name}': unknown fields {sorted(fields.rest())}")
        return rule

    @property
    def identity(self) -> str:
        """What its memory is kept under: a rule that is changed in any way begins anew."""
        return hashlib.sha256(canonical(asdict(self))).hexdigest()[:16]

    def matches(self, findings: Iterable[Finding]) -> bool:
        """Whether one result counts for this rule."""
        return any(f.score >= self.min_score and (not self.labels or f.label in self.labels) for f in findings)


@dataclass(frozen=True)
class Memory:
    """The last answers of a rule, oldest first, and whether its alarm stands."""

    recent: tuple[bool, ...] = ()
    standing: bool = False


def feed(rule: Rule, memory: Memory, findings: Iterable[Finding]) -> tuple[Memory, bool]:
    """Return the memory after one more result, and whether the rule fires on it.

    It fires when the count is reached while no alarm stands; the alarm is over when the count is no
    longer reached, so a line that stays bad raises one alarm, not one for each board.
    """
    recent = (*memory.recent, rule.matches(findings))[-rule.window :]
    reached = sum(recent) >= rule.count
    return Memory(recent, reached), reached and not memory.standing
