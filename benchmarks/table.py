"""The table: what must be reached, what was, and how both are printed. Nothing here is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.names import CNN, CORES, INT8, MANY
from benchmarks.stats import MIN_P99, Round, Spread, paired, percentile, pooled

Rounds = Mapping[str, Sequence[Round]]  # lane -> its rounds, in order
UNITS = {"start": "s", "memory": "MB", "idle": "% of a core"}


@dataclass(frozen=True)
class Target:
    """One promise: a quantity of a lane over the same or another quantity of another, at most or at least so much.

    With several lanes to compare with, the best of them in each round counts.
    """

    what: str
    lane: str
    quantity: str  # p50, p99 or rate
    beside: tuple[str, ...]
    under: str  # the quantity beside
    limit: float
    at_most: bool

    def ratios(self, rounds: Rounds) -> Spread | None:
        """Return the ratio of every round, or None if a lane is missing."""
        if self.lane not in rounds or not any(name in rounds for name in self.beside):
            return None
        best = max if self.under == "rate" else min
        others = [rounds[name] for name in self.beside if name in rounds]
        beside = [best(one.quantity(self.under) for one in same) for same in zip(*others, strict=True)]
        return paired([one.quantity(self.quantity) for one in rounds[self.lane]], beside)

    def met(self, value: float) -> bool:
        """Whether a value keeps the promise."""
        return value <= self.limit if self.at_most else value >= self.limit


def _p50(what: str, lane: str, beside: tuple[str, ...], limit: float) -> Target:
    return Target(what, lane, "p50", beside, "p50", limit, at_most=True)


def _tail(what: str, lane: str) -> Target:
    return Target(f"{what}, p99 / p50", lane, "p99", (lane,), "p50", 3.0, at_most=True)


def _rate(what: str, lane: str, beside: str, limit: float) -> Target:
    return Target(what, lane, "rate", (beside,), "rate", limit, at_most=False)


BEST = ("JPEG in process x1", "JPEG in process, all cores x1")
TARGETS = (
    _p50("MLP, JSON, p50 / echo", "tiny JSON x1", ("echo x1",), 2.1),
    _p50("MLP, binary, p50 / echo", "tiny binary x1", ("echo x1",), 1.8),
    _p50("MLP, gRPC, p50 / gRPC echo", "tiny gRPC x1", ("gRPC echo x1",), 1.5),
    _tail("MLP, JSON", "tiny JSON x1"),
    _tail("MLP, binary", "tiny binary x1"),
    _tail("MLP, gRPC", "tiny gRPC x1"),
    _rate("MLP, binary, rate / echo", f"tiny binary x{MANY}", f"echo x{MANY}", 0.25),
    _rate("MLP, JSON, rate / echo", f"tiny JSON x{MANY}", f"echo x{MANY}", 0.18),
    _rate("CNN FP32, rate / bound", f"{CNN} binary x{MANY}", f"{CNN} in process x{CORES}", 0.75),
    _rate("CNN INT8, rate / bound", f"{INT8} binary x{MANY}", f"{INT8} in process x{CORES}", 0.75),
    _p50("JPEG, p50 / best in process", "JPEG x1", BEST, 1.15),
    Target("JPEG, Flask's p50 / ours", "flask JPEG x1", "p50", ("JPEG x1",), "p50", 2.4, at_most=False),
    _rate("JPEG, rate / bound", f"JPEG x{MANY}", f"JPEG in process x{CORES}", 0.80),
    Target("JSON 224x224x3, json.loads / ours", "instances json.loads x1", "p50", ("instances x1",), "p50", 5.0, False),
)
ALONE = {"start": 0.7, "memory": 150.0, "idle": 0.2}  # at most


def report(rounds: Rounds, alone: Sequence[Mapping[str, float]], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything as plain values."""
    lanes = {}
    for name, same in rounds.items():
        micros, count = pooled(same), sum(one.done for one in same)
        lanes[name] = {
            "rounds": len(same),
            "samples": count,
            "p50_us": percentile(micros, 0.5),
            "p99_us": percentile(micros, 0.99) if count >= MIN_P99 else None,
            "rate": asdict(Spread.of([one.rate for one in same])),
            "by_round": {name: [round(one.quantity(name), 3) for one in same] for name in ("p50", "rate")},
        }
    targets = []
    for target in TARGETS:
        spread = target.ratios(rounds)
        row = {"what": target.what, "limit": target.limit, "at_most": target.at_most}
        targets.append(
            {**row, "ratio": asdict(spread) if spread else None, "met": bool(spread and target.met(spread.median))}
        )
    for name, limit in ALONE.items():
        if alone:
            spread = Spread.of([one[name] for one in alone])
            row = {"what": f"{name}, {UNITS[name]}", "limit": limit, "at_most": True, "ratio": asdict(spread)}
            targets.append({**row, "met": spread.median <= limit})
    return {**about, "lanes": lanes, "targets": targets, "alone": list(alone)}


def text(found: Mapping[str, Any]) -> str:
    """Return a report as people read it."""
    lines = [
        f"{found['machine']}; load client: {found['client']}; {found['rounds']} rounds of {found['seconds']} s each"
    ]
    others, first = found["others"], ", with priority below ours" if found["first"] else ""
    lines += [f"other programs kept {others['median']:.2f} cores busy (to {others['high']:.2f}){first}"]
    lines += [f"not measured: {line}" for line in found["missing"]]
    lines += ["", f"{'lane (xN: N at once)':<34}{'samples':>9}{'p50 us':>10}{'p99 us':>10}{'a second':>11}"]
    for name, lane in found["lanes"].items():
        tail = "-" if lane["p99_us"] is None else f"{lane['p99_us']:.0f}"
        rate = lane["rate"]["median"]
        lines.append(
            f"{name:<34}{lane['samples']:>9}{lane['p50_us']:>10.0f}{tail:>10}{rate:>11.{0 if rate >= 100 else 1}f}"
        )
    lines += ["", f"{'target':<36}{'must be':>10}{'is':>9}  {'of all rounds':<17}"]
    for target in found["targets"]:
        must = f"{'<=' if target['at_most'] else '>='} {target['limit']:g}"
        spread = target["ratio"]
        if spread is None:
            lines.append(f"{target['what']:<36}{must:>10}{'-':>9}  not measured")
            continue
        over = f"{spread['low']:.2f} .. {spread['high']:.2f}"
        lines.append(
            f"{target['what']:<36}{must:>10}{spread['median']:>9.2f}  {over:<17}{'met' if target['met'] else 'MISSED'}"
        )
    return "\n".join(lines)
