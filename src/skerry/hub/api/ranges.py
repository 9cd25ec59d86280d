"""Whether a Range header can be answered. Starlette answers it; this keeps its refusals to our shape of error."""

from __future__ import annotations

import re

# RFC 9110, 14.1.2: one or more of "first-", "first-last", "-suffix"; more than 16 are an attack, not a resumed fetch.
_ONE = r"(?:\d{1,19}-\d{0,19}|-\d{1,19})"
_RANGES = re.compile(rf"bytes=\s*{_ONE}(?:\s*,\s*{_ONE}){{0,15}}", re.ASCII)


def satisfiable(header: str | None, size: int) -> bool:
    """Whether the header is none, or names ranges of which all begin inside `size` bytes, in the right order."""
    if header is None:
        return True
    if not _RANGES.fullmatch(header.strip()):
        return False
    return all(_inside(part.strip(), size) for part in header.partition("=")[2].split(","))


def _inside(part: str, size: int) -> bool:
    first, _, last = part.partition("-")
    if not first:
        return int(last) > 0 and size > 0
    return int(first) < size and (not last or int(first) <= int(last))
