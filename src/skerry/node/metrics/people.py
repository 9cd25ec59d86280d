"""GET /stats: the readings for people, as a dictionary and as aligned text. Times are in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from skerry.node.metrics.reading import Reading

MIB = 1 << 20


def people(readings: Sequence[Reading], counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Return the statistics by model and version; `counts` are each model's swaps, restarts and quarantines."""
    return {"models": [{**_one(one), **counts.get(one.model, {})} for one in readings]}


def text(found: Mapping[str, Any]) -> str:
    """Return what `people` returned as plain text."""
    return "\n".join(_block(one) for one in found["models"]) or "no model has been asked yet\n"


def _one(one: Reading) -> dict[str, Any]:
    return {
        "model": one.model,
        "version": one.version,
        "requests": one.requests,
        "examples": one.examples,
        "runs": one.runs,
        "per_second": round(one.rate, 2),  # over the last minute
        "p50_ms": _millis(one.p50),  # of the latest answers
        "p99_ms": _millis(one.p99),
        "of_latest": len(one.recent),
        "mean_ms": {
            phase: _millis(timed.nanos / 1e9 / one.requests if one.requests else None)
            for phase, timed in {**one.phases, "total": one.total}.items()
        },
        "errors": {outcome: count for outcome, count in one.outcomes().items() if outcome != "ok"},
        "skipped": one.skips,
        "pending": one.pending,
        "inflight": one.inflight,
        "memory_bytes": one.memory,
        "load_seconds": one.load_seconds,
        "overhead": overhead(one.bare_ms, one.added_ms),
        "shadow": _shadow(one),
        "last": datetime.fromtimestamp(one.last, UTC).isoformat(timespec="seconds") if one.last else None,
    }


def overhead(bare_ms: float | None, added_ms: float | None) -> dict[str, Any] | None:
    """Return what serving adds to the runtime alone, in numbers and in words."""
    if bare_ms is None or added_ms is None:
        return None
    share = f" ({added_ms / bare_ms:.1%})".replace("%", " %") if bare_ms > 0 else ""
    return {
        "bare_ms": bare_ms,
        "added_ms": added_ms,
        "text": f"adds {added_ms:.{2 if added_ms >= 0.01 else 4}f} ms{share} to the bare runtime",
    }


def _shadow(one: Reading) -> dict[str, Any] | None:
    seen = one.shadow
    if not seen.used:
        return None
    return {
        "compared": seen.compared,
        "agreed": seen.agreed,
        "errors": seen.errors,
        "mean_latency_ratio": round(seen.ratio_sum / seen.compared, 3) if seen.compared else None,
    }


def _millis(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 4)


def _block(one: Mapping[str, Any]) -> str:
    rows = [
        ("requests", f"{one['requests']}, {one['per_second']:.1f} a second in the last minute"),
        ("latency", f"p50 {_shown(one['p50_ms'])}, p99 {_shown(one['p99_ms'])} (latest {one['of_latest']})"),
        ("errors", ", ".join(f"{name} {count}" for name, count in one["errors"].items()) or "none"),
        ("queue", f"{one['pending']} waiting, {one['inflight']} at work, {one['skipped']} skipped"),
        ("memory", f"{one['memory_bytes'] / MIB:.1f} MiB" if one["memory_bytes"] else "not known"),
        ("model", f"{one.get('swaps', 0)} swaps, {one.get('restarts', 0)} restarts"),
    ]
    if one.get("quarantines"):
        rows.append(("quarantine", f"{one['quarantines']} versions are not tried again"))
    if one["load_seconds"] is not None:
        rows.append(("load", f"{one['load_seconds']:.2f} s"))
    rows.append(("overhead", one["overhead"]["text"] if one["overhead"] is not None else "not measured"))
    if one["shadow"] is not None:
        seen = one["shadow"]
        rows.append(("shadow", f"{seen['agreed']} of {seen['compared']} agreed, {seen['errors']} errors"))
    lines = [f"{one['model']} version {one['version']}", *(f"  {name:<12}{value}" for name, value in rows)]
    lines += ["", f"  {'phase':<12}{'mean ms':>10}{'share':>9}"]
    means, total = one["mean_ms"], one["mean_ms"]["total"]
    for phase, mean in means.items():
        share = f"{mean / total * 100:.1f} %" if mean is not None and total else "-"
        lines.append(f"  {phase:<12}{'-' if mean is None else f'{mean:.3f}':>10}{share:>9}")
    return "\n".join(lines) + "\n"


def _shown(millis: float | None) -> str:
    return "-" if millis is None else f"{millis:.3f} ms"
