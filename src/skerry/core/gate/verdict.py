"""The question a gate asks and its answer: pass, fail, or not proven and how many more samples it would take.

A gate passes when the whole interval lies on the good side, and fails when the whole interval lies on the other. What
lies between is not proven: `more` says how many further samples would most likely decide it, at the rates seen so far.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from skerry.core.errors import Invalid
from skerry.core.fields import Fields
from skerry.core.gate.interval import (
    LEVEL,
    Interval,
    poisson_bound,
    poisson_floor,
    wilson,
    wilson_z,
    z_of,
)
from skerry.core.gate.paired import Paired, loss_interval, loss_interval_z, mcnemar

POWER = 0.8416  # standard deviations: with `more` samples, 80 % of measurements decide
MOST = 10_000_000  # samples or hours; nobody measures more, so beyond it `more` is None


class Outcome(Enum):
    """What a gate says."""

    PASS = "pass"  # noqa: S105 (no password)
    FAIL = "fail"
    NOT_PROVEN = "not_proven"


@dataclass(frozen=True)
class Verdict:
    """A gate's answer. `more`: samples (or hours) still needed, 0 when decided, None if no number would do."""

    gate: str
    outcome: Outcome
    text: str  # the statistic that it stands on
    more: int | None = 0
    unit: str = "samples"
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether it is proven."""
        return self.outcome is Outcome.PASS

    def json(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        told = {"gate": self.gate, "outcome": self.outcome.value, "text": self.text}
        return {**self.extra, **told, "more": self.more, "unit": self.unit}

    @staticmethod
    def read(value: object) -> Verdict:
        """Return the verdict in a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        gate, text = fields.text("gate"), fields.text("text")
        outcome = Outcome(fields.choice("outcome", tuple(one.value for one in Outcome)))
        more = None if fields.raw("more", 0) is None else Fields(value, "").whole("more", default=0)
        return Verdict(gate, outcome, text, more, fields.text("unit", default="samples"), fields.rest())


def loss_gate(paired: Paired, most: float, what: str = "accuracy", level: float = LEVEL) -> Verdict:
    """Return whether the second model is proven to lose less than `most` (a share: 0.005 is half a point)."""
    _positive("most", most)
    found = loss_interval(paired, level)
    gate = f"loss of {what} < {_points(most)} pt"
    seen = (
        f"loss {100 * paired.loss:.2f} pt, {_percent(level)} interval {100 * found.low:.2f} to {100 * found.high:.2f}, "
        f"n={_count(paired.count)} ({_count(paired.lost)} lost, {_count(paired.won)} won, "
        f"McNemar p={mcnemar(paired):.2g})"
    )

    def decides(count: float) -> bool:
        longer = paired.scaled(count)
        wide = loss_interval_z(longer, z_of(level) + POWER)
        return wide.high < most if longer.loss < most else wide.low > most

    asked = f"< {_points(most)} pt"
    return _judged(
        gate, seen, asked, (found.high < most, found.low >= most), paired.loss < most, _more(decides, paired.count)
    )


def accuracy_gate(hits: float, count: float, least: float, what: str = "accuracy", level: float = LEVEL) -> Verdict:
    """Return whether a share of hits is proven to be `least` or more."""
    _positive("least", least)
    found = wilson(hits, count, level)
    share = hits / count if count else 0.0
    seen = (
        f"{what} {100 * share:.2f} %, {_percent(level)} interval {100 * found.low:.2f} to {100 * found.high:.2f}, "
        f"n={_count(count)}"
    )

    def decides(longer: float) -> bool:
        rate = (hits + 0.5) / (count + 1)
        wide = wilson_z(rate * longer, longer, z_of(level) + POWER)
        return wide.low >= least if rate >= least else wide.high < least

    asked = f">= {_points(least)} %"
    return _judged(
        f"{what} {asked}", seen, asked, (found.low >= least, found.high < least), share >= least, _more(decides, count)
    )


def alarm_gate(events: int, hours: float, most: float, what: str = "false alarms", level: float = LEVEL) -> Verdict:
    """Return whether fewer than `most` events an hour are proven, by the exact bound (0 events: the rule of three)."""
    _positive("hours", hours)
    _positive("most", most)
    high, low = poisson_bound(events, level) / hours, poisson_floor(events, level) / hours
    seen = f"{events} {what} in {hours:.4g} h: at most {high:.3g} per hour ({_percent(level)})"

    def decides(longer: float) -> bool:
        expected = events / hours * longer
        if events / hours < most:
            return poisson_bound(math.ceil(expected), level) / longer < most
        return poisson_floor(math.floor(expected), level) / longer > most

    asked = f"< {most:.4g} per hour"
    likely, more = events / hours < most, _more(decides, hours)
    return _judged(f"{what} {asked}", seen, asked, (high < most, low > most), likely, more, "hours")


def value_gate(gate: str, value: float, found: Interval, most: float, samples: int, unit: str = "") -> Verdict:
    """Return whether a measured value is proven to be at most `most`; the interval comes from a bootstrap."""
    asked = f"<= {most:.4g}{unit}"
    seen = f"{value:.4g}{unit}, {_percent(found.level)} interval {found.low:.4g} to {found.high:.4g}{unit}, n={samples}"
    likely = value <= most
    reach = (found.high - value) if likely else (value - found.low)
    needed = reach * (1 + POWER / z_of(found.level))  # how far off the limit must be, with this many samples
    away = abs(most - value)
    total = samples * (needed / away) ** 2 if away > 0 else math.inf  # an interval narrows with the root of the count
    more = math.ceil(max(total - samples, 1)) if total <= MOST else None
    return _judged(f"{gate} {asked}", seen, asked, (found.high <= most, found.low > most), likely, more)


def limit_gate(gate: str, value: float, most: float, unit: str = "") -> Verdict:
    """Return whether a number that is known exactly, as a size in bytes, is at most `most`."""
    good = value <= most
    asked = f"<= {most:,.10g}{unit}"
    told = f"{value:,.10g}{unit}: {asked} {'holds' if good else 'does not hold'}"
    return Verdict(f"{gate} {asked}", Outcome.PASS if good else Outcome.FAIL, told)


def _judged(
    gate: str, seen: str, asked: str, sides: tuple[bool, bool], likely: bool, more: int | None, unit: str = "samples"
) -> Verdict:
    good, bad = sides
    if good:
        return Verdict(gate, Outcome.PASS, f"{seen}: {asked} is proven", 0, unit)
    if bad:
        return Verdict(gate, Outcome.FAIL, f"{seen}: {asked} is refuted", 0, unit)
    if more is None:
        told = "no number of further samples would decide it: it is too close"
    else:
        told = f"about {more:,} more {unit} would decide, most likely {'for' if likely else 'against'} it"
    return Verdict(gate, Outcome.NOT_PROVEN, f"{seen}: {asked} is not proven; {told}", more, unit)


def _more(decides: Callable[[float], bool], count: float) -> int | None:
    """Return how many more than `count` it takes, None if MOST are too few."""
    low = high = max(1.0, count)
    while not decides(high):
        if high > MOST:
            return None
        low, high = high, high * 2
    while high - low > max(0.5, high * 1e-3):  # a thousandth: it is an estimate
        middle = (low + high) / 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return max(1, math.ceil(high - count))


def _positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise Invalid(f"{name}: expected a number over 0; got {value}")


def _percent(level: float) -> str:
    return f"{100 * level:.4g} %"


def _points(share: float) -> str:
    return f"{100 * share:.4g}"


def _count(value: float) -> str:
    return f"{value:.0f}"
