"""Content codings of answers: which one a client wants, and an answer in it. Level 1: the box has models to run."""

from __future__ import annotations

import zlib

from skerry.node.worker.made import Made
from skerry.node.worker.order import Head, Kind

SMALLEST = 16 << 10  # bytes, packed in 0.12 ms; 8 KB less are 0.65 ms of a link of 100 Mbit/s
LEVEL = 1  # JSON numbers to 0.47 of their size at 100 MB/s; level 6: to 0.43 at 16 MB/s
CODINGS = ("gzip", "deflate")
_WINDOWS = {"gzip": 31, "deflate": 15}  # zlib's wbits; HTTP's deflate is zlib's format
_SHIFT = 8  # of the coding's number above the kind's


def wanted(accept: str) -> tuple[str, bool]:
    """Return the coding that an Accept-Encoding header likes best, "" for none, and whether it is the only one named.

    The only one is what a client was told to ask for; several are what its library always says.
    """
    if not accept:
        return "", False
    weights: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, _, weight = part.partition(";")
        weights[name.strip().removeprefix("x-")] = _weight(weight.strip())
    named = [name for name, liked in weights.items() if liked > 0 and name not in ("", "identity")]
    found, best = "", max(weights.get("identity", 0.0) - 1e-9, 0.0)  # as good as any, if they are named alike
    for coding in CODINGS:
        liked = weights.get(coding, weights.get("*", 0.0))
        if liked > best:
            found, best = coding, liked
    return found, named == [found]


def put(made: Made, head: Head) -> None:
    """Put an answer into the coding that its request wants, if that helps: binary tensors only if it insists."""
    if len(made.body) < SMALLEST or not (made.kind == Kind.JSON or (made.kind == Kind.BINARY and head.insists)):
        return
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, _WINDOWS[head.accept])
    body = packer.compress(made.body) + packer.flush()
    if len(body) < len(made.body):
        made.body = body
        made.kind |= (CODINGS.index(head.accept) + 1) << _SHIFT


def split(kind: int) -> tuple[Kind, str]:
    """Return the kind and the coding of an answer, "" for none."""
    number = kind >> _SHIFT
    return Kind(kind & 0xFF), CODINGS[number - 1] if number else ""


def _weight(text: str) -> float:
    if not text.startswith("q="):
        return 1.0
    try:
        return float(text[2:])
    except ValueError:
        return 0.0
