"""How values read on a page: times, sizes, counts, short digests. Text out, nothing else.

Numbers may come from a node and be absurd (a clock at 1e300); every function here answers something for each.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

MAX_SHOWN = 400  # characters of a value that a node made up
DIGITS = 12  # of a digest: as many as one compares by eye; 48 bits


def moment(at: float) -> datetime | None:
    """Return Unix seconds as a date, or None if no calendar has it."""
    try:
        return datetime.fromtimestamp(at, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def when(at: float) -> str:
    """Return the date and time."""
    found = moment(at)
    return "at no possible time" if found is None else f"{found:%Y-%m-%d %H:%M:%S} UTC"


def iso(at: float) -> str:
    """Return what <time datetime> takes; "" for a time that no calendar has."""
    found = moment(at)
    return "" if found is None else f"{found:%Y-%m-%dT%H:%M:%S}Z"


def ago(at: float, now: float) -> str:
    """Return how long ago something was."""
    if moment(at) is None:
        return when(at)
    past = now - at
    text = duration(abs(past))
    if abs(past) < 2:
        return "just now"
    return f"{text} ago" if past > 0 else f"in {text}"


def duration(seconds: float) -> str:
    """Return a length of time with one unit."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: Any) -> str:
    """Return a number of bytes; a fact that is no number reads as it is."""
    if isinstance(count, bool) or not isinstance(count, int | float):
        return plain(count)
    value = float(min(count, 10**18))
    for unit in ("B", "KB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or abs(value) >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def count(number: int) -> str:
    """Return a whole number with its thousands apart."""
    return f"{number:,}"


def pace(value: float) -> str:
    """Return how many things come in a time."""
    return f"{value:.1f}" if 0 < value < 10 else f"{value:,.0f}"


def score(value: float) -> str:
    """Return how sure a model was."""
    return f"{value * 100:.0f} %" if 0 <= value <= 1 else f"{value:.3g}"


def millis(value: float) -> str:
    """Return a latency."""
    if value >= 1000:
        return f"{value / 1000:.3g} s"
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def short(digest: str) -> str:
    """Return the beginning of a digest."""
    return digest.removeprefix("sha256:")[:DIGITS]


def plain(value: Any) -> str:
    """Return a value that somebody made up: text as it is, the rest as JSON, cut."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"


def named(key: str) -> str:
    """Return a field's name as a label."""
    return key.replace("_", " ").replace("-", " ")
